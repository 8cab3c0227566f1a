"""Runs programs written for MegEngine: from here on `import megengine`, and each of its modules, gives tengen.

    python -m tengen.compat.megengine script.py args…
    python -m tengen.compat.megengine -m module args…

does so for a program as it is; `import tengen.compat.megengine` at its top does the same. A name of MegEngine that tengen does
not have yet can be imported, and says so when it is used.

>>> import tengen.compat.megengine
>>> import megengine.functional as F
>>> F.relu is tengen.functional.relu
True
"""

from .finder import install

__all__ = ["install"]

install()
