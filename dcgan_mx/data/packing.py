"""Pictures in a folder become one record file; what is no picture is listed with its reason."""
import hashlib
import io
import os
import stat
import warnings
from array import array
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .encoding import encode
from ..machine.files import open_plain, write_atomic
from .records import frame, read_picture, scan


class PackingError(ValueError):
    """A folder has too few pictures, or changed while it was read.

    Attributes
    ----------
    skipped : list of (str, str)
        Files that were left out, and why.
    """

    def __init__(self, message, skipped=()):
        super().__init__(message)
        self.skipped = sorted(skipped)


def list_files(folder):
    """List what is in a folder and below; a folder that links lead to again is read once.

    Parameters
    ----------
    folder : str or os.PathLike

    Returns
    -------
    files : dict of str to (int, int, int)
        Names relative to `folder`, in sorted order, with size in bytes and the times, in ns, of the
        last changes of content and of rights.
    skipped : list of (str, str)
        Names, and why they are no files.

    Raises
    ------
    OSError
        If the folder itself cannot be listed.
    """
    files, skipped, seen = {}, [], set()
    folders = [""]
    while folders:
        prefix = folders.pop()
        path = os.path.join(folder, prefix)
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                skipped.append((prefix, "is a folder that was read already"))
                continue
            seen.add(identity)
            entries = sorted(os.scandir(path), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if not prefix:
                raise
            skipped.append((prefix, error.strerror))
            continue
        for entry in entries:
            name = os.path.join(prefix, entry.name)
            try:
                status = entry.stat()
            except OSError as error:
                skipped.append((name, error.strerror))
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append(name)
            elif stat.S_ISREG(status.st_mode):
                files[name] = _times(status)
            else:
                skipped.append((name, "is no plain file"))
    return dict(sorted(files.items())), sorted(skipped)


def _times(status):
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def pack(folder, out, resize=256, quality=95, threads=1, least=1, progress=iter):
    """Pack the pictures in a folder and below, or in a record file, into a record file.

    Parameters
    ----------
    folder : str or os.PathLike
        A record file is packed anew, record by record, to scale what is in it.
    out : str or os.PathLike
        Replaced, when all is done, if it exists; its index, for other programs, gets the same name
        with the ending .idx.
    resize, quality : int
        As `encode` takes them.
    threads : int, at least 1
        Their number changes no byte.
    least : int
        Pictures without which nothing is written.
    progress : callable
        Wraps the list of names while they are read, as tqdm does.

    Returns
    -------
    n : int
        Pictures in the file. The order of a folder's, that of a digest of their names, looks
        random, so that each part of the file is a fair sample.
    skipped : list of (str, str)
        Each file or record left out, and why.

    Raises
    ------
    RecordError
        If `folder` is a file, and none of records.
    PackingError
        If fewer than `least` pictures are left, or `out` is in `folder` or no name for a file.
    OSError
        If the folder cannot be listed, or a file cannot be written.
    """
    out = Path(out)
    if not out.name or out.suffix == ".idx" or out.is_dir():
        raise PackingError(f"{str(out)!r} cannot be the record file: give a name as in OUT.rec")
    index = out.with_suffix(".idx")
    source = _Records(folder) if os.path.isfile(folder) else _Folder(folder, out)
    skipped, offsets, position = source.skipped, array("q"), 0

    def read(name):
        try:
            return source.read(name, resize, quality), None
        except OSError as error:
            return None, error.strerror or f"is damaged: {error}"
        except Exception as error:  # a decoder that meets a damaged file raises what it likes
            return None, str(error) if type(error) is ValueError else f"is damaged: {error!r}"

    def records():
        nonlocal position
        for name, (picture, reason) in _map_in_order(read, progress(source.names), threads):
            if picture is None:
                skipped.append((name, reason))
                continue
            record = frame(picture, len(offsets))
            offsets.append(position)
            position += len(record)
            yield record
        skipped.extend((name, "appeared while the folder was packed") for name in source.added())
        if len(offsets) < least:
            raise PackingError(f"{folder} has {len(offsets)} readable pictures of "
                               f"{len(source.names)}, and at least {least} are needed", skipped)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that are judged here
        write_atomic(out, records(), sync=True)
    write_atomic(index, b"".join(b"%d\t%d\n" % entry for entry in enumerate(offsets)))
    return len(offsets), sorted(skipped)


class _Folder:
    """The files in a folder, by name."""

    def __init__(self, folder, out):
        if Path(folder).resolve() in out.resolve().parents:
            raise PackingError(f"{out} is in the folder that it is made of: give a place outside "
                               f"of {folder}")
        self._folder = folder
        self._files, self.skipped = list_files(folder)
        self.names = sorted(self._files,
                            key=lambda name: hashlib.sha256(os.fsencode(name)).digest())

    def read(self, name, resize, quality):
        path = os.path.join(self._folder, name)
        with open_plain(path, follow=True) as f:
            picture = encode(f, resize, quality)
        if _times(os.stat(path)) != self._files[name]:
            raise ValueError("changed while the folder was packed")
        return picture

    def added(self):
        return list_files(self._folder)[0].keys() - self._files.keys()


class _Records:
    """The records of a file, by number."""

    def __init__(self, path):
        self._path = path
        self._offsets = scan(path)[0]
        self.names = [f"record {n}" for n in range(1, len(self._offsets) + 1)]
        self.skipped = []

    def read(self, name, resize, quality):
        with open_plain(self._path, follow=True) as f:
            picture = read_picture(f, self._offsets[int(name.split()[1]) - 1])
        return encode(io.BytesIO(picture), resize, quality)

    def added(self):
        return ()


def _map_in_order(function, items, threads):
    """Yield each item and its result, with a few calls at work ahead in threads."""
    with ThreadPoolExecutor(threads) as pool:
        ahead = deque()
        for item in items:
            ahead.append((item, pool.submit(function, item)))
            if len(ahead) > 4 * threads:
                done, future = ahead.popleft()
                yield done, future.result()
        for done, future in ahead:
            yield done, future.result()
