"""Images in a folder become one record file; what is not an image is listed with its reason."""
from __future__ import annotations

import os
import warnings
from array import array
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Callable, Iterable, Iterator

from ..system.files import StrPath, remove_stale, write_atomic
from .errors import DatasetError, describe
from .image_files import normalize_image
from .image_sources import Folder, Records, Source
from .recordio import encode_record


def pack(folder: StrPath, out: StrPath, resize: int = 256, quality: int = 95, threads: int = 1,
         least: int = 1, progress: Callable[[Iterable[int]], Iterable[int]] = iter,
         ) -> tuple[int, list[tuple[str, str]]]:
    """Pack the images in a folder and below, or in a record file, into a record file.

    `resize` and `quality` are as `encode` takes them; `progress` wraps the images' numbers while
    they are read, as tqdm does. Other programs find an index beside the file, as OUT.idx. Returns
    the number of images, and the name of each file or record that was skipped, with the reason.
    If there are fewer than `least` images, nothing is written.
    """
    out = Path(out)
    if not out.name or out.suffix == ".idx" or out.is_dir():
        raise DatasetError(f"{str(out)!r} cannot be the record file: give a name as in OUT.rec")
    if Path(folder).resolve() in out.resolve().parents:
        raise DatasetError(f"{out} is in the folder that it is made of: give a place outside of "
                           f"{folder}")
    index = out.with_suffix(".idx")
    for path in (out, index):
        remove_stale(path)
    images: Source = Records(folder) if os.path.isfile(folder) else Folder(folder)
    skipped, offsets, position = images.skipped, array("q"), 0

    def read(n: int) -> tuple[bytes, str]:
        try:
            return normalize_image(images.read(n), resize, quality), ""
        except (OSError, ValueError) as error:
            return b"", describe(error)

    def records() -> Iterator[bytes]:
        nonlocal position
        numbers = iter(progress(range(len(images))))
        with ThreadPoolExecutor(threads) as pool:
            while chunk := list(islice(numbers, 32 * threads)):
                for n, (picture, reason) in zip(chunk, pool.map(read, chunk)):
                    if reason:
                        skipped.append((images.name(n), reason))
                        continue
                    record = encode_record(picture, len(offsets))
                    offsets.append(position)
                    position += len(record)
                    yield record
        if len(offsets) < least:
            raise DatasetError(f"{folder} has {len(offsets)} readable images of "
                               f"{len(offsets) + len(skipped)} files, and at least {least} are "
                               "needed", skipped)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that are judged here
        write_atomic(out, records(), sync=True)
    write_atomic(index, b"".join(b"%d\t%d\n" % entry for entry in enumerate(offsets)))
    return len(offsets), sorted(skipped)
