"""The examples with recurrent layers: they learn, and say what is wrong with their arguments."""

import numpy as np
import pytest
from nn_tensor import Tensor

LINE = "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n"


def test_character_model_trains_and_generates(load_example, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    module = load_example("shakespeare_lstm")
    monkeypatch.setattr(module, "reuse_memory", lambda: False)  # not for the other tests
    (tmp_path / "text.txt").write_text(LINE * 20, encoding="utf-8")
    data = ["--data", str(tmp_path / "text.txt")]
    module.main([*data, "--steps", "20", "--characters", "50"])
    output = capsys.readouterr().out
    loss = float(output.split("validation loss ")[1].split()[0])
    assert loss < 2.6  # 25 characters: 3.2 before the first step
    assert len(output.split(f"{loss:.4f}\n")[1]) >= 50
    with pytest.raises(SystemExit):
        module.main(["--data", str(tmp_path / "missing.txt")])


def test_generation_carries_the_state(load_example, tmp_path):
    pytest.importorskip("matplotlib")
    module = load_example("shakespeare_lstm")
    model = module.CharacterModel(7, hidden_size=8, seed=0)
    tokens = np.random.default_rng(0).integers(0, 7, (2, 9))
    whole = model(Tensor(tokens)).numpy()
    state, parts = None, []
    for t in range(9):
        logits, state = model.step(Tensor(tokens[:, t : t + 1]), state)
        parts.append(logits.numpy())
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-5, atol=1e-6)


def test_forecast_is_better_than_the_mean(load_example, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    module = load_example("forecast")
    figure = tmp_path / "forecast.png"
    error = module.main(["--steps", "60", "--horizon", "10", "--figure", str(figure)])
    assert error < 0.7
    assert figure.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        module.main(["--steps", "0"])


def test_the_series_is_that_of_the_delay_equation(load_example):
    pytest.importorskip("matplotlib")
    series = load_example("forecast").mackey_glass(500)
    assert series.shape == (500,)
    np.testing.assert_allclose([series.mean(), series.std()], [0, 1], atol=1e-5)
    assert 0.05 < np.abs(np.diff(series)).mean() < 0.5  # smooth, but not still


def balance(text, pairs):
    open_brackets = []
    for character in text:
        if character in pairs.values():
            open_brackets.append(character)
        elif character in pairs and (not open_brackets or open_brackets.pop() != pairs[character]):
            return False
    return not open_brackets


def test_sequence_classifier_learns_on_padded_batches(load_example, capsys):
    module = load_example("sequence_classifier")
    texts, labels = module.make_data(np.random.default_rng(0), 200)
    pairs = dict(zip(module.CHARACTERS[3:6], module.CHARACTERS[:3], strict=True))
    assert [balance(text, pairs) for text in texts] == [bool(label) for label in labels]
    (tokens, mask), targets = next(iter(module.make_loader(texts, labels, shuffle=True)))
    model = module.Classifier(seed=0)
    lengths = mask.numpy().sum(1)
    assert len(set(lengths)) > 1
    padded = model(tokens, mask).numpy()
    for n, length in enumerate(lengths):
        alone = model(tokens[n : n + 1, :length], mask[n : n + 1, :length])
        np.testing.assert_allclose(padded[n], alone.numpy()[0], rtol=1e-4, atol=1e-5)
    assert len(targets) == len(tokens)
    assert module.main(["--epochs", "2", "--samples", "300"]) > 0.4
