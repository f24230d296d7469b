"""Batches of noise and of real images, which depend on the seed and the batch number only."""
from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from .data.errors import DatasetError
from .data.image_files import make_decoder
from .data.image_sources import DecodedImages, Folder, Records, Source
from .system.command_line import flag_name
from .system.errors import ArgumentError
from .system.files import StrPath
from .system.opencv import cv2
from .system.runtime import mx

# Independent streams of random numbers of one seed.
ORDER, NOISE, LATENT, CROPS, AUGMENTATION = range(5)
RANDOM_CROP = (192, 256)  # sides of the example's crops


def make_rng(seed: int, stream: int, n: int) -> np.random.Generator:
    """Return random number generator `n` in a stream of a seed."""
    return np.random.default_rng((seed, stream, n))


def check_part(num_parts: int, part_index: int) -> None:
    """Raise ArgumentError unless 0 <= part_index < num_parts."""
    if not 0 <= part_index < num_parts:
        raise ArgumentError("part_index",
                            f"invalid value {part_index}: expected 0 to {num_parts - 1}")


def _check_least(**arguments: tuple[int, int]) -> None:
    """Raise ArgumentError if an argument, given with its least value, is below it."""
    for name, (value, least) in arguments.items():
        if value < least:
            raise ArgumentError(name, f"invalid value {value}: expected {least} or more")


class RandIter(mx.io.DataIter):
    """Endless batches of random latent vectors.

    A batch has one array `rand`, (batch_size, ndim, 1, 1), float32, drawn from N(0, 1).
    Source: MXNet 1.0.0, example/gan/dcgan.py.

    Parameters
    ----------
    batch_size, ndim : at least 1
        Number of vectors in a batch, and their length.
    seed : at least 0
        Batch n depends on `seed` and n only.
    num_parts, part_index
        Return part `part_index` of batches that are `num_parts` times as large.
    """

    def __init__(self, batch_size: int, ndim: int, seed: int = 0, num_parts: int = 1,
                 part_index: int = 0) -> None:
        check_part(num_parts, part_index)
        _check_least(batch_size=(batch_size, 1), ndim=(ndim, 1), seed=(seed, 0))
        super().__init__(batch_size)
        self._shape = (num_parts, batch_size, ndim, 1, 1)
        self._seed, self._part_index = seed, part_index
        self._n = 0
        self.provide_data = [mx.io.DataDesc("rand", self._shape[1:])]
        self.provide_label: list[Any] = []

    def seek(self, n: int) -> None:
        """Continue with batch number `n`."""
        self._n = n

    def next(self) -> Any:
        """Return the next batch."""
        rand = make_rng(self._seed, NOISE, self._n).standard_normal(self._shape, np.float32)
        self._n += 1
        return mx.io.DataBatch([mx.nd.from_numpy(rand[self._part_index])], [], pad=0)


class EpochIter(mx.io.DataIter):
    """Epochs of full batches in random order, prepared by threads ahead of the training."""

    def __init__(self, num_images: int, batch_size: int, data_shape: tuple[int, int, int],
                 seed: int, threads: int, num_parts: int, part_index: int) -> None:
        check_part(num_parts, part_index)
        _check_least(threads=(threads, 1), seed=(seed, 0))
        if not 1 <= batch_size <= num_images // num_parts:
            raise ArgumentError("batch_size", f"invalid value {batch_size}: expected 1 to "
                                f"{num_images // num_parts}, the number of images / num_parts")
        super().__init__(batch_size)
        self.num_batches = num_images // (batch_size * num_parts)
        self.provide_data = [mx.io.DataDesc("data", (batch_size, *data_shape))]
        self.provide_label: list[Any] = []
        self.num_images, self._data_shape, self._seed = num_images, data_shape, seed
        self._num_parts, self._part_index = num_parts, part_index
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="data")
        self._max_ahead = threads + 1
        self._batches: deque[Future[np.ndarray]] = deque()
        self.seek(0, 0)

    def seek(self, epoch: int, nbatch: int) -> None:
        """Continue with batch `nbatch` of epoch `epoch`, both counted from 0."""
        for batch in self._batches:
            batch.cancel()
        self._batches.clear()
        self._epoch, self._nbatch = epoch, nbatch
        self._order = make_rng(self._seed, ORDER, epoch).permutation(self.num_images)
        self._draws = make_rng(self._seed, CROPS, epoch).random((self.num_images, 4))
        self._submit()

    def reset(self) -> None:
        """Start the next epoch, unless the current one has not begun."""
        if self._nbatch:
            self.seek(self._epoch + 1, 0)

    def next(self) -> Any:
        """Return the next batch of the epoch."""
        if not self._batches:
            raise StopIteration
        self._nbatch += 1
        data = self._batches.popleft().result()
        self._submit()
        return mx.io.DataBatch([mx.nd.from_numpy(data)], [], pad=0)

    def _submit(self) -> None:
        """Have the threads prepare this worker's part of the next few batches."""
        last = min(self._nbatch + self._max_ahead, self.num_batches)
        for nbatch in range(self._nbatch + len(self._batches), last):
            start = (nbatch * self._num_parts + self._part_index) * self.batch_size
            order = self._order[start:start + self.batch_size]
            self._batches.append(self._pool.submit(self._make, order, self._draws[order]))

    def _make(self, order: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Make a batch of the images numbered `order`, with four draws from [0, 1) for each."""
        raise NotImplementedError


class MnistIter(EpochIter):
    """Shuffled batches of small gray images, which are resized when they are needed.

    A batch has one array `data`, (batch_size, C, H, W), float32, in [-1, 1]: each image is
    resized by cv2.resize, scaled by x / 127.5 - 1 and repeated over the channels.
    Source: MXNet 1.0.0, example/gan/dcgan.py.

    Parameters
    ----------
    images : (N, h, w), uint8
        For example from `get_mnist`.
    batch_size : from 1 to N / num_parts
        Every batch is full: the last N % (batch_size * num_parts) images of an epoch are dropped;
        these are different images in each epoch.
    data_shape : (C, H, W)
    seed : at least 0
        The order in epoch e depends on `seed` and e only.
    threads : at least 1
        Threads that prepare batches ahead of the training. Their number does not affect results.
    num_parts, part_index
        Return part `part_index` of batches that are `num_parts` times as large.

    Attributes
    ----------
    num_images, num_batches : int
        Images in the data set, and batches in an epoch.

    Raises
    ------
    ArgumentError
        If an argument is invalid.
    """

    def __init__(self, images: np.ndarray, batch_size: int,
                 data_shape: tuple[int, int, int] = (3, 64, 64), seed: int = 0, threads: int = 1,
                 num_parts: int = 1, part_index: int = 0) -> None:
        if images.ndim != 3 or images.dtype != np.uint8:
            raise ArgumentError("images", f"invalid {images.dtype} array of shape {images.shape}: "
                                "expected uint8 of shape (N, h, w)")
        self._images = images
        super().__init__(len(images), batch_size, data_shape, seed, threads, num_parts, part_index)

    def _make(self, order: np.ndarray, draws: np.ndarray) -> np.ndarray:
        return resize_to(self._images[order], self._data_shape)


def resize_to(images: np.ndarray, data_shape: tuple[int, int, int]) -> np.ndarray:
    """Return gray images, (N, h, w), uint8, as (N, C, H, W), float32, in [-1, 1]."""
    data = np.empty((len(images), *data_shape), np.float32)
    for out, image in zip(data, images):
        out[:] = cv2.resize(image, data_shape[:0:-1])
    data /= 127.5
    data -= 1
    return data


class ImagenetIter(EpochIter):
    """Shuffled batches of photographs from a record file, randomly cropped and mirrored by default.

    A batch has one array `data`, (batch_size, C, H, W), float32, in [-1, 1]. Random crops and
    mirroring depend on the seed, the epoch and the image only. A warning reports an unreadable
    image, and the next image replaces it. Up to 1 GiB of decoded images is cached in memory.
    Source: MXNet 1.0.0, example/gan/dcgan.py.

    Parameters
    ----------
    path
        A record file with one image in each record, from `dcgan-mx pack` or MXNet's im2rec.py.
        Its index and labels are not used.
    batch_size, data_shape, seed, threads, num_parts, part_index
        See `MnistIter`; C is 1 (gray) or 3 (RGB).
    crop
        Minimum and maximum side in pixels of random square crops; smaller images are enlarged to
        the maximum first. Or "center", the largest part from the middle of an image with the
        proportions of `data_shape`; or "none", the whole image.
    mirror
        Mirror an image with probability 1/2.
    inter_method
        Interpolation of random crops: 1 is bilinear, as in MXNet's example; 9 averages areas, or is
        bicubic. The other crops are scaled with 9.
    fit
        With crop "none", add margins (pad) to get the proportions of `data_shape`, or stretch the
        image (stretch).
    pad_color
        Color of the margins: "white", "gray" or "black".

    Attributes
    ----------
    num_images, num_batches : int
        Images in the data set, and batches in an epoch.
    skipped : list of (str, str)
        Records found so far without a readable image, with the reason.
    fingerprint : dict
        `records`, the number of images, and `sha256`, a digest.

    Raises
    ------
    ValueError
        ArgumentError if an argument is invalid. DatasetError if the file is not a record file, has
        fewer images than a batch, changes during use, or has 100 consecutive unreadable images.
    OSError
        If the file cannot be read.
    """

    _source: type[Source] = Records

    def __init__(self, path: StrPath, batch_size: int,
                 data_shape: tuple[int, int, int] = (3, 64, 64), seed: int = 0,
                 crop: tuple[int, int] | str = RANDOM_CROP, mirror: bool = True,
                 inter_method: int = 1, threads: int = 1, num_parts: int = 1, part_index: int = 0,
                 fit: str = "pad", pad_color: str = "white") -> None:
        check_part(num_parts, part_index)
        images = self._source(os.path.abspath(path))  # the current folder may change
        decoder = make_decoder(data_shape, crop, fit, pad_color, exact=self._source is Folder)
        if inter_method not in (1, 9):
            raise ArgumentError("inter_method", f"invalid value {inter_method}: expected 1 "
                                "(bilinear) or 9 (area)")
        if len(images) < batch_size * num_parts:
            fitting = len(images) // num_parts
            smaller = f"use {flag_name('batch_size')} {fitting}, or " if fitting else ""
            raise DatasetError(f"{path} has {len(images)} images, but a batch needs "
                               f"{batch_size * num_parts}: {smaller}add images", images.skipped)
        self._path, self._crop = path, None if isinstance(crop, str) else crop
        self._mirror, self._by_area = mirror, inter_method == 9
        self._images = DecodedImages(images, decoder, num_parts)
        self.fingerprint, self.skipped = images.fingerprint, images.skipped
        super().__init__(len(images), batch_size, data_shape, seed, threads, num_parts, part_index)

    def next(self) -> Any:
        """Return the next batch of the epoch."""
        if not self._batches:
            self._images.odd.warn(self._path)
        return super().next()

    def _make(self, order: np.ndarray, draws: np.ndarray) -> np.ndarray:
        images = [self._transform(self._images.load(n), row) for n, row in zip(order, draws)]
        data: np.ndarray = np.stack(images).astype(np.float32, order="C") / 127.5 - 1
        return data

    def _transform(self, pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Perhaps crop and mirror an image at random; (C, H, W), uint8."""
        height, width = self._data_shape[1:]
        if self._crop:
            smallest, largest = self._crop
            side = smallest + int(draws[0] * (largest - smallest + 1))
            top, left = (int(place * (length - side + 1))
                         for place, length in zip(draws[1:3], pixels.shape))
            method = (cv2.INTER_LINEAR if not self._by_area or side == width else
                      cv2.INTER_AREA if side > width else cv2.INTER_CUBIC)
            pixels = cv2.resize(pixels[top:top + side, left:left + side], (width, height),
                                interpolation=method)
        if self._mirror and draws[3] < 0.5:
            pixels = pixels[:, ::-1]
        return pixels.reshape(height, width, -1).transpose(2, 0, 1)


class FolderIter(ImagenetIter):
    """Shuffled batches of the images in a folder and its subfolders, or in an archive.

    Parameters
    ----------
    folder
        A folder, or a .zip or (compressed) .tar archive, of images of any format, name and size.
        Other files are skipped. Random crops scale the shorter side to the maximum of `crop`.
    batch_size, data_shape, seed, threads, num_parts, part_index, crop, mirror, fit, pad_color
        See `ImagenetIter`, which has the same attributes and errors; `inter_method` is 9.
    """

    _source = Folder

    def __init__(self, folder: StrPath, batch_size: int,
                 data_shape: tuple[int, int, int] = (3, 64, 64), seed: int = 0, threads: int = 1,
                 num_parts: int = 1, part_index: int = 0, crop: tuple[int, int] | str = "center",
                 mirror: bool = False, fit: str = "pad", pad_color: str = "white") -> None:
        super().__init__(folder, batch_size, data_shape, seed, crop, mirror, 9, threads, num_parts,
                         part_index, fit, pad_color)
