"""Pictures in a folder become one record file; what is no picture is listed with its reason."""
import contextlib
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

from .files import write_atomic
from .records import RecordError, frame, scan

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
    """List what is in a folder and below, following links to folders, but not in circles.

    Parameters
    ----------
    folder : str or os.PathLike

    Returns
    -------
    files : dict of str to (int, int)
        Names relative to `folder`, in sorted order, with size in bytes and time of the last change
        in ns.
    skipped : list of (str, str)
        Names, and why they are no files.

    Raises
    ------
    OSError
        If the folder itself cannot be listed.
    """
    files, skipped = {}, []

    def visit(path, prefix, above):
        for entry in os.scandir(path):
            name = prefix + entry.name
            try:
                status = entry.stat()
                if stat.S_ISDIR(status.st_mode):
                    identity = (status.st_dev, status.st_ino)
                    if identity in above:
                        skipped.append((name, "is a link to a folder that it is in"))
                    else:
                        visit(entry.path, name + os.sep, (*above, identity))
                elif stat.S_ISREG(status.st_mode):
                    files[name] = (status.st_size, status.st_mtime_ns)
                else:
                    skipped.append((name, "is no plain file"))
            except OSError as error:
                skipped.append((name, error.strerror))

    status = os.stat(folder)
    visit(os.fspath(folder), "", ((status.st_dev, status.st_ino),))
    return dict(sorted(files.items())), sorted(skipped)


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
        becomes PNG, and loses nothing but what 8 bits cannot hold. Transparency is laid on white.

    Raises
    ------
    ValueError
        If it is no picture, or too small, too large or too narrow; the message says which.
    OSError
        If the file cannot be read.
    """
    with open(path, "rb") as f:
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
        if scaled:
            image.draft(None, (resize, resize))  # JPEG: decode a half, a quarter or an eighth
        kept = image.format in ("JPEG", "PNG") and image.mode in ("L", "RGB")
        image.load()  # only now is it known to be whole
        turned = image.getexif().get(_ORIENTATION, 1) != 1
        if kept and not (scaled or turned or "transparency" in image.info):
            f.seek(0)
            return f.read()
    image = _to_8_bits(ImageOps.exif_transpose(image) if turned else image)
    if scaled:
        return _scale(image, resize / min(image.size), quality)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _scale(image, ratio, quality):
    """Return the JPEG of a scaled picture; OpenCV takes a quarter of Pillow's time for both."""
    if image.mode == "RGB":
        raw = image.tobytes("raw", "BGR")
        pixels = np.frombuffer(raw, np.uint8).reshape(image.height, image.width, 3)
    else:
        pixels = np.asarray(image)
    method = cv2.INTER_CUBIC if ratio > 1 else cv2.INTER_LINEAR if ratio > 0.5 else cv2.INTER_AREA
    pixels = cv2.resize(pixels, [round(ratio * side) for side in image.size], interpolation=method)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _to_8_bits(image):
    """Return a picture as grey or RGB of 8 bits, what is transparent as white."""
    if image.mode.startswith("I"):  # 16 bits of grey, under several names
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255)
                               .astype(np.uint8))
    if image.mode in ("F",):
        raise ValueError("is of floating-point numbers, whose range is not known")
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
        Pictures in the file. They are in an order that depends on their names alone and looks
        random, so that each part of the file is a fair sample.
    skipped : list of (str, str)
        Each file left out, and why.

    Raises
    ------
    PackingError
        If fewer than `least` pictures are left, or `out` is in `folder`.
    OSError
        If the folder cannot be listed, or a file cannot be written.
    """
    out, index = Path(out), Path(out).with_suffix(".idx")
    if Path(folder).resolve() in out.resolve().parents:
        raise PackingError(f"{out} is in the folder that it is made of: give a place outside of "
                           f"{folder}")
    files, skipped = list_files(folder)
    names = list(files)
    names = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
    offsets, position = array("q"), 0

    def read(name):
        path = os.path.join(folder, name)
        try:
            picture = encode(path, resize, quality)
            status = os.stat(path)
            if (status.st_size, status.st_mtime_ns) != files[name]:
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


def pack_cached(folder, cache=None, threads=1, least=1, progress=iter):
    """Return the record file of a folder, packing it unless that was done before.

    Parameters
    ----------
    folder : str or os.PathLike
    cache : str or os.PathLike, optional
        Folder of such files; if left out, `dcgan_mx` in $XDG_CACHE_HOME, or in ~/.cache.
    threads, least, progress
        As `pack` takes them.

    Returns
    -------
    path : pathlib.Path
        Named after the folder and a digest of its files' names, sizes and times of change.
    skipped : list of (str, str) or None
        As `pack` returns them; None if nothing was packed.

    Raises
    ------
    PackingError, OSError
        As `pack`, and if the folder changed while it was packed.
    """
    cache = Path(cache or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
                 / "dcgan_mx")

    def name():
        files = list_files(folder)[0]
        digest = hashlib.sha256(repr(files).encode("utf-8", "surrogateescape")).hexdigest()
        return f"{Path(folder).resolve().name}-{digest[:16]}.rec"

    path = cache / name()
    if path.exists():
        with contextlib.suppress(RecordError):  # a damaged one is packed again
            scan(path)
            return path, None
    cache.mkdir(parents=True, exist_ok=True)
    _, skipped = pack(folder, path, threads=threads, least=least, progress=progress)
    if cache / name() != path:
        path.unlink()
        path.with_suffix(".idx").unlink()
        raise PackingError(f"{folder} changed while it was packed: try again when nothing writes "
                           "to it")
    return path, skipped
