"""Atomic writes, and safe reads of untrusted files."""
from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import stat
import warnings
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterable, Iterator, Union

StrPath = Union[str, "os.PathLike[str]"]
_MAX_BRACKETS = 1000
# Errors of file systems that lack a function.
UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
_warned: set[int] = set()  # devices of file systems that cannot sync folders


def write_atomic(path: StrPath, chunks: bytes | Iterable[Any], sync: bool = False) -> None:
    """Write a file atomically: under a temporary name in the same folder, then renamed.

    `chunks` are bytes, or an iterable of them. With `sync`, the file is on the disk on return.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pieces: Iterable[Any] = (chunks,) if isinstance(chunks, bytes) else chunks
    try:
        temporary.unlink(missing_ok=True)
        with open(temporary, "xb") as f:  # x: a stranger's link of this name is not followed
            f.writelines(pieces)
            if sync:
                f.flush()
                os.fsync(f.fileno())
        os.replace(temporary, path)
        if sync:
            sync_directory(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)
            del error.filename2  # None would be part of the message
        raise


def list_stale(folder: StrPath, name: str = "*",
               is_kind: Callable[[int], bool] = stat.S_ISREG) -> Iterator[Path]:
    """Yield the files `.NAME.PID.tmp` of processes that have ended; `name` is a pattern."""
    for left in Path(folder).glob(f".{name}.*.tmp"):
        try:
            ours = is_kind(left.lstat().st_mode)
            os.kill(int(left.name.split(".")[-2]), 0)
        except ProcessLookupError:
            if ours:
                yield left
        except (ValueError, OverflowError, OSError):  # not our name, or another user's process
            continue


def append(path: StrPath, content: bytes, size: int, sync: bool = False) -> None:
    """Append bytes to a file, all or none; with `sync`, they are on the disk on return.

    Whatever is beyond `size`, where the last append ended, is removed first: on a bad disk, an
    append can fail and leave bytes that cannot be removed at that time.
    """
    before = None
    try:
        with open(path, "ab", buffering=0) as f:
            before = min(size, f.tell())
            if before < f.tell():
                f.truncate(before)
            rest = memoryview(content)
            while rest:
                rest = rest[f.write(rest):]
            if sync:
                os.fsync(f.fileno())
    except OSError as error:
        if before is not None:
            with contextlib.suppress(OSError):
                os.truncate(path, before)
        error.filename = str(path)
        raise


def parse_json(raw: bytes) -> Any:
    """Parse JSON of unknown origin; ValueError if it is invalid or nested too deeply."""
    # Deep nesting can abort Python 3.8 ("Cannot recover from stack overflow").
    if raw.count(b"[") + raw.count(b"{") > _MAX_BRACKETS:
        raise ValueError("is nested too deeply")
    try:
        return json.loads(raw)
    except RecursionError:  # many functions called this one
        raise ValueError("is nested too deeply") from None


def open_regular(path: StrPath, follow: bool = False, write: bool = False) -> BinaryIO:
    """Open a regular file; OSError for others. `write` creates it; `follow` permits a link."""
    if not follow and os.path.islink(path):  # O_NOFOLLOW has another message
        raise OSError(errno.ELOOP, "a link instead of a regular file", str(path))
    flags = os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags | (os.O_RDWR | os.O_CREAT if write else 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(descriptor, "r+b" if write else "rb")


@contextlib.contextmanager
def name_errors(path: StrPath) -> Iterator[None]:
    """Name a file in every OSError: those of an open file's methods do not."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def sync_directory(path: StrPath) -> None:
    """Write the names in a directory to the disk; warn once if the file system cannot do this."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = str(path)
        if error.errno not in UNSUPPORTED:
            raise
        device = os.fstat(descriptor).st_dev
        if device not in _warned:
            _warned.add(device)
            warnings.warn(f"{Path(path).absolute().parent}: this file system cannot sync folders "
                          f"({error.strerror}): a power failure can undo the last files",
                          RuntimeWarning, stacklevel=2)
    finally:
        os.close(descriptor)


def data_folder() -> Path:
    """Return where data sets are stored: `data` here if it exists or this is a clone, else a cache.

    All folders share the cache, so that nothing is downloaded twice. There is none for a user
    without a home directory that can be written, as in some containers: a warning says so, once.
    """
    cache = os.environ.get("XDG_CACHE_HOME")
    here = Path("data")
    if here.is_dir() or Path("dcgan_mx", "__init__.py").exists():
        return here
    folder = Path(cache or os.path.expanduser("~/.cache"), "dcgan_mx", "data")
    if not cache:
        existing = next(path for path in (folder, *folder.parents) if os.path.exists(path))
        if existing != folder and not (folder.is_absolute() and os.access(existing, os.W_OK)):
            _warn_of_no_home()
            return here
    return folder


@functools.lru_cache(maxsize=None)
def _warn_of_no_home() -> None:
    warnings.warn("this user has no writable home directory: data sets are stored in ./data; set "
                  "XDG_CACHE_HOME to a folder for them", RuntimeWarning, stacklevel=3)
