"""Forecast a chaotic series with a GRU, and plot the forecast.

    python docs/examples/forecast.py

The series is that of Mackey and Glass, "Oscillation and Chaos in Physiological Control Systems",
1977, with the delay 17. A GRU learns to predict the next value; the forecast feeds its own
predictions back in, and the state goes from one value to the next. The plot is saved to
forecast.png, see --figure.

Needs nn-recurrent, nn-losses, nn-optim, nn-train and matplotlib.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from nn_layers import BaseModel, Dense
from nn_losses import MSELoss
from nn_optim import Adam, CosineSchedule
from nn_recurrent import GRU
from nn_tensor import Tensor
from nn_train import Trainer

WINDOW, BATCH_SIZE, WARM_UP = 100, 32, 200


def mackey_glass(count, delay=17, substeps=10):
    """Return the series at integer times, integrated in small steps, with mean 0 and variance 1."""
    lag = delay * substeps
    x = np.full(lag + (count + 300) * substeps, 1.2)
    for t in range(lag, len(x) - 1):
        x[t + 1] = x[t] + (0.2 * x[t - lag] / (1 + x[t - lag] ** 10) - 0.1 * x[t]) / substeps
    series = x[lag::substeps][300 : 300 + count]
    return ((series - series.mean()) / series.std()).astype(np.float32)


class Forecaster(BaseModel):
    """Predicts the next value of a series from all values before it."""

    def __init__(self, hidden_size=48, seed=0):
        super().__init__()
        self.gru = GRU(1, hidden_size, rng=seed)
        self.output = Dense(hidden_size, 1, rng=seed + 1)

    def step(self, x, state=None):
        """Return the predictions, and the state after the last value, to go on from."""
        hidden, state = self.gru(x, state)
        return self.output(hidden), state

    def forward(self, x):
        return self.step(x)[0]


def train(model, series, steps, seed):
    """Train on random windows; return the losses."""
    rng = np.random.default_rng(seed)
    optimizer, losses = Adam(model.parameters, lr=0.005), []
    schedule = CosineSchedule(optimizer, steps, min_lr=1e-4)
    trainer = Trainer(model, MSELoss(), optimizer, schedule=schedule, clip_norm=1.0)
    for _ in range(steps):
        starts = rng.integers(0, len(series) - WINDOW - 1, BATCH_SIZE)
        windows = series[starts[:, None] + np.arange(WINDOW + 1)][..., None]
        batch = Tensor(windows[:, :-1]), Tensor(windows[:, 1:])
        losses.append(trainer.step(batch).loss)
    return losses


def forecast(model, known, count):
    """Return `count` values after those that are known."""
    values = []
    with model.no_grad():
        prediction, state = model.step(Tensor(known[None, :, None]))
        for _ in range(count):
            last = prediction[:, -1:]
            values.append(last.item())
            prediction, state = model.step(last, state)
    return np.array(values)


def plot(known, truth, predicted, path):
    """Plot the end of what is known, what came after it, and the forecast."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
    times = np.arange(len(truth))
    axes.plot(np.arange(-len(known), 0), known, color="0.6", label="known")
    axes.plot(times, truth, color="C0", label="what came")
    axes.plot(times, predicted, "--", color="C3", label="forecast")
    axes.set(xlabel="time", ylabel="value", title="A chaotic series, forecast by a GRU")
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv=None):
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=1500, help="training steps (%(default)s)")
    parser.add_argument("--horizon", type=int, default=120, help="values to forecast (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (%(default)s)")
    parser.add_argument("--figure", type=Path, default=Path("forecast.png"), metavar="FILE")
    args = parser.parse_args(argv)
    if args.steps < 1 or args.horizon < 1:
        parser.error("--steps and --horizon: expected positive numbers")
    series = mackey_glass(4000 + WARM_UP + args.horizon)
    model = Forecaster(seed=args.seed)
    losses = train(model, series[:4000], args.steps, args.seed)
    known, truth = series[4000 : 4000 + WARM_UP], series[4000 + WARM_UP :]
    predicted = forecast(model, known, args.horizon)
    error = float(np.sqrt(np.mean((predicted - truth) ** 2)))
    last = np.sqrt(np.mean(losses[-50:]))
    print(f"error of the next value {last:.4f}, of the forecast {error:.3f} (the series has 1)")
    plot(known, truth, predicted, args.figure)
    return error


if __name__ == "__main__":
    main()
