"""Decode image files of many formats, and convert them to files that MXNet's reader decodes."""
from __future__ import annotations

import contextlib
import importlib
import io
import re
from functools import lru_cache, partial
from typing import Callable, TypeVar

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from ..system.errors import ArgumentError
from ..system.opencv import cv2
from . import decoding

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MIN_SIDE = 8  # pixels; smaller images are icons and tracking pixels
MAX_ASPECT = 16  # long side / short side
SIGNATURE = re.compile(rb"BM|GIF8|\xff\xd8\xff|\x89PNG|P[1-7fFyY]\s|RIFF....WEBP"
                       rb"|II[*+]\0|MM\0[*+]|II\0\*|MM\*\0", re.DOTALL)
T = TypeVar("T")
PAD_COLORS = {"white": 255, "gray": 128, "black": 0}
_HEIF = re.compile(rb"....ftyp(avi[fs]|hei[cfmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL)
_ORIENTATION = 0x0112  # the Exif tag
_TURNS = dict(zip(range(2, 9), (
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90)))  # by the value of the tag
# Accept images with a long text or profile, which may take four bytes per character.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 1 << 24
OnOdd = Callable[[], object]  # is called for a JPEG file with missing or extra bytes


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


def decode(raw: bytes, side: int = 0, gray: bool | None = None, on_odd: OnOdd = bool
           ) -> np.ndarray:
    """Return the first frame of an image file, (H, W) or (H, W, 3) in RGB, uint8, upright.

    Unless `side` is 0, the shorter side is scaled to it. If `gray` is None, the result is gray if
    the file is. Transparent pixels are blended with white. Raises ValueError with the reason.
    """
    return _decode(raw, side, gray, partial(scale, side=side) if side else np.asarray, on_odd)


def make_decoder(data_shape: tuple[int, int, int], crop: tuple[int, int] | str, fit: str,
                 pad_color: str, exact: bool) -> Callable[..., np.ndarray]:
    """Return a function that decodes an image for `ImagenetIter`, up to its random crops.

    It takes the content of a file and `on_odd`. For random crops, it enlarges the shorter side to
    the maximum of `crop`, or scales the side to it if `exact`.
    """
    for name, value, valid, expected in (
            ("data_shape", data_shape, data_shape[0] in (1, 3), "1 channel or 3"),
            ("crop", crop, crop in ("center", "none") if isinstance(crop, str) else
             1 <= crop[0] <= crop[1], "center, none, or minimum and maximum side in pixels"),
            ("fit", fit, fit in ("pad", "stretch"), "pad or stretch"),
            ("pad_color", pad_color, pad_color in PAD_COLORS, ", ".join(PAD_COLORS))):
        if not valid:
            raise ArgumentError(name, f"invalid value {value!r}: expected {expected}")
    gray = data_shape[0] == 1
    if isinstance(crop, str):
        use = partial(_fit, shape=data_shape[1:], fit="crop" if crop == "center" else fit,
                      pad_color=pad_color)
        return partial(_decode, side=2 * max(data_shape[1:]), gray=gray, use=use)
    return partial(_decode, side=crop[1] if exact else 0, gray=gray,
                   use=partial(scale if exact else _enlarge, side=crop[1]))


def _enlarge(pixels: np.ndarray, side: int) -> np.ndarray:
    """Scale an image to a shorter side of `side`, unless it is longer."""
    return scale(pixels, side) if min(pixels.shape[:2]) < side else pixels


def _fit(pixels: np.ndarray, shape: tuple[int, int], fit: str, pad_color: str) -> np.ndarray:
    """Scale an image to a shape, (H, W): cut off (crop) or add margins (pad), or stretch it."""
    (height, width), (new_height, new_width) = pixels.shape[:2], shape
    ratios = height / new_height, width / new_width
    if fit == "crop":
        height, width = (max(1, round(min(ratios) * length)) for length in shape)
        top, left = (int(a - b) // 2 for a, b in zip(pixels.shape, (height, width)))
        pixels = pixels[top:top + height, left:left + width]
    elif fit == "pad":
        new_height, new_width = (max(1, round(length / max(ratios))) for length in (height, width))
    pixels = resize(pixels, (new_height, new_width))
    top, left = (shape[0] - new_height) // 2, (shape[1] - new_width) // 2
    bottom, right = shape[0] - new_height - top, shape[1] - new_width - left
    return cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT,
                              value=(PAD_COLORS[pad_color],) * 3)


def normalize_image(raw: bytes, resize: int = 256, quality: int = 95, on_odd: OnOdd = bool
                    ) -> bytes:
    """Return an image file that MXNet's reader decodes: `raw` itself if it needs no change.

    Scaled images become JPEG; others PNG, lossless up to 8 bits. Raises ValueError like `decode`.
    """
    return _decode(raw, resize, None, partial(_encode, raw, resize, quality), on_odd)


def _encode(raw: bytes, resize: int, quality: int, pixels: np.ndarray) -> bytes:
    """Encode the pixels of a file, `raw`, as `normalize_image` describes."""
    image = Image.open(io.BytesIO(raw))
    scaled = resize not in (0, min(image.size))
    if (not scaled and image.format in ("JPEG", "PNG") and image.mode in ("L", "RGB")
            and "transparency" not in image.info and image.getexif().get(_ORIENTATION, 1) == 1):
        return raw
    if resize * max(image.size) > 65_500 * min(image.size):  # the longest side that OpenCV writes
        raise ValueError(f"is too narrow to be scaled to {resize} pixels: {image.width}x"
                         f"{image.height}")
    if resize:
        pixels = scale(pixels, resize)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    suffix, option = ((".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]) if scaled else
                      (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]))
    encoded: bytes = cv2.imencode(suffix, pixels, option)[1].tobytes()
    return encoded


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


def _check_header(image: Image.Image) -> None:
    """Raise ValueError if an image's header shows that it is useless."""
    short, long = sorted(image.size)
    for wrong, reason in (
            (short < MIN_SIDE, f"is too small, less than {MIN_SIDE} pixels"),
            (long > MAX_ASPECT * short, f"is too narrow, more than 1:{MAX_ASPECT}"),
            (image.mode == "F" or (image.mode, image.format) == ("I", "TIFF"),
             "has 32-bit pixels, whose range is unknown")):
        if wrong:
            raise ValueError(f"{reason}: {image.width}x{image.height}")


def _open(file: io.BytesIO, raw: bytes) -> Image.Image:
    """Open an image of an accepted format and size."""
    formats = (*FORMATS, *find_optional_formats()) if _HEIF.match(raw) else FORMATS
    image: Image.Image = Image.open(file, formats=formats)
    if image.format == "MPO":  # of phones: a JPEG file with others behind it
        file.seek(0)
        image = JpegImagePlugin.JpegImageFile(file)
    _check_header(image)
    decoding.check_time(image, raw)
    return image


def _decode(raw: bytes, side: int, gray: bool | None, use: Callable[[np.ndarray], T],
            on_odd: OnOdd = bool) -> T:
    """Return `use(pixels)` of a file, after which other threads may use the memory."""
    with contextlib.ExitStack() as memory:
        return use(_load(raw, side, gray, on_odd, memory))


def _load(raw: bytes, side: int, gray: bool | None, on_odd: OnOdd, memory: contextlib.ExitStack
          ) -> np.ndarray:
    """Return the pixels of a file; of a JPEG perhaps fewer, but `side` or more on each side."""
    # Not OpenCV, which is faster, but prints a line on every odd JPEG file; the pixels are equal.
    try:
        file = io.BytesIO(raw)
        image = _open(file, raw)
        buffered = image.format == "JPEG" and decoding.has_several_scans(image, raw, file.tell())
        # The coefficients of all components take two bytes each, whatever the draft scale.
        needed = 2 * len(image.getbands()) * image.width * image.height if buffered else 0
        size = f"{image.width}x{image.height}"
        image.draft("L" if gray and image.mode == "RGB" else None, (side, side) if side else None)
        needed += decoding.estimate_memory(image)
        memory.enter_context(decoding.reserve_memory(needed, size))
        if image.format == "JPEG" and not buffered and decoding.load_jpeg(image, file, raw):
            on_odd()
        image.load()  # turns a TIFF file, and removes its tag
        # Not ImageOps.exif_transpose, which encodes all tags again, and fails at an odd one.
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        if turn is not None:
            image = image.transpose(turn)
            decoding.trim_after(needed)
        return decoding.to_array(image, gray)
    except Image.UnidentifiedImageError:
        raise ValueError(find_problem(raw) or "is not an image, or its header is damaged") from None
    except (ValueError, Image.DecompressionBombError) as error:
        # The words of new and old versions of Pillow.
        is_text = re.search("MAX_TEXT|decompressed data too large", str(error), re.IGNORECASE)
        raise ValueError("has more than 16 MiB of texts" if is_text else str(error)) from None
    except Exception as error:  # a decoder raises anything on a damaged file
        raise ValueError(f"is damaged: {error}") from None
