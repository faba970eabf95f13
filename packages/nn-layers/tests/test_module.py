"""The walk over a model, and what is built on it."""

import copy
import pickle
from xml.etree import ElementTree

import nn_layers as nl
import numpy as np
import pytest
from nn_layers import Base_Layer, BaseModel, BatchNorm1D, Dense, ReLU, Sequential
from nn_tensor import Tensor, is_grad_enabled, ones, zeros


class Everything(BaseModel):
    """Layers and Tensors in every place where the walk looks."""

    unsaved = ("table", "tables")

    def __init__(self):
        super().__init__()
        self.first = Dense(2, 2)
        self.blocks = [Dense(2, 2), (Dense(2, 2), ReLU())]
        self.heads = {"b": Dense(2, 1), "a": Dense(2, 1, bias=False)}
        self.scale = ones(2, requires_grad=True)
        self.running = zeros(2)
        self.count = Tensor(np.array(0))
        self.table = ones(3)
        self.tables = {"running": ones(3)}
        self.plain = np.ones(3)
        self.vocabulary = {"the": 0, "a": 1}

    def forward(self, x):
        x = self.first(x) * self.scale
        for layer in (self.blocks[0], *self.blocks[1]):
            x = layer(x)
        return [head(x) for head in self.heads.values()]


STATE = """first.weights first.bias blocks.0.weights blocks.0.bias blocks.1.0.weights
    blocks.1.0.bias heads.b.weights heads.b.bias heads.a.weights scale running count""".split()


def paths(pairs):
    return [path for path, _ in pairs]


def test_everything_is_found_in_order_of_assignment():
    model = Everything()
    assert paths(model.named_parameters()) == STATE[:-2]
    assert paths(model.named_tensors()) == [*STATE, "table", "tables.running"]
    assert list(model.state_dict()) == [*STATE, "__metadata__"]
    assert all(a is b for a, (_, b) in zip(model.parameters, model.named_parameters(), strict=True))
    assert paths(model.named_modules()) == (
        ["", "first", "blocks.0", "blocks.1.0", "blocks.1.1", "heads.b", "heads.a"]
    )
    assert model.modules[0] is model
    assert model.modules[4] is model.blocks[1][1]


def test_modules_are_the_direct_children():
    model = Everything()
    assert (
        list(model._modules)
        == (
            "first blocks.0 blocks.1.0 blocks.1.1 heads.b heads.a scale running count table "
            "tables.running"
        ).split()
    )
    assert model._modules["blocks.1.0"] is model.blocks[1][0]
    with pytest.raises(TypeError):
        model._modules["new"] = ReLU()


def test_unsaved_attributes_may_hold_modules():
    class Student(BaseModel):
        unsaved = ("teacher", "0")

        def __init__(self):
            self.fc = Dense(2, 2)
            self.teacher = Sequential(Dense(2, 2))
            self.blocks = [Dense(2, 2)]

    model = Student()
    assert list(model.state_dict())[:-1] == (
        ["fc.weights", "fc.bias", "blocks.0.weights", "blocks.0.bias"]
    )
    assert "teacher.0.weights" in paths(model.named_parameters())


def test_a_list_may_grow_later():
    model = BaseModel()
    model.blocks = []
    assert model.parameters == []
    model.blocks.append(Dense(2, 3))
    model.blocks += [Sequential(Dense(3, 1))]
    assert paths(model.named_parameters()) == (
        ["blocks.0.weights", "blocks.0.bias", "blocks.1.0.weights", "blocks.1.0.bias"]
    )


def test_init_of_the_base_may_be_forgotten():
    class Forgetful(BaseModel):
        def __init__(self):
            self.fc = Dense(2, 3)

    model = Forgetful()
    assert len(model.parameters) == 2
    assert model.training
    assert not model.eval().fc.training


def test_shared_leaves_count_once():
    model = BaseModel()
    layer = Dense(2, 2)
    model.first, model.second, model.tied = layer, layer, [layer.weights]
    model.again = model.tied
    assert paths(model.named_parameters()) == ["first.weights", "first.bias"]
    assert list(model.state_dict())[:-1] == ["first.weights", "first.bias"]


def test_cycles_end():
    parent, child = BaseModel(), BaseModel()
    parent.child, child.parent, child.fc = child, parent, Dense(2, 2)
    parent.loop = [parent]
    parent.loop.append(parent.loop)
    assert paths(parent.named_parameters()) == ["child.fc.weights", "child.fc.bias"]
    assert paths(child.named_parameters()) == ["fc.weights", "fc.bias"]
    assert "..." in repr(parent)
    copied = copy.deepcopy(parent)
    assert copied.child.parent is copied


def test_deep_graphs_do_not_reach_the_recursion_limit():
    model = head = BaseModel()
    for _ in range(3000):
        head.next = BaseModel()
        head = head.next
    head.fc = Dense(1, 1)
    assert len(model.parameters) == 2
    model.zero_grad()


def test_results_of_operations_are_not_state():
    model = BaseModel()
    model.fc = Dense(2, 2)
    model.last = model.fc(ones(1, 2))
    assert list(model.state_dict())[:-1] == ["fc.weights", "fc.bias"]
    model.set_dtype("float64")


def test_frozen_parameters_stay_in_the_state():
    model = Sequential(Dense(2, 3), Dense(3, 1))
    for tensor in model[0].parameters:
        tensor.requires_grad = False
    assert paths(model.named_parameters()) == ["1.weights", "1.bias"]
    assert len(model.named_tensors()) == 4
    assert len(model.state_dict()) == 5
    model.set_dtype("float64")
    assert model[0].weights.dtype == np.float64


def test_zero_grad_and_parameters_train(device):
    model = Sequential([Dense(2, 4, rng=0), ReLU(), Dense(4, 1, rng=1)], device=device)
    x = ones(3, 2, device=device)
    model(x).sum().backward()
    assert all(np.any(p.grad.numpy()) for p in (model[2].weights, model[2].bias))
    frozen = model[2].bias
    frozen.requires_grad = False
    model.zero_grad()
    assert not any(np.any(p.grad.numpy()) for p in model.parameters)
    assert frozen.grad is None


def test_train_and_eval_reach_every_module():
    model = Everything()
    assert all(module.training for module in model.modules)
    assert model.eval() is model
    assert not any(module.training for module in model.modules)
    assert model.train() is model
    assert all(module.training for module in model.modules)


def test_train_may_be_overridden():
    class Trainer(BaseModel):
        def train(self, data):
            raise AssertionError

    assert not Trainer().eval().training


def test_no_grad_is_a_context_and_a_decorator():
    model = Dense(2, 3)
    with model.no_grad():
        assert not is_grad_enabled()
        assert not model(ones(1, 2)).requires_grad
    assert is_grad_enabled()
    assert not model.no_grad()(model)(ones(1, 2)).requires_grad


def test_set_dtype_changes_the_same_tensors():
    model = Everything()
    before = model.named_tensors()
    model.set_dtype(np.float64)
    assert all(a is b for (_, a), (_, b) in zip(before, model.named_tensors(), strict=True))
    assert {t.dtype for p, t in before if p != "count"} == {np.dtype("float64")}
    assert model.count.dtype == np.int64
    assert model.to(dtype="float32") is model
    assert model.scale.dtype == np.float32
    with pytest.raises(TypeError, match=r"dtype: expected a floating dtype, got int32"):
        model.set_dtype(np.int32)


def test_set_device_changes_the_same_tensors(device):
    model = Everything()
    model.kept = BaseModel()
    model.kept.device, model.kept.dtype = "cpu", np.dtype("float32")
    before = model.named_tensors()
    model.set_device(device)
    assert all(a is b for (_, a), (_, b) in zip(before, model.named_tensors(), strict=True))
    assert {t.device for _, t in before} == {device}
    assert {m.device for m in model.modules if hasattr(m, "device")} == {device}
    assert model.to("cpu", "float64").kept.device == "cpu"
    assert model.kept.dtype == np.float64


@pytest.mark.parametrize("device", ["tpu", "cuda:99"])
def test_a_device_that_cannot_be_used_changes_nothing(device):
    model = Everything()
    with pytest.raises((ValueError, RuntimeError), match=device):
        model.set_device(device)
    with pytest.raises((ValueError, RuntimeError), match=device):
        model.to(device, "float64")
    assert {t.device for _, t in model.named_tensors()} == {"cpu"}
    assert {t.dtype for t in model.parameters} == {np.dtype("float32")}
    assert model.blocks[1][1].device == "cpu"
    with pytest.raises((ValueError, RuntimeError), match=device):
        model.blocks[1][1].set_device(device)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_models_are_copied_and_pickled(duplicate, device):
    model = Sequential(Dense(2, 3), ReLU(), Dense(3, 2), device=device)
    model.tied = model[0].weights
    model[2].bias.requires_grad = False
    model.eval()
    copied = duplicate(model)
    assert copied.tied is copied[0].weights
    assert copied.tied is not model.tied
    assert paths(copied.named_parameters()) == paths(model.named_parameters())
    assert not copied[1].training
    x = ones(4, 2, device=device)
    np.testing.assert_array_equal(copied(x).numpy(), model(x).numpy())
    copied[0].weights.data[...] = 0
    assert np.any(model[0].weights.numpy())


def test_a_layer_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="class Base_Layer does not define forward"):
        Base_Layer()(1)


def test_repr():
    model = BaseModel()
    model.fc = Dense(2, 3, name="fc")
    model.blocks = [Sequential(ReLU())]
    assert repr(model) == (
        "BaseModel(\n  fc: Dense(2→3, name='fc')\n  blocks.0: Sequential(\n    0: ReLU()\n  )\n)"
    )


def test_summary():
    model = Sequential(Dense(4, 3), Sequential(ReLU()), Dense(3, 2))
    model.append(model[1][0])
    model.unused = Dense(2, 2)
    model[2].bias.requires_grad = False
    model[0].eval()
    assert model.summary((5, 4)).splitlines() == [
        "path    layer       output shape     parameters",
        "        Sequential  (5, 2)                    0",
        "0       Dense(4→3)  (5, 3)                   15",
        "1       Sequential  (5, 3)                    0",
        "1.0     ReLU        (5, 3), 2 calls           0",
        "2       Dense(3→2)  (5, 2)                    8",
        "unused  Dense(2→2)  not called                6",
        "29 parameters (116 B), 27 trainable",
    ]
    assert [m.training for m in model.modules] == [True, False, True, True, True, True]
    assert not any("forward" in vars(m) for m in model.modules)


def test_summary_counts_buffers_apart_from_frozen_parameters():
    model = Sequential(Dense(2, 3), BatchNorm1D(3))
    model[0].bias.requires_grad = False
    summary = model.summary((5, 2))
    assert summary.splitlines() == [
        "path  layer           output shape  parameters  buffers",
        "      Sequential      (5, 3)                 0        0",
        "0     Dense(2→3)      (5, 3)                 9        0",
        "1     BatchNorm1D(3)  (5, 3)                 6        7",
        "15 parameters (92 B), 12 trainable, 7 in buffers",
    ]


def test_summary_is_a_table_in_a_notebook():
    model = Sequential(Dense(2, 3, name="<b>"))
    page = ElementTree.fromstring(model.summary((5, 2))._repr_html_())
    rows = [[cell.text or "" for cell in row] for row in page.iter("tr")]
    assert rows[0] == ["path", "layer", "output shape", "parameters"]
    assert rows[2] == ["0", "Dense(2→3, name='<b>')", "(5, 3)", "9"]
    assert page.find("caption").text == "9 parameters (36 B), 9 trainable"


def test_summary_of_several_inputs_and_outputs(device):
    class Two(BaseModel):
        def forward(self, x, y):
            assert x.device == device
            assert x.dtype == np.float64
            return {"sum": x + y, "both": (x, y), "none": None}

    model = Two()
    model.scale = ones(1, dtype="float64", device=device)
    assert "sum: (2, 1), both: (2, 1), (2, 1), none: NoneType" in model.summary((2, 1), (2, 1))


def test_summary_restores_the_model_after_an_error():
    model = Sequential(Dense(4, 3))
    with pytest.raises(ValueError, match="expected 4"):
        model.summary((1, 5))
    assert not any("forward" in vars(m) for m in model.modules)
    assert model.training
    with pytest.raises(TypeError, match=r"input_shapes\[0\]: expected a tuple .* got 4"):
        model.summary(4)


def test_frozen_layers_stay_as_they_are():
    model = nl.Sequential(
        nl.Dense(4, 3, rng=0), nl.BatchNorm1D(3), nl.Dropout(0.5), nl.Dense(3, 2, rng=1)
    )
    backbone = model[:3]
    assert backbone.freeze() is backbone
    assert [path for path, _ in model.named_parameters()] == ["3.weights", "3.bias"]
    before = model.state_dict()
    model.train()
    assert [layer.training for layer in model.layers] == [False, False, False, True]
    x = Tensor(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    first = model(x)
    first.sum().backward()
    np.testing.assert_array_equal(first.numpy(), model(x).numpy())
    for key, value in model.state_dict().items():
        if key != "__metadata__":
            np.testing.assert_array_equal(value, before[key])
    assert model.layers[0].weights.requires_grad is False
    model.load_state_dict(before)  # frozen Tensors are state all the same


def test_unfreezing_restores_what_was_trainable():
    model = nl.Sequential(nl.Dense(4, 3, rng=0), nl.BatchNorm1D(3))
    model.layers[0].bias.requires_grad = False
    expected = [path for path, _ in model.named_parameters()]
    model.layers[0].freeze()
    model.freeze().freeze()
    assert model.parameters == []
    assert not model.train().training
    model.layers[0].unfreeze()
    assert [path for path, _ in model.named_parameters()] == ["0.weights"]
    assert model.layers[0].training
    model.unfreeze()
    assert [path for path, _ in model.named_parameters()] == expected
    assert all(module.training and not module.frozen for module in model.modules)


def test_freezing_tied_weights():
    class Tied(nl.BaseModel):
        def __init__(self):
            super().__init__()
            self.first = nl.Dense(3, 3, rng=0)
            self.second = nl.Dense(3, 3, rng=1)
            self.second.weights = self.first.weights

        def forward(self, x):
            return self.second(self.first(x))

    model = Tied().freeze()
    assert model.parameters == []
    assert len(model.unfreeze().parameters) == 3


@pytest.mark.parametrize("module", [Dense(2, 2), Sequential(Dense(2, 2))])
def test_an_attribute_is_set_while_another_thread_lists_the_parameters(module):
    for number, _ in enumerate(module._children()):
        setattr(module, f"other{number}", None)
    assert len(module.parameters) == 2
