"""The graph of recorded operations, and the walk back through it.

A recorded Tensor points to a `Node`, and a node points to the nodes and leaf Tensors that it was
computed from: never to its own output, so no cycle keeps memory waiting for the collector.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from nn_tensor import _anomaly
from nn_tensor._device import device_of, device_scope, is_array, namespace_of
from nn_tensor._errors import describe
from nn_tensor._modes import enable_grad, no_grad

if TYPE_CHECKING:
    from nn_tensor._op import OpInfo, Rule
    from nn_tensor._tensor import Tensor

__all__ = ["Node", "mark_dirty", "propagate", "recording", "unbroadcast_grad", "writes"]

Array = Any
next_sequence = itertools.count(1).__next__


class Node:
    """One recorded operation.

    `edges` holds, for each input that needs a gradient: its position among the inputs, its parent
    (the node or the leaf Tensor that it came from), its rule, and what the rule declared it needs.
    It becomes None when `backward` has used and freed the node.
    """

    __slots__ = ("clock", "debug", "dtype", "edges", "hooks", "op", "recipe", "sequence", "shape")

    op: OpInfo
    edges: tuple[tuple[int, Node | Tensor, Rule, tuple[Any, ...]], ...] | None
    recipe: tuple[Any, ...] | None  # what recomputes the kept values, for higher derivatives
    sequence: int  # later operations have larger numbers: the order of the walk
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    clock: int
    hooks: dict[float, Callable[..., Any]] | None
    debug: _anomaly.Origin | None


class _Writes:
    """When each block of memory was last written in place, on one clock for all.

    A node remembers the clock at its recording. Memory that is written later than that and was
    saved by the node makes its gradient wrong, which `backward` reports.
    """

    def __init__(self) -> None:
        self.clock = 0
        self._last: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self._lock = threading.Lock()

    def mark(self, array: Array) -> None:
        owner = _owner(array)
        key = id(owner)
        with self._lock:
            self.clock += 1
            entry = self._last.get(key)
            if entry is not None and entry[1]() is owner:
                self._last[key] = (self.clock, entry[1])
            else:
                last = self._last  # the callback must not keep `self` in a cycle

                def forget(reference: Any) -> None:
                    if (now := last.get(key)) is not None and now[1] is reference:
                        del last[key]

                self._last[key] = (self.clock, weakref.ref(owner, forget))

    def since(self, clock: int, array: Array) -> bool:
        owner = _owner(array)
        entry = self._last.get(id(owner))
        return entry is not None and entry[0] > clock and entry[1]() is owner


def _owner(array: Array) -> Array:
    while type(array.base) is type(array):
        array = array.base
    return array


writes = _Writes()


def mark_dirty(array: Array) -> None:
    """Tell autograd that `array` was changed in place.

    Code that writes into ``tensor.data`` by itself (an optimizer's kernel) calls this, so that a
    later `backward` through an operation that saved the array raises instead of computing a
    wrong gradient.

    >>> import numpy as np
    >>> from nn_tensor import Tensor
    >>> from nn_tensor.extend import mark_dirty
    >>> x = Tensor([2.0], requires_grad=True)
    >>> y = x * x
    >>> x.data[0] = 5.0
    >>> mark_dirty(x.data)
    >>> y.backward()
    Traceback (most recent call last):
        ...
    RuntimeError: multiply saved an array of shape (1,) that was changed in place before backward
    """
    writes.mark(array)


def _check_unwritten(node: Node, create: bool) -> None:
    saved = [edge[3] for edge in node.edges or ()]
    if create and node.recipe is not None:
        saved.append(node.recipe)
    for arguments in saved:
        for array in _anomaly.arrays_in(arguments):
            if writes.since(node.clock, array):
                raise RuntimeError(
                    f"{node.op.name} saved an array of shape {array.shape} that was changed in "
                    "place before backward"
                )


def unbroadcast_grad(grad: Any, shape: tuple[int, ...]) -> Any:
    r"""Sum `grad` down to `shape`: the reverse of broadcasting from `shape`.

    Args:
        grad: an array or Tensor whose shape `shape` broadcasts to.
        shape: the shape of the input that was broadcast.

    Raises:
        ValueError: if `shape` does not broadcast to the shape of `grad`.

    >>> import numpy as np
    >>> unbroadcast_grad(np.ones((2, 3)), (3,))
    array([2., 2., 2.])
    """
    if grad.shape == shape:
        return grad
    if not _broadcasts(shape, grad.shape):
        raise ValueError(f"shape: {shape} does not broadcast to the gradient's {grad.shape}")
    extra = grad.ndim - len(shape)
    stretched = [extra + axis for axis, length in enumerate(shape) if length == 1]
    axes = (*range(extra), *(axis for axis in stretched if grad.shape[axis] != 1))
    total = grad.sum(axis=axes)
    return total if total.shape == shape else total.reshape(shape)


def _broadcasts(shape: tuple[int, ...], larger: tuple[int, ...]) -> bool:
    if len(shape) > len(larger):
        return False
    aligned = larger[len(larger) - len(shape) :]
    return all(n in (1, m) for n, m in zip(shape, aligned, strict=True))


def _fit(grad: Any, shape: tuple[int, ...], node: Node, rule: Rule) -> Any:
    """Give `grad` the shape of its input: along any axis a rule may leave it broadcast, or not yet.

    An axis of length 1 that should be longer is broadcast, a longer one that should be 1 is summed.
    """
    if _broadcasts(shape, grad.shape):
        return unbroadcast_grad(grad, shape)
    try:
        return _spread(grad, shape)
    except ValueError:  # along some axes it is broadcast, along others not yet
        pairs = zip(reversed(shape), reversed(grad.shape), strict=False)
        summed = tuple([1 if length == 1 else n for length, n in pairs])[::-1]
    if not _broadcasts(summed, shape):
        raise ValueError(
            f"{node.op.name}: the rule for {rule.wrt!r} returned a gradient of shape {grad.shape}, "
            f"which does not fit the input's {shape}"
        )
    return _spread(unbroadcast_grad(grad, summed), shape)


def _spread(grad: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(grad, (np.ndarray, np.generic)):
        return np.broadcast_to(grad, shape)
    if hasattr(grad, "requires_grad"):
        return grad.broadcast_to(shape)
    return namespace_of(grad).broadcast_to(grad, shape)


def _as_gradient(value: Any, node: Node, rule: Rule, create: bool) -> Any:
    """Return what a rule returned, or raise if it is no gradient."""
    is_tensor = hasattr(value, "requires_grad")
    if create and not is_tensor and is_array(value):
        raise TypeError(
            f"{node.op.name}: the rule for {rule.wrt!r} was given Tensors and returned an array; a "
            "higher derivative needs a rule written in operators and operations on Tensors"
        )
    if is_tensor or is_array(value):
        return value if create or not is_tensor else value.data
    raise TypeError(
        f"{node.op.name}: the rule for {rule.wrt!r} must return a gradient, got {describe(value)}"
    )


def _pull(
    function: Callable[..., Any],
    rule: Rule,
    grad: Any,
    arguments: tuple[Any, ...],
    parent: Node | Tensor,
    node: Node,
) -> Any:
    """Apply a rule's function, and fit what it returns to the input, on the device of `grad`."""
    with device_scope(grad):
        gradient = function(grad, *arguments)
        if getattr(gradient, "shape", parent.shape) != parent.shape:
            gradient = _fit(gradient, parent.shape, node, rule)
        if getattr(gradient, "dtype", parent.dtype) != parent.dtype:
            gradient = gradient.astype(parent.dtype)
    return gradient


def _part(rule: Rule, position: int, shared: dict[Rule, Any]) -> Callable[..., Any]:
    """Return what gives one of the gradients of a rule for several inputs, which runs once."""

    def part(grad: Any, *arguments: Any) -> Any:
        if rule not in shared:
            gradients = rule.function(grad, *arguments)
            count = len(rule.shared_by)
            if not isinstance(gradients, tuple) or len(gradients) != count:
                raise TypeError(
                    f"{rule.op_name}: the rule for {rule.wrt!r} must return a tuple of {count} "
                    f"gradients, got {describe(gradients)}"
                )
            shared[rule] = gradients
        return shared[rule][rule.shared_by.index(position)]

    return part


def _others(gradients: tuple[Any, ...], rule: Rule, position: int) -> list[Any]:
    """Return the gradients of a rule for several inputs that are not the one of this position."""
    return [g for i, g in zip(rule.shared_by, gradients, strict=False) if i != position]


_RECORDED, _UNRECORDED = enable_grad(), no_grad()


def recording(create: bool) -> contextlib.AbstractContextManager[None]:
    """Return the context of a backward walk, in which gradients are recorded if `create` is set."""
    return _RECORDED if create else _UNRECORDED


def propagate(
    seeds: Sequence[tuple[Node | Tensor, Any]],
    *,
    retain: bool,
    create: bool,
    targets: Sequence[Node | Tensor] | None = None,
) -> dict[Node | Tensor, Any]:
    """Carry gradients from `seeds` back through the graph.

    Returns the total gradient of each leaf that was reached, or of each of `targets`. Gradients
    are arrays, or Tensors with a graph of their own if `create` is set: the caller switches
    recording on or off to match, see `recording`.
    """
    wanted = None if targets is None else _ancestry(seeds, targets)
    kept = None if targets is None else set(targets)
    totals: dict[Node | Tensor, Any] = {}
    results: dict[Node | Tensor, Any] = {}
    summed: set[Node | Tensor] = set()  # totals that are sums of ours, so addition may reuse them
    heap: list[tuple[int, Node]] = []
    usual = type(seeds[0][1])

    for parent, gradient in seeds:
        if parent in totals:
            totals[parent] = totals[parent] + gradient
        else:
            totals[parent] = gradient
            if type(parent) is Node:
                heappush(heap, (-parent.sequence, parent))

    while heap:
        node = heappop(heap)[1]
        grad = totals.pop(node)
        if summed:
            summed.discard(node)
        if node.hooks:
            grad = run_hooks(node.hooks, grad)
        if kept is not None and node in kept:
            with device_scope(grad):
                results[node] = grad.copy()
            if len(results) == len(kept):
                break
        edges = node.edges
        if edges is None:
            raise RuntimeError(
                f"backward: the graph through {node.op.name} was freed by an earlier backward; "
                "pass retain_graph=True to that one"
            )
        if node.clock != writes.clock:
            _check_unwritten(node, create)
        if node.debug is not None:
            node.debug.check_saved(node)
        if wanted is not None and not any(edge[1] in wanted for edge in edges):
            continue  # a target: the walk ends here, and what lies below stays whole
        if create:
            edges = node.op.as_tensors(node)
        if not retain:
            node.edges = node.recipe = None
        on_cpu = type(grad) is np.ndarray
        shared: dict[Rule, Any] = {}
        for position, parent, rule, arguments in edges:
            if wanted is not None and parent not in wanted:
                continue
            function: Callable[..., Any] = rule.function
            if rule.shared_by:
                function = _part(rule, position, shared)
            if on_cpu:
                gradient = function(grad, *arguments)
            else:
                gradient = _pull(function, rule, grad, arguments, parent, node)
            if type(gradient) is not usual:
                gradient = _as_gradient(gradient, node, rule, create)
            if gradient.shape != parent.shape:
                gradient = _fit(gradient, parent.shape, node, rule)
            if gradient.dtype is not parent.dtype and gradient.dtype != parent.dtype:
                gradient = gradient.astype(parent.dtype)
            if node.debug is not None:
                node.debug.check_gradient(rule, grad, gradient)
            if parent in totals:
                total = totals[parent]
                if type(total) is not np.ndarray:
                    totals[parent] = _sum(total, gradient, parent in summed and not create)
                    summed.add(parent)
                elif parent in summed:
                    total += gradient
                else:
                    totals[parent] = total + gradient
                    summed.add(parent)
            elif type(parent) is Node:
                totals[parent] = gradient
                heappush(heap, (-parent.sequence, parent))
            else:  # a leaf keeps it, so it must be nobody else's
                array = gradient._data if create else gradient
                borrowed = gradient is grad or array.base is not None
                others = (*arguments, *_others(shared.get(rule, ()), rule, position))
                if borrowed or any(gradient is value for value in others):
                    with device_scope(array):
                        gradient = gradient.copy()
                totals[parent] = gradient
    results.update(totals)
    return results


def _sum(total: Any, gradient: Any, reuse: bool) -> Any:
    """Return the sum of both on their device, in the memory of `total` if `reuse` is set."""
    with device_scope(total):
        if not reuse:
            return total + gradient
        total += gradient
        return total


def _ancestry(
    seeds: Sequence[tuple[Node | Tensor, Any]], targets: Sequence[Node | Tensor]
) -> set[Node | Tensor]:
    """Return the targets and every node between them and the seeds."""
    wanted: set[Node | Tensor] = set(targets)
    nodes: dict[int, Node] = {}
    stack = [parent for parent, _ in seeds if type(parent) is Node]
    while stack:
        node = stack.pop()
        if node.sequence not in nodes:
            nodes[node.sequence] = node
            stack.extend(edge[1] for edge in node.edges or () if type(edge[1]) is Node)
    for sequence in sorted(nodes):  # parents come before what was computed from them
        node = nodes[sequence]
        # a node that was freed is walked into, which raises: what lies behind it is not known
        if node.edges is None or any(edge[1] in wanted for edge in node.edges):
            wanted.add(node)
    return wanted


def run_hooks(hooks: dict[float, Callable[..., Any]], grad: Any) -> Any:
    """Let each hook see, and perhaps replace, a gradient on its way."""
    from nn_tensor._tensor import Tensor

    is_tensor = isinstance(grad, Tensor)
    tensor = grad if is_tensor else Tensor(grad)
    for _, hook in sorted(hooks.items()):
        replaced = hook(tensor)
        if replaced is None:
            continue
        if not isinstance(replaced, Tensor):
            replaced = Tensor(replaced, tensor.device, tensor.dtype)
        if replaced.shape != tensor.shape:
            raise ValueError(
                f"hook: must return a gradient of shape {tensor.shape}, got {replaced.shape}"
            )
        tensor = replaced.astype(tensor.dtype)
    return tensor if is_tensor else tensor.data


def same_device(name: str, array: Array, other: Array) -> None:
    """Raise unless both arrays lie on one device."""
    if device_of(array) != device_of(other):
        raise ValueError(f"{name}: is on {device_of(array)!s}, expected {device_of(other)!s}")
