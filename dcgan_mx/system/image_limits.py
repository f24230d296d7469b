"""A limit on the memory that decoding an image takes: small files may claim any size."""
from __future__ import annotations

from typing import Any

MAX_DECODED = 1 << 29  # bytes: 134 million pixels in colour
_ANY_FILE, _PER_BYTE = 1 << 25, 512  # decoded bytes that any file, and each of its bytes, may claim


def check_decoded_size(image: Any, file_size: int) -> None:
    """Raise ValueError if an opened, not yet decoded Pillow image would take too much memory.

    Pillow holds a pixel in 4 bytes unless it is plain grey. Palettes and transparency are
    converted to RGB and RGBA, so they count as 4. Photographs have more than 0.1 bits a pixel.
    """
    grey = image.mode in ("1", "L") and "transparency" not in image.info
    size = image.width * image.height * (1 if grey else 4)
    if size > MAX_DECODED:
        raise ValueError(f"is too large, more than {MAX_DECODED >> 20} MiB decoded: "
                         f"{image.width}x{image.height}")
    if size > _ANY_FILE + _PER_BYTE * file_size:
        raise ValueError(f"claims too many pixels for a file of {file_size} bytes: "
                         f"{image.width}x{image.height}")
