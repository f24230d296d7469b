"""TensorBoard's event files: they grow by a step, and forget some again.

A file is a row of records: length, checksum of the length, content, checksum of the content; each
content is a protocol buffer. Sources: TensorFlow, core/lib/io/record_writer.h,
core/lib/hash/crc32c.h (the mask), core/util/event.proto, core/framework/summary.proto.
"""
from __future__ import annotations

import contextlib
import os
import re
import struct
import time
from pathlib import Path
from typing import BinaryIO, Callable, Iterator, Mapping

import numpy as np

from ..machine.files import StrPath, append, open_plain, write_atomic
from ..visual import encode_image
from .log import FIGURES

_MAX_EVENT = 1 << 28  # bytes
_HEAD = 128  # bytes of an event, in which its step and its first numbers are
_WALL_TIME, _STEP = 0x09, 0x10  # the fields of an event that come first: a double, a number
_NUMBER, _BYTES, _FLOAT = 0, 2, 5  # kinds of fields
_NAME = re.compile(r"events\.out\.tfevents\.([0-9]{1,18})\..*", re.S)


class EventFile:
    """A new file of events, which TensorBoard reads while it grows.

    Parameters
    ----------
    folder
        Made with the first event. The file comes after all that are there, whatever the clock says.

    Raises
    ------
    ImportError
        If the package `google_crc32c` is not installed.
    """

    def __init__(self, folder: StrPath) -> None:
        import google_crc32c  # it is an extra

        self._crc: Callable[[bytes], int] = google_crc32c.value
        self._folder = Path(folder)
        self._path: Path | None = None

    def add(self, step: int, scalars: Mapping[str, float],
            pictures: Mapping[str, np.ndarray]) -> None:
        """Add an event.

        Parameters
        ----------
        step
        scalars
            By the name of their curve.
        pictures : (H, W, C), uint8
            C is 1 or 3 (RGB).

        Raises
        ------
        OSError
            If it cannot be written; nothing of it is in the file then.
        """
        values = [_field(1, name.encode()) + struct.pack("<Bf", 2 << 3 | _FLOAT, value)
                  for name, value in scalars.items()]
        values += [_field(1, name.encode()) + _field(4, _encode_picture(pixels))
                   for name, pixels in pictures.items()]
        summary = b"".join(_field(1, value) for value in values)
        content = self._frame(_field(2, step) + _field(5, summary))
        if self._path is None:
            self._folder.mkdir(exist_ok=True)
            path = self._folder / _find_name(self._folder)
            content = self._frame(_field(3, b"brain.Event:2")) + content
        else:
            path = self._path
        try:
            append(path, content)
        except OSError:
            if self._path is None:  # the next one begins a file of its own
                with contextlib.suppress(OSError):
                    path.unlink()
            raise
        self._path = path

    def _frame(self, fields: bytes) -> bytes:
        event = struct.pack("<Bd", _WALL_TIME, time.time()) + fields
        length = struct.pack("<Q", len(event))
        return b"".join((length, self._check(length), event, self._check(event)))

    def _check(self, content: bytes) -> bytes:
        crc = self._crc(content)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xa282ead8) % 2**32)


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _encode_number(number << 3 | _NUMBER) + _encode_number(value)
    return _encode_number(number << 3 | _BYTES) + _encode_number(len(value)) + value


def _encode_number(value: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first; all but the last are marked."""
    groups = []
    while value >= 0x80:
        groups.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _encode_picture(pixels: np.ndarray) -> bytes:
    height, width, channels = pixels.shape  # TensorFlow calls grey colour space 1, RGB 3
    return (_field(1, height) + _field(2, width) + _field(3, channels)
            + _field(4, encode_image(pixels)))


def _find_name(folder: Path) -> str:
    """Return a name that TensorBoard, which goes by names, takes for the newest."""
    earlier = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    newest = max((int(match[1]) + 1 for match in earlier if match), default=0)
    return f"events.out.tfevents.{max(newest, int(time.time())):010d}.dcgan-mx"


def cut_events(folder: Path, forget: Callable[[int, bool], bool]) -> None:
    """Take events out of all event files of a folder.

    Parameters
    ----------
    folder
        May be missing.
    forget
        Says of an event whether it goes, by its step and whether it holds figures of quality.

    Raises
    ------
    OSError
        If a file cannot be read or written.

    Notes
    -----
    A record that is cut off ends the file. No more than one record is in memory at a time: the
    files of a long training have gigabytes.
    """
    for path in sorted(folder.glob("events.out.tfevents.*")):
        with open_plain(path) as f:
            kept = sum(end - begin for begin, end in _find_kept(f, forget))
            if kept < f.seek(0, os.SEEK_END):
                write_atomic(path, (_read(f, begin, end - begin)
                                    for begin, end in _find_kept(f, forget)))


def _find_kept(f: BinaryIO, forget: Callable[[int, bool], bool]) -> Iterator[tuple[int, int]]:
    """Yield where the records that stay begin and end; the file may be read in between."""
    begin, size = 0, f.seek(0, os.SEEK_END)
    while begin + 16 <= size:
        head = _read(f, begin, 12 + _HEAD)
        length = int.from_bytes(head[:8], "little")
        end = begin + 16 + length
        if length > _MAX_EVENT or end > size:
            return
        event = head[12:12 + length]
        figures = any(_field(1, name.encode()) in event for name in FIGURES)
        if not forget(_read_step(event), figures):
            yield begin, end
        begin = end


def _read(f: BinaryIO, begin: int, length: int) -> bytes:
    f.seek(begin)
    return f.read(length)


def _read_step(event: bytes) -> int:
    """Return an event's step; 0 where it names none, as the file's first event does not."""
    i = 9 if event[:1] == bytes([_WALL_TIME]) else 0
    if event[i:i + 1] != bytes([_STEP]):
        return 0
    step = shift = 0
    for byte in event[i + 1:i + 11]:
        step |= (byte & 0x7f) << shift
        if byte < 0x80:
            break
        shift += 7
    return step
