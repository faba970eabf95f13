"""Tensors with automatic differentiation on NumPy, and on CuPy where there is a GPU.

`Tensor` wraps an array and records how it was computed; the functions of this package, from
`nn_tensor.ops` and `nn_tensor.creation`, compute on Tensors and record, or on plain arrays and do
not; `nn_tensor.linalg` has those of `numpy.linalg`. `nn_tensor.has_cupy` tells whether a CUDA
device can be used. `nn_tensor.extend` is the API for new operations, `nn_tensor.testing` has
gradcheck and tables of test cases.
"""

from typing import TYPE_CHECKING, Any

from nn_tensor import creation, ops
from nn_tensor import linalg as linalg
from nn_tensor._autocast import autocast as autocast
from nn_tensor._device import has_cuda as _has_cuda
from nn_tensor._device import parse_device as parse_device
from nn_tensor._dtype import parse_dtype as parse_dtype
from nn_tensor._elsewhere import missing_name as _missing_name
from nn_tensor._fit import unbroadcast_grad as unbroadcast_grad
from nn_tensor._grad import grad as grad
from nn_tensor._kernel import use_kernels as use_kernels
from nn_tensor._memory import reuse_memory as reuse_memory
from nn_tensor._modes import detect_anomaly as detect_anomaly
from nn_tensor._modes import enable_grad as enable_grad
from nn_tensor._modes import is_grad_enabled as is_grad_enabled
from nn_tensor._modes import no_grad as no_grad
from nn_tensor._tensor import Tensor as Tensor
from nn_tensor.creation import *  # noqa: F403
from nn_tensor.linalg import norm as norm
from nn_tensor.ops import *  # noqa: F403
from nn_tensor.ops.elementwise import round as round  # not in __all__: Python has one, for floats

__version__ = "0.2.0"

_ELSEWHERE = """
    cat=concatenate; concat=concatenate; permute=transpose; unsqueeze=expand_dims; clamp=clip;
    mm=matmul; bmm=matmul; mul=multiply; sub=subtract; div=divide; neg=negative; pow=power;
    from_numpy=Tensor; as_tensor=Tensor; manual_seed=the argument rng of what is random;
    cuda=has_cupy and x.to('cuda'); device=a string, 'cpu' or 'cuda'; view=reshape;
    nn=nn_layers, nn_losses and nn_transformer; optim=nn_optim; save=nn_io.save_model_parameters;
    load=nn_io.load_state_dict_from_file; inference_mode=no_grad;
    GradientTape=backward of a Tensor, or grad
"""

if TYPE_CHECKING:
    has_cupy: bool
else:  # type checkers follow the imports above, and cannot follow these sums
    __all__ = [
        "Tensor",
        "autocast",
        "detect_anomaly",
        "enable_grad",
        "grad",
        "is_grad_enabled",
        "no_grad",
        "norm",
        "parse_device",
        "parse_dtype",
        "reuse_memory",
        "unbroadcast_grad",
        "use_kernels",
    ]
    __all__ += creation.__all__
    __all__ += ops.__all__


if not TYPE_CHECKING:  # to type checkers a name that is not here is an error

    def __getattr__(name: str) -> Any:
        if name == "has_cupy":  # CuPy is imported, and a device asked, only when it is needed
            return _has_cuda()
        raise _missing_name(__name__, name, _ELSEWHERE)


def __dir__() -> list[str]:
    return sorted(
        [*globals()["__all__"], "creation", "extend", "has_cupy", "linalg", "ops", "testing"]
    )
