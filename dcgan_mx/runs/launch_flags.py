"""The flags of the launcher of a job, as config.json stores them for the resume command."""
from __future__ import annotations

import os
import shlex
from typing import Any

from ..distributed.launchers import PROGRAMS
from ..system.command_line import LAUNCHED_BY, command_line, flag_name
from ..system.files import parse_json
from .config import Number, check

COUNT, SECONDS = Number(int, ge=1, lt=2**16), Number(float, ge=1)
_FLAGS: dict[str, Any] = {
    "num_workers": COUNT, "num_servers": COUNT, "launcher": tuple(PROGRAMS), "hostfile": str,
    "host_ip": str, "start_timeout": SECONDS, "stop_timeout": SECONDS, "nodes": COUNT}
# A stranger may have written config.json: none of its text becomes part of a command.
_PLACEHOLDERS = {"hostfile": ("FILE", "your host file"),
                 "host_ip": ("ADDRESS", "the address of this host")}


def add_launcher(command: list[str], stored: Any) -> list[str]:
    """Prepend the launcher of this process's job, or else of the stored one if it is valid."""
    ours = os.environ.get(LAUNCHED_BY)
    words, replaced = [command_line("launch")], []
    try:
        flags = parse_json(ours.encode()) if ours else stored
        if not isinstance(flags, dict) or not {"num_workers"} <= flags.keys() <= _FLAGS.keys():
            return command
        for name, value in flags.items():
            check(value, _FLAGS[name])
            word = shlex.quote(str(value))
            if name in _PLACEHOLDERS and not ours:
                word, meaning = _PLACEHOLDERS[name]
                replaced.append(f"{word} with {meaning}")
            words += [flag_name(name), word]
    except ValueError:
        return command
    return [*words, "--", *command, *[f" # replace {' and '.join(replaced)}"] * bool(replaced)]
