"""The translation example: training, resuming, translation, errors."""

import gzip
import io
import re
from pathlib import Path

import numpy as np
import pytest

for needed in ("tokenizers", "sacrebleu", "tqdm", "matplotlib"):
    pytest.importorskip(needed, reason=f"the example needs {needed}, of the group translation")

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
SETS = {"train": 120, "val": 8, "test_2016_flickr": 5}
SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "d_ff": 32, "dropout": 0.2}
GERMAN = {
    "Ein": "A",
    "kleiner": "small",
    "großer": "big",
    "Hund": "dog",
    "Junge": "boy",
    "läuft": "runs",
    "schläft": "sleeps",
    "über": "over",
    "Gras": "grass",
    "Schnee": "snow",
}


@pytest.fixture
def multi30k(load_example):
    return load_example("multi30k")


@pytest.fixture
def example(load_example, monkeypatch):
    """The example with a model and batches that take no time."""
    module = load_example("translate")
    monkeypatch.setattr(module, "MODEL", {**SMALL, "max_seq_len": 64})
    monkeypatch.setattr(module, "BATCH_TOKENS", 200)
    monkeypatch.setattr(module, "VOCAB_SIZE", 300)
    return module


def sentences(count, seed):
    """Return German sentences of several lengths, and their word-for-word translations."""
    rng = np.random.default_rng(seed)
    german = [rng.choice(list(GERMAN), n).tolist() for n in rng.integers(2, 12, count)]
    english = [[GERMAN[word] for word in words] for words in german]
    return [" ".join(words) + "." for words in german], [" ".join(words) + "." for words in english]


def write(folder, name, lines):
    text = "".join(f"{line}\n" for line in lines)
    (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for seed, (name, count) in enumerate(SETS.items()):
        for language, lines in zip(("de", "en"), sentences(count, seed), strict=True):
            write(folder, f"{name}.{language}", lines)
    return folder


def run(example, capsys, *arguments):
    example.main([str(a) for a in arguments])
    return capsys.readouterr().out


def fail(example, capsys, *arguments):
    """Return the line with which the example refuses its arguments."""
    with pytest.raises(SystemExit) as exit_:
        example.main([str(a) for a in arguments])
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


def saved(module, folder):
    """Return all that a run saved, except for the time it took."""
    checkpoint = module.load_state_dict_from_file(folder / "run.safetensors")
    model = module.load_state_dict_from_file(folder / "model.safetensors")
    for state in (checkpoint, model):
        state["notes"] = state.pop(module.METADATA_KEY)["extra"]
        state["notes"].pop("seconds", None)
    return {"run": checkpoint, "model": model}


def test_trains_scores_and_translates(example, capsys, data, tmp_path, monkeypatch, device):
    folder = tmp_path / "run"
    place = ("--folder", folder, "--device", device)
    output = run(example, capsys, "--data", data, *place, "--epochs", 6)
    line = r"epoch +(\d)/6  loss ([\d.]+)  validation loss ([\d.]+)  BLEU [\d.]+  [\d.]+ min"
    epochs, losses, validations = zip(*re.findall(line, output), strict=True)
    assert epochs == tuple("123456")
    assert float(losses[-1]) < float(losses[0])
    assert float(validations[-1]) < float(validations[0])
    assert "120 training pairs" in output
    assert "mean of the last 2 weights" in output
    assert re.search(r"^test BLEU [\d.]+ \(nrefs:1\|case:lc\|.*tok:13a", output, re.MULTILINE)
    assert output.count("  German   ") == output.count("  model ") == 5
    assert "\r" not in output
    names = {f"epoch-{i}.safetensors" for i in range(2, 7)}
    names |= {"run.safetensors", "model.safetensors", "loss.png"}
    assert {path.name for path in folder.iterdir()} == names

    sentence = "Ein kleiner Hund läuft."
    one = run(example, capsys, "--translate", sentence, *place)
    assert one.count("\n") == 1
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{sentence}\n\n{sentence.upper()}\n"))
    assert run(example, capsys, "--translate", *place) == f"{one}\n{one}"
    assert "text 1 has" in fail(example, capsys, "--translate", "Hund " * 99, *place)


def test_a_resumed_run_equals_an_uninterrupted_one(example, capsys, data, tmp_path):
    options = ("--data", data, "--epochs", 4)
    run(example, capsys, *options, "--folder", tmp_path / "whole")
    whole = saved(example, tmp_path / "whole")
    assert whole["run"]["notes"]["loader"]["epoch"] == 4
    assert len(whole["run"]["notes"]["losses"]) > 22
    for steps in (1, 7, 22):
        parts = tmp_path / f"stopped after {steps}"
        run(example, capsys, *options, "--folder", parts, "--steps", steps)
        again = run(example, capsys, *options, "--folder", parts)
        assert f"resumes from step {steps} of" in again
        np.testing.assert_equal(saved(example, parts), whole)


def test_finished_run_is_only_scored_again(example, capsys, data, tmp_path):
    options = ("--data", data, "--folder", tmp_path / "run", "--steps", 3)
    first, second = run(example, capsys, *options), run(example, capsys, *options)
    assert "resumes from step 3" in second
    score = re.compile(r"test BLEU .*")
    assert score.findall(first) == score.findall(second)


def test_seed_determines_the_result(example, capsys, data, tmp_path):
    states = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = ("--folder", tmp_path / name, "--seed", seed, "--steps", 3, "--limit", 40)
        output = run(example, capsys, "--data", data, *options)
        assert "40 training pairs" in output
        states.append(saved(example, tmp_path / name)["model"])
    np.testing.assert_equal(states[1], states[0])
    weights = [state["model.encoder.embedding.weights"] for state in states]
    assert (weights[2] != weights[0]).any()


def test_the_time_limit_ends_training(example, capsys, data, tmp_path):
    options = ("--folder", tmp_path, "--time-limit", 1e-9)
    output = run(example, capsys, "--data", data, *options)
    assert "epoch" not in output
    assert "test BLEU" in output
    assert saved(example, tmp_path)["run"]["notes"]["loader"]["batch"] == 1


def test_interrupt_says_how_to_resume(example, capsys, data, tmp_path, monkeypatch):
    def interrupt(self, batch):
        raise KeyboardInterrupt

    options = ("--data", data, "--folder", tmp_path / "run")
    run(example, capsys, *options, "--steps", 2)
    monkeypatch.setattr(example.Run, "training_step", interrupt)
    with pytest.raises(SystemExit) as exit_:
        example.main([str(option) for option in options])
    assert exit_.value.code == 130
    assert "resumes from" in capsys.readouterr().err


def test_weights_are_averaged(example):
    states = [{"x": np.float32([1, 2]), "y": np.float32(3)}, {"x": np.float32([3, 6]), "y": 0}]
    np.testing.assert_equal(example.average(states), {"x": [2, 4], "y": 1.5})


def test_learning_rate_schedule_equals_the_paper(example):
    optimizer, schedule = example.make_optimizer(example.make_model(9, example.MODEL, 0))
    for _ in range(2 * example.WARMUP):
        schedule.step()
    expected = example.FACTOR * (example.MODEL["d_model"] * (2 * example.WARMUP + 1)) ** -0.5
    assert optimizer.lr == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shuffled", [False, True])
def test_batches_hold_each_pair_once(multi30k, shuffled):
    german, english = sentences(500, 0)
    vocabulary = multi30k.Vocabulary.learn(german + english, 300)
    pairs = multi30k.Pairs(vocabulary, german, english, 100)
    expected = sorted(zip(map(list, pairs.sources), map(list, pairs.targets), strict=True))
    loader = pairs.loader(300, shuffled)
    epochs = [list(loader), list(loader)]
    assert (shapes(epochs[0]) != shapes(epochs[1])) == shuffled
    padding = total = 0
    for batches in epochs:
        found = []
        for sources, inputs, labels in batches:
            assert len(sources) == len(inputs) == len(labels)
            assert max(sources.size, inputs.size) <= 300
            for source, before, after in zip(sources, inputs, labels, strict=True):
                source, after = (row[row != multi30k.PAD].tolist() for row in (source, after))
                target = [multi30k.START, *after]
                found.append((source, target))
                assert target[-1] == multi30k.END == source[-1]
                assert before[: len(target)].tolist() == target[: before.size]
                assert (before[len(target) :] == multi30k.PAD).all()
            padding += (sources == multi30k.PAD).sum() + (labels == multi30k.PAD).sum()
            total += sources.size + labels.size
        assert sorted(found) == expected
    assert padding < 0.15 * total


def shapes(batches):
    return [sources.shape for sources, _, _ in batches]


def test_pair_that_is_too_long_is_refused(multi30k):
    german, english = sentences(50, 0)
    vocabulary = multi30k.Vocabulary.learn(german + english, 300)
    pairs = multi30k.Pairs(vocabulary, german, english, 100)
    with pytest.raises(ValueError, match=r"sample \d+ has \d+ tokens, max_tokens is 1"):
        pairs.loader(1)
    with pytest.raises(ValueError, match=r"pair \d+ has \d+ tokens, expected at most 8"):
        multi30k.Pairs(vocabulary, german, english, 8)


def test_vocabulary_round_trip(multi30k):
    german, english = sentences(100, 0)
    vocabulary = multi30k.Vocabulary.learn(german + english, 300)
    texts = [
        *german,
        "",
        'Sie sagt: "Komm her!" - er geht.',
        "z.b. 3,5 km/h (ungefähr) ... o'clock, t-shirt",
        "„Straße“ 東京 🎉 \u2028 <pad> </end> <start>",
    ]
    rows = vocabulary.encode(texts)
    assert min(token for row in rows for token in row) > 2
    expected = [re.sub(r"\s+", " ", text).strip().lower() for text in texts]
    assert vocabulary.decode(rows) == expected
    again = multi30k.Vocabulary.from_text(vocabulary.to_text())
    assert again.encode(texts) == rows
    assert len(again) == len(vocabulary) == 300
    assert multi30k.Vocabulary.learn(german + english, 300).to_text() == vocabulary.to_text()
    assert vocabulary.encode(["  GROẞER\tHund "]) == vocabulary.encode(["groß" + "er hund"])


def test_incomplete_folders_are_refused(example, capsys, data, tmp_path):
    def message():
        return fail(example, capsys, "--data", data, "--folder", tmp_path / "run")

    assert "x: no such folder" in fail(example, capsys, "--data", tmp_path / "x")
    path = data / "val.en.gz"
    whole = path.read_bytes()
    lines = gzip.decompress(whole)
    path.unlink()
    assert "val.en[.gz] is missing" in message()
    path.write_bytes(whole[:-9])
    assert "val.en.gz: damaged or incomplete gzip file" in message()
    path.write_bytes(gzip.compress(lines + b"more\n"))
    assert "val.de has 8 lines, val.en 9 lines" in message()
    path.write_bytes(gzip.compress(b"\xff" + lines))
    assert "val.en.gz: is not text in utf-8" in message()
    path.write_bytes(b"")
    (data / "val.de.gz").write_bytes(b"")
    assert "val.de has no lines" in message()
    assert not (tmp_path / "run").exists()


def test_plain_files_are_read(multi30k, tmp_path):
    (tmp_path / "val.de").write_text("Ein\u2028Hund \r\nSchnee", encoding="utf-8")
    write(tmp_path, "val.en", ["A dog", "Snow"])
    assert multi30k.read_pairs(tmp_path, "val") == (["Ein\u2028Hund", "Schnee"], ["A dog", "Snow"])
    assert multi30k.read_pairs(tmp_path, "val", 1) == (["Ein\u2028Hund"], ["A dog"])


def test_folder_of_another_run_is_refused(example, capsys, data, tmp_path):
    folder = tmp_path / "run"
    options = ("--data", data, "--folder", folder)
    run(example, capsys, *options, "--epochs", 3)
    assert "was written with another seed" in fail(example, capsys, *options, "--seed", 1)
    assert "was written with another pairs" in fail(example, capsys, *options, "--limit", 9)
    (folder / "epoch-3.safetensors").unlink()
    assert "epoch-3.safetensors: is missing" in fail(example, capsys, *options)
    (folder / "run.safetensors").write_bytes(b"no such thing")
    assert "run.safetensors" in fail(example, capsys, *options)
    (folder / "model.safetensors").unlink()
    assert "model.safetensors" in fail(example, capsys, "--translate", "x", "--folder", folder)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "expected --data DIR"),
        (["--epochs", "0"], "positive number"),
        (["--steps", "-3"], "positive number"),
        (["--limit", "0"], "positive number"),
        (["--time-limit", "nan"], "positive number"),
        (["--time-limit", "inf"], "positive number"),
        (["--seed", "-1"], "non-negative"),
        (["--device", "tpu"], "'tpu'"),
        (["--figure", "no/such/folder/loss.png"], "no such folder"),
    ],
)
def test_wrong_options_are_refused_before_training(
    example, capsys, data, tmp_path, options, reason
):
    start = ["--data", str(data), "--folder", str(tmp_path / "run")] if options else []
    assert reason in fail(example, capsys, *start, *options)


def test_help(example, capsys):
    with pytest.raises(SystemExit) as exit_:
        example.main(["--help"])
    assert exit_.value.code == 0
    output = capsys.readouterr().out
    for option in ("data", "translate", "folder", "epochs", "steps", "time-limit", "limit", "seed"):
        assert f"--{option} " in output
