"""Faults planted in the sources of kernels, which the tests have to find.

``python tools/cuda_on_cpu/mutations.py`` plants each in turn and runs the tests of its kernel, in a
process of its own; ``-k TEXT`` chooses some. It fails if one survives. No file is changed: CuPy is
given another source.
"""

import argparse
import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["MUTATIONS", "Mutation", "plant", "pytest_configure", "pytest_sessionfinish"]

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 900
NOT_PLANTED = 9  # an exit status that pytest does not use
_VARIABLE = "CUDA_ON_CPU_MUTATION"


class Mutation(NamedTuple):
    """A fault: in the source of `kernel` the text `old` becomes `new`."""

    kernel: str
    old: str
    new: str
    tests: str = ""  #: a path and what to select; by default the rows of the kernel

    def __str__(self):
        return f"{self.kernel}: {' '.join(self.old.split())} -> {' '.join(self.new.split())}"

    def command(self):
        """Return the arguments of pytest for the tests of the kernel."""
        path, _, selected = self.tests.partition(" -k ")
        part, package, name = self.kernel.split("_", 2)
        path = path or f"packages/{part}-{package}/tests"
        return [path, "-k", selected or f"implementations and {name}"]


_POOL_FORWARD, _POOL_BACKWARD = "nn_layers_max_pool2d_forward", "nn_layers_max_pool2d_backward"
_NORM, _NORM_BACKWARD = "nn_layers_layer_norm_forward", "nn_layers_layer_norm_backward"
_SCALE = "nn_layers_scale_and_shift_backward"
_LOSS, _LOSS_BACKWARD = "nn_losses_cross_entropy_forward", "nn_losses_cross_entropy_backward"
_ATTENTION = "nn_transformer_masked_exp"
_SQUARES, _SCALED = "nn_optim_total_of_squares", "nn_optim_scale_arrays"
_UNSCALED = "nn_optim_unscale_arrays"
_SEVERAL, _TOGETHER = "nn_optim_adam_step_of_several", "packages/nn-optim/tests -k together or Adam"
_ROWS, _IN_ORDER = "nn_tensor_add_rows", "packages/nn-tensor/tests/test_kernels.py -k AddAt"
_CHANNELS, _CHANNEL_BACKWARD = "nn_layers_batch_norm_forward", "nn_layers_batch_norm_backward"
_CHANNEL_SCALE = "nn_layers_batch_scale_backward"
_CHECK = "nn_tensor_check_integers"
_RANGES = "packages/nn-tensor/tests/test_tensor.py -k TestRanges"

MUTATIONS = [
    Mutation(_POOL_FORWARD, "value > best", "value >= best"),
    Mutation(_POOL_FORWARD, " || value != value", ""),
    Mutation(_POOL_FORWARD, "index = a * kw + b", "index = a * kw + b + 1"),
    Mutation(_POOL_FORWARD, "y >= height", "y > height"),
    Mutation(_POOL_FORWARD, "p * sh - top", "p * sh"),
    Mutation(_POOL_BACKWARD, "sum += g[window]", "sum = g[window]"),
    Mutation(_POOL_BACKWARD, "p / sh >= rows", "p / sh > rows"),
    Mutation(_POOL_BACKWARD, "q % sw != 0", "false"),
    Mutation("nn_layers_gelu_forward", "A(0.5) *", "A(0.25) *"),
    Mutation("nn_layers_gelu_forward", "out = (v <", "out = (v >"),
    Mutation("nn_layers_gelu_backward", "A(-0.5)", "A(0.5)"),
    Mutation("nn_layers_gelu_backward", "(gate +", "(gate -"),
    Mutation(_NORM, "row_sum(mean) / count", "row_sum(mean)"),
    Mutation(_NORM, "+ epsilon", ""),
    Mutation(_NORM, "threadIdx.x % 32 == 0", "threadIdx.x == 0"),
    Mutation(_NORM, "warp < blockDim.x / 32", "warp < blockDim.x / 32 - 1"),
    Mutation(_NORM, "int step = 16", "int step = 8"),
    Mutation(_NORM, "EACH(j) mean += x[j]", "for (int j = 0; j < count; ++j) mean += x[j]"),
    Mutation(_NORM_BACKWARD, "center ?", "!center ?"),
    Mutation(_NORM_BACKWARD, "- normal[j] * projection", ""),
    Mutation(
        "nn_layers_scale_and_shift", "+ bias", "- bias", "packages/nn-layers/tests -k shift_f"
    ),
    Mutation(_SCALE, "product += value * x", "product = value * x"),
    Mutation(_SCALE, "threadIdx.y != 0 || j >= count", "threadIdx.y != 0"),
    Mutation(_SCALE, "int i = 1; i < 8", "int i = 1; i < 7"),
    Mutation(_SCALE, "total[blockIdx.y * count + j]", "total[j]"),
    Mutation(_LOSS, "(1 - smoothing) * chosen", "chosen"),
    Mutation(_LOSS, "logits[j] - largest", "logits[j]"),
    Mutation(_LOSS, "if (factor == 0)", "if (factor < 0)"),
    Mutation(_LOSS, "x != x || x > y", "x > y"),
    Mutation(_LOSS_BACKWARD, "j == chosen", "j == chosen + 1"),
    Mutation(_LOSS_BACKWARD, "value -= uniform", "value += uniform"),
    Mutation(_ATTENTION, "row % queries + 1", "row % queries"),
    Mutation(_ATTENTION, "if (largest == lowest) largest = 0", ""),
    Mutation(_ATTENTION, "if (sum == 0) sum = 1", ""),
    Mutation("nn_transformer_softmax_backward", "(grad[j] - product)", "grad[j]"),
    Mutation(_SQUARES, "start + threadIdx.x", "threadIdx.x"),
    Mutation(_SQUARES, "sum += parts[warp]", "sum = parts[warp]"),
    Mutation(_SCALED, "min(entry[1]", "min(entry[1] - 1"),
    Mutation(_SCALED, "<= blockIdx.x", "< blockIdx.x"),
    Mutation(_UNSCALED, "load(x, i) * factor", "load(x, i)"),
    Mutation(_UNSCALED, "store(out, i, value);", ""),
    Mutation(_UNSCALED, "sum += (double)value * value", "sum = (double)value * value"),
    Mutation(_UNSCALED, "(double)value * value", "(double)value"),
    Mutation(_UNSCALED, "start + threadIdx.x", "threadIdx.x"),
    Mutation(_UNSCALED, "int step = 16", "int step = 8"),
    Mutation(_UNSCALED, "warp < blockDim.x / 32", "warp < blockDim.x / 32 - 1"),
    Mutation(_UNSCALED, "partial[blockIdx.x] = sum", "partial[0] = sum"),
    Mutation("nn_optim_adam_step", "square_ *= coefficient", "square_ += coefficient"),
    Mutation("nn_optim_adam_step", "np_sqrt(second_)", "second_"),
    Mutation(_SEVERAL, "square_ *= coefficient", "square_ += coefficient", _TOGETHER),
    Mutation(_SEVERAL, "store(mean, i, mean_); ", "", _TOGETHER),
    Mutation("nn_optim_lion_step", "x > 0 ? T(1)", "x >= 0 ? T(1)"),
    Mutation("nn_tensor_dropout_mask", ">= threshold", "> threshold"),
    Mutation("nn_tensor_dropout_mask", "round < 10", "round < 9"),
    Mutation("nn_tensor_dropout_mask", "element < count", "element <= count"),
    Mutation("nn_tensor_mask_by_sign", "y > (U)0", "y < (U)0"),
    Mutation(_ROWS, "sum[c] += values[u][c]", "sum[c] = values[u][c]", _IN_ORDER),
    Mutation(_ROWS, "i >= first && ", "", _IN_ORDER),
    Mutation(_ROWS, "i < stop && ", "", _IN_ORDER),
    Mutation(_ROWS, "&& PLACE(i) == place)) return", "&& false)) return", _IN_ORDER),
    Mutation(_ROWS, "start > first - 32", "start > first", _IN_ORDER),
    Mutation(_ROWS, "? index + length", "? index + length - 1", _IN_ORDER),
    Mutation(_ROWS, "index >= 0 && index < length", "index >= 0", _IN_ORDER),
    Mutation(_ROWS, "index >= 0 && index < length", "index < length", _IN_ORDER),
    Mutation(_ROWS, "same &= same - 1", "same = 0", _IN_ORDER),
    Mutation(_ROWS, "blockIdx.y * 128ll", "blockIdx.y * 64ll", _IN_ORDER),
    Mutation(_ROWS, "+ c * 32] : T(0)", "+ c] : T(0)", _IN_ORDER),
    Mutation(_CHANNELS, "* rows + row) * elements", "* rows + row + 1) * elements"),
    Mutation(_CHANNELS, "% (unsigned)elements", "% (unsigned)count"),
    Mutation(_CHANNELS, "means[row] = mean", "means[row] = 0"),
    Mutation(_CHANNELS, "variance + epsilon", "variance"),
    Mutation(_CHANNELS, "scale * weights[row]", "scale * weights[0]"),
    Mutation(_CHANNELS, "* factor + shift", "* factor"),
    Mutation(_CHANNELS, "inverse[row] = scale", "inverse[row] = factor"),
    Mutation(_CHANNEL_BACKWARD, "sum = row_sum(sum)", "sum = sum"),
    Mutation(_CHANNEL_BACKWARD, "row_sum(product) * scale", "product * scale"),
    Mutation(_CHANNEL_BACKWARD, "value * (x[AT(j)] - mean)", "value * x[AT(j)]"),
    Mutation(_CHANNEL_BACKWARD, "product / count * scale", "product / count"),
    Mutation(_CHANNEL_BACKWARD, "- shift - (x[AT(j)] - mean)", "- shift - x[AT(j)]"),
    Mutation(_CHANNEL_BACKWARD, "scale * weights[row]", "scale"),
    Mutation(_CHANNEL_SCALE, "value * weights[row]", "value * weights[0]"),
    Mutation(_CHANNEL_SCALE, "product = row_sum(product)", "product = product"),
    Mutation(_CHECK, "value > high", "value > high + 1", _RANGES),
    Mutation(_CHECK, "words[1] = ", "words[0] = ", _RANGES),
]


def plant(mutation, cupy):
    """Let `cupy` compile the fault; return a list that gets the kernels in which it was planted."""
    planted = []

    def replacing(make):
        @functools.wraps(make)
        def kernel(*arguments, **options):
            if mutation.kernel in arguments:
                changed = [
                    a.replace(mutation.old, mutation.new) if isinstance(a, str) else a
                    for a in arguments
                ]
                if "preamble" in options:
                    options["preamble"] = options["preamble"].replace(mutation.old, mutation.new)
                if changed != list(arguments) or mutation.new in options.get("preamble", "\0"):
                    planted.append(mutation.kernel)
                arguments = changed
            return make(*arguments, **options)

        return kernel

    cupy.RawKernel = replacing(cupy.RawKernel)
    cupy.ElementwiseKernel = replacing(cupy.ElementwiseKernel)
    return planted


_planted = []


def pytest_configure(config):
    """Plant the fault whose number the environment names."""
    import cupy

    config.stash.setdefault("planted", plant(MUTATIONS[int(os.environ[_VARIABLE])], cupy))
    global _planted
    _planted = config.stash["planted"]


def pytest_sessionfinish(session):
    """Say if the source had no such text."""
    if not _planted:
        session.exitstatus = NOT_PLANTED


def try_mutation(number):
    """Plant a fault in a process of its own; return 'caught', 'survived' or 'not planted'.

    Memory is checked, so that a write behind an array is found.
    """
    sys_path = os.pathsep.join(filter(None, [str(ROOT / "tools"), os.environ.get("PYTHONPATH")]))
    options = ["-q", "-x", "--device=cuda", "-p", "cuda_on_cpu.mutations", "-p", "no:cacheprovider"]
    command = [sys.executable, "tools/cuda_on_cpu", "-m", "pytest", *options]
    done = subprocess.run(
        [*command, *MUTATIONS[number].command()],
        cwd=ROOT,
        env={
            **os.environ,
            _VARIABLE: str(number),
            "PYTHONPATH": sys_path,
            "CUDA_ON_CPU_MEMCHECK": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    outcomes = {0: "survived", 1: "caught", NOT_PLANTED: "not planted"}
    return (
        outcomes.get(done.returncode) or f"pytest failed: {done.stdout[-500:]}{done.stderr[-500:]}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-k", default="", metavar="TEXT", help="only faults with this text")
    chosen = parser.parse_args().k
    wrong = 0
    for number, mutation in enumerate(MUTATIONS):
        if chosen in str(mutation):
            outcome = try_mutation(number)
            wrong += outcome != "caught"
            print(f"{outcome:12} {mutation}", flush=True)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
