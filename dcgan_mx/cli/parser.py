"""What the commands share: argument parsing, common arguments, and the list of skipped files."""
from __future__ import annotations

import argparse
import re
import sys
from typing import Any, Callable, Iterable, NoReturn, Tuple, Union

from ..runs.config import Number, check, describe
from ..system.command_line import command_line

Allowed = Union[Number, Tuple[Any, ...]]  # values of an argument: a range, or choices
# Arguments of several commands, for `Parser.add_shared`.
SHARED: dict[str, dict[str, Any]] = {
    "checkpoint": {"metavar": "CHECKPOINT", "text": (
        "a run directory (its newest checkpoint), a checkpoint (RUN/checkpoints/step-...), "
        "pretrained:NAME for a bundled generator, or a model of MXNet's example: its .params file, "
        "or the prefix of its checkpoint")},
    "--weights": {"allowed": ("ema", "raw"), "text": (
        "generator weights: the moving average (ema), or those of the last step (raw) (default: "
        "ema if the checkpoint has them)")},
    "--bn-stats": {"allowed": ("moving", "batch"), "default": "moving", "text": (
        "BatchNorm statistics: the same for all images (moving), or those of each batch (batch)")},
    "--gpu": {"allowed": Number(int, ge=0), "text": "number of the GPU (default: the CPU)"},
}


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ValueError, with a message of one line, for invalid input."""

    def __init__(self, command: str, description: str, usage: str | None = None) -> None:
        super().__init__(command_line(command), usage, description, allow_abbrev=False)

    def add(self, flags: str, text: str, allowed: Allowed | None = None, group: Any = None,
            **kwargs: Any) -> None:
        """Add an argument, named by `flags` in one string; its help ends with its default."""
        if kwargs.get("default") is not None:
            text += " (default: %(default)s)"
        if allowed is not None:
            kwargs["type"] = converter(allowed)
        if isinstance(allowed, tuple):
            kwargs["metavar"] = f"{{{','.join(map(str, allowed))}}}"
        elif allowed is not None:
            kwargs.setdefault("metavar", "N" if allowed.kind is int else "X")
        (group or self).add_argument(*flags.split(), help=text, **kwargs)

    def add_shared(self, flag: str, **kwargs: Any) -> None:
        """Add one of the `SHARED` arguments."""
        self.add(flag, **SHARED[flag], **kwargs)

    def spell(self, argument: str) -> str:
        """Return the flag or placeholder of an argument; its name if the command has none."""
        for action in self._actions:
            if action.dest == argument:
                return next((flag for flag in action.option_strings if flag.startswith("--")),
                            str(action.metavar))
        return argument

    def error(self, message: str) -> NoReturn:
        """Raise ValueError instead of printing the usage and exiting."""
        message = re.sub(r"^argument (-\w/)?", "", " ".join(message.split()))
        raise ValueError(f"{message}; see --help")


def converter(allowed: Allowed) -> Callable[[str], Any]:
    """Return an argparse type that accepts the values of a Number, or of a tuple of choices."""
    kind = type(allowed[0]) if isinstance(allowed, tuple) else allowed.kind

    def convert(text: str) -> Any:
        try:
            value = kind(text)
            check(value, allowed)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"invalid value {text!r}: expected {describe(allowed)}") from None
        return value
    return convert


def print_skipped(skipped: Iterable[tuple[str, str]]) -> None:
    """Print each file that was skipped, and why, to standard error."""
    for name, reason in skipped:
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode()
                        for c in f"{name}: {' '.join(reason.split())}")
        print(f"skipped: {shown}", file=sys.stderr)
