"""The pictures that a training draws, by kind and step: which of them stay."""
from __future__ import annotations

KINDS = ("gout", "diff", "data", "fixed")
FRAMES = 100  # of a film of a whole training, and no report shows more


def choose(steps: list[int], newest: int) -> set[int]:
    """Choose the newest steps, and of all, up to `FRAMES`: the first of every so many.

    It goes by the steps' own numbers, so that what went once is not missed later: the first of a
    span is the first of one of its halves, so nothing is missed at double the distance, however
    many steps there were from one grid to the next.
    """
    distance = 1
    while steps and steps[-1] // distance >= FRAMES:
        distance *= 2
    firsts = {step // distance: step for step in reversed(steps)}
    return {*firsts.values(), *steps[-newest:]}
