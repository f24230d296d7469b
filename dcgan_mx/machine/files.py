"""Files that are either complete or not there."""
import contextlib
import errno
import os
import stat
from pathlib import Path


def write_atomic(path, chunks, sync=False):
    """Write a file under a temporary name beside it, then rename.

    Parameters
    ----------
    path : str or os.PathLike
        Replaced if it exists.
    chunks : bytes or iterable of bytes-like
        What the file is to hold.
    sync : bool
        Return only when the disk has the content.

    Raises
    ------
    OSError
        If the file cannot be written; the temporary file is gone then.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as f:
            for chunk in (chunks,) if isinstance(chunks, bytes) else chunks:
                f.write(chunk)
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
            error.filename, error.filename2 = str(path), None
        raise


def append_line(path, text):
    """Add a line to a file, and return only when the disk has it.

    Parameters
    ----------
    path : str or os.PathLike
        Made if it is not there.
    text : str
        Without the line's end.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    try:
        with open(path, "a", encoding="utf-8") as f:
            f.write(text + "\n")
            f.flush()
            os.fsync(f.fileno())
    except OSError as error:
        error.filename = str(path)
        raise


def open_plain(path, follow=False):
    """Open a file for reading bytes, unless it is a link, a pipe or a device.

    Parameters
    ----------
    path : str or os.PathLike
    follow : bool
        Take what a link leads to.

    Returns
    -------
    file object

    Raises
    ------
    OSError
        If the file cannot be opened, or is none of the plain ones.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    return open(descriptor, "rb")


def sync_directory(path):
    """Return only when the disk has the names in a directory.

    Parameters
    ----------
    path : str or os.PathLike

    Raises
    ------
    OSError
        If the directory is not there, or the disk fails.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cache_folder():
    """Return the folder of what can be made again: `dcgan_mx` in $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dcgan_mx"
