"""MXNet's .params files, read with every size checked and written without MXNet.

MXNet's own reader believes the sizes in the file, and its writer does not report a disk that
fills up at the last moment.
"""
from __future__ import annotations

import math
import struct
from typing import Any, Iterator, Mapping

import numpy as np

# Source: MXNet 1.9.1, src/ndarray/ndarray.cc (NDArray::Save, NDArray::Load).
_LIST_MAGIC, _ARRAY_MAGIC = 0x112, 0xF993FAC9
_DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "|u1", 4: "<i4", 5: "|i1", 6: "<i8"}
_TYPE_FLAGS = {np.dtype(dtype): flag for flag, dtype in _DTYPES.items()}
_CPU = 1
_MAX_DIMENSIONS = 32  # of NumPy's arrays


def dump_params(arrays: Mapping[str, np.ndarray]) -> Iterator[bytes | np.ndarray]:
    """Yield what MXNet's `mx.nd.save` writes of named arrays, piece by piece.

    Parameters
    ----------
    arrays : float16, 32 or 64, uint8, int8, 32 or 64
        Of 1 to 32 dimensions.
    """
    yield struct.pack("<QQQ", _LIST_MAGIC, 0, len(arrays))
    for array in arrays.values():
        yield struct.pack(f"<IiI{array.ndim}qiii", _ARRAY_MAGIC, 0, array.ndim, *array.shape,
                          _CPU, 0, _TYPE_FLAGS[array.dtype])
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    yield struct.pack("<Q", len(arrays))
    for name in arrays:
        encoded = name.encode()
        yield struct.pack("<Q", len(encoded)) + encoded


def parse_params(data: bytes, path: object) -> dict[str, np.ndarray]:
    """Read the named arrays of a .params file's content.

    Parameters
    ----------
    data
    path
        What errors call it.

    Returns
    -------
    dict
        In the file's order; read-only views of `data`.

    Raises
    ------
    ValueError
        If the data are cut off, too long, hold sparse or unnamed arrays, or claim sizes that they
        do not have; no memory is taken for a claim.
    """
    rest = memoryview(data)

    def take(size: int) -> memoryview:
        nonlocal rest
        if size > len(rest):
            raise ValueError(f"is cut off: it claims {size} more bytes and has {len(rest)}")
        taken, rest = rest[:size], rest[size:]
        return taken

    def unpack(layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, take(struct.calcsize(layout)))

    def take_array() -> np.ndarray:
        magic, storage, dimensions = unpack("<IiI")
        if (magic, storage) != (_ARRAY_MAGIC, 0) or not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise ValueError("holds an array that is not dense, or damaged")
        shape = unpack(f"<{dimensions}q")
        _, _, flag = unpack("<iii")
        if flag not in _DTYPES or min(shape) < 0:
            raise ValueError(f"holds an array of type {flag} and shape {shape}")
        dtype = np.dtype(_DTYPES[flag])
        # Without elements, dimensions beyond what NumPy can count raise ValueError, too.
        return np.frombuffer(take(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)

    try:
        magic, reserved, count = unpack("<QQQ")
        if (magic, reserved) != (_LIST_MAGIC, 0):
            raise ValueError("is no .params file of MXNet")
        arrays = [take_array() for _ in range(count)]
        if unpack("<Q") != (count,):
            raise ValueError(f"does not name each of its {count} arrays")
        names = [str(take(*unpack("<Q")), "utf-8") for _ in range(count)]
        if rest:
            raise ValueError(f"has {len(rest)} bytes after its end")
        if len({*names}) < count:
            raise ValueError("uses a name twice")
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    return dict(zip(names, arrays))
