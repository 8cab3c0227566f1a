"""Where downloads are kept."""

from __future__ import annotations

import os

from ..base import config


def hub_folder(*names: str) -> str:
    """A path in the folder that the setting `hub_dir` names, or in `tengen-hub` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(config.get("hub_dir") or os.path.join(cache, "tengen-hub"), *names)
