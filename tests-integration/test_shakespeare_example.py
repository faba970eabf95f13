"""The character-level language model example: training, resuming, generation, errors."""

import re

import numpy as np
import pytest
from nn_io import load_state_dict_from_file

LINE = "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n"


@pytest.fixture
def example(load_example, monkeypatch):
    pytest.importorskip("matplotlib")
    module = load_example("shakespeare")
    monkeypatch.setattr(module, "EVAL_INTERVAL", 5)
    monkeypatch.setattr(module, "reuse_memory", lambda: False)  # not for the other tests
    return module


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text(LINE * 20, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(module, capsys, *arguments):
    module.main(["--data", "text.txt", "--characters", "100", *map(str, arguments)])
    return capsys.readouterr().out


def fail(module, capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        module.main(list(map(str, arguments)))
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def state(path="shakespeare.safetensors"):
    return {k: v for k, v in load_state_dict_from_file(path).items() if k != "__metadata__"}


def test_trains_and_generates(example, folder, capsys):
    output = run(example, capsys, "--steps", 20, "--start", "To be")
    assert "804,096" not in output  # the text has fewer characters than Shakespeare
    losses = [float(x) for x in re.findall(r"validation loss ([\d.]+)$", output, re.MULTILINE)]
    assert len(losses) == 4
    assert losses[-1] < 2.6  # 25 characters: 3.2 before the first step
    assert re.search(r"^20 steps in [\d.]+ s, [\d.]+ ms per step$", output, re.MULTILINE)
    page = output[output.index("To be") :].rstrip("\n")
    assert set(page) <= set(LINE)
    assert len(page) >= 100
    assert (folder / "shakespeare.png").read_bytes().startswith(b"\x89PNG")
    again = run(example, capsys, "--steps", 20, "--start", "To be", "--generate")
    assert again.startswith("resumes from step 20")
    assert again[again.index("To be") :].rstrip("\n") == page


def test_resumed_run_is_bit_for_bit_equal(example, folder, capsys, monkeypatch):
    run(example, capsys, "--steps", 10)
    whole = state()
    (folder / "shakespeare.safetensors").unlink()

    class Stopped(Exception):
        pass

    validate, seen = example.validate, []

    def stop_at_the_second(*arguments):
        if seen:
            raise Stopped
        seen.append(arguments)
        return validate(*arguments)

    monkeypatch.setattr(example, "validate", stop_at_the_second)
    with pytest.raises(Stopped):
        run(example, capsys, "--steps", 10)
    monkeypatch.setattr(example, "validate", validate)
    assert "resumes from step 5" in run(example, capsys, "--steps", 10)
    resumed = state()
    assert whole.keys() == resumed.keys()
    for key, array in whole.items():
        np.testing.assert_array_equal(array, resumed[key])


def test_batches_are_sequences_and_next_tokens(example, folder):
    text = example.Text("text.txt")
    loader = example.make_loader(text.training, shuffle=True, drop_last=True, seed=0)
    inputs, targets = loader.peek()
    assert inputs.shape == targets.shape == (example.BATCH_SIZE, example.CONTEXT_LENGTH)
    np.testing.assert_array_equal(inputs.data[:, 1:], targets.data[:, :-1])
    assert text.vocabulary.decode(inputs.data[0]) in LINE * 20
    assert len(text.training) == len(LINE) * 18


@pytest.mark.parametrize("every", [1, 3])
def test_validation_is_the_mean_over_the_sequences(example, folder, every):
    text = example.Text("text.txt")
    model = example.make_model(len(text.vocabulary), 0)
    found = []

    def loss_fn(logits, targets):
        found.append(targets.data)
        return Value(targets.data.mean())

    class Value(float):
        item = float.__float__

    value = example.validate(model, text.training, loss_fn, every)
    length = example.CONTEXT_LENGTH
    starts = range(0, len(text.training) - length, length * every)
    expected = np.array([text.training[i + 1 : i + 1 + length] for i in starts])
    np.testing.assert_array_equal(np.concatenate(found), expected)
    assert value == pytest.approx(expected.mean())


def test_weight_decay_applies_to_matrices_only(example, folder):
    optimizer, schedule = example.make_optimizer(example.make_model(65, 0), 2000)
    matrices, vectors = optimizer.groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert {p.ndim for p in matrices.parameters} == {2}
    assert {p.ndim for p in vectors.parameters} == {1}
    rates = []
    for _ in range(2000):
        rates.append(optimizer.lr)
        schedule.step()
    assert rates[0] == pytest.approx(1e-5)
    assert max(rates) == rates[100] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-4, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--data", "missing.txt"], ["missing.txt"]),
        (["--data", "short.txt"], ["short.txt", "9 characters"]),
        (["--data", "broken.safetensors"], ["broken.safetensors", "is not text in utf-8"]),
        (["--data", "text.txt", "--steps", "0"], ["--steps"]),
        (["--data", "text.txt", "--start", ""], ["--start"]),
        (["--data", "text.txt", "--start", "§"], ["§"]),
        (["--data", "text.txt", "--figure", "nowhere/a.png"], ["nowhere"]),
        (["--data", "text.txt", "--generate"], ["shakespeare.safetensors"]),
        (["--data", "text.txt", "--checkpoint", "broken.safetensors"], ["broken.safetensors"]),
    ],
)
def test_errors_without_traceback(example, folder, capsys, arguments, fragments):
    (folder / "short.txt").write_text("too short", encoding="utf-8")
    (folder / "broken.safetensors").write_bytes(b"\xff not a file of this kind")
    line = fail(example, capsys, *arguments)
    assert [f for f in fragments if f not in line] == [], line


def test_a_checkpoint_of_another_run_is_refused(example, folder, capsys):
    run(example, capsys, "--steps", 10)
    line = fail(example, capsys, "--data", "text.txt", "--steps", 20)
    assert "was written with other steps" in line
    (folder / "other.txt").write_text("abcdefgh\n" * 200, encoding="utf-8")
    line = fail(example, capsys, "--data", "other.txt", "--steps", 10)
    assert "was written with other characters" in line
