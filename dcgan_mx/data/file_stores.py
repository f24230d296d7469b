"""The files in a folder, a ZIP archive or a tar archive, which is not unpacked to the disk.

A store has `names`, `hidden`, the names of files that programs hide, `skipped`, the names of others
that cannot be read, with the reason, and `read`. Nothing is written, so names are not trusted.
"""
from __future__ import annotations

import contextlib
import importlib
import io
import os
import struct
import tarfile
import threading
import zipfile
from errno import EINVAL
from typing import BinaryIO, Callable, Iterable, Iterator, Union

from ..system.files import StrPath, open_regular
from .errors import DatasetError, short_message
from .recordio import MAGIC

_ZIP = (b"PK\3\4", b"PK\5\6")
# Compressions of tar archives: the first bytes, and Python's module.
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "lzma"}
_HIDDEN = {"__MACOSX", "@eaDir"}  # of macOS in archives, and of Synology's file servers
_MAX_UNPACKED = 1 << 30  # bytes of a compressed tar archive, which is kept in memory
_MAX_GROWTH = 1 << 27  # bytes that it takes beyond the size of the file
_MAX_MEMBER_GROWTH = 1 << 25  # the same for a file in a ZIP archive; each thread may read one


def find_format(path: StrPath) -> str:
    """Return folder, zip, tar, records or "", by the first bytes of a file."""
    if os.path.isdir(path):
        return "folder"
    with open_regular(path, follow=True) as f:
        head = f.read(512)
    if head.startswith(_ZIP):
        return "zip"
    if head.startswith(tuple(_COMPRESSIONS)) or head[257:262] == b"ustar":
        return "tar"
    return "records" if head.startswith(struct.pack("<I", MAGIC)) else ""


def open_files(path: StrPath) -> FileStore:
    """Open a folder or an archive; DatasetError if it is neither."""
    stores: dict[str, Callable[[StrPath], FileStore]] = {
        "folder": FolderFiles, "zip": ZipFiles, "tar": TarFiles}
    kind = find_format(path)
    if kind not in stores:
        raise DatasetError(f"{path} is not a folder or an archive: expected a folder, .zip, "
                           ".tar, .tar.gz, .tar.bz2 or .tar.xz")
    return stores[kind](path)


class FolderFiles:
    """The files in a folder and its subfolders; links are followed."""

    def __init__(self, folder: StrPath) -> None:
        self._folder = folder
        self.names: list[str] = []
        self.hidden: list[str] = []
        self.skipped: list[tuple[str, str]] = []
        seen, start = set(), len(os.path.join(folder, ""))

        def skip(error: OSError) -> None:
            if not error.filename[start:]:
                raise error
            self.skipped.append((error.filename[start:], short_message(error)))

        for path, folders, files in os.walk(folder, onerror=skip, followlinks=True):
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:  # links may form circles
                self.skipped.append((path[start:], "is a folder that was already read"))
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            hidden = {name for name in folders + files if _is_hidden(name)}
            self.hidden += [os.path.join(path[start:], name) for name in hidden]
            self.names += [os.path.join(path[start:], name) for name in files
                           if name not in hidden]
            folders[:] = sorted({*folders} - hidden)

    def read(self, name: str, limit: int) -> tuple[bytes, int]:
        """Return up to `limit` bytes of a file, and its size."""
        with open_regular(os.path.join(self._folder, name), follow=True) as f:
            return f.read(limit), os.fstat(f.fileno()).st_size


class ZipFiles:
    """The files in a ZIP archive."""

    def __init__(self, path: StrPath) -> None:
        with _report_damage(path):
            self._archive = zipfile.ZipFile(path)
        self._lock = threading.Lock()  # several threads may read a ZipFile only since Python 3.9
        self._size = os.path.getsize(path)
        self._infos = {info.filename: info for info in self._archive.infolist()
                       if not info.filename.endswith("/")}
        self.names, self.hidden = _split_hidden(self._infos)
        self.skipped: list[tuple[str, str]] = []

    def read(self, name: str, limit: int) -> tuple[bytes, int]:
        """Return up to `limit` bytes of a file, and its size; ValueError if it is damaged."""
        info = self._infos[name]
        if info.flag_bits & 1:
            raise ValueError("is encrypted: make the archive without a password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # ZipExtFile decompresses any number of bytes at once with the other methods.
            raise ValueError("is compressed by another method than deflate: use deflate")
        growth = min(limit, info.file_size) - min(info.compress_size, self._size)
        if growth > _MAX_MEMBER_GROWTH:  # ZipExtFile reads no more than the size in the header
            raise ValueError(f"is {growth >> 20} MiB larger than its compressed form: unpack it")
        try:
            with self._lock, self._archive.open(info) as f:
                return f.read(limit), info.file_size
        except Exception as error:  # each compression has its own errors
            raise ValueError(f"is damaged: {str(error) or type(error).__name__}") from None


class TarFiles:
    """The files in a tar archive; the content of a compressed one is kept in memory."""

    def __init__(self, path: StrPath) -> None:
        self._file: BinaryIO = open_regular(path, follow=True)
        self._places: dict[str, tuple[int, int]] = {}
        self.skipped: list[tuple[str, str]] = []
        with _report_damage(path):
            head = self._file.read(6)
            self._file.seek(0)
            for magic, module in _COMPRESSIONS.items():
                if head.startswith(magic):
                    self._file = _decompress(path, self._file, module)
            with tarfile.open(fileobj=self._file, mode="r:", encoding="utf-8") as archive:
                while member := archive.next():
                    archive.members.clear()  # type: ignore[attr-defined]  # saves memory
                    self._add(member)
        self.names, self.hidden = _split_hidden(self._places)

    def _add(self, member: tarfile.TarInfo) -> None:
        """Note where the content of a member is."""
        if member.size < 0:  # some versions of tarfile would read the same header forever
            raise tarfile.HeaderError(f"{member.name} has a negative size")
        name, target = map(os.path.normpath, (member.name, member.linkname))  # ./NAME: NAME
        if member.isreg() and not member.issparse():
            self._places[name] = member.offset_data, member.size
        elif member.islnk() and target in self._places:  # a second name of a file
            self._places[name] = self._places[target]
        elif not member.isdir():
            self.skipped.append((name, "is not a regular file"))

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def read(self, name: str, limit: int) -> tuple[bytes, int]:
        """Return up to `limit` bytes of a file, and its size; ValueError if it is cut off."""
        start, size = self._places[name]
        length = min(size, limit)
        content = (bytes(self._file.getbuffer()[start:start + length])
                   if isinstance(self._file, io.BytesIO) else
                   os.pread(self._file.fileno(), length, start))
        if len(content) < length:
            raise ValueError("is cut off")
        return content, size


FileStore = Union[FolderFiles, ZipFiles, TarFiles]


def _decompress(path: StrPath, file: BinaryIO, module: str) -> io.BytesIO:
    """Return the content of a compressed archive; DatasetError if it takes too much memory."""
    limit = min(_MAX_UNPACKED, os.fstat(file.fileno()).st_size + _MAX_GROWTH)
    content = io.BytesIO()
    with file, importlib.import_module(module).open(file) as unpacked:
        while content.tell() <= limit and (piece := unpacked.read(1 << 20)):
            content.write(piece)
    if content.tell() > limit:
        size = ("larger than 1 GiB" if limit == _MAX_UNPACKED else
                f"more than {_MAX_GROWTH >> 20} MiB larger than the archive")
        raise DatasetError(f"{path}: its content is {size}: decompress it, or make a ZIP archive")
    content.seek(0)
    return content


@contextlib.contextmanager
def _report_damage(path: StrPath) -> Iterator[None]:
    """Turn the errors of an archive's headers, which may raise anything, into DatasetError."""
    try:
        yield
    except Exception as error:
        # A disk has other errors; this one is of a position that does not exist.
        if isinstance(error, DatasetError) or getattr(error, "errno", EINVAL) not in (None, EINVAL):
            raise
        raise DatasetError(f"{path} is not an archive, or damaged ({error}): copy or make it again"
                           ) from None


def _split_hidden(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the names of an archive's visible files, and of its hidden files."""
    visible: list[str] = []
    hidden: list[str] = []
    for name in names:
        (hidden if any(map(_is_hidden, name.split("/"))) else visible).append(name)
    return visible, hidden


def _is_hidden(part: str) -> bool:
    """Whether programs hide files or folders of this name."""
    return part in _HIDDEN or (part.startswith(".") and part not in (".", ".."))
