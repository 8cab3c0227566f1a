"""`autocast`: products in a lower precision, functions that need it in a higher one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any

from .precision import Setting, enter, float_name, leave


class autocast:
    """Automatic mixed precision, as a context manager or a decorator.

    Inside, products (matmul, `@`, linear, convolutions of 1 and 2 dims and their transposes) and batch_norm convert
    their inputs to the low precision and give results in it; those inside recurrent layers and cells convert theirs
    too, but states and results stay as they are. Functions that lose too much there (division, powers, square roots,
    exponentials, logarithms, trigonometric and hyperbolic functions but for tanh, norms, softplus, logsigmoid,
    hsigmoid, logsoftmax, logsumexp, layer_norm, group_norm) convert theirs to the high one; means, variances and losses
    are float32 anyway. All else has the dtype of its inputs. Parameters, their gradients and running statistics keep
    their dtypes, and float64 is left alone. It holds for the thread that enters it. A backward computes with the dtypes
    of its forward, wherever it runs.

    float16 is what programs for GPUs ask for. No CPU multiplies it faster than float32, so here it means bfloat16,
    which has the range of float32: nothing overflows, and GradScaler is not needed, but does no harm. Where the CPU has
    no products of bfloat16 either (x86 without AVX512-BF16), nothing is converted at all, and one warning says so. The
    setting `tengen.config.autocast` (TENGEN_AUTOCAST) changes that: "bfloat16" converts to it on any machine, "asked"
    takes the dtypes that the program names (float16 is then stored and rounded so, computed in float32, and slower than
    that), and "off" does nothing.

    What to expect: with AMX (Intel Xeon since 2023) networks of large products and convolutions take a quarter to a
    half of the time of float32, small ones the same. With AVX512-BF16 alone a product takes half of the time at best
    where the instruction runs at full rate (AMD since Zen 4), and up to twice the time where it does not (Intel without
    AMX, or where the system keeps AMX from the process). `python -m benchmarks.autocast` measures it.

    Args:
        enabled: False computes as without autocast, also inside another one.
        low_prec_dtype, high_prec_dtype: "float16", "bfloat16" or "float32".

    Raises:
        ValueError, TypeError: the dtype is not supported.

    >>> from tengen.amp import autocast
    >>> x = tengen.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> with tengen.config.override(autocast="bfloat16"), autocast():
    ...     y = F.matmul(x, x)
    ...     z = F.exp(y)
    >>> y.dtype.name, z.dtype.name, F.matmul(x, x).dtype.name
    ('bfloat16', 'float32', 'float32')
    """

    def __init__(self, enabled: bool = True, low_prec_dtype: Any = "float16", high_prec_dtype: Any = "float32") -> None:
        self.enabled = bool(enabled)
        self.low_prec_dtype = float_name("low_prec_dtype", low_prec_dtype)
        self.high_prec_dtype = float_name("high_prec_dtype", high_prec_dtype)

    def __enter__(self) -> autocast:
        enter(Setting(self.enabled, self.low_prec_dtype, self.high_prec_dtype))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leave()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, under autocast whenever it is called."""

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapper
