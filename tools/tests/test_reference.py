"""The extensions of Sphinx that build the reference; the session `docs` runs these tests."""

import sys

import pytest
from workspace import ROOT, find_packages

pytest.importorskip("sphinx")
sys.path[:0] = [str(ROOT / "docs" / "_sphinx")]
sys.path[:0] = [str(package.source.parent) for package in find_packages(ROOT)]

docstrings = pytest.importorskip("docstrings")
public_names = pytest.importorskip("public_names")
links = pytest.importorskip("links")


def test_a_public_name_without_an_entry_is_found():
    every = [names[0] for _, names in public_names.public_names("nn_losses")]
    assert "nn_losses.CrossEntropy" in every
    assert public_names.missing_entries(["nn_losses"], every) == []
    some = [name for name in every if name != "nn_losses.CrossEntropy"]
    assert public_names.missing_entries(["nn_losses"], some) == ["nn_losses.CrossEntropy"]


def test_a_name_that_is_exported_twice_needs_one_entry():
    missing = public_names.missing_entries(["nn_layers"], [])
    assert "nn_layers.parse_dtype" in missing
    assert "nn_layers.parse_dtype" not in public_names.missing_entries(
        ["nn_layers"], ["nn_tensor.parse_dtype"]
    )
    assert "nn_layers.ops.conv2d.conv2d" in missing


def test_shapes_and_returns_become_fields_and_examples_get_a_heading():
    lines = ["Do.", "", "Shapes: ``(n,)`` to", "the same.", "", "Returns:", "    A: b.", "    c."]
    lines += ["", ">>> f()", "1", "", ">>> g()"]
    assert docstrings.prepare(lines) == [
        "Do.",
        "",
        ":Shapes: ``(n,)`` to",
        "    the same.",
        "",
        ":returns: A: b.",
        "    c.",
        "",
        ".. rubric:: Examples",
        "",
        ">>> f()",
        "1",
        "",
        ">>> g()",
    ]


def test_private_bases_are_replaced_by_public_ones():
    from nn_losses import Loss, SoftmaxCrossEntropyLoss

    assert docstrings.public_bases(SoftmaxCrossEntropyLoss.__bases__) == [Loss]
    assert docstrings.public_bases([object]) == []


def test_arguments_of_a_constructor_have_its_annotations():
    from nn_layers import Dense

    assert docstrings.constructor_annotations(Dense)["bias"] == "bool"


def test_functions_of_numpy_are_named():
    assert docstrings.numpy_name("nn_tensor.sum") == "numpy.sum"
    assert docstrings.numpy_name("nn_tensor.relu") is None
    assert docstrings.numpy_name("nn_data.split") is None


class Entry:
    def __init__(self, objtype="class", aliased=False):
        self.objtype, self.aliased = objtype, aliased


def test_entries_are_found_by_their_last_part():
    objects = {
        "nn_tensor.Tensor": Entry(),
        "nn_tensor.split": Entry("function"),
        "nn_data.split": Entry("function"),
    }
    assert links.find_entry(objects, "Tensor") == "nn_tensor.Tensor"
    assert links.find_entry(objects, "nn_tensor._tensor.Tensor") == "nn_tensor.Tensor"
    assert links.find_entry(objects, "nn_layers.Tensor") == "nn_tensor.Tensor"
    assert links.find_entry(objects, "split") is None
    assert links.find_entry(objects, "split", package="nn_data") == "nn_data.split"
    assert links.find_entry(objects, "torch.Tensor") is None


def test_the_inventory_of_numpy_has_what_operations_link_to():
    text = (ROOT / "docs" / "_sphinx" / "numpy.inv").read_text()
    known = {line.split(" ")[0] for line in text.splitlines()}
    for _, names in public_names.public_names("nn_tensor"):
        same = docstrings.numpy_name(names[0])
        assert same is None or same in known
