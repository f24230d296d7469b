"""How a training ended: why, and where."""
from __future__ import annotations

import json
from typing import NamedTuple

from ..machine.files import parse_json

REASONS = ("num_epochs", "max_steps", "signal", "hook", "error")


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

    @property
    def finished(self) -> bool:
        """Whether the training has come to a limit that was set."""
        return self.reason in ("num_epochs", "max_steps")

    def describe(self) -> str:
        """Return what people read."""
        steps = f"{self.step} step{'s' * (self.step != 1)}"
        if self.reason == "num_epochs":
            epochs = f"{self.detail} epoch{'s' * (self.detail != 1)}"
            return f"finished: {epochs}, {steps}, because of --num-epochs {self.detail}"
        if self.reason == "max_steps":
            return (f"finished: step {self.step} of {self.detail}, because of --max-steps "
                    f"{self.detail}")
        if self.reason == "signal":
            return f"stopped by {self.detail} after step {self.step}"
        if self.reason == "hook":
            return f"stopped after step {self.step}"
        return f"failed after step {self.step}: {self.detail}"

    @property
    def further(self) -> list[str]:
        """The flags that let a finished training go on; none where it goes on by itself."""
        if not self.finished:
            return []
        return [f"--{self.reason.replace('_', '-')}", str(2 * int(self.detail or 1))]

    def encode(self) -> bytes:
        """Return a line of JSON."""
        return json.dumps(self._asdict()).encode() + b"\n"


def decode_ending(raw: bytes) -> Ending:
    """Read what `Ending.encode` returned.

    Raises
    ------
    ValueError
        If it is nothing of the kind.
    """
    try:
        ending = Ending(**parse_json(raw))
        kinds = {"num_epochs": int, "max_steps": int, "hook": type(None)}
        if ending.reason not in REASONS or {type(ending.step), type(ending.epoch)} != {int} or (
                type(ending.detail) is not kinds.get(ending.reason, str)):
            raise ValueError
    except (ValueError, TypeError):
        raise ValueError("is no ending of a run") from None
    return ending
