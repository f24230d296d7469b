"""TensorBoard's event files: what was written of some steps is taken out again."""
from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator

from ..machine.files import open_plain, write_atomic

_MAX_EVENT = 1 << 28  # bytes
_WALL_TIME, _STEP = 0x09, 0x10  # the fields of an event that come first: a double, a number


def cut_events(folder: Path, forget: Callable[[int], bool]) -> None:
    """Take events out of all event files of a folder.

    Parameters
    ----------
    folder
        May be missing.
    forget
        Says of a step whether its events go.

    Raises
    ------
    OSError
        If a file cannot be read or written.

    Notes
    -----
    A file is a row of records: length, checksum of the length, content, checksum of the content.
    One that is cut off ends the file. Source: TensorFlow, core/lib/io/record_writer.h and
    core/util/event.proto.
    """
    for path in sorted(folder.glob("events.out.tfevents.*")):
        with open_plain(path) as f:
            raw = f.read()
        kept = [raw[begin:end] for begin, end in _find_records(raw)
                if not forget(_read_step(raw[begin + 12:end - 4]))]
        if sum(map(len, kept)) < len(raw):
            write_atomic(path, kept)


def _find_records(raw: bytes) -> Iterator[tuple[int, int]]:
    begin = 0
    while begin + 16 <= len(raw):
        length = int.from_bytes(raw[begin:begin + 8], "little")
        end = begin + 16 + length
        if length > _MAX_EVENT or end > len(raw):
            return
        yield begin, end
        begin = end


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
