"""How a training is asked to stop, and how all workers agree on it."""
from __future__ import annotations

from typing import Iterable, NamedTuple

from .collectives import Workers

REASONS = ("hook", "data", "signal")  # a later one takes precedence


class StopRequest(NamedTuple):
    """A request to end a training after the current step.

    `reason` is 'hook', 'data' (a worker cannot read its next batch) or 'signal'; `signal` is the
    number of the signal that the process received, else 0.
    """

    reason: str
    signal: int = 0


def choose_request(requests: Iterable[StopRequest | None]) -> StopRequest | None:
    """Return the request that takes precedence; None if there is none."""
    return max(filter(None, requests), default=None,
               key=lambda request: (REASONS.index(request.reason), request.signal))


def sync_stop(workers: Workers, request: StopRequest | None) -> StopRequest | None:
    """Return the request on which all workers agree, from the request of each; collective."""
    own = [-1, 0] if request is None else [REASONS.index(request.reason), request.signal]
    return choose_request(StopRequest(REASONS[int(reason)], int(signal)) if reason >= 0 else None
                          for reason, signal in workers.all_gather(own))
