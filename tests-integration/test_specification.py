"""Every Python block of the specification runs, with nothing changed but its flat imports.

The specification lies beside the project; where it does not, the tests are skipped. The blocks of
one file share their names, as they are meant to be read: what a block leaves out (the input of a
layer, the data of a model) is defined here, just before it.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from nn_tensor import Tensor, has_cupy

SPECIFICATION = Path(__file__).resolve().parents[2] / "shared" / "spec"
FILES = ["specification.md", "specification-short.md"]
PACKAGES = {
    "tensor": "nn_tensor",
    "dense": "nn_layers",
    "conv": "nn_layers",
    "activations": "nn_layers",
    "sequential": "nn_layers",
    "custom": "nn_layers",
    "loss": "nn_losses",
    "optimizer": "nn_optim",
    "transformer": "nn_transformer",
    "manage": "nn_io",
}
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
rng = np.random.default_rng(0)


def floats(*shape):
    return Tensor(rng.standard_normal(shape).astype(np.float32))


def classes(count, *shape):
    return Tensor(rng.integers(0, count, shape))


def one_hot(count, length):
    return Tensor(np.eye(count, dtype=np.float32)[rng.integers(0, count, length)])


# What a block that holds this text leaves out.
LEFT_OUT = {
    "dense = Dense(128, 10": lambda: {"input_tensor": floats(4, 128)},
    "conv_out = conv(image_tensor)": lambda: {"image_tensor": floats(2, 3, 8, 8)},
    "(linear_output)": lambda: {"linear_output": floats(4, 10)},
    "softmax(logits)": lambda: {"logits": floats(4, 10)},
    "Dense(784, ": lambda: {"input_tensor": floats(4, 784), "validation_tensor": floats(2, 784)},
    "model(test_data)": lambda: {"test_data": floats(2, 1, 28, 28)},
    "mse_loss(prediction, target)": lambda: {"prediction": floats(4, 3), "target": floats(4, 3)},
    "= loss_fn(prediction, target)": lambda: {"prediction": floats(4, 3), "target": floats(4, 3)},
    "ce_loss(logits, one_hot_target)": lambda: {
        "logits": floats(4, 10),
        "one_hot_target": one_hot(10, 4),
    },
    "sce_loss(logits, class_indices)": lambda: {
        "logits": floats(4, 10),
        "class_indices": classes(10, 4),
    },
    "bce_loss(predictions, binary_targets)": lambda: {
        "predictions": floats(4, 1).sigmoid(),
        "binary_targets": Tensor([[0.0], [1.0], [1.0], [0.0]]),
    },
    "accuracy_metric(predictions, targets)": lambda: {
        "predictions": floats(4, 10),
        "targets": classes(10, 4),
    },
    "accuracy_metric(prediction, target)": lambda: {
        "prediction": floats(4, 10),
        "target": one_hot(10, 4),
    },
    "embedding(token_indices)": lambda: {"token_indices": classes(10000, 2, 5)},
    "attention(query": lambda: dict.fromkeys(("query", "key", "value"), floats(2, 5, 512)),
    "encoder(src_tokens)": lambda: {"src_tokens": classes(10000, 2, 5)},
    "decoder(tgt_tokens": lambda: {"tgt_tokens": classes(10000, 2, 6)},
    "outputs = transformer(": lambda: {
        "src_tokens": classes(10000, 2, 5),
        "tgt_tokens": classes(10000, 2, 6),
    },
}


def blocks_of(name):
    """Yield line number and code of each block, its imports mapped to the packages."""
    text = (SPECIFICATION / name).read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        indent = len(match[1])
        code = "".join(line[indent:] or "\n" for line in match[2].splitlines(keepends=True))
        code = re.sub(r"^from (\w+) import", _import, code, flags=re.MULTILINE)
        # the one place where three dots stand for layers
        code = code.replace("Sequential([...])", "Sequential([Dense(4, 2)])")
        yield text.count("\n", 0, match.start()) + 1, code


def _import(match):
    return f"from {PACKAGES.get(match[1], match[1])} import"


def start():
    """Return what the specification uses without importing it."""
    names = {}
    exec("import pickle\nimport numpy as np\nfrom abc import abstractmethod", names)
    for package in dict.fromkeys(PACKAGES.values()):
        exec(f"from {package} import *", names)
    names["has_cupy"] = has_cupy
    return names


def run(name, names):
    for line, code in blocks_of(name):
        for text, left_out in LEFT_OUT.items():
            if text in code:
                names.update(left_out())
        program = compile("\n" * line + code, str(SPECIFICATION / name), "exec")
        if "device='cuda'" in code and "has_cupy" not in code and not has_cupy:
            with pytest.raises(RuntimeError, match=r"CuPy|driver|device"):
                exec(program, names)
        else:
            exec(program, names)
    return names


@pytest.fixture
def specification():
    if not SPECIFICATION.is_dir():
        pytest.skip("the specification is not available")


@pytest.mark.usefixtures("specification")
@pytest.mark.parametrize("name", FILES)
def test_every_block_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run(name, start())
    assert "Training complete!" in capsys.readouterr().out
    assert names["optimizer"].lr > 0


@pytest.mark.usefixtures("specification")
def test_its_models_train(tmp_path, monkeypatch):
    """The classes that the blocks only define compute, and gradients reach every parameter."""
    monkeypatch.chdir(tmp_path)
    names = start()
    for _, code in blocks_of("specification.md"):
        if "(BaseModel)" in code and "class ConvNet" not in code:
            exec(code, names)
    models = {
        "SimpleCNN": [floats(2, 1, 28, 28)],
        "ResNet": [floats(2, 3, 32, 32)],
        "SiameseNetwork": [floats(2, 1, 28, 28), floats(2, 1, 28, 28)],
    }
    for name, inputs in models.items():
        model = names[name]()
        model(*inputs).sum().backward()
        missing = [path for path, p in model.named_parameters() if not p.has_grad]
        assert not missing, name
    blocks = [path for path, _ in names["ResNet"]().named_parameters() if "res_blocks.2" in path]
    assert blocks  # found in a plain list that grew after it was assigned
