"""Batches of noise and of images, each a function of the seed and its number alone."""
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from .runtime import mx

# Streams of random numbers that one seed gives, independent of each other.
ORDER, NOISE, LATENT = range(3)


def generator(seed, stream, n):
    """Return the `n`-th NumPy generator of one of a seed's streams.

    Parameters
    ----------
    seed, n : int, at least 0
    stream : {ORDER, NOISE}

    Returns
    -------
    np.random.Generator
    """
    return np.random.default_rng((seed, stream, n))


class RandIter(mx.io.DataIter):
    """Batches of latent vectors, without end.

    Parameters
    ----------
    batch_size, ndim : int, at least 1
        Vectors in a batch and numbers in a vector.
    seed : int, at least 0
        Batch n depends on `seed` and n alone.
    num_parts, part_index : int
        Return one of so many parts of each batch that is so many times as large.

    Notes
    -----
    Batches have one array `rand`, (batch_size, ndim, 1, 1), float32, drawn from N(0, 1).
    Source: MXNet 1.0.0, example/gan/dcgan.py.
    """

    def __init__(self, batch_size, ndim, seed=0, num_parts=1, part_index=0):
        require_part(num_parts, part_index)
        super().__init__(batch_size)
        self._shape = (num_parts, batch_size, ndim, 1, 1)
        self._seed, self._part_index = seed, part_index
        self._n = 0
        self.provide_data = [mx.io.DataDesc("rand", self._shape[1:])]
        self.provide_label = []

    def seek(self, n):
        """Go on with batch number `n`."""
        self._n = n

    def next(self):
        """Return the next batch."""
        rand = generator(self._seed, NOISE, self._n).standard_normal(self._shape, np.float32)
        self._n += 1
        return mx.io.DataBatch([mx.nd.from_numpy(rand[self._part_index])], [], pad=0)


def require_part(num_parts, part_index):
    """Raise ValueError if `part_index` is none of `num_parts` parts, numbered from 0."""
    if not 0 <= part_index < num_parts:
        raise ValueError(f"part_index is {part_index}: give 0 to num_parts - 1, which is "
                         f"{num_parts - 1}")


class EpochIter(mx.io.DataIter):
    """Epochs of full batches, each made ahead of the training.

    `_begin(epoch)` returns what an epoch is made of, `_make` of that and a number one batch.

    Parameters
    ----------
    batch_size : int
    data_shape : tuple of int, (C, H, W)
    num_batches : int
        In an epoch.
    threads : int, at least 1
        Call `_make`.

    Raises
    ------
    ValueError
        If `threads` is less.
    """

    def __init__(self, batch_size, data_shape, num_batches, threads):
        if threads < 1:
            raise ValueError(f"threads is {threads}: give 1 or more")
        super().__init__(batch_size)
        self.num_batches = num_batches
        self.provide_data = [mx.io.DataDesc("data", (batch_size, *data_shape))]
        self.provide_label = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="data")
        self._max_ahead = threads + 1
        self._batches = deque()
        self.seek(0, 0)

    def seek(self, epoch, nbatch):
        """Go on with batch `nbatch` of epoch `epoch`, both counted from 0."""
        for batch in self._batches:
            batch.cancel()
        self._epoch, self._nbatch, self._requested = epoch, nbatch, nbatch
        self._batches = deque()
        self._source = self._begin(epoch)
        self._request()

    def reset(self):
        """Go to the next epoch, unless the current one has not begun."""
        if self._nbatch:
            self.seek(self._epoch + 1, 0)

    def next(self):
        """Return the next batch of the epoch."""
        if not self._batches:
            raise StopIteration
        data = self._batches.popleft().result()
        self._nbatch += 1
        self._request()
        return mx.io.DataBatch([data], [], pad=0)

    def _request(self):
        """Have the threads work on the next few batches."""
        last = min(self._nbatch + self._max_ahead, self.num_batches)
        for nbatch in range(self._requested, last):
            self._batches.append(self._pool.submit(self._make, self._source, nbatch))
        self._requested = max(self._requested, last)

    def _begin(self, epoch):
        raise NotImplementedError

    def _make(self, source, nbatch):
        raise NotImplementedError


class MnistIter(EpochIter):
    """Shuffled batches of small grey images, enlarged when they are needed.

    Parameters
    ----------
    images : np.ndarray, (N, h, w), uint8
        Such as `get_mnist` returns them; kept as they are.
    batch_size : int, from 1 to N / num_parts
        What is left over at the end of an epoch is dropped: every batch is full.
    data_shape : tuple of int, (C, H, W)
        Of the images in a batch.
    seed : int, at least 0
        The order in epoch e depends on `seed` and e alone.
    threads : int, at least 1
        Prepare batches ahead of the training; their number changes no batch.
    num_parts, part_index : int
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

    def __init__(self, images, batch_size, data_shape=(3, 64, 64), seed=0, threads=1,
                 num_parts=1, part_index=0):
        require_part(num_parts, part_index)
        if images.ndim != 3 or images.dtype != np.uint8:
            raise ValueError(f"images is {images.dtype} of shape {images.shape}: give uint8 of "
                             "shape (N, h, w)")
        if not 1 <= batch_size <= len(images) // num_parts:
            raise ValueError(f"batch_size is {batch_size}: give 1 to {len(images) // num_parts}, "
                             "the number of images"
                             + (f" for each of {num_parts}" if num_parts > 1 else ""))
        self._images, self._data_shape, self._seed = images, tuple(data_shape), seed
        self._num_parts, self._part_index = num_parts, part_index
        super().__init__(batch_size, data_shape, len(images) // (batch_size * num_parts), threads)

    def _begin(self, epoch):
        return generator(self._seed, ORDER, epoch).permutation(len(self._images))

    def _make(self, order, nbatch):
        start = (nbatch * self._num_parts + self._part_index) * self.batch_size
        chosen = order[start:start + self.batch_size]
        channels, height, width = self._data_shape
        data = np.empty((self.batch_size, *self._data_shape), np.float32)
        for out, i in zip(data, chosen):
            out[:] = cv2.resize(self._images[i], (width, height))
        data /= 127.5
        data -= 1
        return mx.nd.from_numpy(data)
