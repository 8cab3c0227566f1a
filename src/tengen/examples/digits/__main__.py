"""Run the demo, or say what must be installed for it."""

from __future__ import annotations

import sys

try:
    from .cli import main
except ModuleNotFoundError as error:
    if error.name not in ("matplotlib", "scipy", "sklearn", "tqdm"):
        raise
    sys.exit(
        f"digits: error: {error.name} is not installed, which the extra 'demo' brings; run: pip install 'tengen[demo]'"
    )

sys.exit(main())
