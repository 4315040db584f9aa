"""Pictures inside an HTML page: as small as they can be without a visible loss."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from amfir_lib.errors import DataNotFound

LOSSLESS_BYTES = 100_000  # curves stay below this without loss; pictures of clips do not
LOSSY_FROM = 300_000  # bytes of a PNG file from which trying without loss is a waste of time
QUALITY = 85  # of WebP, for what is larger
LOSSLESS = 101  # OpenCV's sign for WebP without loss


@dataclass(frozen=True)
class Picture:
    """An image as a page holds it.

    Attributes:
        uri: ``data:image/webp;base64,...``.
        width, height: in px, so that a page keeps its layout while it loads.
    """

    uri: str
    width: int
    height: int


def picture_of_file(path: Path) -> Picture:
    """The picture of a PNG file.

    Raises:
        DataNotFound: the file is not there, or is no image.
    """
    return picture_of_bytes(path.read_bytes() if path.exists() else b"", str(path))


def picture_of_bytes(content: bytes, name: str = "the picture") -> Picture:
    """The picture of an encoded image, re-encoded as WebP: without loss where that is small, else at quality 85.

    Raises:
        DataNotFound: the bytes are no image; ``name`` is what the message calls them.
    """
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    if pixels is None:
        raise DataNotFound(f"{name} is not there or is no image. Run its notebook again with --force.")
    encoded = None
    if len(content) < LOSSY_FROM:
        encoded = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, LOSSLESS])[1]
    if encoded is None or len(encoded) > LOSSLESS_BYTES:
        encoded = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1]
    text = base64.b64encode(encoded.tobytes()).decode()
    return Picture(f"data:image/webp;base64,{text}", width=pixels.shape[1], height=pixels.shape[0])
