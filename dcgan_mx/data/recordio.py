"""RecordIO, the file format of MXNet's record readers."""
from __future__ import annotations

import hashlib
import os
import struct
import zlib
from array import array
from typing import BinaryIO

import numpy as np

from ..system.files import StrPath, open_regular
from .errors import DatasetError

MAGIC = 0xced7230a
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)  # the place of a part in its record
_MAX_PART = 1 << 29
_HEADER = struct.Struct("<IfQQ")  # number of labels that follow, label, id, second id
_CHECKED = 0x5263_7243 << 32  # upper half of a second id whose lower half is a CRC-32


def encode_record(image: bytes, n: int) -> bytes:
    """Return the record of an encoded image, below 512 MiB, with the id `n` and the label 0.

    The second id, which MXNet does not use, is a checksum. Where the content has the format's magic
    number, at a multiple of four bytes, it is removed and the record continues in a new part.
    Sources: MXNet 1.9.1, mxnet.recordio (header); dmlc-core, recordio.h (parts).
    """
    content = _HEADER.pack(0, 0.0, n, _CHECKED | zlib.crc32(image)) + image
    words = np.frombuffer(content, "<u4", len(content) // 4)
    cuts = [4 * int(i) for i in np.flatnonzero(words == MAGIC)]
    pieces = []
    for begin, end in zip([0, *(cut + 4 for cut in cuts)], [*cuts, len(content)]):
        kind = (_FIRST if begin == 0 else _MIDDLE) if end < len(content) else _LAST
        part = content[begin:end]
        pieces += [struct.pack("<II", MAGIC, (kind if cuts else _WHOLE) << 29 | len(part)), part,
                   bytes(-len(part) % 4)]
    return b"".join(pieces)


def scan(path: StrPath) -> tuple[np.ndarray, np.ndarray, str]:
    """Find the records of a file by their headers; DatasetError if it is damaged.

    Returns the offset of each record, (N,), int64; whether it has labels only, as in data sets of
    faces, (N,), bool; and a SHA-256 of offsets and checksums.
    """
    found, empty, inside, position = array("q"), bytearray(), False, 0
    with open_regular(path, follow=True) as f:
        size = os.fstat(f.fileno()).st_size
        while position < size:
            head = os.pread(f.fileno(), 8 + _HEADER.size, position).ljust(8 + _HEADER.size, b"\0")
            magic, word = struct.unpack_from("<II", head)
            kind, length = word >> 29, word % _MAX_PART
            if magic != MAGIC or kind not in ((_MIDDLE, _LAST) if inside else (_WHOLE, _FIRST)):
                raise DatasetError(f"{path} is not a record file, or damaged at byte {position}: "
                                   "make it again")
            if not inside:
                labels, _, _, check = _HEADER.unpack_from(head, 8)
                checked = check >> 32 == _CHECKED >> 32
                found.extend((position, check % 2**32 if checked else -1))
                empty.append(kind == _WHOLE and _HEADER.size + 4 * labels >= length)
            inside = kind in (_FIRST, _MIDDLE)
            position += 8 + length + -length % 4
    if position != size or inside:
        raise DatasetError(f"{path} is cut off in record {len(empty)}: copy or make it again")
    table = np.array(found, np.int64).reshape(-1, 2)
    return table[:, 0].copy(), np.array(empty, bool), hashlib.sha256(table.tobytes()).hexdigest()


def read_image(f: BinaryIO, offset: int) -> bytes:
    """Return the image at an offset from `scan`; ValueError if it is missing or damaged."""
    parts, kind = [], _FIRST
    while kind in (_FIRST, _MIDDLE):
        magic, word = struct.unpack("<4sI", os.pread(f.fileno(), 8, offset))
        kind, length = word >> 29, word % _MAX_PART
        parts.append(os.pread(f.fileno(), length, offset + 8))
        offset += 8 + length + -length % 4
    content: bytes = magic.join(parts)
    labels, _, _, check = _HEADER.unpack_from(content.ljust(_HEADER.size, b"\0"))
    image = content[_HEADER.size + 4 * labels:]
    if not image:
        raise ValueError("contains no image")
    if check >> 32 == _CHECKED >> 32 and zlib.crc32(image) != check % 2**32:
        raise ValueError("is damaged: its checksum differs")
    return image
