"""Why and where a run stopped."""
from __future__ import annotations

import json
from typing import NamedTuple

from ..system.command_line import flag_name
from ..system.errors import one_line
from ..system.files import parse_json
from .json_files import matches_schema

# The type of `StopReason.detail` for each reason.
REASONS = {"num_epochs": int, "max_steps": int, "signal": str, "hook": type(None), "error": str}


class StopReason(NamedTuple):
    """Why and where a run stopped.

    Attributes
    ----------
    reason : a key of `REASONS`
    step, epoch : int
        Completed since the start of the run.
    detail : int, str or None
        The limit that was reached, the name of the signal, or the error, in one line.
    """

    reason: str
    step: int
    epoch: int
    detail: int | str | None = None

    @property
    def finished(self) -> bool:
        """Whether the training reached one of its limits."""
        return REASONS[self.reason] is int

    def describe(self) -> str:
        """Return a sentence for the user."""
        step, detail = self.step, self.detail
        limit = f"because of {flag_name(self.reason)} {detail}"
        return {
            "num_epochs": f"finished: {detail} epoch{'s' * (detail != 1)}, {step} step"
                          f"{'s' * (step != 1)}, {limit}",
            "max_steps": f"finished: step {step} of {detail}, {limit}",
            "signal": f"stopped by {detail} after step {step}",
            "hook": f"stopped after step {step}",
            "error": f"failed after step {step}: {detail}"}[self.reason]

    def encode(self) -> bytes:
        """Return the content of result.json."""
        return json.dumps(self._asdict()).encode() + b"\n"


def parse_stop_reason(raw: bytes) -> StopReason:
    """Read what `StopReason.encode` returned; ValueError for anything else."""
    try:
        fields = parse_json(raw)
        if not matches_schema(fields, {"reason": str, "step": int, "epoch": int,
                                       "detail": REASONS[fields["reason"]]}):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise ValueError("not the result of a run") from None
    if isinstance(fields["detail"], str):
        fields["detail"] = one_line(fields["detail"])  # a stranger may have written the file
    return StopReason(**fields)
