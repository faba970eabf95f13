"""The backward pass: gradients carried through the graph, from outputs to leaves."""

from __future__ import annotations

from bisect import insort
from operator import attrgetter
from typing import Any

import numpy as np

from nn_tensor._device import device_scope
from nn_tensor._errors import describe
from nn_tensor._fit import IndexedGradient, as_gradient
from nn_tensor._graph import Edge, Node, Parent
from nn_tensor._hooks import run_hooks
from nn_tensor._large_sums import add_large, is_large
from nn_tensor._versions import check_saved, versions

__all__ = ["BackwardPass", "Gradient"]

Gradient = Any  # an array, or a variable where the gradients themselves are recorded

_ndarray = np.ndarray
_sequence = attrgetter("sequence")


def _is_among(x: Any, values: tuple[Any, ...]) -> bool:
    """Return whether `x` is one of some values, not only equal to it."""
    for value in values:  # noqa: SIM110 - a generator takes twice the time
        if value is x:
            return True
    return False


class BackwardPass:
    """The gradients that have been computed so far, and the nodes that wait for theirs."""

    __slots__ = ("create_graph", "owned", "retain_graph", "totals", "waiting", "wanted")

    def __init__(self, retain_graph: bool, create_graph: bool, wanted: set[Parent] | None) -> None:
        self.retain_graph = retain_graph
        self.create_graph = create_graph
        self.wanted = wanted
        self.totals: dict[Parent, Gradient] = {}
        self.owned: set[Parent] = set()  # whose total is a sum made here: added to in place
        self.waiting: list[Node] = []  # the nodes whose turn will come, the next one last

    def run(self, targets: set[Parent]) -> dict[Parent, Gradient]:
        """Visit the nodes from the latest to the first; return the gradients that were asked."""
        results: dict[Parent, Gradient] = {}
        while waiting := self.waiting:
            node = waiting.pop()
            grad = self.totals.pop(node)
            if type(grad) is _ndarray and not node._hooks and not targets:
                self.visit(node, grad)
                continue
            with device_scope(grad):
                if node._hooks:
                    grad = run_hooks(node._hooks, grad)
                if node in targets:
                    results[node] = self.copied(grad)
                    if len(results) == len(targets):
                        break
                self.visit(node, grad)
        return results | self.totals

    def copied(self, grad: Gradient) -> Gradient:
        return grad.copy()

    def visit(self, node: Node, grad: Gradient) -> None:
        """Compute the gradients of a node's inputs from that of its output."""
        edges = node.edges
        if edges is None:
            raise RuntimeError(
                f"backward: the graph through {node.op.name} was freed by an earlier backward; "
                "pass retain_graph=True to that one"
            )
        if node.version != versions.current:
            check_saved(node, self.create_graph)
        if node.debug is not None:
            node.debug.check_saved(node)
        if self.create_graph:
            edges = node.op.saved_as_variables(node)
        if (wanted := self.wanted) is not None:
            edges = tuple((r, s, *(p if p in wanted else None for p in ps)) for r, s, *ps in edges)
            edges = tuple(edge for edge in edges if not {None}.issuperset(edge[2:]))
            if not edges:
                return  # a target: what lies below it stays whole
        if not self.retain_graph:
            node.edges = node.recipe = None
        for edge in edges:
            rule, saved = edge[0], edge[1]
            if not rule.joint:
                self.receive(rule.function(grad, *saved), edge, grad, node)
                continue
            parents = edge[2:]
            asked = {"wanted": tuple(p is not None for p in parents)} if rule.asks_wanted else {}
            gradients = rule.function(grad, *saved, **asked)
            if type(gradients) is not tuple or len(gradients) != len(parents):
                raise TypeError(
                    f"{node.op.name}: the rule for {rule.label!r} must return a tuple of "
                    f"{len(parents)} gradients, got {describe(gradients)}"
                )
            for i, parent in enumerate(parents):
                if parent is not None:  # what an earlier parent got is not this one's to keep
                    edge = (rule, saved + gradients[:i], parent)
                    self.receive(gradients[i], edge, grad, node)

    def receive(self, gradient: Any, edge: Edge, grad: Any, node: Node) -> None:
        """Add what a rule returned to the gradient of its parent."""
        parent = edge[2]
        if (
            type(gradient) is not type(grad)
            or gradient.shape != parent.shape
            or gradient.dtype is not parent.dtype
        ):
            if type(gradient) is IndexedGradient:
                if parent in self.owned and parent.shape and node.debug is None:
                    self.totals[parent][gradient.index] += gradient.value
                    return
                gradient = gradient.dense()
                if parent not in self.totals and not self.create_graph:
                    self.owned.add(parent)
            gradient = as_gradient(gradient, parent, node, edge[0], self.create_graph)
        if node.debug is not None:
            node.debug.check_gradient(edge[0], grad, gradient)
        if type(parent) is not Node and parent not in self.totals:
            array = gradient._data if self.create_graph else gradient
            if array.base is not None or _is_among(gradient, (grad, *edge[1])):
                gradient = self.copied(gradient)  # the leaf keeps it, and must not share it
        self.add(parent, gradient)

    def add(self, parent: Parent, gradient: Gradient) -> None:
        """Add a gradient to that of a parent, which waits for its turn: the latest node first."""
        totals = self.totals
        if parent in totals:
            if type(gradient) is _ndarray:
                self.add_to_total(parent, gradient)
            else:  # of a node on another device than the one that is visited, perhaps
                with device_scope(gradient):
                    self.add_to_total(parent, gradient)
            return
        totals[parent] = gradient
        if type(parent) is Node:
            waiting = self.waiting
            if not waiting or parent.sequence > waiting[-1].sequence:
                waiting.append(parent)
            else:
                insort(waiting, parent, key=_sequence)

    def add_to_total(self, parent: Parent, gradient: Gradient) -> None:
        total, owned = self.totals[parent], parent in self.owned
        if is_large(total):
            self.totals[parent] = add_large(np, total, gradient, total if owned else None)
        elif owned:
            self.totals[parent] += gradient
        else:
            self.totals[parent] = total + gradient
        if not self.create_graph:
            self.owned.add(parent)
