"""The backward pass: gradients carried through the graph, from outputs to leaves."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from nn_tensor._device import device_scope
from nn_tensor._errors import describe
from nn_tensor._fit import as_gradient
from nn_tensor._graph import Edge, IndexedGradient, Node, Parent, arrays_in, parents_of
from nn_tensor._hooks import run_hooks
from nn_tensor._modes import enable_grad, no_grad
from nn_tensor._versions import versions

__all__ = ["recording", "run_backward"]

Gradient = Any  # an array, or a variable where the gradients themselves are recorded
Seeds = Sequence[tuple[Parent, Gradient]]

_ndarray = np.ndarray
_RECORDED, _UNRECORDED = enable_grad(), no_grad()


def recording(create_graph: bool) -> contextlib.AbstractContextManager[None]:
    """Return the context of a backward pass, in which operations are recorded or not."""
    return _RECORDED if create_graph else _UNRECORDED


def run_backward(
    seeds: Seeds,
    retain_graph: bool,
    create_graph: bool,
    targets: Sequence[Parent] | None = None,
) -> dict[Parent, Gradient]:
    """Carry gradients from `seeds` back through the graph.

    Returns the total gradient of each leaf that was reached, or of each of `targets`. Gradients
    are arrays, or variables with a graph of their own if `create_graph` is set: the caller
    switches recording on or off to match, see `recording`.
    """
    backward = _BackwardPass(retain_graph, create_graph)
    for parent, gradient in seeds:
        backward.add(parent, gradient)
    if targets is None:
        return backward.run(())
    backward.wanted = _between(seeds, targets)
    return backward.run(set(targets))


class _BackwardPass:
    """The gradients that have been computed so far, and the nodes that wait for theirs."""

    __slots__ = ("create_graph", "heap", "next", "owned", "retain_graph", "totals", "wanted")

    def __init__(self, retain_graph: bool, create_graph: bool) -> None:
        self.retain_graph = retain_graph
        self.create_graph = create_graph
        self.wanted: set[Parent] | None = None
        self.totals: dict[Parent, Gradient] = {}
        self.owned: set[Parent] = set()  # whose total is a sum made here: added to in place
        self.next: Node | None = None  # the node with the largest sequence number
        self.heap: list[tuple[int, Node]] = []  # the other nodes that wait

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
            first = self.next
            if first is None:
                self.next = parent
            elif parent.sequence > first.sequence:
                self.next = parent
                heappush(self.heap, (-first.sequence, first))
            else:
                heappush(self.heap, (-parent.sequence, parent))

    def add_to_total(self, parent: Parent, gradient: Gradient) -> None:
        if parent in self.owned:
            self.totals[parent] += gradient
        else:
            self.totals[parent] = self.totals[parent] + gradient
            if not self.create_graph:
                self.owned.add(parent)

    def run(self, targets: set[Parent] | tuple[()]) -> dict[Parent, Gradient]:
        """Visit the nodes from the latest to the first; return the gradients that were asked."""
        results: dict[Parent, Gradient] = {}
        while (node := self.next) is not None:
            self.next = heappop(self.heap)[1] if self.heap else None
            grad = self.totals.pop(node)
            if type(grad) is _ndarray and not node.hooks and not targets:
                self.visit(node, grad)
                continue
            with device_scope(grad):
                if node.hooks:
                    grad = run_hooks(node.hooks, grad)
                if node in targets:
                    results[node] = grad.copy()
                    if len(results) == len(targets):
                        break
                self.visit(node, grad)
        results.update(self.totals)
        return results

    def visit(self, node: Node, grad: Gradient) -> None:
        """Compute the gradients of a node's inputs from that of its output."""
        edges = node.edges
        if edges is None:
            raise RuntimeError(
                f"backward: the graph through {node.op.name} was freed by an earlier backward; "
                "pass retain_graph=True to that one"
            )
        if node.version != versions.current:
            _check_versions(node, self.create_graph)
        if node.debug is not None:
            node.debug.check_saved(node)
        if self.create_graph:
            edges = node.op.saved_as_variables(node)
        if self.wanted is not None:
            edges = _wanted_edges(edges, self.wanted)
            if not edges:
                return  # a target: what lies below it stays whole
        if not self.retain_graph:
            node.edges = node.recipe = None
        for edge in edges:
            rule, parent, saved = edge
            gradient = rule.function(grad, *saved)
            if not rule.joint:
                self.receive(parent, gradient, grad, edge, node)
                continue
            if type(gradient) is not tuple or len(gradient) != len(parent):
                raise TypeError(
                    f"{node.op.name}: the rule for {rule.label!r} must return a tuple of "
                    f"{len(parent)} gradients, got {describe(gradient)}"
                )
            given = [one for one in gradient if one is not None]
            if len(set(map(id, given))) < len(given):  # one array for several: nobody may keep it
                saved += gradient
            for one, value in zip(parent, gradient, strict=True):
                if one is not None:
                    self.receive(one, value, grad, (rule, one, saved), node)

    def receive(self, parent: Any, gradient: Any, grad: Gradient, edge: Edge, node: Node) -> None:
        """Add what a rule returned to the gradient of a parent."""
        if (
            type(gradient) is not type(grad)
            or gradient.shape != parent.shape
            or gradient.dtype is not parent.dtype
        ):
            if type(gradient) is IndexedGradient:
                if parent in self.owned and parent.shape and node.debug is None:
                    gradient.add_to(self.totals[parent])
                    return
                gradient = gradient.dense()
                if parent not in self.totals and not self.create_graph:
                    self.owned.add(parent)
            gradient = as_gradient(gradient, parent, node, edge, self.create_graph)
        if node.debug is not None:
            node.debug.check_gradient(edge[0], grad, gradient)
        if type(parent) is not Node and parent not in self.totals:
            array = gradient._data if self.create_graph else gradient
            shared = array.base is not None or gradient is grad
            if shared or any(gradient is value for value in edge[2]):
                gradient = gradient.copy()  # the leaf keeps it, so nobody else may
        self.add(parent, gradient)


def _wanted_edges(edges: tuple[Edge, ...], wanted: set[Parent]) -> tuple[Edge, ...]:
    """Return the edges that lead to a wanted parent, without the parents that are not."""
    kept: list[Edge] = []
    for edge in edges:
        rule, parent, saved = edge
        parents = tuple(p if p in wanted else None for p in parents_of(edge))
        needed = tuple(p is not None for p in parents)
        if not any(needed):
            continue
        if rule.joint:
            parent = parents
            if "wanted" in rule.needs:
                place = rule.needs.index("wanted")
                saved = (*saved[:place], needed, *saved[place + 1 :])
        kept.append((rule, parent, saved))
    return tuple(kept)


def _between(seeds: Seeds, targets: Sequence[Parent]) -> set[Parent]:
    """Return the targets and every node between them and the seeds."""
    wanted: set[Parent] = set(targets)
    nodes: dict[int, Node] = {}
    stack = [parent for parent, _ in seeds if type(parent) is Node]
    while stack:
        node = stack.pop()
        if node.sequence not in nodes:
            nodes[node.sequence] = node
            stack.extend(p for e in node.edges or () for p in parents_of(e) if type(p) is Node)
    for sequence in sorted(nodes):  # parents come before what was computed from them
        node = nodes[sequence]
        # a node that was freed is visited, which raises: what lies behind it is not known
        if node.edges is None or any(p in wanted for e in node.edges for p in parents_of(e)):
            wanted.add(node)
    return wanted


def _check_versions(node: Node, create_graph: bool) -> None:
    """Raise if an array that the node saved was changed in place since."""
    saved: list[Any] = [edge[2] for edge in node.edges or ()]
    if create_graph and node.recipe is not None:
        saved.append(node.recipe)
    for array in arrays_in(tuple(saved)):
        if versions.changed_since(node.version, array):
            raise RuntimeError(
                f"{node.op.name} saved an array of shape {array.shape} that was changed in "
                "place before backward"
            )
