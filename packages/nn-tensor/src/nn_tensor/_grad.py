"""Gradients as a function of outputs and inputs, beside `Tensor.backward`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from nn_tensor._device import device_scope
from nn_tensor._errors import describe
from nn_tensor._graph import Node, Parent
from nn_tensor._hooks import run_hooks
from nn_tensor._modes import recording
from nn_tensor._observe import noted
from nn_tensor._observed_backward import copy_array, run_backward
from nn_tensor._tensor import Tensor

__all__ = ["grad"]

ArrayLike = Any


@overload
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor,
    gradient: ArrayLike | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> Tensor: ...
@overload
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Sequence[Tensor],
    gradient: ArrayLike | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> tuple[Tensor, ...]: ...
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    gradient: ArrayLike | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> Any:
    r"""Return the derivative of `outputs` with respect to `inputs`; no ``.grad`` is changed.

    .. math:: \sum_k \left(\frac{\partial\, \text{outputs}_k}{\partial x_i}\right)^T g_k

    Args:
        outputs: a Tensor, or several whose derivatives are summed.
        inputs: a leaf or intermediate Tensor, or a sequence of them.
        gradient: the gradient of the outputs, as for `Tensor.backward`; a sequence of them if
            `outputs` is a sequence.
        retain_graph: keep the graph for another backward pass; by default as `create_graph`.
        create_graph: record, so that the result can be differentiated again.

    Returns:
        A Tensor, or a tuple of them if `inputs` is a sequence; zeros where `outputs` do not
        depend on an input.

    Raises:
        RuntimeError: as `Tensor.backward`, or if an input does not require a gradient.

    >>> x = Tensor(2.0, requires_grad=True)
    >>> first = grad(x ** 3, x, create_graph=True)
    >>> first.item(), grad(first, x).item()
    (12.0, 12.0)
    """
    several = not isinstance(inputs, Tensor)
    wanted = _tensors("inputs", inputs)
    starts = _tensors("outputs", outputs)
    if not starts:
        raise ValueError("outputs: expected at least one Tensor, got none")
    if isinstance(outputs, Tensor):
        seeds = [gradient]
    else:
        seeds = [None] * len(starts) if gradient is None else list(gradient)
    if len(seeds) != len(starts):
        raise ValueError(f"gradient: expected {len(starts)}, one for each output, got {len(seeds)}")
    for position, tensor in enumerate(wanted):
        if not tensor._requires_grad:
            raise RuntimeError(f"inputs[{position}]: does not require a gradient")
    targets = [tensor._parent() for tensor in wanted]
    results: list[Tensor] = []
    with recording(create_graph), device_scope(starts[0]):
        found = run_backward(
            [(t._parent(), t._seed(g, create_graph)) for t, g in zip(starts, seeds, strict=True)],
            retain_graph=create_graph if retain_graph is None else retain_graph,
            create_graph=create_graph,
            targets=targets,
            wanted=_between([tensor._parent() for tensor in starts], targets),
        )
        for position, tensor in enumerate(wanted):
            total = found.get(targets[position])
            if total is None:
                with device_scope(tensor):
                    total = noted(tensor.xp.zeros_like, tensor)
            elif any(tensor is other for other in wanted[:position]):
                with device_scope(total):
                    total = total.copy() if create_graph else noted(copy_array, total)
            if tensor._node is None and tensor._hooks:
                total = run_hooks(tensor._hooks, total)
            results.append(total if isinstance(total, Tensor) else Tensor(total))
    return tuple(results) if several else results[0]


def _tensors(name: str, given: Tensor | Sequence[Tensor]) -> list[Tensor]:
    if isinstance(given, Tensor):
        return [given]
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"{name}: expected a Tensor or several in a list, got {describe(given)}")
    for position, tensor in enumerate(given):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}[{position}]: expected a Tensor, got {describe(tensor)}")
    return list(given)


def _between(starts: Sequence[Parent], targets: Sequence[Parent]) -> set[Parent]:
    """Return the targets and every node between them and the starts."""
    nodes: set[Node] = set()
    stack = [parent for parent in starts if type(parent) is Node]
    while stack:
        node = stack.pop()
        if node not in nodes:
            nodes.add(node)
            stack.extend(p for _, _, *ps in node.edges or () for p in ps if type(p) is Node)
    wanted: set[Parent] = set(targets)
    for node in sorted(nodes, key=lambda node: node.sequence):  # parents before their results
        # a node that was freed is visited, which raises: what lies behind it is not known
        if node.edges is None or any(p in wanted for _, _, *ps in node.edges for p in ps):
            wanted.add(node)
    return wanted
