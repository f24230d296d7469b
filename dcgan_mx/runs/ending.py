"""How a training ended: why, and where."""
from __future__ import annotations

import json
from typing import NamedTuple

from ..machine.files import parse_json
from .documents import fits

# Why a training ends, and what `detail` then is.
REASONS = {"num_epochs": int, "max_steps": int, "signal": str, "hook": type(None), "error": str}


class Ending(NamedTuple):
    """Why a training ended, and where.

    Attributes
    ----------
    reason : one of `REASONS`
        Its limit of epochs or of steps was reached, a signal came, a hook asked for it, or
        something failed.
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
        steps = f"{self.step} step{'s' * (self.step != 1)}"
        epochs = f"{self.detail} epoch{'s' * (self.detail != 1)}"
        return {
            "num_epochs": f"finished: {epochs}, {steps}, because of --num-epochs {self.detail}",
            "max_steps": (f"finished: step {self.step} of {self.detail}, because of --max-steps "
                          f"{self.detail}"),
            "signal": f"stopped by {self.detail} after step {self.step}",
            "hook": f"stopped after step {self.step}",
            "error": f"failed after step {self.step}: {self.detail}"}[self.reason]

    @property
    def further(self) -> list[str]:
        """The flags that let a finished training go on; none where it goes on by itself."""
        if REASONS[self.reason] is not int:
            return []
        return [f"--{self.reason.replace('_', '-')}", str(2 * int(self.detail or 1))]

    def encode(self) -> bytes:
        """Return a line of JSON."""
        return json.dumps(self._asdict()).encode() + b"\n"


def decode_ending(raw: bytes) -> Ending:
    """Read what `Ending.encode` returned; raises ValueError if it is nothing of the kind."""
    try:
        fields = parse_json(raw)
        good = fits(fields, {"reason": str, "step": int, "epoch": int,
                             "detail": REASONS[fields["reason"]]})
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise ValueError("is no ending of a run")
    return Ending(**fields)
