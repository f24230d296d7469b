"""Decode image files of many formats, and convert them to files that MXNet's reader decodes."""
from __future__ import annotations

import contextlib
import importlib
import io
import re
from functools import lru_cache, partial
from typing import Callable

import cv2
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from ..system.errors import ArgumentError
from ..system.memory import check_decoded_size

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MIN_SIDE = 8  # pixels; smaller images are icons and tracking pixels
MAX_ASPECT = 16  # long side / short side
SIGNATURE = re.compile(rb"BM|GIF8|\xff\xd8\xff|\x89PNG|P[1-7fFyY]\s|RIFF....WEBP"
                       rb"|II[*+]\0|MM\0[*+]|II\0\*|MM\*\0", re.DOTALL)
PAD_COLORS = {"white": 255, "gray": 128, "black": 0}
_HEIF = re.compile(rb"....ftyp(avi[fs]|hei[cfmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL)
_ORIENTATION = 0x0112  # the Exif tag
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # accept images with a long text


def find_problem(head: bytes) -> str:
    """Return why a file that begins with `head` cannot be an image to train on, or ""."""
    match = _HEIF.match(head)
    if not match:
        return "" if SIGNATURE.match(head) else "is not an image"
    name, fix = (("AVIF", "'pillow>=11.3'") if match[1].startswith(b"avi") else
                 ("HEIF", "pillow-heif"))
    return "" if name in find_optional_formats() else (
        f"is in the format {name.replace('HEIF', 'HEIC')}: convert it, or pip install {fix}")


@lru_cache(None)
def find_optional_formats() -> tuple[str, ...]:
    """Return the formats that some versions of Pillow, or its plug-in pillow-heif, read."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    return tuple(name for name in ("AVIF", "HEIF") if name in Image.OPEN)


def decode(raw: bytes, side: int = 0, grey: bool | None = None) -> np.ndarray:
    """Return the first frame of an image file, (H, W) or (H, W, 3) in RGB, uint8, upright.

    Unless `side` is 0, the shorter side is scaled to it. If `grey` is None, the result is grey if
    the file is. Transparent pixels are blended with white. Raises ValueError with the reason.
    """
    pixels = _decode(raw, side, grey)
    return scale(pixels, side) if side else pixels


def make_decoder(data_shape: tuple[int, int, int], crop: tuple[int, int] | str, fit: str,
                 pad_color: str, exact: bool) -> Callable[[bytes], np.ndarray]:
    """Return a function that decodes an image for `ImagenetIter`, up to its random crops.

    For these, the shorter side is enlarged to the maximum of `crop`, or scaled to it if `exact`.
    """
    for name, value, valid, expected in (
            ("data_shape", data_shape, data_shape[0] in (1, 3), "1 channel or 3"),
            ("crop", crop, crop in ("center", "none") if isinstance(crop, str) else
             1 <= crop[0] <= crop[1], "center, none, or minimum and maximum side in pixels"),
            ("fit", fit, fit in ("pad", "stretch"), "pad or stretch"),
            ("pad_color", pad_color, pad_color in PAD_COLORS, ", ".join(PAD_COLORS))):
        if not valid:
            raise ArgumentError(name, f"invalid value {value!r}: expected {expected}")
    grey = data_shape[0] == 1
    if isinstance(crop, str):
        return partial(decode_whole, shape=data_shape[1:], grey=grey,
                       fit="crop" if crop == "center" else fit, pad_color=pad_color)
    return partial(decode_at_least, side=crop[1], grey=grey, exact=exact)


def decode_at_least(raw: bytes, side: int, grey: bool, exact: bool) -> np.ndarray:
    """Decode an image, and enlarge it, or scale it if `exact`, to a shorter side of `side`."""
    pixels = decode(raw, side if exact else 0, grey)
    return scale(pixels, side) if min(pixels.shape[:2]) < side else pixels


def decode_whole(raw: bytes, shape: tuple[int, int], grey: bool, fit: str = "crop",
                 pad_color: str = "white") -> np.ndarray:
    """Return an image file as pixels of a shape, (H, W) or (H, W, 3); otherwise like `decode`.

    `fit` says what happens to an image of other proportions: its margins are cut off equally on
    both sides (crop), it gets margins of `pad_color` (pad), or it is stretched (stretch).
    """
    pixels = _decode(raw, 2 * max(shape), grey)
    (height, width), (new_height, new_width) = pixels.shape[:2], shape
    ratios = height / new_height, width / new_width
    if fit == "crop":
        height, width = (round(min(ratios) * length) for length in shape)
        top, left = (int(a - b) // 2 for a, b in zip(pixels.shape, (height, width)))
        pixels = pixels[top:top + height, left:left + width]
    elif fit == "pad":
        new_height, new_width = (max(1, round(length / max(ratios))) for length in (height, width))
    pixels = resize(pixels, (new_height, new_width))
    top, left = (shape[0] - new_height) // 2, (shape[1] - new_width) // 2
    bottom, right = shape[0] - new_height - top, shape[1] - new_width - left
    return cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT,
                              value=(PAD_COLORS[pad_color],) * 3)


def normalize_image(raw: bytes, resize: int = 256, quality: int = 95) -> bytes:
    """Return an image file that MXNet's reader decodes: `raw` itself if it needs no change.

    Scaled images become JPEG; others PNG, lossless up to 8 bits. Raises ValueError like `decode`.
    """
    pixels = decode(raw, resize)
    image = Image.open(io.BytesIO(raw))
    scaled = resize not in (0, min(image.size))
    if (not scaled and image.format in ("JPEG", "PNG") and image.mode in ("L", "RGB")
            and "transparency" not in image.info and image.getexif().get(_ORIENTATION, 1) == 1):
        return raw
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    suffix, option = ((".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]) if scaled else
                      (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]))
    return cv2.imencode(suffix, pixels, option)[1].tobytes()


def scale(pixels: np.ndarray, side: int) -> np.ndarray:
    """Scale an image so that its shorter side has `side` pixels."""
    height, width = pixels.shape[:2]
    ratio = side / min(width, height)
    method = cv2.INTER_CUBIC if ratio > 1 else cv2.INTER_LINEAR if ratio > 0.5 else cv2.INTER_AREA
    return cv2.resize(pixels, (round(ratio * width), round(ratio * height)), interpolation=method)


def resize(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Average areas where an image shrinks, then interpolate where it grows."""
    height, width = map(min, zip(pixels.shape, shape))
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _check_header(image: Image.Image, file_size: int) -> None:
    """Raise ValueError if an image's header shows that it is useless or not to be trusted."""
    short, long = sorted(image.size)
    for wrong, reason in (
            (short < MIN_SIDE, f"is too small, less than {MIN_SIDE} pixels"),
            (long > MAX_ASPECT * short, f"is too narrow, more than 1:{MAX_ASPECT}"),
            (image.mode == "F" or (image.mode, image.format) == ("I", "TIFF"),
             "has 32-bit pixels, whose range is unknown")):
        if wrong:
            raise ValueError(f"{reason}: {image.width}x{image.height}")
    check_decoded_size(image, file_size)


def _decode(raw: bytes, side: int, grey: bool | None) -> np.ndarray:
    """Return the pixels of a file; of a JPEG perhaps fewer, but `side` or more on each side.

    Pillow decodes exactly as OpenCV, which is faster, but prints a line on every odd JPEG file.
    """
    try:
        formats = (*FORMATS, *find_optional_formats()) if _HEIF.match(raw) else FORMATS
        image: Image.Image = Image.open(io.BytesIO(raw), formats=formats)
        _check_header(image, len(raw))
        image.draft("L" if grey and image.mode == "RGB" else None, (side, side) if side else None)
        if image.getexif().get(_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        if image.mode not in ("L", "RGB") or "transparency" in image.info:
            image = _to_8_bits(image)
        mode = image.mode if grey is None else "L" if grey else "RGB"
        return np.asarray(image if image.mode == mode else image.convert(mode))
    except Image.UnidentifiedImageError:
        raise ValueError(find_problem(raw) or "is not an image") from None
    except (ValueError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # a decoder raises anything on a damaged file
        raise ValueError(f"is damaged: {error}") from None


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Return an image as 8-bit grey or RGB, blended with white where it is transparent."""
    if image.mode.startswith("I"):  # 16-bit grey has several names; cameras fill 12 bits
        values = np.asarray(image)
        return Image.fromarray((values >> (8 if values.max() > 4095 else 4)).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")
