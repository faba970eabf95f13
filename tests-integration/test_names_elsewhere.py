"""What users of PyTorch and Keras write first, and what each package answers."""

import importlib
import operator
import re
import tomllib
from pathlib import Path

import nn_data
import nn_layers
import nn_losses
import nn_optim
import nn_recurrent
import nn_train
import pytest
from nn_tensor import ones

PACKAGES = [
    "nn_data",
    "nn_io",
    "nn_kernels",
    "nn_layers",
    "nn_losses",
    "nn_optim",
    "nn_recurrent",
    "nn_tensor",
    "nn_train",
    "nn_transformer",
]
ROOT = Path(__file__).resolve().parents[1]


def entries(package):
    table = importlib.import_module(package)._ELSEWHERE
    return [tuple(part.strip() for part in entry.split("=", 1)) for entry in table.split(";")]


@pytest.mark.parametrize(
    ("package", "name", "here"), [(p, *entry) for p in PACKAGES for entry in entries(p)]
)
def test_error_for_a_name_of_another_library_gives_one_that_exists(package, name, here):
    module = importlib.import_module(package)
    assert not hasattr(module, name)
    with pytest.raises(AttributeError, match=re.escape(f"{name!r}; here it is {here}")):
        getattr(module, name)
    with pytest.raises(
        ImportError, match=re.escape(f"{name!r} from {package!r}; here it is {here}")
    ):
        exec(f"from {package} import {name}")
    for word in re.findall(r"[A-Za-z_]+(?:\.\w+)*", here):
        if word.startswith("nn_"):
            owner, _, attribute = word.partition(".")
            owner = importlib.import_module(owner)
            assert not attribute or operator.attrgetter(attribute)(owner), word
        elif here == word:
            assert operator.attrgetter(word)(module), word


@pytest.mark.parametrize("package", PACKAGES)
def test_version_is_that_of_the_manifest(package):
    manifest = ROOT / "packages" / package.replace("_", "-") / "pyproject.toml"
    version = tomllib.loads(manifest.read_text(encoding="utf-8"))["project"]["version"]
    assert importlib.import_module(package).__version__ == version


@pytest.mark.parametrize("package", PACKAGES)
def test_readme_has_no_link_that_fails_on_an_index(package):
    page = ROOT / "packages" / package.replace("_", "-") / "README.md"
    links = re.findall(r"\]\(([^)]*)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


X = ones(2, 2, requires_grad=True)
MODEL = nn_layers.Dense(2, 2)
TRAINER = nn_train.Trainer(MODEL, nn_losses.MSELoss(), nn_optim.SGD(MODEL.parameters))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn_layers.Dense(3, 2).parameters(), TypeError, "without ()"),
        (lambda: nn_layers.Dense(3, 2).modules(), TypeError, "without ()"),
        (lambda: nn_layers.Dense(3, 2).cuda(), AttributeError, "here it is set_device('cuda')"),
        (lambda: nn_layers.Dense(3, 2).weight, AttributeError, "here it is weights"),
        (lambda: nn_layers.Dense(in_features=3, out_features=2), TypeError, "'input_size' here"),
        (lambda: nn_layers.Softmax(dim=1), TypeError, "'dim' is 'axis' here"),
        (lambda: nn_layers.LayerNorm(3, eps=1e-3), TypeError, "'eps' is 'epsilon' here"),
        (lambda: nn_optim.Adam([X], learning_rate=1), TypeError, "'lr' here"),
        (lambda: nn_optim.SGD([X]).param_groups, AttributeError, "here it is groups"),
        (lambda: nn_optim.SGD([{"params": [X]}]), ValueError, "'params' is 'parameters' here"),
        (
            lambda: nn_optim.StepSchedule(nn_optim.SGD([X]), step_size=2).get_last_lr(),
            AttributeError,
            "here it is schedule.optimizer.lr",
        ),
        (
            lambda: nn_losses.MSELoss()(ones(3, 1), ones(3)),
            ValueError,
            "target[:, None] or prediction[:, 0] makes them equal",
        ),
        (
            lambda: nn_losses.BCELoss()(ones(3), ones(3, 1)),
            ValueError,
            "prediction[:, None] or target[:, 0] makes them equal",
        ),
    ],
)
def test_error_for_the_use_of_another_library_gives_the_cure(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn_data.Loader([1], num_workers=2), "here it is workers"),
        (lambda: nn_data.Loader([1], collate_fn=list), "here it is collate"),
        (lambda: nn_data.Loader([1], pin_memory=True), "here it is convert"),
        (lambda: nn_data.Loader([1], generator=None), "here it is seed"),
        (lambda: nn_data.Loader(dataset=[1]), "here it is data"),
        (lambda: nn_data.split([1, 2], lengths=[1, 1]), "here it is fractions"),
        (lambda: nn_data.split([1, 2], test_size=0.5), "here it is fractions, such as (0.8, 0.2)"),
        (lambda: nn_data.split([1, 2], (0.5, 0.5), random_state=1), "here it is seed"),
        (lambda: nn_data.Pad(padding_value=1), "here it is value"),
        (lambda: nn_recurrent.LSTM(3, 4, batch_first=True), "here the batch always comes first"),
        (lambda: nn_recurrent.LSTM(3, units=4), "'units' is 'hidden_size' here"),
        (lambda: nn_recurrent.LSTM(3, 4, proj_size=2), "'proj_size' is 'projection' here"),
        (lambda: nn_recurrent.GRU(3, 4, return_sequences=True), "here a layer returns all outputs"),
        (lambda: nn_train.EarlyStopping(restore_best_weights=True), "is 'restore' here"),
        (lambda: nn_train.Checkpoint(filepath="run"), "'filepath' is 'folder' here"),
        (lambda: nn_train.Checkpoint("run", save_best_only=True), "here give best='val_loss'"),
        (lambda: nn_train.Checkpoint("run", save_top_k=3), "'save_top_k' is 'keep' here"),
        (lambda: TRAINER.fit([], epochs=1, validation_data=[]), "is 'validation' here"),
        (lambda: TRAINER.fit([], epochs=1, verbose=1), "'verbose' is 'progress' here"),
        (lambda: TRAINER.fit([], epochs=1, initial_epoch=1), "here give resume=folder"),
        (lambda: nn_optim.Adam([X], betas=(0.9, 0.99)), "here give beta1 and beta2"),
        (lambda: nn_layers.Dense(3, 2, inplace=True), "here layers never change their input"),
    ],
)
def test_error_for_an_argument_of_another_library_gives_the_one_here(call, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        call()


def test_parameters_stay_a_list():
    parameters = nn_layers.Dense(3, 2).parameters
    assert isinstance(parameters, list)
    assert len(parameters + parameters) == 4


def test_names_named_by_classes_exist():
    optimizer = nn_optim.SGD([X])
    for owner in (nn_layers.Dense(2, 2), optimizer, nn_optim.StepSchedule(optimizer, step_size=2)):
        hints = {
            name: value.here
            for kind in type(owner).__mro__
            for name, value in vars(kind).items()
            if type(value).__name__ == "_Elsewhere"
        }
        assert hints
        for name, here in hints.items():
            assert not hasattr(owner, name)
            word = re.match(r"[\w.]+", here)[0]
            assert word in ("a", "an", "loss.backward", "schedule.optimizer.lr") or hasattr(
                owner if "." not in word else importlib.import_module(word.split(".")[0]),
                word.rpartition(".")[2],
            ), (name, here)
