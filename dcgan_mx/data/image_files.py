"""Image files of any kind: to pixels, and to files that MXNet's record readers decode."""
from __future__ import annotations

import io
import re

import cv2
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MIN_SIDE = 8  # pixels; smaller images are icons and counters
MAX_ASPECT = 16  # long side / short side
MAX_PIXELS = 1 << 27
# Pixels: larger claims are not believed. A byte of PNG's compression (deflate) stands for 1032;
# black and white in more of one colour than that is no photograph.
_ANY_FILE_HOLDS, _A_BYTE_HOLDS = 1 << 22, 1032
_BEGINNING = re.compile(rb"BM|GIF8|\xff\xd8\xff|\x89PNG|P[1-7fFyY]\s|RIFF....WEBP"
                        rb"|II[*+]\0|MM\0[*+]|II\0\*|MM\*\0", re.DOTALL)
_ORIENTATION = 0x0112  # the Exif tag
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # a long text spoils no image


def is_image(head: bytes) -> bool:
    """Whether a file that begins so may be of one of `FORMATS`."""
    return bool(_BEGINNING.match(head))


def decode(raw: bytes, side: int = 0, grey: bool | None = None) -> np.ndarray:
    """Return the pixels of an image file, (H, W) or (H, W, 3) in RGB, uint8, upright and opaque.

    The shorter side is scaled to `side` pixels, up or down; 0: never. With `grey` None they are
    grey if the file is. Of several frames the first counts; what is transparent is laid on white.
    Raises ValueError with a reason, before decoding where the file's head is enough for that.
    """
    try:
        image = Image.open(io.BytesIO(raw), formats=FORMATS)
        _check_head(image, len(raw))
        pixels = _decode(image, raw, max(1, min(image.size) // side) if side else 1, grey)
        return scale(pixels, side) if side else pixels
    except Image.UnidentifiedImageError:
        raise ValueError("is not an image") from None
    except (ValueError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # a decoder that meets a damaged file raises what it likes
        raise ValueError(f"is damaged: {error}") from None


def normalize_image(raw: bytes, resize: int = 256, quality: int = 95) -> bytes:
    """Return an image file that MXNet's reader takes: the same one if it needs no change.

    An image that is scaled, as `decode` says, becomes JPEG of a quality from 1 to 100, another one
    PNG, and loses nothing but what 8 bits cannot hold. Raises ValueError as `decode` does.
    """
    pixels = decode(raw, resize)
    image = Image.open(io.BytesIO(raw))
    scaled = resize not in (0, min(image.size))
    if (not scaled and image.format in ("JPEG", "PNG") and image.mode in ("L", "RGB")
            and "transparency" not in image.info and image.getexif().get(_ORIENTATION, 1) == 1):
        return raw
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    kind, option = ((".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]) if scaled else
                    (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]))
    return cv2.imencode(kind, pixels, option)[1].tobytes()


def scale(pixels: np.ndarray, side: int) -> np.ndarray:
    """Scale the shorter side of an image to so many pixels."""
    height, width = pixels.shape[:2]
    ratio = side / min(width, height)
    if ratio == 1:
        return pixels
    method = cv2.INTER_CUBIC if ratio > 1 else cv2.INTER_LINEAR if ratio > 0.5 else cv2.INTER_AREA
    return cv2.resize(pixels, (round(ratio * width), round(ratio * height)), interpolation=method)


def _check_head(image: Image.Image, length: int) -> None:
    """Raise ValueError if an image's head says that it is of no use, or not to be trusted."""
    short, long = sorted(image.size)
    for wrong, reason in (
            (short < MIN_SIDE, f"is too small, less than {MIN_SIDE} pixels"),
            (short * long > MAX_PIXELS, f"is too large, more than {MAX_PIXELS} pixels"),
            (long > MAX_ASPECT * short, f"is too narrow, more than 1:{MAX_ASPECT}"),
            (short * long > _ANY_FILE_HOLDS + _A_BYTE_HOLDS * length,
             f"claims too many pixels for a file of {length} bytes"),
            (image.mode == "F", "is of floating-point numbers, whose range is not known"),
            (image.mode == "I" and image.format == "TIFF",
             "is of 32-bit numbers, whose range is not known")):
        if wrong:
            raise ValueError(f"{reason}: {image.width}x{image.height}")


def _decode(image: Image.Image, raw: bytes, shrink: int, grey: bool | None) -> np.ndarray:
    """Return the pixels of an opened file; of JPEG, a `shrink`-th of its sides at least."""
    # OpenCV is faster, but paints grey what is missing: a whole file ends with its end marker.
    if (image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
            and raw.rfind(b"\xff\xd9") > raw.rfind(b"\xff\xda")):
        kind = "GRAYSCALE" if grey or (grey is None and image.mode == "L") else "COLOR"
        reduced = next(n for n in (8, 4, 2, 1) if n <= shrink)
        flag = f"IMREAD_REDUCED_{kind}_{reduced}" if reduced > 1 else f"IMREAD_{kind}"
        pixels: np.ndarray | None = cv2.imdecode(np.frombuffer(raw, np.uint8), getattr(cv2, flag))
        if pixels is None:
            raise OSError("it cannot be decoded")
        return pixels if kind == "GRAYSCALE" else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    image.draft(None, (image.width // shrink, image.height // shrink))
    image = _to_8_bits(ImageOps.exif_transpose(image))
    return np.asarray(image if grey is None else image.convert("L" if grey else "RGB"))


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Return an image as grey or RGB of 8 bits, what is transparent as white."""
    if image.mode.startswith("I"):  # 16 bits of grey, under several names; cameras fill 12 of them
        values = np.asarray(image)
        return Image.fromarray((values >> (8 if values.max() > 4095 else 4)).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
