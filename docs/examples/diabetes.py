"""Regression on a table: from a data frame to predictions over HTTP.

    python docs/examples/diabetes.py                     # train, and save the model
    python docs/examples/diabetes.py --serve             # serve its predictions on port 8000

    curl -s localhost:8000/predict -H 'content-type: application/json' -d '{"age": 59, "sex": 2,
        "bmi": 32.1, "bp": 101, "s1": 157, "s2": 93.2, "s3": 38, "s4": 4, "s5": 4.86, "s6": 87}'

The data is scikit-learn's: 442 diabetes patients, ten measurements of each, and how far the
disease progressed in the following year (Efron, Hastie, Johnstone and Tibshirani, "Least Angle
Regression", 2004). `--compare` also trains scikit-learn's `MLPRegressor`, on the same splits.

Needs nn-train, nn-data, nn-layers, nn-losses, nn-optim, nn-io, scikit-learn and pandas; fastapi and
uvicorn to serve.
"""

import argparse
from pathlib import Path

import numpy as np
from nn_data.tabular import ColumnTransformer, OneHot, Standardize
from nn_io import load_model, save_model
from nn_layers import Dense, ReLU, Sequential
from nn_losses import R2, MSELoss
from nn_optim import AdamW
from nn_tensor import Tensor
from nn_train import EarlyStopping, Trainer
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

NUMBERS = ("age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


def network(seed=0):
    """Return a new network."""
    draw = np.random.default_rng(seed)
    return Sequential(Dense(11, 64, rng=draw), ReLU(), Dense(64, 1, rng=draw))


def train(path, seed=0):
    """Train on a random three quarters of the patients, save the model; return R² on the others."""
    patients = load_diabetes(as_frame=True, scaled=False).frame
    known, test = train_test_split(patients, random_state=seed)
    fitting, validation = train_test_split(known, test_size=0.2, random_state=seed)
    inputs = ColumnTransformer({**{name: Standardize() for name in NUMBERS}, "sex": OneHot()})
    inputs, target = inputs.fit(fitting), Standardize().fit(fitting[["target"]])
    model = network(seed)
    data, held_out = ((inputs(part), target(part[["target"]])) for part in (fitting, validation))
    trainer = Trainer(model, MSELoss(), AdamW(model.parameters, lr=0.001))
    stopping = EarlyStopping("val_loss", patience=20)
    trainer.fit(
        data, epochs=500, validation=held_out, callbacks=[stopping], seed=seed, progress=False
    )
    preprocessing = {"inputs": inputs, "target": target}
    save_model(path, model, factory=network, preprocessing=preprocessing)
    return float(R2()(target.inverse(trainer.predict(inputs(test))), test[["target"]].values))


def load(path):
    """Return a function of a table of patients that predicts the progression of each."""
    saved = load_model(path, classes=[network, ColumnTransformer, OneHot, Standardize])
    inputs, target = saved.preprocessing["inputs"], saved.preprocessing["target"]

    def predict(table):
        with saved.model.no_grad():
            return target.inverse(saved.model(Tensor(inputs(table))).numpy())[:, 0]

    return predict


def make_app(path):
    """Return the web application: POST /predict with the measurements of a patient."""
    from fastapi import FastAPI
    from pydantic import create_model

    predict, app = load(path), FastAPI(title="Progression of diabetes")
    fields = {**dict.fromkeys(NUMBERS, (float, ...)), "sex": (int, ...)}
    Patient = create_model("Patient", __config__={"extra": "forbid"}, **fields)

    @app.post("/predict")
    def progression(patient: Patient) -> dict[str, float]:
        row = {name: np.array([value]) for name, value in patient.model_dump().items()}
        return {"progression": float(predict(row)[0])}

    return app


def compare(seeds, folder):
    """Print R² of this network and of scikit-learn's, on the same splits of the data."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_diabetes(return_X_y=True, scaled=False)
    rows = []
    for seed in range(seeds):
        parts = train_test_split(x, y, random_state=seed)
        network = MLPRegressor(
            hidden_layer_sizes=(64,),
            learning_rate_init=0.001,
            batch_size=32,
            max_iter=500,
            early_stopping=True,
            validation_fraction=0.2,
            n_iter_no_change=20,
            random_state=seed,
        )
        theirs = TransformedTargetRegressor(
            make_pipeline(StandardScaler(), network), transformer=StandardScaler()
        ).fit(parts[0], parts[2])
        rows.append((train(folder / "model.safetensors", seed), theirs.score(parts[1], parts[3])))
        print(f"seed {seed}  R² {rows[-1][0]:.3f}, scikit-learn {rows[-1][1]:.3f}")
    ours, theirs = np.mean(rows, axis=0)
    print(f"mean    R² {ours:.3f}, scikit-learn {theirs:.3f}")
    return np.array(rows)


def main(argv=None):
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", type=Path, default=Path("diabetes.safetensors"), metavar="FILE")
    add("--seed", type=int, default=0, help="of everything random (%(default)s)")
    add("--compare", type=int, metavar="SEEDS", help="compare with scikit-learn, for some seeds")
    add("--serve", action="store_true", help="serve the predictions of the saved model")
    add("--port", type=int, default=8000, help="where (%(default)s)")
    args = parser.parse_args(argv)
    if args.compare:
        compare(args.compare, args.model.parent)
    elif args.serve:
        import uvicorn

        if not args.model.exists():
            parser.error(f"--model {args.model}: no such file; train it first, without --serve")
        uvicorn.run(make_app(args.model), host="127.0.0.1", port=args.port)
    else:
        print(f"R² {train(args.model, args.seed):.3f} on a quarter of the patients, held out")
        print(f"saved to {args.model}")


if __name__ == "__main__":
    main()
