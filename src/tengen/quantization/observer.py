"""Observers."""

from ..base.world import joined as is_distributed
from ..base.world import membership
from ..core import Tensor
from ..functional.distributed import all_reduce_max, all_reduce_min
from ..logger import get_logger
from ..module import Module
from ..module.quantization import observer as _observer
from ..module.quantization.observer import *  # noqa: F403
from .utils import QParams, QParamsModuleMixin, QuantDtypeMeta, QuantMode, create_qparams


def get_rank() -> int:
    """The rank of this process; 0 without a world."""
    return membership().rank if is_distributed() else 0


__all__ = [
    "Module", "QParams", "QParamsModuleMixin", "QuantDtypeMeta", "QuantMode", "Tensor", "all_reduce_max", "all_reduce_min",
    "create_qparams", "get_logger", "get_rank", "is_distributed", *_observer.__all__,
]  # fmt: skip
