"""tengen: a small, fast deep-learning framework with MegEngine's API, whose kernels are generated from Python.

>>> import tengen, tengen.functional as F
>>> x = tengen.tensor([[1.0, 2.0], [3.0, 4.0]])
>>> print(F.softmax(x, axis=1))
Tensor([[0.2689 0.7311]
 [0.2689 0.7311]], device=xpux:0)
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if sys.version_info < (3, 10):  # noqa: UP036 - who runs the sources has no pip to ask
    raise ImportError(f"tengen needs Python 3.10 or newer; this is Python {sys.version.split()[0]}")

from . import config  # isort: skip - its knobs come before what they set
from . import amp, autodiff, device, dtr, dtype, functional, jit, module, optimizer, random, serialization
from .base.later import when_imported
from .base.missing import explain_functions, explain_module
from .base.usage import UsageWarning
from .core import Parameter, Tensor, check_misc
from .device import (
    coalesce_free_memory,
    get_allocated_memory,
    get_cuda_compute_capability,
    get_cuda_device_property,
    get_cuda_driver_version,
    get_cuda_version,
    get_cudnn_version,
    get_default_device,
    get_device_count,
    get_max_allocated_memory,
    get_max_reserved_memory,
    get_mem_status_bytes,
    get_reserved_memory,
    get_tensorrt_version,
    is_atlas_available,
    is_cambricon_available,
    is_cuda_available,
    is_rocm_available,
    reset_max_memory_stats,
    set_default_device,
    set_prealloc_config,
)
from .jit import fuse
from .logger import enable_debug_log, get_logger, set_log_file, set_log_level
from .serialization import load, save

if TYPE_CHECKING:
    from . import utils  # imported when it is asked for

tensor = Tensor
__version__: str  # read when it is asked for, from what is installed

explain_functions(Tensor, functional)
explain_module(
    __name__, functional, functional.loss, functional.vision, random, module, module.init, optimizer, jit, autodiff
)
explain_module("tengen.functional", functional.loss, functional.vision)
explain_module("tengen.module", functional, functional.loss, module.init)
for _name in "elemwise inplace loss math metric nn quantized tensor vision".split():
    explain_module(f"tengen.functional.{_name}", functional)
for _name in "amp autodiff dtr jit module.init optimizer optimizer.lr_scheduler random".split():
    explain_module(f"tengen.{_name}")
when_imported("einops._backends", lambda backends: import_module(f"{__name__}.utils.einops").make_backend(backends))
