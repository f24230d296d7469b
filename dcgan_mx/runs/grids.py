"""The image grids of a run: which of them to keep."""
from __future__ import annotations

KINDS = ("gout", "diff", "data", "fixed")
FRAMES = 100  # at most, in a video of a whole run; no report shows more


def select_steps(steps: list[int], newest: int) -> set[int]:
    """Select the newest steps, and up to `FRAMES` spread evenly over all steps.

    Time is divided into spans of a power of two steps, and the first step of each span is kept.
    Spans only ever merge in pairs, so a step that is needed later is never removed earlier, even if
    the interval between grids changes.
    """
    span = 1
    while steps and steps[-1] // span >= FRAMES:
        span *= 2
    firsts = {step // span: step for step in reversed(steps)}
    return {*firsts.values(), *steps[-newest:]}
