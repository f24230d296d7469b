"""Errors that name the argument at fault, so that a command can show the flag instead."""
from __future__ import annotations


class ArgumentError(ValueError):
    """An argument has a bad value.

    Parameters
    ----------
    argument
        Its name in Python, such as `batch_size`. Commands print it as `--batch-size`.
    problem
        The value, what was expected, and the fix.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument}: {problem}")
        self.argument, self.problem = argument, problem
