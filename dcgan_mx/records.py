"""RecordIO, the file format of MXNet's record readers: framing records, and finding them."""
import os
import struct

import cv2
import numpy as np

from .files import open_plain

_MAGIC = 0xced7230a
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)  # what a part is of its record
_MAX_PART = 1 << 29
_HEADER = struct.Struct("<IfQQ")  # number of extra labels, label, id, second id


class RecordError(ValueError):
    """A record file is damaged, or holds something else than pictures."""


def frame(picture, n):
    """Put an encoded picture into the bytes of one record.

    Parameters
    ----------
    picture : bytes
        A JPEG or PNG file, below 512 MiB.
    n : int
        The record's id; its label is 0.

    Returns
    -------
    bytes

    Notes
    -----
    Where the format's magic number stands in the content, at a multiple of four bytes, it is left
    out and the record goes on in a new part. Source: MXNet 1.9.1, mxnet.recordio (the header), and
    dmlc-core, recordio.h (the parts).
    """
    content = _HEADER.pack(0, 0.0, n, 0) + picture
    words = np.frombuffer(content, "<u4", len(content) // 4)
    cuts = [4 * int(i) for i in np.flatnonzero(words == _MAGIC)]
    pieces = []
    for begin, end in zip([0, *(cut + 4 for cut in cuts)], [*cuts, len(content)]):
        kind = (_FIRST if begin == 0 else _MIDDLE) if end < len(content) else _LAST
        part = content[begin:end]
        pieces += [struct.pack("<II", _MAGIC, (kind if cuts else _WHOLE) << 29 | len(part)), part,
                   bytes(-len(part) % 4)]
    return b"".join(pieces)


def scan(path):
    """Find the records of a file, reading no more than their headers.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    offsets : np.ndarray, (N,), int64
        Where each record begins, in bytes.
    label_width : int
        Labels that the first record has.

    Raises
    ------
    RecordError
        If the file is empty, cut off, or not made of records with a picture each.
    OSError
        If it cannot be read.
    """
    mend = "pack the pictures again with scripts/make_rec.py"
    offsets, label_width, inside, position = [], 1, False, 0
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
                if length < _HEADER.size or len(head) < 8 + _HEADER.size:
                    raise RecordError(f"{path}: record {len(offsets)} holds no picture: {mend}")
                if len(offsets) == 1:
                    label_width = max(1, _HEADER.unpack(head[8:])[0])
            inside = kind in (_FIRST, _MIDDLE)
            position += 8 + length + -length % 4
    if position != size or inside:
        raise RecordError(f"{path} is cut off in record {len(offsets)}: {mend}")
    if not offsets:
        raise RecordError(f"{path} is empty: {mend}")
    return np.array(offsets, np.int64), label_width


def find_unreadable(path, offsets):
    """Return the number, from 1, of the first record that OpenCV cannot decode; 0 if none.

    Parameters
    ----------
    path : str or os.PathLike
    offsets : np.ndarray, (N,), int64
        As `scan` returns them.
    """
    with open(path, "rb") as f:
        for n, offset in enumerate(offsets, 1):
            f.seek(offset)
            content, kind = b"", _FIRST
            while kind in (_FIRST, _MIDDLE):
                magic, word = f.read(4), struct.unpack("<I", f.read(4))[0]
                kind, length = word >> 29, word % _MAX_PART
                content += (magic if content else b"") + f.read(length + -length % 4)[:length]
            labels = _HEADER.unpack(content[:_HEADER.size])[0]
            picture = np.frombuffer(content, np.uint8)[_HEADER.size + 4 * labels:]
            if not picture.size or cv2.imdecode(picture, cv2.IMREAD_REDUCED_COLOR_8) is None:
                return n
    return 0
