"""Batches of noise and of images, each a function of the seed and its number alone."""
from __future__ import annotations

from typing import Any, Callable, Iterable

import cv2
import numpy as np

from .data.epochs import NOISE, ORDER, EpochIter, generator, require_part
from .data.pack_cache import pack_cached
from .data.record_reader import Position, RecordReader
from .data.records import RecordError
from .machine.files import StrPath
from .machine.runtime import mx, physical_cores


class RandIter(mx.io.DataIter):
    """Batches of latent vectors, without end.

    Parameters
    ----------
    batch_size, ndim : at least 1
        Vectors in a batch and numbers in a vector.
    seed : at least 0
        Batch n depends on `seed` and n alone.
    num_parts, part_index
        Return one of so many parts of each batch that is so many times as large.

    Notes
    -----
    Batches have one array `rand`, (batch_size, ndim, 1, 1), float32, drawn from N(0, 1).
    Source: MXNet 1.0.0, example/gan/dcgan.py.
    """

    def __init__(self, batch_size: int, ndim: int, seed: int = 0, num_parts: int = 1,
                 part_index: int = 0) -> None:
        require_part(num_parts, part_index)
        super().__init__(batch_size)
        self._shape = (num_parts, batch_size, ndim, 1, 1)
        self._seed, self._part_index = seed, part_index
        self._n = 0
        self.provide_data = [mx.io.DataDesc("rand", self._shape[1:])]
        self.provide_label: list[Any] = []

    def seek(self, n: int) -> None:
        """Go on with batch number `n`."""
        self._n = n

    def next(self) -> Any:
        """Return the next batch."""
        rand = generator(self._seed, NOISE, self._n).standard_normal(self._shape, np.float32)
        self._n += 1
        return mx.io.DataBatch([mx.nd.from_numpy(rand[self._part_index])], [], pad=0)


class MnistIter(EpochIter):
    """Shuffled batches of small grey images, enlarged when they are needed.

    Parameters
    ----------
    images : (N, h, w), uint8
        Such as `get_mnist` returns them; kept as they are.
    batch_size : from 1 to N / num_parts
        What is left over at the end of an epoch is dropped: every batch is full.
    data_shape : (C, H, W)
        Of the images in a batch.
    seed : at least 0
        The order in epoch e depends on `seed` and e alone.
    threads : at least 1
        Prepare batches ahead of the training; their number changes no batch.
    num_parts, part_index
        Return one of so many parts of each batch that is so many times as large.

    Attributes
    ----------
    num_batches : int
        Batches in an epoch.

    Raises
    ------
    ValueError
        If the images or a number are none of the above.

    Notes
    -----
    Batches have one array `data`, (batch_size, C, H, W), float32, in [-1, 1]: each digit is
    resized by cv2.resize, scaled by x / 127.5 - 1 and repeated over the channels.
    Source: MXNet 1.0.0, example/gan/dcgan.py.
    """

    def __init__(self, images: np.ndarray, batch_size: int,
                 data_shape: tuple[int, int, int] = (3, 64, 64), seed: int = 0, threads: int = 1,
                 num_parts: int = 1, part_index: int = 0) -> None:
        require_part(num_parts, part_index)
        if images.ndim != 3 or images.dtype != np.uint8:
            raise ValueError(f"images is {images.dtype} of shape {images.shape}: give uint8 of "
                             "shape (N, h, w)")
        if not 1 <= batch_size <= len(images) // num_parts:
            raise ValueError(f"batch_size is {batch_size}: give 1 to {len(images) // num_parts}, "
                             "the number of images"
                             + (f" for each of {num_parts}" if num_parts > 1 else ""))
        self._images, self._seed = images, seed
        self._data_shape: tuple[int, int, int] = (data_shape[0], data_shape[1], data_shape[2])
        self._num_parts, self._part_index = num_parts, part_index
        super().__init__(batch_size, data_shape, len(images) // (batch_size * num_parts), threads)

    def _begin(self, epoch: int) -> np.ndarray:
        return generator(self._seed, ORDER, epoch).permutation(len(self._images))

    def _make(self, source: np.ndarray, nbatch: int) -> Any:
        start = (nbatch * self._num_parts + self._part_index) * self.batch_size
        chosen = source[start:start + self.batch_size]
        return mx.nd.from_numpy(enlarge(self._images[chosen], self._data_shape))


def enlarge(images: np.ndarray, data_shape: tuple[int, int, int]) -> np.ndarray:
    """Resize small grey images, and repeat them over the channels, as `MnistIter` does.

    Parameters
    ----------
    images : (N, h, w), uint8
    data_shape : (C, H, W)

    Returns
    -------
    (N, C, H, W), float32
        In [-1, 1].
    """
    _, height, width = data_shape
    data = np.empty((len(images), *data_shape), np.float32)
    for out, image in zip(data, images):
        out[:] = cv2.resize(image, (width, height))
    data /= 127.5
    data -= 1
    return data


class ImagenetIter(EpochIter):
    """Shuffled batches of photographs from a record file, randomly cropped and mirrored.

    Parameters
    ----------
    path
        File of records with a picture each, such as `dcgan-mx pack` and MXNet's im2rec.py
        write; no index is needed.
    batch_size : at least 1
        What is left over at the end of an epoch is dropped: every batch is full.
    data_shape : (C, H, W)
        Of the images in a batch; C is 1 (grey) or 3 (RGB).
    seed : at least 0
        The batches of epoch e depend on `seed` and e alone.
    crop
        Least and greatest side in pixels of the square that is cut out of a picture. No side of
        any picture may be shorter than the greatest; `dcgan-mx pack` enlarges those.
    mirror
        Mirror every other picture, by chance.
    inter_method
        How MXNet scales: 1 bilinear, as the example; 9 averages areas where it shrinks.
    threads : at least 1
        Decode; MXNet takes no more than there are processors. Their number changes no batch.
    num_parts, part_index
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

    def __init__(self, path: StrPath, batch_size: int,
                 data_shape: tuple[int, int, int] = (3, 64, 64), seed: int = 0,
                 crop: tuple[int, int] = (192, 256), mirror: bool = True, inter_method: int = 1,
                 threads: int = 1, num_parts: int = 1, part_index: int = 0) -> None:
        require_part(num_parts, part_index)
        if threads < 1:
            raise ValueError(f"threads is {threads}: give 1 or more")
        self._reader = RecordReader(
            path, data_shape=data_shape, batch_size=batch_size, rand_crop=True, rand_mirror=mirror,
            min_crop_size=crop[0], max_crop_size=crop[1], inter_method=inter_method,
            mean_r=127.5, mean_g=127.5, mean_b=127.5, scale=1 / 127.5,
            num_parts=num_parts, part_index=part_index, preprocess_threads=threads)
        n = self._reader.records
        smallest = n - (num_parts - 1) * -(-n // num_parts)  # MXNet rounds all parts but one up
        if not 1 <= batch_size <= smallest:
            raise RecordError(f"batch_size is {batch_size}: give 1 to {max(smallest, 0)}, the "
                              f"pictures in {path}"
                              + (f" for each of {num_parts}" if num_parts > 1 else ""))
        self.fingerprint = {"records": n, "sha256": self._reader.digest}
        self._seed, self._part_index = seed, part_index
        super().__init__(batch_size, data_shape, smallest // batch_size, threads=1)

    def _begin(self, epoch: int) -> Position:
        order, *places = generator(self._seed, ORDER, epoch).integers(
            2**30, size=2 + self._part_index)
        return self._reader.open(int(order), int(places[-1]))

    def _make(self, source: Position, nbatch: int) -> Any:
        return self._reader.read(source, nbatch)


class FolderIter(ImagenetIter):
    """Shuffled batches of the pictures in a folder and below, as `ImagenetIter` makes them.

    Parameters
    ----------
    folder
        Pictures of any of `encoding.FORMATS` and of any size; what is none is left out.
    cache
        Where the packed pictures are kept; see `pack_cache.pack_cached`.
    progress
        See `packing.pack`.
    batch_size, data_shape, seed, threads, num_parts, part_index
        As `ImagenetIter` takes them.

    Attributes
    ----------
    path : pathlib.Path
        The packed pictures.
    skipped : list of (str, str)
        Files left out, and why.
    removed : list of (pathlib.Path, str)
        Packs that made room for this one, and why; see `pack_cache.Pack`.

    Raises
    ------
    PackingError, RecordError
        If there are fewer pictures than a batch.
    OSError
        If the folder cannot be listed, or the cache not be written.
    """

    def __init__(self, folder: StrPath, batch_size: int,
                 data_shape: tuple[int, int, int] = (3, 64, 64), seed: int = 0, threads: int = 1,
                 num_parts: int = 1, part_index: int = 0, cache: StrPath | None = None,
                 progress: Callable[[Iterable[str]], Iterable[str]] = iter) -> None:
        self.path, self.skipped, self.removed, self._lease = pack_cached(
            folder, cache, physical_cores(), batch_size, progress)
        super().__init__(self.path, batch_size, data_shape, seed, inter_method=9, threads=threads,
                         num_parts=num_parts, part_index=part_index)
