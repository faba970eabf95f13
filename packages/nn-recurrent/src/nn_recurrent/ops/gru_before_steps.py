"""The steps of the gated recurrent unit whose reset gate acts before the product, as kernels."""

from __future__ import annotations

from typing import Any

from nn_tensor.extend import kernel

from nn_recurrent.ops.gru_steps import add_masked, sigmoid_over

__all__ = ["gru_before_backward_steps", "gru_before_forward_steps"]

Array = Any


@kernel
def gru_before_forward_steps(
    xp: Any,
    gates: Array,
    recurrent: Array,
    bias: Array,
    candidates: Array,
    hidden: Array,
    mask: Array | float,
    spans: Array,
) -> None:
    """Compute all steps of the variant in which `candidates` are the states times the reset."""
    size = hidden.shape[1]
    batch = len(hidden) - len(gates)
    both, new_weights = recurrent[:, : 2 * size], xp.ascontiguousarray(recurrent[:, 2 * size :])
    gates += bias[: 3 * size]
    for before, start, n in spans.tolist():
        rows = slice(start - batch, start - batch + n)
        previous, state = hidden[before : before + n], hidden[start : start + n]
        masked = previous if isinstance(mask, float) else previous * mask[:n]
        z, new = gates[rows, : 2 * size], gates[rows, 2 * size :]
        z += masked @ both
        sigmoid_over(xp, z)
        xp.multiply(z[:, :size], masked, out=candidates[rows])
        new += candidates[rows] @ new_weights
        xp.tanh(new, out=new)
        xp.subtract(previous, new, out=state)
        state *= z[:, size:]
        state += new


gru_before_forward_steps.cpu("gru_before_forward_steps")


@kernel
def gru_before_backward_steps(
    xp: Any,
    grad_gates: Array,
    grad_hidden: Array,
    grad_outputs: Array,
    recurrent: Array,
    gates: Array,
    hidden: Array,
    mask: Array | float,
    grad_mask: Any,
    spans: Array,
) -> None:
    """Compute the backward pass of all steps of the variant with the reset before the product."""
    size = hidden.shape[1]
    batch = len(hidden) - len(gates)
    for before, start, n in reversed(spans.tolist()):
        rows = slice(start - batch, start - batch + n)
        previous, z, dz, dh = (
            hidden[before : before + n],
            gates[rows],
            grad_gates[rows],
            grad_hidden[:n],
        )
        masked = previous if isinstance(mask, float) else previous * mask[:n]
        r, u, new = (z[:, k * size : (k + 1) * size] for k in range(3))
        dr, du, scaled, dn = (dz[:, k * size : (k + 1) * size] for k in range(4))
        dh += grad_outputs[rows]
        xp.multiply(dh * (previous - new), u * (1 - u), out=du)
        xp.multiply(dh * (1 - u), 1 - new * new, out=dn)
        xp.matmul(dn, recurrent[2 * size :], out=scaled)  # the gradient of the candidates
        xp.multiply(scaled * masked, r * (1 - r), out=dr)
        dh *= u
        product = scaled * r + dz[:, : 2 * size] @ recurrent[: 2 * size]
        add_masked(product, grad_hidden, previous, mask, grad_mask)


gru_before_backward_steps.cpu("gru_before_backward_steps")
