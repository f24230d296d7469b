"""Errors that name the invalid argument, so that a command can name the flag instead."""
from __future__ import annotations


class ArgumentError(ValueError):
    """An argument, such as `batch_size`, has an invalid value; commands print its flag instead.

    `problem` gives the value, what was expected, and the fix, in one line.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument}: {problem}")
        self.argument, self.problem = argument, problem
