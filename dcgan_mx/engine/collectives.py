"""Communication between the workers of a job, through the KVStore that sums gradients."""
from __future__ import annotations

import weakref
from typing import Any, Iterable, NamedTuple

import numpy as np

from ..system.errors import ArgumentError
from ..system.runtime import mx

STOP_REASONS = ("hook", "data", "signal")  # a later one takes precedence
_CHUNK = 1 << 20  # numbers per message
# The shapes for which each store has a key: a store does not accept a key twice.
_known_shapes: weakref.WeakKeyDictionary[Any, set[tuple[int, ...]]] = weakref.WeakKeyDictionary()


class Workers:
    """All `count` workers of a job; this process has number `rank`. All methods are collective.

    Without a KVStore whose type begins with dist there is one worker.
    """

    def __init__(self, kvstore: Any = None) -> None:
        self.rank, self.count = 0, 1
        if kvstore is not None and kvstore.type.startswith("dist"):
            if "async" in kvstore.type:
                raise ArgumentError("kvstore", f"{kvstore.type} is not supported: use dist_sync")
            self.rank, self.count = kvstore.rank, kvstore.num_workers
        self._kvstore = kvstore

    def all_gather(self, values: Any) -> np.ndarray:
        """Return each worker's float32 numbers, (...), as (count, ...), unchanged."""
        values = np.asarray(values, np.float32)
        rows = np.full((self.count, *values.shape), -0.0, np.float32)
        rows[self.rank] = values
        return self._add(rows)

    def all_gather_text(self, text: str) -> list[str]:
        """Return the texts of all workers, by rank."""
        raw = text.encode()
        size = int(self.all_gather([len(raw)]).max())
        rows = self.all_gather(np.frombuffer(raw.ljust(size, b"\0"), np.uint8))
        return [row.astype(np.uint8).tobytes().rstrip(b"\0").decode() for row in rows]

    def broadcast(self, values: np.ndarray) -> np.ndarray:
        """Return the float32 numbers of worker 0, (n,), unchanged; n is the same for all."""
        if self.rank:
            values = np.full_like(values, -0.0)
        return np.concatenate([self._add(values[start:start + _CHUNK])
                               for start in range(0, len(values), _CHUNK)])

    def check_same(self, text: str, what: str) -> None:
        """Raise ValueError, which begins with `what`, if a text differs from worker 0's."""
        first = self.all_gather_text(text)[0]
        if text != first:
            raise ValueError(f"{what}: worker {self.rank} has {text}, worker 0 {first}: start all "
                             "workers with the same command and data")

    def _add(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of all workers' arrays; -0.0 + x is x for every x, even 0.0."""
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


class StopRequest(NamedTuple):
    """A request to end training after the current step.

    `reason` is 'hook', 'data' (a worker cannot read its next batch) or 'signal'; `signal` is the
    number of the signal that the process received, else 0.
    """

    reason: str
    signal: int = 0


def choose_request(requests: Iterable[StopRequest | None]) -> StopRequest | None:
    """Return the request that takes precedence; None if there is none."""
    return max(filter(None, requests), default=None,
               key=lambda request: (STOP_REASONS.index(request.reason), request.signal))


def sync_stop(workers: Workers, request: StopRequest | None) -> StopRequest | None:
    """Return the request on which all workers agree, from the request of each; collective."""
    own = [-1, 0] if request is None else [STOP_REASONS.index(request.reason), request.signal]
    return choose_request(StopRequest(STOP_REASONS[int(reason)], int(signal)) if reason >= 0
                          else None for reason, signal in workers.all_gather(own))
