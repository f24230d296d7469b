"""Reading and writing MXNet's .params files without MXNet.

MXNet's reader trusts the sizes in a file, and its writer does not report a disk that fills up
while it closes the file.
"""
from __future__ import annotations

import math
import struct
from typing import Any, Iterator, Mapping

import numpy as np

# Source: MXNet 1.9.1, src/ndarray/ndarray.cc (NDArray::Save, NDArray::Load, NDArray::LegacyLoad).
_LIST_MAGIC, _ARRAY_MAGIC = 0x112, 0xF993FAC9
_DENSE_MAGIC = 0xF993FAC8  # of older versions, which had no sparse arrays
_DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "|u1", 4: "<i4", 5: "|i1", 6: "<i8"}
_TYPE_FLAGS = {np.dtype(dtype): flag for flag, dtype in _DTYPES.items()}
_MAX_ARRAYS = 10_000  # far more than a network has
_MAX_DIMENSIONS = 32  # of NumPy's arrays


def dump_params(arrays: Mapping[str, np.ndarray]) -> Iterator[Any]:
    """Yield the bytes that `mx.nd.save` would write, in pieces.

    Arrays have 1 to 32 dimensions, and are float16, 32, 64, uint8, int8, int32 or int64.
    """
    yield struct.pack("<QQQ", _LIST_MAGIC, 0, len(arrays))
    for array in arrays.values():
        yield struct.pack(f"<IiI{array.ndim}qiii", _ARRAY_MAGIC, 0, array.ndim, *array.shape,
                          1, 0, _TYPE_FLAGS[array.dtype])  # of the first CPU
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    yield struct.pack("<Q", len(arrays))
    for name in arrays:
        encoded = name.encode()
        yield struct.pack("<Q", len(encoded)) + encoded


def parse_params(data: bytes, path: object) -> dict[str, np.ndarray]:
    """Parse a .params file; return its arrays, read-only views of `data`, by name, in order.

    Files of old versions of MXNet are read as well. Raises ValueError, which begins with `path`, if
    the data are truncated, too long, or hold sparse or unnamed arrays. Sizes are checked before any
    memory is allocated.
    """
    rest = memoryview(data)

    def take(size: int) -> memoryview:
        nonlocal rest
        if size > len(rest):
            raise ValueError(f"is truncated: expected {size} more bytes, found {len(rest)}")
        taken, rest = rest[:size], rest[size:]
        return taken

    def unpack(layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, take(struct.calcsize(layout)))

    def take_array() -> np.ndarray:
        magic, = unpack("<I")
        storage, dimensions = (unpack("<iI") if magic == _ARRAY_MAGIC else
                               (0, *unpack("<I")) if magic == _DENSE_MAGIC else
                               (0, magic))  # the oldest files, with sides of 32 bits
        if storage != 0 or not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise ValueError("holds a sparse or damaged array")
        side = "I" if dimensions == magic else "q"
        *shape, _, _, flag = unpack(f"<{dimensions}{side}iii")
        if flag not in _DTYPES or min(shape) < 0:
            raise ValueError(f"holds an array of invalid type {flag} or shape {shape}")
        dtype = np.dtype(_DTYPES[flag])
        # Dimensions that NumPy cannot represent raise ValueError too, if the array is empty.
        return np.frombuffer(take(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)

    try:
        magic, reserved, count = unpack("<QQQ")
        if (magic, reserved) != (_LIST_MAGIC, 0):
            raise ValueError("is not an MXNet .params file")
        if count > _MAX_ARRAYS:
            raise ValueError(f"has {count} arrays: expected at most {_MAX_ARRAYS}")
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
