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
_MAX_DIMENSIONS = 32


class ParamsError(ValueError):
    """A .params file is damaged, or holds what this reader does not take."""


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
    ParamsError
        If the data are cut off, too long, hold sparse or unnamed arrays, or claim sizes that they
        do not have; no memory is taken for a claim.
    """
    reader = _Reader(data, path)
    magic, reserved, count = reader.unpack("<QQQ")
    if (magic, reserved) != (_LIST_MAGIC, 0):
        raise ParamsError(f"{path} is no .params file of MXNet")
    arrays: list[np.ndarray] = []
    while len(arrays) < count:
        arrays.append(reader.array())
    names: list[str] = []
    if reader.unpack("<Q") != (count,):
        raise ParamsError(f"{path} does not name each of its {count} arrays")
    while len(names) < count:
        names.append(reader.name())
    if reader.left:
        raise ParamsError(f"{path} has {reader.left} bytes after its end")
    if len(set(names)) < count:
        raise ParamsError(f"{path} uses a name twice")
    return dict(zip(names, arrays))


class _Reader:
    """Takes from the data what is there, or raises."""

    def __init__(self, data: bytes, path: object) -> None:
        self._data, self._path = memoryview(data), path

    @property
    def left(self) -> int:
        return len(self._data)

    def take(self, size: int) -> memoryview:
        if size > self.left:
            raise ParamsError(f"{self._path} is cut off: it claims {size} more bytes and has "
                              f"{self.left}")
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def array(self) -> np.ndarray:
        magic, storage, dimensions = self.unpack("<IiI")
        if (magic, storage) != (_ARRAY_MAGIC, 0) or not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise ParamsError(f"{self._path} holds an array that is not dense, or damaged")
        shape = self.unpack(f"<{dimensions}q")
        _, _, flag = self.unpack("<iii")
        if flag not in _DTYPES or min(shape) < 0:
            raise ParamsError(f"{self._path} holds an array of type {flag} and shape {shape}")
        dtype = np.dtype(_DTYPES[flag])
        data = self.take(math.prod(shape) * dtype.itemsize)
        try:
            return np.frombuffer(data, dtype).reshape(shape)
        except ValueError:  # no elements, but dimensions beyond what NumPy can count
            raise ParamsError(f"{self._path} holds an array of shape {shape}") from None

    def name(self) -> str:
        try:
            return str(self.take(*self.unpack("<Q")), "utf-8")
        except UnicodeDecodeError:
            raise ParamsError(f"{self._path} holds a name that is not UTF-8") from None
