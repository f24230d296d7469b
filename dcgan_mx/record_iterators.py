"""Batches of photographs, through MXNet's record reader."""
import contextlib
import os
import tempfile

from .iterators import ORDER, EpochIter, generator, require_part
from .pack_cache import pack_cached
from .records import RecordError, find_bad, scan
from .runtime import first_line, mx, physical_cores


@contextlib.contextmanager
def _no_stderr():
    """Keep the whole process from writing to its standard error, because MXNet knows no log levels.

    For the main thread only: what others have to say meanwhile is lost.
    """
    with open(os.devnull, "w") as null:
        kept = os.dup(2)
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _identify(path):
    """What changes where a file does."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _Position:
    """MXNet's reader, and the number of the batch that it returns next."""

    def __init__(self, reader):
        self.reader, self.nbatch = reader, 0


class ImagenetIter(EpochIter):
    """Shuffled batches of photographs from a record file, randomly cropped and mirrored.

    Parameters
    ----------
    path : str or os.PathLike
        File of records with a picture each, such as scripts/make_rec.py and MXNet's im2rec.py
        write; no index is needed.
    batch_size : int, at least 1
        What is left over at the end of an epoch is dropped: every batch is full.
    data_shape : tuple of int, (C, H, W)
        Of the images in a batch; C is 1 (grey) or 3 (RGB).
    seed : int, at least 0
        The batches of epoch e depend on `seed` and e alone.
    crop : (int, int)
        Least and greatest side in pixels of the square that is cut out of a picture. No side of
        any picture may be shorter than the greatest; scripts/make_rec.py enlarges those.
    mirror : bool
        Mirror every other picture, by chance.
    inter_method : int
        How MXNet scales: 1 bilinear, as the example; 9 averages areas where it shrinks.
    threads : int, at least 1
        Decode; MXNet takes no more than there are processors. Their number changes no batch.
    num_parts, part_index : int
        Read one of so many parts of the file; all parts give as many batches.

    Attributes
    ----------
    num_batches : int
        Batches in an epoch.
    fingerprint : dict
        `records`, their number, and `sha256`, the digest that `records.scan` returns.

    Raises
    ------
    RecordError
        If the file holds no records, fewer than a batch, or one that cannot be decoded.
    OSError
        If it cannot be read.

    Notes
    -----
    Batches have one array `data`, (batch_size, C, H, W), float32, in [-1, 1]: x / 127.5 - 1.
    A batch in the middle of an epoch is reached by decoding what comes before it, because the
    reader tells nobody the order in which it shuffles. Place n of all batches of an epoch has the
    same square, relative to its picture, and the same mirroring: MXNet's `seed_aug` is what makes
    them independent of the number of threads. Source: MXNet 1.0.0, example/gan/dcgan.py.
    """

    def __init__(self, path, batch_size, data_shape=(3, 64, 64), seed=0, crop=(192, 256),
                 mirror=True, inter_method=1, threads=1, num_parts=1, part_index=0):
        self._status = _identify(path)
        self._offsets, label_width, digest = scan(path)
        require_part(num_parts, part_index)
        if threads < 1:
            raise ValueError(f"threads is {threads}: give 1 or more")
        n = len(self._offsets)
        smallest = n - (num_parts - 1) * -(-n // num_parts)  # MXNet rounds all parts but one up
        if not 1 <= batch_size <= smallest:
            raise RecordError(f"batch_size is {batch_size}: give 1 to {max(smallest, 0)}, the "
                              f"pictures in {path}"
                              + (f" for each of {num_parts}" if num_parts > 1 else ""))
        # MXNet's reader takes '#', '?', ';' and '//' in a path for something else, lists the folder
        # that it is in, and shuffles by an index only; the one beside it may be another file's.
        self._folder = tempfile.TemporaryDirectory(prefix="dcgan_mx-")
        index, link = (os.path.join(self._folder.name, f"pictures.{end}") for end in ("idx", "rec"))
        with open(index, "w") as f:
            f.writelines(f"{i}\t{offset}\n" for i, offset in enumerate(self._offsets))
        os.symlink(os.path.abspath(path), link)
        self.fingerprint = {"records": n, "sha256": digest}
        self._path, self._seed, self._part_index = path, seed, part_index
        self._arguments = {
            "path_imgrec": link, "path_imgidx": index,
            "data_shape": data_shape, "batch_size": batch_size, "label_width": label_width,
            "shuffle": True, "rand_crop": True, "rand_mirror": mirror,
            "min_crop_size": crop[0], "max_crop_size": crop[1], "inter_method": inter_method,
            "mean_r": 127.5, "mean_g": 127.5, "mean_b": 127.5, "scale": 1 / 127.5,
            "num_parts": num_parts, "part_index": part_index, "preprocess_threads": threads,
            "ctx": "cpu"}  # the other variant leaks a few batches each time it is opened
        super().__init__(batch_size, data_shape, smallest // batch_size, threads=1)

    def _begin(self, epoch):
        order, *places = generator(self._seed, ORDER, epoch).integers(
            2**30, size=2 + self._part_index)
        with self._errors(), _no_stderr():  # MXNet prints a line for each reader
            return _Position(mx.io.ImageRecordIter(**self._arguments, seed=int(order),
                                                   seed_aug=int(places[-1])))

    def _make(self, position, nbatch):
        with self._errors():
            while position.nbatch < nbatch:
                position.reader.next()
                position.nbatch += 1
            data = position.reader.next().data[0].copy()  # the reader writes the next one over it
            data.wait_to_read()
        position.nbatch += 1
        return data

    @contextlib.contextmanager
    def _errors(self):
        """Turn an error of MXNet into one that names the picture."""
        # MXNet ends the process where the offsets are no longer right.
        if _identify(self._path) != self._status:
            raise RecordError(f"{self._path} changed while it was in use: start again")
        try:
            yield
        except (mx.base.MXNetError, StopIteration) as error:
            reason = find_bad(self._path, self._offsets, self._arguments["max_crop_size"])
            raise RecordError(f"{self._path}: " + (
                f"{reason}: pack the pictures again with scripts/make_rec.py" if reason else
                f"MXNet's reader stopped: {first_line(error)}")) from None


class FolderIter(ImagenetIter):
    """Shuffled batches of the pictures in a folder and below, as `ImagenetIter` makes them.

    Parameters
    ----------
    folder : str or os.PathLike
        Pictures of any of `encoding.FORMATS` and of any size; what is none is left out.
    cache : str or os.PathLike, optional
        Where the packed pictures are kept; see `pack_cache.pack_cached`.
    progress : callable
        See `packing.pack`.
    batch_size, data_shape, seed, threads, num_parts, part_index
        As `ImagenetIter` takes them.

    Attributes
    ----------
    path : pathlib.Path
        The packed pictures.
    skipped : list of (str, str)
        Files left out, and why.

    Raises
    ------
    PackingError, RecordError
        If there are fewer pictures than a batch.
    OSError
        If the folder cannot be listed, or the cache not be written.
    """

    def __init__(self, folder, batch_size, data_shape=(3, 64, 64), seed=0, threads=1,
                 num_parts=1, part_index=0, cache=None, progress=iter):
        self.path, self.skipped = pack_cached(folder, cache, physical_cores(), batch_size, progress)
        super().__init__(self.path, batch_size, data_shape, seed, inter_method=9, threads=threads,
                         num_parts=num_parts, part_index=part_index)
