"""The ways to compute a sum of products: WAYS. The one with the least cost is planned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..geometry import ROLES, ConvShape, Form, MatmulShape
from ..kernels.epilogue import Epilogue
from ..program import Type
from ..view import View
from .contractions import by_blocks, by_threads, matmul
from .contractions.device_loops import DeviceRequest
from .contractions.problem import Offer, Storage, Unit, choose_way
from .convolutions import forms


class Request(NamedTuple):
    """A contraction for which kernels are to be planned.

    views: where the inputs lie, after `spread`. epilogue: what the kernels should make of the result and sum up over
    its rows; an offer says why they cannot.
    strides: those that the result should have, if the form allows any order. repeated: it is in a loop, where a copy of
    a constant operand is made once for all steps. zero: what stands for 0 in operand A.
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
    zero: int = 0

    @property
    def storage(self) -> Storage:
        first, second = ROLES[self.form].operands
        a, b = self.types[first].dtype, self.types[second].dtype
        return Storage(a, b, self.out.dtype, epilogue=self.epilogue, zero=self.zero)


def spread(geometry: MatmulShape | ConvShape, view: View) -> View:
    """An input as the loops see it: a batched product broadcasts batch dims."""
    return view.broadcast((*geometry.batch, *view.shape[-2:])) if isinstance(geometry, MatmulShape) else view


def offered(request: Request) -> Offer:
    """The offer of the way of least cost."""
    make = _for_threads if request.unit.device else _product if request.form == "matmul" else _convolution
    return choose_way(WAYS, request.form, make(request))[1]


WAYS = (*by_blocks.WAYS, *by_threads.WAYS, *forms.WAYS, *matmul.WAYS)
"""All ways to compute a sum of products."""


def _for_threads(request: Request) -> DeviceRequest:
    a, b = (request.views[i].strides for i in ROLES[request.form].operands)
    parts = request.out.shape, request.unit, request.storage, request.strides
    return DeviceRequest(request.form, request.geometry, a, b, *parts)


def _product(request: Request) -> matmul.Product:
    (a, b), shape = request.views, request.geometry
    assert isinstance(shape, MatmulShape)
    batch = [matmul.Batch(*loop) for loop in zip(shape.batch, a.strides, b.strides, strict=False)]
    pairs = (a.strides[-2], a.strides[-1]), (b.strides[-2], b.strides[-1])
    turn = not request.repeated  # which would save a copy of b
    return matmul.Product(
        shape.m, shape.k, shape.n, *pairs, request.unit, batch, request.storage, turn, request.strides
    )


def _convolution(request: Request) -> forms.ConvRequest:
    shape, views = request.geometry, request.views
    assert isinstance(shape, ConvShape)
    image, other = [views[i] for i in ROLES[request.form].operands]
    made = forms.ConvRequest(request.form, shape, request.unit, request.storage, forms.is_channels_last(image))
    if request.form == "by weight":
        return made._replace(images_last=forms.is_images_last(image, other), dy_in_place=forms.is_channels_last(other))
    made = made._replace(images_last=forms.is_images_last(image))
    return made._replace(planes=forms.is_planes(image), window=other.strides) if request.form == "forward" else made
