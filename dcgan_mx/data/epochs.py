"""What all sources of batches have in common: random numbers, parts, epochs."""
from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ..system.runtime import mx

# Streams of random numbers that one seed gives, independent of each other.
ORDER, NOISE, LATENT, CROPS = range(4)


def make_rng(seed: int, stream: int, n: int) -> np.random.Generator:
    """Return the `n`-th generator of random numbers in one of a seed's streams."""
    return np.random.default_rng((seed, stream, n))


def check_part(num_parts: int, part_index: int) -> None:
    """Raise ValueError if `part_index` is none of `num_parts` parts, numbered from 0."""
    if not 0 <= part_index < num_parts:
        raise ValueError(f"part_index is {part_index}: give 0 to num_parts - 1, which is "
                         f"{num_parts - 1}")


class EpochIter(mx.io.DataIter):
    """Epochs of full batches of `num_images` images in random order, made ahead of the training.

    A subclass has `_make(source, nbatch)`, which returns the data of one batch; `_begin(epoch)`
    gives it the order of an epoch, of which `_choose` takes the numbers of the batch's images.
    """

    def __init__(self, num_images: int, batch_size: int, data_shape: tuple[int, int, int],
                 seed: int, threads: int, num_parts: int, part_index: int) -> None:
        check_part(num_parts, part_index)
        if threads < 1:
            raise ValueError(f"threads is {threads}: give 1 or more")
        if not 1 <= batch_size <= num_images // num_parts:
            raise ValueError(f"batch_size is {batch_size}: give 1 to {num_images // num_parts}, "
                             "the number of images"
                             + (f" for each of {num_parts}" if num_parts > 1 else ""))
        super().__init__(batch_size)
        self.num_batches = num_images // (batch_size * num_parts)
        self.provide_data = [mx.io.DataDesc("data", (batch_size, *data_shape))]
        self.provide_label: list[Any] = []
        self._num_images, self._seed = num_images, seed
        self._num_parts, self._part_index = num_parts, part_index
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="data")
        self._max_ahead = threads + 1
        self._batches: deque[Future[Any]] = deque()
        self.seek(0, 0)

    def seek(self, epoch: int, nbatch: int) -> None:
        """Continue with batch `nbatch` of epoch `epoch`, both counted from 0."""
        for batch in self._batches:
            batch.cancel()
        self._epoch, self._nbatch, self._requested = epoch, nbatch, nbatch
        self._batches = deque()
        self._source = self._begin(epoch)
        self._request()

    def reset(self) -> None:
        """Go to the next epoch, unless the current one has not begun."""
        if self._nbatch:
            self.seek(self._epoch + 1, 0)

    def next(self) -> Any:
        """Return the next batch of the epoch."""
        if not self._batches:
            raise StopIteration
        data = self._batches.popleft().result()
        self._nbatch += 1
        self._request()
        return mx.io.DataBatch([data], [], pad=0)

    def _request(self) -> None:
        """Have the threads work on the next few batches."""
        last = min(self._nbatch + self._max_ahead, self.num_batches)
        for nbatch in range(self._requested, last):
            self._batches.append(self._pool.submit(self._make, self._source, nbatch))
        self._requested = max(self._requested, last)

    def _begin(self, epoch: int) -> Any:
        return make_rng(self._seed, ORDER, epoch).permutation(self._num_images)

    def _choose(self, order: np.ndarray, nbatch: int) -> np.ndarray:
        start = (nbatch * self._num_parts + self._part_index) * self.batch_size
        return order[start:start + self.batch_size]

    def _make(self, source: Any, nbatch: int) -> Any:
        raise NotImplementedError
