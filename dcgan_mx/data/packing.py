"""Pack the images of a folder, an archive or a record file into one record file."""
from __future__ import annotations

import glob
import warnings
from array import array
from functools import partial
from pathlib import Path
from typing import Callable, Iterable, Iterator

from ..system.files import StrPath, list_stale, write_atomic
from .errors import DatasetError, short_message
from .file_stores import find_format
from .image_files import normalize_image
from .image_sources import Folder, OddFiles, Records, Source, map_in_order
from .recordio import encode_record


def pack(source: StrPath, out: StrPath, resize: int = 256, quality: int = 95, threads: int = 1,
         min_images: int = 1, progress: Callable[[range], Iterable[int]] = iter,
         ) -> tuple[int, list[tuple[str, str]]]:
    """Pack the images in a folder, an archive or a record file into a record file.

    Also writes an index for other programs, OUT.idx. Returns the number of images, and the name of
    each skipped file or record with the reason. Raises DatasetError, and writes nothing, if fewer
    than `min_images` images can be read. `progress` wraps an iterable, as tqdm does.
    """
    out, index = Path(out), Path(out).with_suffix(".idx")
    if Path(source).resolve() in out.resolve().parents:
        raise DatasetError(f"{out} is in the folder of the images: give a path outside of {source}")
    for path in (out, index):
        for left in list_stale(path.parent, glob.escape(path.name)):
            left.unlink()
    images: Source = (Folder(source) if find_format(source) in ("folder", "zip", "tar") else
                      Records(source))
    skipped, offsets, position, odd = images.skipped, array("q"), 0, OddFiles()

    def read(n: int) -> tuple[bytes, str]:
        try:
            return normalize_image(images.read(n), resize, quality,
                                   on_odd=partial(odd.add, images.name(n))), ""
        except DatasetError:
            raise
        except (OSError, ValueError) as error:
            return b"", short_message(error)

    def records() -> Iterator[bytes]:
        nonlocal position
        for n, (image, reason) in map_in_order(read, progress(range(len(images))), threads):
            if reason:
                skipped.append((images.name(n), reason))
                continue
            record = encode_record(image, len(offsets))
            offsets.append(position)
            position += len(record)
            yield record
        if len(offsets) < min_images:
            raise DatasetError(f"{source} has {len(offsets)} readable images of "
                               f"{len(offsets) + len(skipped)} files: expected {min_images} or "
                               "more", skipped)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # about files that are checked here
        write_atomic(out, records(), sync=True)
    odd.warn(source)
    write_atomic(index, b"".join(b"%d\t%d\n" % entry for entry in enumerate(offsets)))
    return len(offsets), sorted(skipped)
