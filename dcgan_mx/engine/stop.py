"""How a training is asked to stop, and how all workers agree on it."""
from __future__ import annotations

from typing import Iterable, NamedTuple

from .collectives import Workers

REASONS = ("hook", "data", "signal")  # a later one takes precedence


class StopRequest(NamedTuple):
    """A request to end a training after the current step.

    Attributes
    ----------
    reason : 'hook', 'data' or 'signal'
        A hook asked for it; a worker cannot read its next batch; the process received a signal.
    signal : int
        The number of the signal; 0 for other reasons.
    """

    reason: str
    signal: int = 0


def choose_request(requests: Iterable[StopRequest | None]) -> StopRequest | None:
    """Return the request that takes precedence; None if there is none."""
    made = [request for request in requests if request is not None]
    return max(made, key=lambda made: (REASONS.index(made.reason), made.signal), default=None)


def sync_stop(workers: Workers, request: StopRequest | None) -> StopRequest | None:
    """Return the request on which all workers agree, from the request of each; collective."""
    own = [-1, 0] if request is None else [REASONS.index(request.reason), request.signal]
    return choose_request(StopRequest(REASONS[int(reason)], int(signal)) if reason >= 0 else None
                          for reason, signal in workers.all_gather(own))
