"""Files that are either complete or not there."""
import contextlib
import os
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
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise


def sync_directory(path):
    """Return only when the disk has the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
