"""One file that predicts, with layers and the preprocessing of tables and texts."""

import numpy as np
import pytest
from nn_data.tabular import ColumnTransformer, Impute, OneHot, Standardize
from nn_data.text import CharVocabulary, WordVocabulary
from nn_io import load_model, save_model
from nn_layers import BaseModel, BatchNorm1D, Dense, Dropout, ReLU, Sequential
from nn_losses import MSELoss
from nn_optim import Adam
from nn_tensor import Tensor
from nn_train import Trainer

rng = np.random.default_rng(0)
TABLE = {
    "age": np.where(rng.random(60) < 0.1, np.nan, rng.normal(40, 9, 60)),
    "height": rng.normal(170, 10, 60),
    "city": rng.choice(["Rome", "Oslo", "Bern"], 60),
}
TARGET = rng.normal(200, 50, (60, 1))


class Net(BaseModel):
    def __init__(self, inputs, hidden, dropout=0.1):
        super().__init__()
        self.hidden = Dense(inputs, hidden, rng=0)
        self.norm, self.drop, self.relu = BatchNorm1D(hidden), Dropout(dropout, rng=0), ReLU()
        self.output = Dense(hidden, 1, rng=0)

    def forward(self, x):
        return self.output(self.drop(self.relu(self.norm(self.hidden(x)))))


def sequential(inputs, hidden, device="cpu"):
    return Sequential(
        [Dense(inputs, hidden, rng=0), ReLU(), Dropout(0.2), Dense(hidden, 1, rng=0)],
        device=device,
    )


@pytest.mark.parametrize(
    ("factory", "settings"),
    [(Net, {"inputs": 5, "hidden": 8, "dropout": 0.5}), (sequential, {"inputs": 5, "hidden": 8})],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pkl"])
def test_a_trained_model_with_its_preprocessing(factory, settings, suffix, tmp_path):
    features = ColumnTransformer(
        {"age": [Impute("median"), Standardize()], "height": Standardize(), "city": OneHot()}
    ).fit(TABLE)
    target = Standardize().fit(TARGET)
    model = factory(**settings)
    x = features(TABLE)
    trainer = Trainer(model, MSELoss(), Adam(model.parameters, lr=0.01))
    trainer.fit((x, target(TARGET)), epochs=3, progress=False)
    path = tmp_path / f"model{suffix}"
    save_model(
        path,
        model,
        settings=settings,
        factory=None if isinstance(factory, type) else factory,
        preprocessing={"features": features, "target": target},
    )
    classes = [factory, ColumnTransformer, Impute, OneHot, Standardize]
    loaded = load_model(path, classes=classes)
    assert not any(module.training for module in loaded.model.modules)
    before = target.inverse(trainer.predict(x))
    again = loaded.model(Tensor(loaded.preprocessing["features"](TABLE))).numpy()
    np.testing.assert_array_equal(loaded.preprocessing["target"].inverse(again), before)
    for missing in range(len(classes)):
        given = classes[:missing] + classes[missing + 1 :]
        name = classes[missing].__name__
        with pytest.raises(ValueError, match=f"a '{name}'.*not among the classes given"):
            load_model(path, classes=given)


@pytest.mark.parametrize("kind", [CharVocabulary, WordVocabulary])
def test_a_vocabulary_is_preprocessing(kind, tmp_path):
    text = "two households, both alike in dignity"
    vocabulary = kind().fit(text)
    model = sequential(2, 3)
    path = tmp_path / "model.npz"
    settings = {"inputs": 2, "hidden": 3}
    save_model(path, model, settings=settings, factory=sequential, preprocessing=vocabulary)
    loaded = load_model(path, classes=[sequential, kind])
    assert loaded.preprocessing.tokens == vocabulary.tokens
    np.testing.assert_array_equal(loaded.preprocessing.encode(text), vocabulary.encode(text))


def test_the_device_may_be_another_one(device, tmp_path):
    settings = {"inputs": 5, "hidden": 8, "device": device}
    model = sequential(**settings)
    path = tmp_path / "model.npz"
    save_model(path, model, settings=settings, factory=sequential)
    loaded = load_model(path, classes=sequential, settings={"device": "cpu"})
    assert {parameter.device for parameter in loaded.model.parameters} == {"cpu"}
    x = rng.normal(size=(3, 5)).astype(np.float32)
    model.eval()
    np.testing.assert_allclose(
        loaded.model(Tensor(x)).numpy(), model(Tensor(x).to(device)).numpy(), rtol=1e-5, atol=1e-6
    )


def test_settings_that_do_not_build_the_model_are_refused_when_it_is_saved(tmp_path):
    path = tmp_path / "model.npz"
    with pytest.raises(ValueError, match="unexpected") as caught:
        save_model(path, sequential(2, 3))  # an empty Sequential would be built
    assert "factory=" in caught.value.__notes__[-1]
    assert not path.exists()
