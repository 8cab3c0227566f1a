"""Element-wise functions as layers."""

from __future__ import annotations

from .._rt import apply
from ..core import Tensor
from ..core.ops.formula import elementwise
from .module import Module

__all__ = ["Elemwise"]


class Elemwise(Module):
    """An element-wise function as a layer, so that quantisation can find it.

    Args:
        method: its name, in upper or lower case: "add", "sub", "mul", "true_div", "relu", "erfinv" …, or a fused one
            such as "fuse_add_relu" (relu(x + y)) and "fuse_mul_add3" (x · y + z). Names that end in "_grad" give the
            gradient of a function from its operand ("sigmoid_grad", "tanh_grad": its result) and that of its result.
        name: any text, kept as `.name`.

    Raises:
        ValueError: the name is unknown.

    >>> M.Elemwise("fuse_add_relu")(tengen.tensor([-3.0, 1.0]), tengen.tensor([1.0, 1.0])).tolist()
    [0.0, 2.0]
    """

    def __init__(self, method: str, name: str | None = None):
        super().__init__(name)
        elementwise(str(method))
        self.method = method

    def forward(self, *inps: Tensor) -> Tensor:
        made: Tensor = apply(elementwise(str(self.method)), *inps)
        return made
