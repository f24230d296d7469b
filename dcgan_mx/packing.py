"""Pictures in a folder become one record file; what is no picture is listed with its reason."""
import hashlib
import io
import os
import stat
import warnings
from array import array
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from .files import open_plain, write_atomic
from .records import frame

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MIN_SIDE = 8  # pixels; smaller pictures are icons and counters
MAX_PIXELS = 1 << 27
MAX_ASPECT = 16  # long side / short side
_ORIENTATION = 0x0112  # the Exif tag


class PackingError(ValueError):
    """A folder has too few pictures, or changed while it was read.

    Attributes
    ----------
    skipped : list of (str, str)
        Files that were left out, and why.
    """

    def __init__(self, message, skipped=()):
        super().__init__(message)
        self.skipped = sorted(skipped)


def list_files(folder):
    """List what is in a folder and below; a folder that links lead to again is read once.

    Parameters
    ----------
    folder : str or os.PathLike

    Returns
    -------
    files : dict of str to (int, int, int)
        Names relative to `folder`, in sorted order, with size in bytes and the times, in ns, of the
        last changes of content and of rights.
    skipped : list of (str, str)
        Names, and why they are no files.

    Raises
    ------
    OSError
        If the folder itself cannot be listed.
    """
    files, skipped, seen = {}, [], set()
    folders = [""]
    while folders:
        prefix = folders.pop()
        path = os.path.join(folder, prefix)
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                skipped.append((prefix, "is a folder that was read already"))
                continue
            seen.add(identity)
            entries = sorted(os.scandir(path), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if not prefix:
                raise
            skipped.append((prefix, error.strerror))
            continue
        for entry in entries:
            name = os.path.join(prefix, entry.name)
            try:
                status = entry.stat()
            except OSError as error:
                skipped.append((name, error.strerror))
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append(name)
            elif stat.S_ISREG(status.st_mode):
                files[name] = _times(status)
            else:
                skipped.append((name, "is no plain file"))
    return dict(sorted(files.items())), sorted(skipped)


def _times(status):
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def encode(path, resize=256, quality=95):
    """Return a picture in a form that MXNet's reader takes: 8 bits, grey or RGB, upright.

    Parameters
    ----------
    path : str or os.PathLike
        Of any of `FORMATS`, whatever its name; of several frames, the first counts.
    resize : int
        The shorter side is scaled to so many pixels, up or down; 0: never.
    quality : int, from 1 to 100
        Of JPEG, which pictures that are scaled become.

    Returns
    -------
    bytes
        The file itself where it needs no change. A picture that changes without being scaled
        becomes PNG, and loses nothing but what 8 bits cannot hold. What is transparent is laid on
        white.

    Raises
    ------
    ValueError
        If it is no picture, or too small, too large or too narrow; the message says which.
    OSError
        If the file cannot be read.
    """
    with open_plain(path, follow=True) as f:
        try:
            image = Image.open(f, formats=FORMATS)
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


def _decode_jpeg(raw, mode, shrink):
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


def _scale(pixels, resize, quality):
    """Return the JPEG of BGR or grey pixels, scaled to a shorter side."""
    height, width = pixels.shape[:2]
    ratio = resize / min(width, height)
    method = cv2.INTER_CUBIC if ratio > 1 else cv2.INTER_LINEAR if ratio > 0.5 else cv2.INTER_AREA
    pixels = cv2.resize(pixels, (round(ratio * width), round(ratio * height)), interpolation=method)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _to_8_bits(image):
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


def pack(folder, out, resize=256, quality=95, threads=1, least=1, progress=iter):
    """Pack the pictures in a folder and below into a record file.

    Parameters
    ----------
    folder : str or os.PathLike
    out : str or os.PathLike
        Replaced, when all is done, if it exists; its index, for other programs, gets the same name
        with the ending .idx.
    resize, quality : int
        As `encode` takes them.
    threads : int, at least 1
        Their number changes no byte.
    least : int
        Pictures without which nothing is written.
    progress : callable
        Wraps the list of names while they are read, as tqdm does.

    Returns
    -------
    n : int
        Pictures in the file. Their order, that of a digest of their names, looks random, so that
        each part of the file is a fair sample.
    skipped : list of (str, str)
        Each file left out, and why.

    Raises
    ------
    PackingError
        If fewer than `least` pictures are left, or `out` is in `folder` or no name for a file.
    OSError
        If the folder cannot be listed, or a file cannot be written.
    """
    out = Path(out)
    if not out.name or out.suffix == ".idx" or out.is_dir():
        raise PackingError(f"{str(out)!r} cannot be the record file: give a name as in OUT.rec")
    index = out.with_suffix(".idx")
    if Path(folder).resolve() in out.resolve().parents:
        raise PackingError(f"{out} is in the folder that it is made of: give a place outside of "
                           f"{folder}")
    files, skipped = list_files(folder)
    names = sorted(files, key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
    offsets, position = array("q"), 0

    def read(name):
        path = os.path.join(folder, name)
        try:
            picture = encode(path, resize, quality)
            if _times(os.stat(path)) != files[name]:
                return None, "changed while the folder was packed"
            return picture, None
        except OSError as error:
            return None, error.strerror or f"is damaged: {error}"
        except Exception as error:  # a decoder that meets a damaged file raises what it likes
            return None, str(error) if type(error) is ValueError else f"is damaged: {error!r}"

    def records():
        nonlocal position
        for name, (picture, reason) in _map_in_order(read, progress(names), threads):
            if picture is None:
                skipped.append((name, reason))
                continue
            record = frame(picture, len(offsets))
            offsets.append(position)
            position += len(record)
            yield record
        skipped.extend((name, "appeared while the folder was packed")
                       for name in list_files(folder)[0].keys() - files.keys())
        if len(offsets) < least:
            raise PackingError(f"{folder} has {len(offsets)} readable pictures of {len(files)} "
                               f"files, and at least {least} are needed", skipped)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that are judged here
        write_atomic(out, records(), sync=True)
    write_atomic(index, b"".join(b"%d\t%d\n" % entry for entry in enumerate(offsets)))
    return len(offsets), sorted(skipped)


def _map_in_order(function, items, threads):
    """Yield each item and its result, with a few calls at work ahead in threads."""
    with ThreadPoolExecutor(threads) as pool:
        ahead = deque()
        for item in items:
            ahead.append((item, pool.submit(function, item)))
            if len(ahead) > 4 * threads:
                done, future = ahead.popleft()
                yield done, future.result()
        for done, future in ahead:
            yield done, future.result()
