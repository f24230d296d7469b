"""Batches of noise and of images, each a function of the seed and its number alone."""
from __future__ import annotations

import warnings
from typing import Any

import cv2
import numpy as np

from .data.epochs import CROPS, NOISE, EpochIter, check_part, make_rng
from .data.errors import DatasetError, describe
from .data.image_files import decode, scale
from .data.image_sources import Folder, Records, Source
from .system.files import StrPath
from .system.runtime import mx

_CACHE_BYTES = 1 << 30  # of decoded images, for all workers of a machine together
_MAX_BAD = 100  # images in a row that cannot be read


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
        check_part(num_parts, part_index)
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
        if images.ndim != 3 or images.dtype != np.uint8:
            raise ValueError(f"images is {images.dtype} of shape {images.shape}: give uint8 of "
                             "shape (N, h, w)")
        self._images = images
        self._data_shape: tuple[int, int, int] = (data_shape[0], data_shape[1], data_shape[2])
        super().__init__(len(images), batch_size, data_shape, seed, threads, num_parts, part_index)

    def _make(self, source: np.ndarray, nbatch: int) -> Any:
        chosen = self._images[self._choose(source, nbatch)]
        return mx.nd.from_numpy(resize_to(chosen, self._data_shape))


def resize_to(images: np.ndarray, data_shape: tuple[int, int, int]) -> np.ndarray:
    """Resize small grey images, (N, h, w), uint8, and repeat them over the channels.

    Returns (N, C, H, W), float32, in [-1, 1], as `MnistIter` gives them.
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
        File of records with an image each, such as `dcgan-mx pack` and MXNet's im2rec.py write;
        no index is needed, labels are ignored.
    batch_size, seed, threads, num_parts, part_index
        As `MnistIter` takes them.
    data_shape : (C, H, W)
        Of the images in a batch; C is 1 (grey) or 3 (RGB).
    crop
        Least and greatest side in pixels of the square that is cut out of an image, which is
        enlarged first if one of its sides is shorter than the greatest.
    mirror
        Mirror an image with probability 1/2.
    inter_method
        How squares are scaled: 1 bilinear, as the example; 9 averages areas where it shrinks.

    Attributes
    ----------
    num_batches : int
        Batches in an epoch.
    skipped : list of (str, str)
        Records that hold no image, or none that could be read so far, and why.
    fingerprint : dict
        `records`, the number of images, and `sha256`, a digest.

    Raises
    ------
    DatasetError
        If the file is not one of records, or holds fewer images than a batch; while it is read, if
        it changes, or if 100 images in a row cannot be read.
    OSError
        If it cannot be read.

    Notes
    -----
    Batches have one array `data`, (batch_size, C, H, W), float32, in [-1, 1]: x / 127.5 - 1. What
    is cut out, and whether it is mirrored, depends on the seed, the epoch and the image alone. An
    image that cannot be read is named in a warning, and the next one takes its place. Decoded
    images are kept in memory, up to 1 GiB. Source: MXNet 1.0.0, example/gan/dcgan.py.
    """

    def __init__(self, path: StrPath, batch_size: int,
                 data_shape: tuple[int, int, int] = (3, 64, 64), seed: int = 0,
                 crop: tuple[int, int] = (192, 256), mirror: bool = True, inter_method: int = 1,
                 threads: int = 1, num_parts: int = 1, part_index: int = 0) -> None:
        self._images = images = self._open(path)
        if data_shape[0] not in (1, 3):
            raise ValueError(f"data_shape is {data_shape}: give 1 channel (grey) or 3 (RGB)")
        if not 1 <= crop[0] <= crop[1]:
            raise ValueError(f"crop is {crop}: give the least and the greatest side, in pixels")
        if inter_method not in (1, 9):
            raise ValueError(f"inter_method is {inter_method}: give 1 (bilinear) or 9 (by area)")
        if len(images) < batch_size * num_parts:
            raise DatasetError(f"{path} has {len(images)} images, and {batch_size * num_parts} are "
                               "needed for a batch: give more, or a smaller batch_size",
                               images.skipped)
        self._data_shape, self._crop, self._mirror = data_shape, crop, mirror
        self._by_area = inter_method == 9
        self._side = crop[1] if isinstance(images, Folder) else 0
        self._room = _CACHE_BYTES // num_parts
        self._cache: dict[int, np.ndarray | None] = {}
        self.fingerprint, self.skipped = images.fingerprint, images.skipped
        super().__init__(len(images), batch_size, data_shape, seed, threads, num_parts, part_index)

    def _open(self, path: StrPath) -> Source:
        return Records(path)

    def _begin(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the order of the images, and four numbers in [0, 1) for each of them."""
        return (super()._begin(epoch),
                make_rng(self._seed, CROPS, epoch).random((self._num_images, 4)))

    def _make(self, source: tuple[np.ndarray, np.ndarray], nbatch: int) -> Any:
        order, random = source
        chosen = self._choose(order, nbatch)
        data = np.empty((self.batch_size, *self._data_shape), np.float32)
        for out, image in zip(data, chosen):
            out[:] = self._cut(self._load(image), *random[image])
        data /= 127.5
        data -= 1
        return mx.nd.from_numpy(data)

    def _cut(self, pixels: np.ndarray, size: float, y: float, x: float, mirror: float
             ) -> np.ndarray:
        """Cut a square out of an image, and scale it; (C, H, W), uint8."""
        least, most = self._crop
        side = least + int(size * (most - least + 1))
        top, left = (int(place * (length - side + 1))
                     for place, length in zip((y, x), pixels.shape))
        height, width = self._data_shape[1:]
        method = (cv2.INTER_LINEAR if not self._by_area or side == width else
                  cv2.INTER_AREA if side > width else cv2.INTER_CUBIC)
        square = cv2.resize(pixels[top:top + side, left:left + side], (width, height),
                            interpolation=method)
        if self._mirror and mirror < 0.5:
            square = square[:, ::-1]
        return square.reshape(height, width, -1).transpose(2, 0, 1)

    def _load(self, image: int) -> np.ndarray:
        """Return the pixels of an image, or of the next one that can be read."""
        for n in range(image, image + _MAX_BAD):
            pixels = self._read(n % self._num_images)
            if pixels is not None:
                return pixels
        raise DatasetError(f"{self._images.path}: {_MAX_BAD} images in a row cannot be read, among "
                           f"them {self._images.name(image)!r}: check the disk, or leave them out")

    def _read(self, n: int) -> np.ndarray | None:
        """Return the pixels of one image; None if it cannot be read."""
        if n in self._cache:
            return self._cache[n]
        try:
            pixels = decode(self._images.read(n), self._side, grey=self._data_shape[0] == 1)
        except DatasetError:
            raise
        except (OSError, ValueError) as error:
            self._cache[n] = None
            name, reason = self._images.name(n), describe(error)
            self.skipped.append((name, reason))
            warnings.warn(f"skipped: {self._images.path}: {name!r} {reason}", RuntimeWarning,
                          stacklevel=2)
            return None
        if min(pixels.shape[:2]) < self._crop[1]:
            pixels = scale(pixels, self._crop[1])
        if self._room > 0:
            self._room -= pixels.nbytes
            self._cache[n] = pixels
        return pixels


class FolderIter(ImagenetIter):
    """Shuffled batches of the images in a folder and below, as `ImagenetIter` makes them.

    Parameters
    ----------
    folder
        Images of any of `encoding.FORMATS` and of any size: the shorter side is scaled to the
        greatest of `crop`. Other files are skipped.
    batch_size, data_shape, seed, threads, num_parts, part_index, crop, mirror
        As `ImagenetIter` takes them; it has the attributes, too, and raises the same errors.
    """

    def __init__(self, folder: StrPath, batch_size: int,
                 data_shape: tuple[int, int, int] = (3, 64, 64), seed: int = 0, threads: int = 1,
                 num_parts: int = 1, part_index: int = 0, crop: tuple[int, int] = (192, 256),
                 mirror: bool = True) -> None:
        super().__init__(folder, batch_size, data_shape, seed, crop, mirror, 9, threads, num_parts,
                         part_index)

    def _open(self, path: StrPath) -> Source:
        return Folder(path)
