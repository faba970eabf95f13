"""Logs: what is in the files, and what a resumed run makes of the files that it finds."""

import csv
import json
import math
import pickle
import struct

import pytest
from nn_train import (
    Callback,
    CSVLogger,
    EarlyStopping,
    History,
    JSONLinesLogger,
    Stop,
    TensorBoardLogger,
    Trainer,
)
from nn_train._event_file import _crc32c, file_version, scalars, session_start
from train_parts import Linear, Momentum, batches, squared_error


class Curve:
    """A metric that gives the numbers of a list, one for each `result`."""

    def __init__(self, numbers):
        self.numbers = list(numbers)

    def reset(self):
        pass

    def update(self, prediction, target):
        pass

    def result(self):
        return self.numbers.pop(0)


def make(numbers=None):
    model = Linear()
    metrics = {"a, b": Curve(numbers)} if numbers else None
    return Trainer(model, squared_error, Momentum([model.w]), metrics=metrics)


def fit(*callbacks, epochs=3, **options):
    trainer = make(**options)
    trainer.fit(batches(), epochs=epochs, validation=batches(), callbacks=callbacks, progress=False)
    return trainer


def resume(trainer, done, *callbacks, epochs=3):
    """Go on with a run after `done` epochs: the history is there when the callbacks begin."""

    class Resumed(Callback):
        def on_fit_begin(self, new):
            new.history, new.epoch, new.resumed = History(trainer.history[:done]), done, True

    return fit(Resumed(), *callbacks, epochs=epochs)


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_csv_holds_the_history_exactly(tmp_path):
    path = tmp_path / "new folder" / "log.csv"
    numbers = [0.1 + 0.2, math.inf, 1e-300]
    trainer = fit(CSVLogger(path), numbers=numbers)
    assert read_csv(path) == list(trainer.history)
    assert path.read_text().splitlines()[0] == 'epoch,loss,"a, b",val_loss,"val_a, b",lr'
    trainer.history.to_csv(tmp_path / "other.csv")
    assert path.read_bytes() == (tmp_path / "other.csv").read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["log.csv"]


def test_json_lines_hold_the_history_exactly(tmp_path):
    path = tmp_path / "log.jsonl"
    trainer = fit(JSONLinesLogger(path), numbers=[0.1 + 0.2, math.nan, -math.inf])

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    rows = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert [type(row["epoch"]) for row in rows] == [int] * 3
    expected = [{k: v if math.isfinite(v) else None for k, v in r.items()} for r in trainer.history]
    assert rows == expected
    assert [row["a, b"] for row in rows] == [0.1 + 0.2, None, None]


@pytest.mark.parametrize("kind", [CSVLogger, JSONLinesLogger])
@pytest.mark.parametrize("left", ["later epochs", "a cut line", "nothing", "another run"])
@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_resumed_run_leaves_the_log_of_one_that_never_stopped(kind, left, done, tmp_path):
    whole, path = tmp_path / "whole", tmp_path / "log"
    trainer = fit(kind(whole))
    text = whole.read_text()
    if left == "later epochs":
        path.write_text(text)
    elif left == "a cut line":
        path.write_text(text[:-9])
    elif left == "another run":
        path.write_text("epoch,other\n1,2\n")
    seen = []

    class Seen(Callback):
        def on_epoch_begin(self, trainer):
            seen.append(path.read_text())

    resumed = resume(trainer, done, kind(path), Seen())
    head = int(kind is CSVLogger)
    assert seen[0] == "".join(text.splitlines(keepends=True)[: done + head])
    # the weights are those of a new run: the later rows are of this one
    lines = path.read_text().splitlines()
    assert len(lines) == 3 + head
    assert len(resumed.history) == 3
    assert lines[: done + head] == text.splitlines()[: done + head]


def test_columns_of_loaded_epochs_are_kept(tmp_path):
    class Loaded(Callback):
        def on_fit_begin(self, trainer):
            trainer.history, trainer.epoch = History([{"epoch": 1, "mae": 0.5}]), 1

    trainer = fit(Loaded(), CSVLogger(tmp_path / "log.csv"))
    assert read_csv(tmp_path / "log.csv") == list(trainer.history)
    assert "mae" in (tmp_path / "log.csv").read_text().splitlines()[0]


@pytest.mark.parametrize("kind", [CSVLogger, JSONLinesLogger, TensorBoardLogger])
def test_loggers_are_plain_objects(kind, tmp_path):
    logger = kind(str(tmp_path / "log"))
    fit(logger)
    assert repr(pickle.loads(pickle.dumps(logger))) == repr(logger)
    assert not hasattr(logger, "state_dict")  # a checkpoint can be resumed with other loggers
    with pytest.raises(TypeError, match=r"expected str or os\.PathLike, got "):
        kind(3)


@pytest.mark.parametrize("kind", [CSVLogger, JSONLinesLogger])
def test_a_log_that_cannot_be_written_ends_the_run(kind, tmp_path):
    class Removed(Callback):
        def on_epoch_begin(self, trainer):
            if trainer.epoch == 1:
                (tmp_path / "log").unlink()
                (tmp_path / "log").mkdir()

    with pytest.raises(OSError, match="log"):
        fit(kind(tmp_path / "log"), Removed())


# Event messages of TensorBoard 2.21 in its own record writer.
GOLDEN = bytes.fromhex(
    "1800000000000000a37f4b22090000000065cdcd411a0d627261696e2e4576656e743a32f4eb195e"
    "100000000000000095fbfe18090000000065cdcd4110ac023a0208010b2afcc0"
    "2e00000000000000c5cb57fa090000000065cdcd4110ac022a200a0b0a046c6f737315cdcccc3d"
    "0a110a0a7072c3a9636973696f6e150000807f1567dd0a"
)


def test_records_equal_those_of_tensorboard():
    values = {"loss": 0.1, "précision": 1e300}  # the second is infinite as float32
    assert file_version(1e9) + session_start(1e9, 300) + scalars(1e9, 300, values) == GOLDEN
    assert _crc32c(b"") == 0
    assert _crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert _crc32c(bytes(range(32))) == 0x46DD794E


def read_scalars(folder):
    reason = "TensorBoard's reader is the oracle"
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason=reason
    )
    events = accumulator.EventAccumulator(str(folder)).Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def expected_scalars(history, name):
    def rounded(value):
        return struct.unpack("<f", struct.pack("<f", value))[0]

    return [(row["epoch"], rounded(row[name])) for row in history if name in row]


def check_scalars(folder, history):
    train, validation = (read_scalars(folder / run) for run in ("train", "validation"))
    assert list(train) == ["loss", "lr"]
    assert list(validation) == ["loss"]
    assert train["loss"] == expected_scalars(history, "loss")
    assert train["lr"] == expected_scalars(history, "lr")
    assert validation["loss"] == expected_scalars(history, "val_loss")


def test_tensorboard_reads_the_history(tmp_path):
    trainer = fit(TensorBoardLogger(tmp_path / "a" / "b"), epochs=200)
    check_scalars(tmp_path / "a" / "b", trainer.history)


def test_tensorboard_drops_the_epochs_that_a_resumed_run_repeats(tmp_path):
    trainer = fit(TensorBoardLogger(tmp_path), epochs=5)
    for done in (4, 2):  # the second resumes from before the first
        trainer = resume(trainer, done, TensorBoardLogger(tmp_path), epochs=6)
        check_scalars(tmp_path, trainer.history)
    assert [row["epoch"] for row in trainer.history] == [1, 2, 3, 4, 5, 6]
    check_scalars(tmp_path, fit(TensorBoardLogger(tmp_path), epochs=2).history)  # begins anew


@pytest.mark.parametrize("cut", [1, 20, 40])
def test_tensorboard_reads_on_after_a_file_that_was_cut_short(cut, tmp_path):
    trainer = fit(TensorBoardLogger(tmp_path))
    for path in tmp_path.glob("*/*"):
        path.write_bytes(path.read_bytes()[:-cut])
    check_scalars(tmp_path, resume(trainer, 2, TensorBoardLogger(tmp_path)).history)


def test_one_run_without_validation(tmp_path):
    class Second(Callback):
        def on_epoch_end(self, trainer):
            return Stop("two are enough") if trainer.epoch == 2 else None

    trainer = make()
    logger = TensorBoardLogger(tmp_path)
    trainer.fit(batches(), epochs=9, callbacks=[Second(), logger], progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
    assert read_scalars(tmp_path / "train")["loss"] == expected_scalars(trainer.history, "loss")
    assert len(trainer.history) == 2


class Refuses(Callback):
    def on_fit_check(self, trainer):
        raise ValueError("no")


@pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger, TensorBoardLogger])
@pytest.mark.parametrize("wrong", [Refuses(), EarlyStopping("val_los")])
def test_a_run_that_is_refused_leaves_the_logs_of_the_former(tmp_path, logger, wrong):
    path = tmp_path / "log"
    fit(logger(path))
    before = {file: file.read_bytes() for file in [path, *path.rglob("*")] if file.is_file()}
    with pytest.raises(ValueError, match=r"no|val_los"):
        fit(logger(path), wrong)
    after = {file: file.read_bytes() for file in [path, *path.rglob("*")] if file.is_file()}
    assert after == before


def test_callbacks_of_a_run_that_is_refused_are_not_ended():
    calls = []

    class Opens(Callback):
        def on_fit_begin(self, trainer):
            calls.append("begin")

        def on_fit_end(self, trainer):
            calls.append("end")

    with pytest.raises(ValueError, match="val_los"):
        fit(Opens(), EarlyStopping("val_los"))
    assert calls == []


def test_a_number_that_the_header_lacks_is_refused(tmp_path):
    class Seconds(Callback):
        def on_epoch_end(self, trainer):
            trainer.history[-1]["seconds"] = 1.0

    with pytest.raises(ValueError, match="has seconds, which the header"):
        fit(Seconds(), CSVLogger(tmp_path / "log.csv"))


def test_a_run_without_validation_ends_the_curve_of_the_former(tmp_path):
    fit(TensorBoardLogger(tmp_path))
    trainer = make()
    trainer.fit(batches(), epochs=2, callbacks=[TensorBoardLogger(tmp_path)], progress=False)
    assert len(list((tmp_path / "validation").iterdir())) == 2
