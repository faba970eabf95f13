"""A run that is stopped anywhere and resumed equals one that never was, bit for bit.

With dropout, augmentation, shuffling, a schedule, accumulation and workers: see training_run.py.
"""

import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import training_run
from training_run import Event, build

VALIDATION = 3  # batches of it
FORWARDS = training_run.EPOCHS * (14 + VALIDATION)
EVENTS = ["crash", "interrupt", "interrupt_twice", "full_disk", "kill"] * 4


@pytest.fixture(autouse=True)
def default_interrupt():
    """Handle Ctrl-C as Python does, also where the process was started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    trainer, data, given = build(folder)
    trainer.fit(data, **given)
    assert trainer.stop_reason == "finished"
    assert len(trainer.seen) == training_run.EPOCHS * len(data)
    assert trainer.forwards == FORWARDS
    trainer.folder = folder
    return trainer


def assert_equal_runs(trainer, whole):
    assert trainer.history == whole.history
    assert trainer.history["loss"] == whole.history["loss"]
    for part in ("model", "optimizer", "schedule"):
        state, expected = (getattr(t, part).state_dict() for t in (trainer, whole))
        for key, value in expected.items():
            if key != "__metadata__":
                np.testing.assert_array_equal(state[key], value)
    mine, other = (dict(t.model.named_generators()) for t in (trainer, whole))
    assert mine.keys() == other.keys() == {"4.rng", "8.rng"}
    for name, generator in mine.items():
        state, expected = (repr(g.bit_generator.state) for g in (generator, other[name]))
        assert state == expected


def assert_equal_logs(folder, whole):
    for name in ("log.csv", "log.jsonl"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def assert_equal_events(folder, whole, reader):
    """Compare what TensorBoard reads."""
    for run in ("train", "validation"):
        mine, other = (
            reader.EventAccumulator(str(place / "tensorboard" / run)).Reload()
            for place in (folder, whole)
        )
        tags = other.Tags()["scalars"]
        assert mine.Tags()["scalars"] == tags == (["loss", "spread"] + ["lr"] * (run == "train"))
        for tag in tags:
            events, expected = (
                [(event.step, event.value) for event in log.Scalars(tag)] for log in (mine, other)
            )
            assert events == expected
            assert [step for step, _ in events] == list(range(1, training_run.EPOCHS + 1))


@pytest.fixture(scope="module")
def processes():
    """How processes start: where the system can, from one that has the packages, in little time."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    names = ["nn_data.transforms", "nn_layers", "nn_losses", "nn_optim", "nn_tensor", "nn_train"]
    context.set_forkserver_preload(names)
    return context


@pytest.fixture
def run_apart(processes, tmp_path):
    """Return the function that runs in another process, and gives its exit status and its error."""

    def run_apart(where, place):
        receiver, sender = processes.Pipe(duplex=False)
        process = processes.Process(target=training_run.run, args=(tmp_path, where, place, sender))
        process.start()
        sender.close()
        with receiver:
            try:
                error = receiver.recv()
            except EOFError:
                error = ""
        process.join()
        return process.exitcode, error

    return run_apart


@pytest.fixture
def killed(run_apart):
    """Return the function that runs in another process, which is killed."""

    def killed(where, place):
        status, error = run_apart(where, place)
        assert (status, error) == (-signal.SIGKILL, "")

    return killed


def fit_until_the_end(folder, whole):
    """Resume, and compare with the run that was never stopped; return the trainer."""
    trainer, data, given = build(folder)
    trainer.fit(data, **given)
    assert_equal_runs(trainer, whole)
    assert_equal_logs(folder, whole.folder)
    return trainer


PLACES = np.random.default_rng(5).permutation(
    np.arange(1, training_run.EPOCHS * training_run.STEPS + 1)
)


@pytest.mark.parametrize(("place", "event"), list(zip(PLACES.tolist(), EVENTS, strict=True)))
def test_stopped_after_a_step(place, event, never_stopped, killed, tmp_path, capsys, monkeypatch):
    seen = []
    if event == "kill":
        killed("step", place)
    else:
        happens = getattr(training_run, event)
        if event == "full_disk":
            happens = partial(monkeypatch.setattr, os, "fsync", training_run.full_disk)
        trainer, data, given = build(tmp_path, Event(place, happens))
        try:
            trainer.fit(data, **given)
        except (RuntimeError, OSError, KeyboardInterrupt):
            assert event != "interrupt"
        monkeypatch.undo()
        # A full disk is noticed by the next file.
        assert place <= trainer.steps <= place + (event == "full_disk")
        seen = trainer.seen
    trainer = fit_until_the_end(tmp_path, never_stopped)
    assert trainer.resumed == (place > 2 or event == "interrupt")
    # What was done before the stop and after the resume covers the run, with the same batches.
    assert set(seen) | set(trainer.seen) <= set(never_stopped.seen)
    if event != "kill":
        assert set(seen) | set(trainer.seen) == set(never_stopped.seen)


WITHIN = np.random.default_rng(6).choice(np.arange(1, FORWARDS + 1), len(EVENTS), replace=False)


@pytest.mark.parametrize(("place", "event"), list(zip(WITHIN.tolist(), EVENTS, strict=True)))
def test_stopped_within_a_batch(place, event, never_stopped, killed, tmp_path, capsys, monkeypatch):
    """Also in the middle of accumulated batches, and within the validation."""
    if event == "kill":
        killed("batch", place)
    else:
        trainer, data, given = build(tmp_path)
        happens = getattr(training_run, event)
        if event == "full_disk":
            happens = partial(monkeypatch.setattr, os, "fsync", training_run.full_disk)
        trainer.event_at, trainer.event = place, happens
        try:
            trainer.fit(data, **given)
        except (RuntimeError, OSError, KeyboardInterrupt):
            assert event != "interrupt"
        monkeypatch.undo()
        assert trainer.forwards >= place
        assert trainer.forwards < FORWARDS or place > FORWARDS - VALIDATION - 6
    fit_until_the_end(tmp_path, never_stopped)


@pytest.mark.skipif(os.name == "nt", reason="needs the limits of POSIX")
@pytest.mark.parametrize("place", [1, 8, 13, 20])
def test_stopped_within_a_file(place, never_stopped, run_apart, tmp_path):
    """The system refuses to write more than the beginning of each file."""
    status, error = run_apart("full", place)
    assert status == 0
    assert "File too large" in error
    fit_until_the_end(tmp_path, never_stopped)


def test_stopped_again_and_again(never_stopped, tmp_path, capsys):
    for stop, place in enumerate(range(2, training_run.EPOCHS * training_run.STEPS, 3)):
        event = ("interrupt", "crash", "interrupt_twice")[stop % 3]
        trainer, data, given = build(tmp_path, Event(place, getattr(training_run, event)))
        if event == "interrupt":
            trainer.fit(data, **given)
        else:
            with pytest.raises((RuntimeError, KeyboardInterrupt)):
                trainer.fit(data, **given)
        assert trainer.steps == place
    fit_until_the_end(tmp_path, never_stopped)


@pytest.mark.parametrize("place", [9, 15, 19])
def test_tensorboard_reads_one_run(place, request, tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard's reader is the oracle",
    )
    never_stopped, killed = map(request.getfixturevalue, ("never_stopped", "killed"))
    killed("step", place)
    fit_until_the_end(tmp_path, never_stopped)
    assert_equal_events(tmp_path, never_stopped.folder, reader)


def test_resumed_after_its_end(never_stopped, tmp_path):
    for _ in range(2):
        trainer = fit_until_the_end(tmp_path, never_stopped)
    assert trainer.resumed
    assert trainer.seen == []


def test_every_random_part_matters(never_stopped, tmp_path):
    """The comparison sees a generator, an order or an augmentation that is another one."""
    trainer, data, given = build(tmp_path)
    next(iter(trainer.model.named_generators()))[1].random()
    trainer.fit(data, **given)
    with pytest.raises(AssertionError):
        assert_equal_runs(trainer, never_stopped)
    folder = Path(tmp_path, "other")
    trainer, data, given = build(folder)
    data._seed += 1
    trainer.fit(data, **given)
    with pytest.raises(AssertionError):
        assert_equal_runs(trainer, never_stopped)
