"""State dicts that version 0.1.0 wrote load, and give the outputs that version 0.1.0 computed.

The files in ``data/version_0_1`` were written by 0.1.0 with ``nn_io.save_model_parameters``; their
weights are multiples of 1/8. tests-integration reads them with nn_io.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nn_layers import BaseModel, Dense, LayerNorm, Sequential
from nn_tensor import Tensor
from nn_transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    LanguageModel,
    Transformer,
    renames_since_0_1,
)

DATA = Path(__file__).parent / "data" / "version_0_1"
SIZES: dict[str, Any] = {"d_model": 4, "num_heads": 2, "d_ff": 3, "max_seq_len": 6}
MEMORY = np.array([[[1, 0, -1, 2], [0.5, 1, 0, -1]]], np.float32)

Case = tuple[Callable[[str], Any], Callable[[str], tuple[Any, ...]], list[Any]]
CASES: dict[str, Case] = {
    "transformer": (
        lambda device: Transformer(
            5, 6, **SIZES, num_layers=1, norm_first=True, bias=False, device=device
        ),
        lambda device: ([[4, 0, 2]], [[1, 5]]),
        [
            [-1.6460972, -1.2874689, -0.2874198, 0.8905399, 0.3471165, -0.3466651],
            [-0.8029011, -1.7125337, -1.5524529, 2.120565, -0.2783175, -0.0765444],
        ],
    ),
    "language_model": (
        lambda device: LanguageModel(5, **SIZES, num_layers=2, bias=False, device=device),
        lambda device: ([[4, 0, 2]],),
        [
            [-0.1016469, -0.9303378, 0.5814223, 0.3579572, 0.8424906],
            [0.3079786, 0.3283024, -0.4823285, 0.1152039, -0.7740297],
            [-0.0754022, 1.2683554, -0.6606697, -0.7107173, -1.2337779],
        ],
    ),
    "encoder": (
        lambda device: Encoder(
            5,
            **SIZES,
            num_layers=1,
            num_segments=2,
            positions="learned",
            embedding_norm=True,
            bias=False,
            device=device,
        ),
        lambda device: ([[4, 0, 2]], None, [[0, 1, 1]]),
        [
            [-0.1829583, 0.2478201, 0.7730097, 0.4773964],
            [-0.7719296, 0.094187, 0.4810877, 0.9172705],
            [1.4041889, -0.147747, 0.5183691, 0.014337],
        ],
    ),
    "decoder": (
        lambda device: Decoder(5, **SIZES, num_layers=1, device=device),
        lambda device: ([[4, 0, 2]], Tensor(MEMORY, device)),
        [
            [0.2746905, -0.3168865, -0.5302738, 0.7006342],
            [0.041347, 0.8154404, -0.7741316, 0.7034295],
            [0.0161052, 0.6266055, -0.6375538, 0.7055556],
        ],
    ),
}


def read(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file in the safetensors format."""
    content = (DATA / f"{name}.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + size])
    entries.pop("__metadata__", None)
    arrays = {}
    for key, entry in entries.items():
        start, stop = (8 + size + offset for offset in entry["data_offsets"])
        arrays[key] = np.frombuffer(content[start:stop], np.float32).reshape(entry["shape"])
    return arrays


def renamed(state: dict[str, Any]) -> dict[str, Any]:
    return {new: state[old] for old, new in renames_since_0_1(state).items()}


def keys_of(model: Any) -> list[str]:
    return [key for key in model.state_dict() if key != "__metadata__"]


@pytest.mark.parametrize("name", CASES)
def test_files_give_the_outputs_of_version_0_1(name: str, device: str) -> None:
    make, inputs, expected = CASES[name]
    model = make(device).eval()
    state = read(name)
    with pytest.raises(ValueError, match=r"unexpected: .*norms\.0\.weights"):
        model.load_state_dict(state)
    model.load_state_dict(renamed(state))
    result = model(*inputs(device)).numpy()[0]
    # float32, printed with seven decimals
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_order_of_parameters_is_that_of_version_0_1(name: str) -> None:
    """Optimizers save their state by position."""
    assert list(renames_since_0_1(read(name)).values()) == keys_of(CASES[name][0]("cpu"))


@pytest.mark.parametrize("name", CASES)
def test_new_keys_stay_as_they_are(name: str) -> None:
    keys = keys_of(CASES[name][0]("cpu"))
    assert renames_since_0_1([*keys, "__metadata__"]) == {key: key for key in keys}


@pytest.mark.parametrize(
    ("name", "path", "kind"),
    [
        ("encoder", "layers.0.", EncoderLayer),
        ("decoder", "layers.0.", DecoderLayer),
        ("transformer", "decoder.", Decoder),
    ],
)
def test_parts_of_models(name: str, path: str, kind: Any) -> None:
    state = read(name)
    part = {key.removeprefix(path): a for key, a in state.items() if key.startswith(path)}
    if kind is Decoder:
        model = Decoder(6, **SIZES, num_layers=1, norm_first=True, bias=False)
    else:
        model = kind(4, 2, 3, bias=name == "decoder")
    model.load_state_dict(renamed(part))


class Classifier(BaseModel):
    """A model with keys that look like ours."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = CASES["encoder"][0]("cpu")
        self.norms = [LayerNorm(4)]
        self.feed_forward = Sequential(Dense(4, 3))
        self.norm = LayerNorm(3)


def test_other_parts_of_a_larger_model_stay_as_they_are() -> None:
    model = Classifier()
    old = {f"backbone.{key}": array for key, array in read("encoder").items()}
    own = ["norms.0.weights", "norms.0.bias", "feed_forward.0.weights", "feed_forward.0.bias"]
    own += ["norm.weights", "norm.bias"]
    state = {**old, **{key: model.state_dict()[key] for key in own}}
    renames = renames_since_0_1(reversed(list(state)))
    assert [renames[key] for key in own] == own
    model.load_state_dict(renamed(state))
    np.testing.assert_array_equal(
        model.backbone.layers[0].feed_forward.output.weights.numpy(),
        read("encoder")["layers.0.feed_forward.3.weights"],
    )
