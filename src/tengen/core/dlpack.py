"""Tensors to and from other frameworks without a copy, by the DLPack protocol."""

from __future__ import annotations

from typing import Any

from .tensor import Tensor


def to_dlpack(tensor: Tensor, stream: Any = None) -> Any:
    """A DLPack capsule that shares the tensor's memory; `stream` is for GPUs and has no meaning on a CPU.

    The consumer must not write to it: tensors are values.
    """
    return tensor.__dlpack__(stream=stream)


def from_dlpack(ext_tensor: Any, stream: Any = None) -> Tensor:
    """A tensor that shares the memory of a DLPack capsule, or of an object with `__dlpack__` such as a NumPy array or a PyTorch tensor.

    The producer must not write to it afterwards; read-only memory is fine. `stream` is for GPUs and has no meaning on a
    CPU. Raises TypeError for any other object or for a dtype that tengen lacks, and ValueError for a capsule that was
    already consumed or for memory that is not a CPU's.

    >>> import numpy as np
    >>> print(from_dlpack(np.arange(3, dtype=np.float32)))
    Tensor([0. 1. 2.], device=cpu0:0)
    """
    made: Tensor = Tensor._from_dlpack(_capsule(ext_tensor) if hasattr(ext_tensor, "__dlpack__") else ext_tensor)
    return made


def _capsule(producer: Any) -> Any:
    try:
        return producer.__dlpack__(max_version=(1, 0))  # it can say that memory is read-only
    except TypeError:  # the producer is older than versions of the protocol
        pass
    return producer.__dlpack__()
