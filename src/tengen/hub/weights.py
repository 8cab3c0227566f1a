"""Weights from a URL."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from ..base.download import digest, download
from ..base.errors import SerializationError
from ..logger import get_logger
from ..module import Module
from ..serialization import load
from .folder import hub_folder

_SUM_IN_NAME = re.compile(r"[_-]([0-9a-f]{8,64})\.[^.]+$")


def load_serialized_obj_from_url(url: str, model_dir: str | None = None) -> Any:
    """What `tengen.save`, or MegEngine, has saved in the file at a URL.

    The file is downloaded once, to `model_dir` or the setting `hub_dir`. If its name ends in eight or more digits of
    its SHA-256 sum, as `resnet18_78a63ca6.pkl` does, that is checked.

    Args:
        url: where the file is.
        model_dir: where it is kept; None for the setting `hub_dir`.

    Returns: what the file holds.

    Raises:
        SerializationError: the SHA-256 sum is wrong, or the file holds more than data.
        FileNotFoundError: there is no file.
        ConnectionError: the file cannot be downloaded.
    """
    name = os.path.basename(urlsplit(url).path)
    if not name:
        raise ValueError(f"{url} names no file")
    # Files of the same name may be at several URLs.
    place = f"{hashlib.sha256(url.encode()).hexdigest()[:6]}_{name}"
    path = os.path.join(model_dir or hub_folder("serialized"), place)
    if not os.path.exists(path):
        get_logger(__name__).info("downloading %s to %s ...", url, path)
        download(url, path)
    _check_sum(path, name, url)
    return load(path)


def _check_sum(path: str, name: str, url: str) -> None:
    """Remove a file whose sum is not what its name says, and raise SerializationError."""
    wanted = _SUM_IN_NAME.search(name)
    found = digest(path, "sha256") if wanted else ""
    if wanted and not found.startswith(wanted[1]):
        os.remove(path)
        raise SerializationError(
            f"the file at {url} is damaged or was changed: its SHA-256 sum begins with {found[: len(wanted[1])]}, its name says {wanted[1]}"
        )


class pretrained:
    """Decorates a function that makes a network: with `pretrained=True`, its first argument, the network gets the weights at `url`.

    The function gets the other arguments. Raises what `load_serialized_obj_from_url` and `load_state_dict` raise.

    Args:
        url: where the weights are.

    >>> @pretrained("https://example.org/linear_78a63ca6.pkl")
    ... def linear(features=2):
    ...     return M.Linear(features, 3)
    >>> linear(features=4).weight.shape
    (3, 4)
    """

    def __init__(self, url: str):
        self.url = url

    def __call__(self, func: Callable[..., Module]) -> Callable[..., Module]:
        @wraps(func)
        def made(pretrained: bool = False, **options: Any) -> Module:
            network = func(**options)
            if pretrained:
                network.load_state_dict(load_serialized_obj_from_url(self.url))
            return network

        return made
