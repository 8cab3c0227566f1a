"""The collective operations, which are `tengen.functional.distributed`."""

from ..functional.distributed import *  # noqa: F403
from ..functional.distributed import __all__ as __all__
