"""Any picture becomes a file that MXNet's record reader can decode."""
from __future__ import annotations

import io
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageOps

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MIN_SIDE = 8  # pixels; smaller pictures are icons and counters
MAX_PIXELS = 1 << 27
# Pixels: who claims more is not believed. A byte of PNG's compression (deflate) stands for 1032;
# black and white in more of one colour than that is no photograph.
_ANY_FILE_HOLDS, _A_BYTE_HOLDS = 1 << 22, 1032
MAX_ASPECT = 16  # long side / short side
_ORIENTATION = 0x0112  # the Exif tag


def encode(f: BinaryIO, resize: int = 256, quality: int = 95) -> bytes:
    """Return a picture in a form that MXNet's reader takes: 8 bits, grey or RGB, upright.

    Parameters
    ----------
    f
        At its start, of any of `FORMATS`; of several frames, the first counts.
    resize
        The shorter side is scaled to so many pixels, up or down; 0: never.
    quality : from 1 to 100
        Of JPEG, which pictures that are scaled become.

    Returns
    -------
    The file itself where it needs no change. A picture that changes without being scaled
    becomes PNG, and loses nothing but what 8 bits cannot hold. What is transparent is laid on
    white.

    Raises
    ------
    ValueError
        If it is no picture, or too small, too large or too narrow, or claims too many pixels
        for so small a file; the message says which.
    OSError
        If the file cannot be read.
    """
    try:
        image: Image.Image = Image.open(f, formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise ValueError("is no picture") from None
    except Image.DecompressionBombError:
        raise ValueError(f"has more than {MAX_PIXELS} pixels") from None
    short, long = sorted(image.size)
    size = f"{image.width}x{image.height} pixels"
    if short < MIN_SIDE:
        raise ValueError(f"is too small: {size}, and {MIN_SIDE}x{MIN_SIDE} is the least")
    if short * long > MAX_PIXELS:
        raise ValueError(f"is too large: {size}, and {MAX_PIXELS} in all is the most")
    if long > MAX_ASPECT * short:
        raise ValueError(f"is too narrow: {size}, and 1:{MAX_ASPECT} is the most")
    length = f.seek(0, io.SEEK_END)
    if short * long > _ANY_FILE_HOLDS + _A_BYTE_HOLDS * length:
        raise ValueError(f"claims {size}, too many for a file of {length} bytes")
    scaled = resize not in (0, short)
    turned = image.getexif().get(_ORIENTATION, 1) != 1
    plain = (image.format in ("JPEG", "PNG") and image.mode in ("L", "RGB") and not turned
             and "transparency" not in image.info)
    if plain and scaled and image.format == "JPEG":
        f.seek(0)
        return _scale(_decode_jpeg(f.read(), image.mode, short // resize), resize, quality)
    if scaled:
        image.draft(None, (resize, resize))  # JPEG: decode a half, a quarter or an eighth
    image.load()  # only now is it known to be whole
    if plain and not scaled:
        f.seek(0)
        return f.read()
    image = _to_8_bits(image)
    if turned:
        image = ImageOps.exif_transpose(image)
    if scaled:
        return _scale(np.asarray(image)[..., ::-1] if image.mode == "RGB" else np.asarray(image),
                      resize, quality)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _decode_jpeg(raw: bytes, mode: str, shrink: int) -> np.ndarray:
    """Return a JPEG file's pixels, BGR or grey, a `shrink`-th at least; faster than Pillow."""
    # OpenCV paints grey what is missing. No end marker can stand in the coded pixels.
    if raw.rfind(b"\xff\xd9") < raw.rfind(b"\xff\xda"):
        raise OSError("image file is truncated")
    reduced = next(n for n in (8, 4, 2, 1) if n <= max(1, shrink))
    flag = (f"IMREAD_REDUCED_{'COLOR' if mode == 'RGB' else 'GRAYSCALE'}_{reduced}" if reduced > 1
            else "IMREAD_COLOR" if mode == "RGB" else "IMREAD_GRAYSCALE")
    pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), getattr(cv2, flag))
    if pixels is None:
        raise OSError("image file cannot be decoded")
    return pixels


def _scale(pixels: np.ndarray, resize: int, quality: int) -> bytes:
    """Return the JPEG of BGR or grey pixels, scaled to a shorter side."""
    height, width = pixels.shape[:2]
    ratio = resize / min(width, height)
    method = cv2.INTER_CUBIC if ratio > 1 else cv2.INTER_LINEAR if ratio > 0.5 else cv2.INTER_AREA
    pixels = cv2.resize(pixels, (round(ratio * width), round(ratio * height)), interpolation=method)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Return a picture as grey or RGB of 8 bits, what is transparent as white."""
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise ValueError(f"is of {'floating-point' if image.mode == 'F' else '32-bit'} numbers, "
                         "whose range is not known")
    if image.mode.startswith("I"):  # 16 bits of grey, under several names
        values = np.asarray(image)
        pixels = (values >> 8).astype(np.uint8)
        if "transparency" in image.info:
            pixels[values == image.info["transparency"]] = 255
        return Image.fromarray(pixels)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
