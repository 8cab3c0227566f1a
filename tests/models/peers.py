"""torchvision and transformers, for the scripts and tests that have them installed."""

from __future__ import annotations

import sys
from types import ModuleType

# It declares the operators of torchvision's compiled part, which does not load where PyTorch is another build of the same version. Networks need
# none of them.
sys.modules.setdefault("torchvision._meta_registrations", ModuleType("torchvision._meta_registrations"))

import torch  # noqa: E402
import torchvision.models as vision  # noqa: E402
import transformers  # noqa: E402

__all__ = ["torch", "transformers", "vision"]
