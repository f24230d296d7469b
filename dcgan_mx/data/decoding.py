"""Decode images that Pillow has opened, in bounded memory."""
from __future__ import annotations

import contextlib
import io
import threading
from typing import Any, Iterator

import numpy as np
from PIL import Image, TiffImagePlugin

from ..system.memory import trim_heap

_MAX_MEMORY = 9 << 25  # bytes for all images that are being decoded: 33 megapixels in color
_UNITS = 64  # into which they are divided
_free, _turn = threading.Semaphore(_UNITS), threading.Lock()
_STRIP = 1 << 18  # pixels that are converted at once
_MAX_SCANS = 200  # of a JPEG file; encoders write about ten
_MAX_COMMENTS = 1000  # of a PPM file; Pillow takes quadratic time
_MAX_CHECKED = 1 << 25  # bytes of a JPEG file that is checked, which takes two copies


def estimate_memory(image: Image.Image) -> int:
    """Return the bytes that it takes to decode, turn, convert and encode an image, at most.

    A color pixel takes 4 bytes in Pillow and 3 in an array. Some decoders keep copies.
    """
    gray = image.mode in ("1", "L") and "transparency" not in image.info
    per_pixel = 3 if gray else {"WEBP": 16, "AVIF": 12, "HEIF": 12}.get(str(image.format), 9)
    pixels = image.width * image.height
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # a tile is decoded as a whole
        width, height = (image.tag_v2.get(tag, 0) for tag in (322, 323))
        pixels = max(pixels, width * height)
    return per_pixel * pixels


def check_time(image: Image.Image, raw: bytes) -> None:
    """Raise ValueError if a small file might take minutes to decode."""
    if image.format == "JPEG" and raw.count(b"\xff\xda") > _MAX_SCANS:
        raise ValueError(f"has more than {_MAX_SCANS} scans")
    if raw[:2] in (b"P1", b"P2", b"P3") and raw.count(b"#") > _MAX_COMMENTS:
        raise ValueError(f"has more than {_MAX_COMMENTS} comments")


@contextlib.contextmanager
def reserve_memory(memory: int, size: str) -> Iterator[None]:
    """Wait until other images leave enough memory; ValueError if an image needs more than all."""
    if memory > _MAX_MEMORY:
        raise ValueError(f"is too large, more than {_MAX_MEMORY >> 20} MiB to decode: {size}")
    units = -(-memory * _UNITS // _MAX_MEMORY)
    with _turn:  # small images do not overtake a large one
        for _ in range(units):
            _free.acquire()
    try:
        yield
    finally:
        trim_after(memory)
        for _ in range(units):
            _free.release()


def trim_after(memory: int) -> None:
    """Return the memory of a large image to the system; the heap of a thread would keep it."""
    if memory > _MAX_MEMORY // 8:
        trim_heap()


def has_several_scans(image: Image.Image, raw: bytes, scan: int) -> bool:
    """Whether a JPEG has several scans; the data of the first scan begin at `scan`."""
    header = raw.rfind(b"\xff\xda", 0, scan)
    return "progressive" in image.info or raw[header + 4] < len(image.getbands())


def load_jpeg(image: Any, file: io.BytesIO, raw: bytes) -> bool:
    """Decode a JPEG with one scan; return whether it has missing or extra bytes.

    The end marker is removed, because libjpeg silently fills in missing bytes if it finds the
    marker. The last byte is passed separately: if the decoder does not read it, there are extra
    bytes.
    """
    end = raw.find(b"\xff\xd9", file.tell())
    if not 0 < end < _MAX_CHECKED:
        return False
    file.seek(end)
    file.write(bytes(8))  # the decoder reads ahead
    file.truncate()
    image.decodermaxblock = end - 1
    try:
        image.load()
    except OSError:
        if not image.tile:  # all bytes were read: another error
            raise
        file.seek(end)
        file.write(raw[end:])
        image.load()
        return True
    rest = raw[end + 2:].lstrip(b"\0")  # phones append further JPEG files
    return file.tell() < end or bool(rest) and not rest.startswith(b"\xff\xd8")


def to_array(image: Image.Image, gray: bool | None) -> np.ndarray:
    """Return an image as 8-bit pixels, converted in strips, which saves memory."""
    (width, height), is_deep = image.size, image.mode.startswith("I")
    rows = max(1, _STRIP // width)
    strips = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    shift = 0
    if is_deep:  # 16-bit gray has several names; cameras fill 12 bits
        shift = 8 if max(np.asarray(image.crop(strip)).max() for strip in strips) > 4095 else 4
    if gray is None:
        gray = is_deep or image.mode in ("1", "L") and "transparency" not in image.info
    pixels = np.empty((height, width) if gray else (height, width, 3), np.uint8)
    for strip in strips:
        part = _to_8_bits(image.crop(strip), shift)
        pixels[strip[1]:strip[3]] = np.asarray(part.convert("L" if gray else "RGB"))
    return pixels


def _to_8_bits(image: Image.Image, shift: int) -> Image.Image:
    """Return an image as 8-bit gray or RGB, blended with white where it is transparent."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> shift).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
