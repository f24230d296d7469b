"""Errors that name the invalid argument, so that a command can name the flag instead."""
from __future__ import annotations


class ArgumentError(ValueError):
    """An argument has an invalid value.

    Parameters
    ----------
    argument
        Its name in Python, such as `batch_size`; commands print `--batch-size`.
    problem
        The value, what was expected, and how to fix it, in one line.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument}: {problem}")
        self.argument, self.problem = argument, problem
