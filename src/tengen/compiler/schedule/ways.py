"""How a sum of products is computed: from what is asked for, to the kernels of the way that is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..geometry import ROLES, ConvShape, Form, MatmulShape
from ..kernels.epilogue import Epilogue
from ..program import Type
from ..view import View
from .contractions.matmul import Batch, matmul
from .contractions.problem import ContractionPlan, Storage, Unit
from .convolutions import forms


class Request(NamedTuple):
    """What kernels of a contraction are to be planned for.

    views: where the inputs lie, once spread. epilogue: what its kernels make of the result, and sum up over its rows, if they can do all of
    that: else what is planned has no epilogue, and the caller asks for less. strides: that the result had better have, only of a form that may
    have any order. repeated: in a loop, where a copy of a constant operand is made once for all steps.
    """

    form: Form
    geometry: MatmulShape | ConvShape
    views: Sequence[View]
    types: Sequence[Type]
    out: Type
    unit: Unit
    epilogue: Epilogue | None = None
    strides: tuple[int, ...] | None = None
    repeated: bool = False

    @property
    def storage(self) -> Storage:
        a, b = (self.types[i].dtype for i in ROLES[self.form].operands)
        return Storage(a, b, self.out.dtype, epilogue=self.epilogue)


def spread(geometry: MatmulShape | ConvShape, view: View) -> View:
    """An input as the loops see it: a batched product broadcasts batch dims."""
    return view.broadcast((*geometry.batch, *view.shape[-2:])) if isinstance(geometry, MatmulShape) else view


def planned(request: Request) -> ContractionPlan:
    """The kernels, and what strides the result has."""
    return PLANNERS[request.form](request)


def _matmul(request: Request) -> ContractionPlan:
    (a, b), shape = request.views, request.geometry
    assert isinstance(shape, MatmulShape)
    batch = [Batch(*loop) for loop in zip(shape.batch, a.strides, b.strides, strict=False)]
    pairs = (a.strides[-2], a.strides[-1]), (b.strides[-2], b.strides[-1])
    turn = not request.repeated  # which would spare a copy of b
    sizes = shape.m, shape.k, shape.n
    return matmul(*sizes, *pairs, request.unit, batch, request.storage, turn, request.strides)


def _forward(request: Request) -> ContractionPlan:
    (image, window), shape = request.views, request.geometry
    assert isinstance(shape, ConvShape)
    lies = forms.is_channels_last(image), forms.is_planes(image), window.strides
    return forms.conv_forward(shape, request.unit, request.storage, *lies, forms.is_images_last(image))


def _by_data(request: Request) -> ContractionPlan:
    (_, image), shape = request.views, request.geometry
    assert isinstance(shape, ConvShape)
    lies = forms.is_channels_last(image), forms.is_images_last(image)
    return forms.conv_by_data(shape, request.unit, request.storage, *lies)


def _by_weight(request: Request) -> ContractionPlan:
    images, shape = request.views, request.geometry
    assert isinstance(shape, ConvShape)
    lies = forms.is_channels_last(images[0]), forms.is_images_last(*images)
    return forms.conv_by_weight(shape, request.unit, request.storage, *lies)


PLANNERS: Mapping[Form, Callable[[Request], ContractionPlan]] = {
    "matmul": _matmul,
    "forward": _forward,
    "by data": _by_data,
    "by weight": _by_weight,
}
