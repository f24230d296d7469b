"""Errors that name the invalid argument, and one-line messages of other libraries' errors."""
from __future__ import annotations

from typing import Any

_MAX_LENGTH = 2000  # of a message
_STACK = ("Traceback", "Stack trace")  # of MXNet, before or after its message


class ArgumentError(ValueError):
    """An argument, such as `batch_size`, has an invalid value; commands print its flag instead.

    `problem` gives the value, what was expected, and the fix, in one line.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument}: {problem}")
        self.argument, self.problem = argument, problem

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.argument, self.problem)  # else another process cannot unpickle it


def one_line(error: object) -> str:
    """Return an error's message in a printable line of bounded length, without MXNet's stack."""
    lines = str(error).splitlines()
    if any(line.startswith(_STACK) for line in lines):
        lines = [line for line in lines if not line.startswith((*_STACK, " ", "\t"))]
    text = " ".join(" ".join(lines).split()) or type(error).__name__
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."
