"""Downloads, and sums of files."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request

from .files import write_whole

BLOCK = 1 << 20
TIMEOUT = 120.0  # seconds without an answer


def download(url: str, path: str, timeout: float = TIMEOUT) -> None:
    """Save what is at a URL as a file, whole or not at all; its folder is made.

    timeout: seconds to wait for the server. Raises FileNotFoundError if there is no file, ConnectionError for anything else that goes wrong on
    the way.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            expected = answer.headers.get("Content-Length")
            with write_whole(path) as file:
                size = 0
                while block := answer.read(BLOCK):
                    size += file.write(block)
                if expected is not None and size != int(expected):
                    raise ConnectionError(f"{url} was cut short: {size} of {expected} bytes came")
    except urllib.error.HTTPError as error:
        kind = FileNotFoundError if error.code in (404, 410) else ConnectionError
        raise kind(f"{url}: the server says {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        kind = FileNotFoundError if isinstance(error.reason, FileNotFoundError) else ConnectionError
        raise kind(f"{url} cannot be had: {error.reason}") from error


def digest(path: str, method: str) -> str:
    """The sum of a file's bytes by a method of hashlib, such as "sha256", in hexadecimal digits."""
    summed = hashlib.new(method, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            summed.update(block)
    return summed.hexdigest()
