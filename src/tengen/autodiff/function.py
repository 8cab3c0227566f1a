"""Function: an operation whose gradient the user writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _rt
from ..core.tensor import Tensor


class Function:
    """Derive from this and write `forward(self, *inputs)` and `backward(self, *output_grads)`; then call an instance.

    Neither method is recorded: what `backward` returns (one gradient per input, or None for one without) is the
    gradient. Values
    that backward needs are kept on `self`. Use a new instance for each call.

    >>> class Double(Function):
    ...     def forward(self, x):
    ...         return x * 2
    ...     def backward(self, dy):
    ...         return dy * 2
    >>> print(Double()(Tensor(3.0)))
    Tensor(6.0, device=xpux:0)
    """

    def forward(self, *inputs: Any) -> Tensor | Sequence[Tensor]:
        """Compute the outputs."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(self, *inputs)")

    def backward(self, *output_grads: Any) -> Tensor | Sequence[Tensor | None] | None:
        """Compute the gradients of the inputs from those of the outputs (None for an output that nothing used)."""
        raise NotImplementedError(f"{type(self).__name__} must define backward(self, *output_grads)")

    def __call__(self, *inputs: Any) -> Any:
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        result = self.forward(*(x.detach() if isinstance(x, Tensor) else x for x in inputs))
        outputs = [result] if isinstance(result, Tensor) else list(result)
        if not all(isinstance(y, Tensor) for y in outputs):
            raise TypeError(
                f"{type(self).__name__}.forward must return a tensor or several, got {type(result).__name__}"
            )
        outputs = [y.detach() for y in outputs]

        def backward(*grads: Tensor | None) -> list[Tensor | None]:
            found = self.backward(*grads)
            given = [found] if found is None or isinstance(found, Tensor) else list(found)
            if len(given) != len(inputs):
                raise ValueError(
                    f"{type(self).__name__}.backward returned {len(given)} gradients for {len(inputs)} inputs"
                )
            return [g for g, x in zip(given, inputs, strict=True) if isinstance(x, Tensor)]

        _rt.record(tensors, outputs, backward)
        if isinstance(result, Tensor):
            return outputs[0]
        return type(result)(outputs) if isinstance(result, (list, tuple)) else outputs
