"""How a training ended: why, and where."""
from __future__ import annotations

import json
from typing import NamedTuple

from ..system.files import parse_json
from .json_files import matches_schema

# Why a training ends, and what `detail` then is.
REASONS = {"num_epochs": int, "max_steps": int, "signal": str, "hook": type(None), "error": str}


class StopReason(NamedTuple):
    """Why a training ended, and where.

    Attributes
    ----------
    reason : one of `REASONS`
    step, epoch : int
        Done by then, counted from the first.
    detail : int, str or None
        The limit, the signal's name, or what failed.
    """

    reason: str
    step: int
    epoch: int
    detail: int | str | None = None

    def describe(self) -> str:
        """Return what people read."""
        step, detail = self.step, self.detail
        return {
            "num_epochs": f"finished: {detail} epoch{'s' * (detail != 1)}, {step} step"
                          f"{'s' * (step != 1)}, because of --num-epochs {detail}",
            "max_steps": f"finished: step {step} of {detail}, because of --max-steps {detail}",
            "signal": f"stopped by {detail} after step {step}",
            "hook": f"stopped after step {step}",
            "error": f"failed after step {step}: {detail}"}[self.reason]

    @property
    def resume_flags(self) -> list[str]:
        """The flags that let a finished training go on; none where it goes on by itself."""
        if REASONS[self.reason] is not int:
            return []
        return [f"--{self.reason.replace('_', '-')}", str(2 * int(self.detail or 1))]

    def encode(self) -> bytes:
        """Return a line of JSON."""
        return json.dumps(self._asdict()).encode() + b"\n"


def parse_stop_reason(raw: bytes) -> StopReason:
    """Read what `Ending.encode` returned; raises ValueError if it is nothing of the kind."""
    try:
        fields = parse_json(raw)
        good = matches_schema(fields, {"reason": str, "step": int, "epoch": int,
                             "detail": REASONS[fields["reason"]]})
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise ValueError("is no ending of a run")
    return StopReason(**fields)
