"""What the workers of a job tell each other, through the KVStore that adds their gradients."""
from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from ..system.runtime import mx

_CHUNK = 1 << 20  # numbers that are sent at once
# Which shapes each store has a key for: it refuses to be given one twice.
_known_shapes: weakref.WeakKeyDictionary[Any, set[tuple[int, ...]]] = weakref.WeakKeyDictionary()


class Workers:
    """All workers of a job, of which this process is number `rank`; all methods are collective.

    With a KVStore of a type that does not begin with dist, or with none, there is one worker.
    """

    def __init__(self, kvstore: Any = None) -> None:
        self.rank, self.count = 0, 1
        if kvstore is not None and kvstore.type.startswith("dist"):
            if "async" in kvstore.type:
                raise ValueError(f"kvstore is of type {kvstore.type}: give dist_sync")
            self.rank, self.count = kvstore.rank, kvstore.num_workers
        self._kvstore = kvstore

    def all_gather(self, values: Any) -> np.ndarray:
        """Return the n numbers of each worker, (count, n) in float32, bit for bit."""
        values = np.asarray(values, np.float32)
        rows = np.full((self.count, *values.shape), -0.0, np.float32)
        rows[self.rank] = values
        return self._add(rows)

    def all_gather_text(self, text: str) -> list[str]:
        """Return a list of the texts of all workers, by rank."""
        raw = text.encode()
        size = int(self.all_gather([len(raw)]).max())
        rows = self.all_gather(np.frombuffer(raw.ljust(size, b"\0"), np.uint8))
        return [row.astype(np.uint8).tobytes().rstrip(b"\0").decode() for row in rows]

    def broadcast(self, values: np.ndarray) -> np.ndarray:
        """Return the numbers of worker 0, (n,) in float32, bit for bit; n is the same for all."""
        if self.rank:
            values = np.full_like(values, -0.0)
        return np.concatenate([self._add(values[start:start + _CHUNK])
                               for start in range(0, len(values), _CHUNK)])

    def check_same(self, text: str, what: str) -> None:
        """Raise ValueError, which begins with `what`, if a text differs from that of worker 0."""
        first = self.all_gather_text(text)[0]
        if text != first:
            raise ValueError(f"{what}: worker {self.rank} has {text}, worker 0 {first}: start all "
                             "with the same command, on the same data")

    def _add(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of all workers' arrays; -0.0 + x is x for every x, 0.0 too."""
        if self.count == 1:
            return values
        array, key = mx.nd.array(values), f"workers:{values.shape}"
        shapes = _known_shapes.setdefault(self._kvstore, set())
        if values.shape not in shapes:
            self._kvstore.init(key, array)
            shapes.add(values.shape)
        self._kvstore.pushpull(key, array, out=array)
        total: np.ndarray = array.asnumpy()
        return total
