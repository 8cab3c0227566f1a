"""Image files, archives and downloads."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

from ....base.download import digest, download
from ....base.errors import SerializationError
from ....logger import get_logger
from ....safe_pickle import SafeUnpickler
from ...transform.vision.functional import opencv

IMG_EXT = (".jpg", ".png", ".jpeg", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def is_img(filename: str) -> bool:
    """Whether a file has the name of an image.

    >>> is_img("cat.JPEG"), is_img("cat.txt")
    (True, False)
    """
    return filename.lower().endswith(IMG_EXT)


def read_image(path: str, gray: bool = False) -> np.ndarray[Any, Any]:
    """Read an image file as uint8 (height, width, 3) or (height, width, 1). Raises FileNotFoundError, or ValueError if it is corrupt."""
    cv2 = opencv()
    with open(path, "rb") as file:
        data = np.frombuffer(file.read(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise ValueError(f"{path} is not an image that can be read")
    made: np.ndarray[Any, Any] = image[..., None] if gray else image
    return made


def load_raw_data_from_url(url: str, filename: str, target_md5: str, raw_data_dir: str, timeout: float) -> None:
    """Download the file `filename` to a folder unless it is there. Raises ValueError if its MD5 sum is wrong."""
    path = os.path.join(raw_data_dir, filename)
    if not os.path.exists(path):
        get_logger(__name__).info("downloading %s to %s ...", url, path)
        download(url, path, timeout)
    found = digest(path, "md5")
    if found != target_md5:
        raise ValueError(f"{path} has the MD5 sum {found}, not {target_md5}: it is damaged; remove it and try again")


def untar(path: str, to: str, remove: bool = False) -> None:
    """Unpack a tar file, compressed or not, into a folder. Members that would leave that are refused."""
    with tarfile.open(path) as archive:
        archive.extractall(to, filter="data")
    if remove:
        os.remove(path)


class _Counted(BytesIO):
    length = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.length += len(data)
        return data


def load_batch(path: str) -> Mapping[bytes, Any]:
    """Load a pickled dict of arrays and plain values, such as CIFAR's, where texts are bytes. It never runs code from the file."""
    with open(path, "rb") as file:
        reader = SafeUnpickler(_Counted(file.read()), str, encoding="bytes")
    try:
        made = reader.load()
    except Exception as error:
        raise SerializationError(f"{path} is not a batch that can be read: {error}") from error
    if not isinstance(made, Mapping):
        raise SerializationError(f"{path} holds a {type(made).__name__}, not a dict")
    return made
