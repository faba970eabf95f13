"""The backward pass as an observer sees it: every rule that runs, and what is done between them."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any

from nn_tensor._backward import BackwardPass, Gradient
from nn_tensor._fit import IndexedGradient, as_gradient, fit
from nn_tensor._graph import Edge, Node, Parent
from nn_tensor._observe import Observer, current_observer, noted, observers

__all__ = ["copy_array", "run_backward"]


def run_backward(
    seeds: Sequence[tuple[Parent, Gradient]],
    retain_graph: bool,
    create_graph: bool,
    targets: Sequence[Parent] = (),
    wanted: set[Parent] | None = None,
) -> dict[Parent, Gradient]:
    """Carry gradients from `seeds` back through the graph.

    Returns the total gradient of each leaf that was reached, or of each of `targets`. Gradients
    are arrays, or variables with a graph of their own if `create_graph` is set: the caller
    switches recording on or off to match, see `recording`. They go to the parents in `wanted`
    alone if it is given.
    """
    backward = BackwardPass(retain_graph, create_graph, wanted)
    if observers and (observer := current_observer()) is not None and not create_graph:
        backward = _ObservedPass(retain_graph, wanted, observer)
    for parent, gradient in seeds:
        backward.add(parent, gradient)
    return backward.run(set(targets))


class _ObservedPass(BackwardPass):
    """The same pass, in which each step is told to an observer.

    Where the gradients themselves are recorded (`create_graph`) it is not needed: the rules then
    run on Tensors, and what they compute is seen as any other operation.
    """

    __slots__ = ("observer",)

    def __init__(self, retain_graph: bool, wanted: set[Parent] | None, observer: Observer) -> None:
        super().__init__(retain_graph, False, wanted)
        self.observer = observer

    def copied(self, grad: Gradient) -> Gradient:
        return noted(copy_array, grad, label="copy")

    def visit(self, node: Node, grad: Gradient) -> None:
        if node._hooks:
            self.observer.refused("a hook or retain_grad of an intermediate result")
        edges = node.edges
        if edges is not None:
            node.edges = tuple((self.told(rule), *rest) for rule, *rest in edges)
        try:
            super().visit(node, grad)
        finally:
            if node.edges is not None:
                node.edges = edges

    def told(self, rule: Any) -> Any:
        """Return the rule with a function that tells what it computed."""

        def function(grad: Gradient, *saved: Any, **asked: Any) -> Any:
            result = rule.function(grad, *saved, **asked)
            label = rule.function.__name__
            self.observer.computed(rule.function, (grad, *saved), asked, result, label, False)
            return result

        return dataclasses.replace(rule, function=function)

    def receive(self, gradient: Any, edge: Edge, grad: Any, node: Node) -> None:
        parent = edge[2]
        if type(gradient) is IndexedGradient:
            if parent in self.owned and parent.shape and node.debug is None:
                noted(add_at_index, self.totals[parent], gradient, label="add", writes=True)
                return
            gradient = noted(IndexedGradient.dense, gradient, label="dense gradient")
            if parent not in self.totals:
                self.owned.add(parent)
        fitting = as_gradient(gradient, parent, node, edge[0], False)
        if fitting is not gradient:
            gradient = noted(fit, gradient, parent.shape, parent.dtype, label="sum to shape")
        super().receive(gradient, edge, grad, node)

    def add_to_total(self, parent: Parent, gradient: Gradient) -> None:
        # never in place: the observer may keep the values of an array that it was told of
        self.totals[parent] = noted(operator.add, self.totals[parent], gradient)
        self.owned.add(parent)


def copy_array(array: Any) -> Any:
    """Return a copy of an array."""
    return array.copy()


def add_at_index(total: Any, gradient: IndexedGradient) -> None:
    """Add a gradient that is 0 except at an index to an array, in place."""
    total[gradient.index] += gradient.value
