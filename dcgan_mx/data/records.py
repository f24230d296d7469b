"""RecordIO, the file format of MXNet's record readers: framing records, and finding them."""
from __future__ import annotations

import hashlib
import os
import struct
import zlib
from typing import BinaryIO

import cv2
import numpy as np

from ..machine.files import StrPath, open_plain
from ..machine.typed import typed

_MAGIC = 0xced7230a
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)  # what a part is of its record
_MAX_PART = 1 << 29
_HEADER = struct.Struct("<IfQQ")  # number of labels that follow, label, id, second id
_CHECKED = 0x5263_7243 << 32  # a second id that holds a CRC-32 begins so; MXNet uses none


class RecordError(ValueError):
    """A record file is damaged, or holds something else than pictures."""


def frame(picture: bytes, n: int) -> bytes:
    """Put an encoded picture into the bytes of one record.

    Parameters
    ----------
    picture
        A JPEG or PNG file, below 512 MiB.
    n
        The record's id; its label is 0, its second id a checksum of the picture.

    Notes
    -----
    Where the format's magic number stands in the content, at a multiple of four bytes, it is left
    out and the record goes on in a new part. Source: MXNet 1.9.1, mxnet.recordio (the header), and
    dmlc-core, recordio.h (the parts).
    """
    content = _HEADER.pack(0, 0.0, n, _CHECKED | zlib.crc32(picture)) + picture
    words = np.frombuffer(content, "<u4", len(content) // 4)
    cuts = [4 * int(i) for i in np.flatnonzero(words == _MAGIC)]
    pieces = []
    for begin, end in zip([0, *(cut + 4 for cut in cuts)], [*cuts, len(content)]):
        kind = (_FIRST if begin == 0 else _MIDDLE) if end < len(content) else _LAST
        part = content[begin:end]
        pieces += [struct.pack("<II", _MAGIC, (kind if cuts else _WHOLE) << 29 | len(part)), part,
                   bytes(-len(part) % 4)]
    return b"".join(pieces)


def scan(path: StrPath) -> tuple[np.ndarray, int, str]:
    """Find the records of a file, reading only the headers of those without a checksum.

    Returns
    -------
    offsets : (N,), int64
        Where each record begins, in bytes.
    label_width
        Labels that each record has.
    digest
        SHA-256 of the offsets and checksums: other pictures give another one, where each record
        has a checksum.

    Raises
    ------
    RecordError
        If the file is empty, cut off, or not made of records with a picture each.
    OSError
        If it cannot be read.
    """
    mend = f"pack the pictures again with {typed('pack')}"
    label_width: int | None
    offsets, label_width, inside, position = [], None, False, 0
    checks = {}
    with open_plain(path, follow=True) as f:
        size = os.fstat(f.fileno()).st_size
        while position < size:
            head = os.pread(f.fileno(), 8 + _HEADER.size, position)
            magic, word = struct.unpack("<II", head[:8].ljust(8, b"\0"))
            kind, length = word >> 29, word % _MAX_PART
            if magic != _MAGIC or kind not in ((_MIDDLE, _LAST) if inside else (_WHOLE, _FIRST)):
                raise RecordError(f"{path} is no record file, or damaged at byte {position}: "
                                  f"{mend}")
            if not inside:
                offsets.append(position)
                labels, _, _, check = (_HEADER.unpack(head[8:]) if len(head) == 8 + _HEADER.size
                                       else (length, 0, 0, 0))
                if _HEADER.size + 4 * labels > length - (kind == _WHOLE):
                    raise RecordError(f"{path}: record {len(offsets)} holds no picture: {mend}")
                if label_width not in (None, max(1, labels)):
                    raise RecordError(f"{path}: record {len(offsets)} has {labels} labels, the "
                                      f"first has {label_width}: {mend}")
                label_width = max(1, labels)
                if check >> 32 == _CHECKED >> 32:
                    checks[position] = check % 2**32
            inside = kind in (_FIRST, _MIDDLE)
            position += 8 + length + -length % 4
        if position != size or inside:
            raise RecordError(f"{path} is cut off in record {len(offsets)}: {mend}")
        if label_width is None:
            raise RecordError(f"{path} is empty: {mend}")
        for n, offset in enumerate(offsets, 1):
            if offset in checks and zlib.crc32(read_picture(f, offset)) != checks[offset]:
                raise RecordError(f"{path}: record {n} is damaged: {mend}")
    places = np.array([(offset, checks.get(offset, -1)) for offset in offsets], np.int64)
    return places[:, 0].copy(), label_width, hashlib.sha256(places.tobytes()).hexdigest()


def find_bad(path: StrPath, offsets: np.ndarray, least: int) -> str | None:
    """Find the first record whose picture OpenCV cannot decode, or that is small.

    Parameters
    ----------
    offsets : (N,), int64
        As `scan` returns them.
    least
        Pixels that each side must have.

    Returns
    -------
    The number of the record, from 1, and what is wrong with it.
    """
    with open_plain(path, follow=True) as f:
        for n, offset in enumerate(offsets, 1):
            try:
                image: np.ndarray | None = cv2.imdecode(
                    np.frombuffer(read_picture(f, offset), np.uint8), cv2.IMREAD_COLOR)
            except cv2.error:  # of absurd size
                image = None
            if image is None:
                return f"record {n} is no picture"
            if min(image.shape[:2]) < least:
                return (f"record {n} has {image.shape[1]}x{image.shape[0]} pixels, and "
                        f"{least}x{least} is the least")
    return None


def read_picture(f: BinaryIO, offset: int) -> bytes:
    """Return the encoded picture of a record.

    Parameters
    ----------
    f
        Of a file that `scan` accepts.
    offset
        Where the record begins, as `scan` says.
    """
    f.seek(offset)
    content, kind = b"", _FIRST
    while kind in (_FIRST, _MIDDLE):
        magic, word = struct.unpack("<4sI", f.read(8))
        kind, length = word >> 29, word % _MAX_PART
        content += (magic if content else b"") + f.read(length + -length % 4)[:length]
    return content[_HEADER.size + 4 * _HEADER.unpack(content[:_HEADER.size])[0]:]
