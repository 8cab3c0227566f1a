"""The namespace of the array API standard (data-apis.org/array-api, 2023.12), which `x.__array_namespace__()` gives,
for libraries that take any array.

SciPy, scikit-learn and others compute with tensors through it, and array-api-compat finds it. The default dtypes are
float32 and int32. There are no uint32, uint64 or complex numbers. Sorting, searching, sets and linear algebra beyond
products are done by NumPy, without gradients; everything else is differentiable.

>>> x = tengen.tensor([3.0, 4.0])
>>> xp = x.__array_namespace__()
>>> print(xp.linalg.vector_norm(x))
Tensor(5.0, device=xpux:0)
"""

from . import arithmetic, creation, dtypes, linalg, reductions, searching, shapes
from .arithmetic import *  # noqa: F403
from .creation import *  # noqa: F403
from .dtypes import *  # noqa: F403
from .dtypes import __array_namespace_info__
from .linalg import matmul, matrix_transpose, tensordot, vecdot
from .reductions import *  # noqa: F403
from .searching import *  # noqa: F403
from .shapes import *  # noqa: F403

__array_api_version__ = "2023.12"

__all__ = ["__array_api_version__", "__array_namespace_info__", "linalg"]
__all__ += ["matmul", "matrix_transpose", "tensordot", "vecdot"]
__all__ += arithmetic.__all__
__all__ += creation.__all__
__all__ += dtypes.__all__
__all__ += reductions.__all__
__all__ += searching.__all__
__all__ += shapes.__all__
