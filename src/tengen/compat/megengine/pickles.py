"""Lets `pickle.load` read the tensors in pickles that MegEngine wrote."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import Parameter, Tensor
from ...base import device as devices


def install() -> None:
    """MegEngine's pickles make a tensor by `Tensor.__new__(Tensor, array, dtype, device)` alone, without `__init__`."""
    plain = Tensor.__new__

    def new(cls: type[Tensor], *args: Any, **keywords: Any) -> Any:
        made = plain(cls)
        if len(args) == 3 and not keywords and cls in (Tensor, Parameter) and isinstance(args[1], np.dtype):
            _fill(made, *args)
        return made

    Tensor.__new__ = staticmethod(new)  # type: ignore[method-assign,assignment]


def _fill(made: Tensor, array: Any, dtype: np.dtype[Any], device: Any) -> None:
    if dtype.metadata and dtype.metadata.get("mgb_dtype"):
        raise TypeError(
            "pickle.load: the file holds a quantized tensor, which pickle knows as bare integers; "
            "megengine.load(file) gives the numbers that they stand for"
        )
    Tensor.__init__(made, array, dtype, devices.require_or_default(str(device)))
