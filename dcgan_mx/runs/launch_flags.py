"""The flags of the launcher of a job, as config.json stores them for the resume command."""
from __future__ import annotations

from typing import Any

from ..distributed.launchers import PROGRAMS
from ..system.command_line import command_line, flag_name
from .config import Number, check

COUNT, SECONDS = Number(int, ge=1, lt=2**16), Number(float, ge=1)
# The values of each flag, or the placeholder of text. A stranger may have written config.json: none
# of its text becomes part of a command.
_FLAGS: dict[str, Any] = {
    "num_workers": COUNT, "num_servers": COUNT, "launcher": tuple(PROGRAMS), "hostfile": "FILE",
    "host_ip": "ADDRESS", "start_timeout": SECONDS, "stop_timeout": SECONDS, "nodes": COUNT}


def launch_words(flags: Any) -> list[str]:
    """Return the words before the command of a job, or none if the stored flags are invalid."""
    words = [command_line("launch")]
    if not isinstance(flags, dict) or not {"num_workers"} <= flags.keys() <= _FLAGS.keys():
        return []
    for name, value in flags.items():
        allowed = _FLAGS[name]
        if not isinstance(allowed, str):
            try:
                check(value, allowed)
            except ValueError:
                return []
        words += [flag_name(name), allowed if isinstance(allowed, str) else str(value)]
    return [*words, "--"]
