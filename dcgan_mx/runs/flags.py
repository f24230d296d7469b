"""The flag of a setting, and what values it takes."""
from __future__ import annotations

import sys
from typing import Any, Callable, NamedTuple


class Range(NamedTuple):
    """Numbers from `least`, or above `above`, to `most` or up to `below`; nan is in none.

    0 is one of them where it says that there is none.
    """

    kind: Callable[[Any], Any]  # int or float
    least: float | None = None
    above: float | None = None
    below: float = sys.float_info.max
    most: float | None = None
    or_zero: bool = False

    @property
    def mend(self) -> str:
        """What an error asks for."""
        bound = f"from {self.least}" if self.above is None else f"above {self.above}"
        if self.most is not None:
            bound += f" to {self.most}" if self.above is None else f", at most {self.most}"
        elif self.below < sys.float_info.max:
            bound += f" and below {self.below}"
        return (f"give {'0, or ' if self.or_zero else ''}a {'whole ' if self.kind is int else ''}"
                f"number {bound}")

    def require(self, value: float) -> None:
        """Raise ValueError if a number is not in the range."""
        low = self.least <= value if self.least is not None else value > (self.above or 0)
        high = value < self.below if self.most is None else value <= self.most
        if not (low and high or self.or_zero and value == 0):
            raise ValueError(f"{value} is out of range: {self.mend}")


class Flag(NamedTuple):
    """The flag of a setting: where `--help` shows it, what it says, what it takes."""

    group: str
    text: str
    metavar: str | None
    takes: Range | tuple[Any, ...] | type  # a range, some choices, or any str or bool
    shown: str | None  # instead of the default

    def require(self, value: Any) -> None:
        """Raise ValueError if a value is none that the flag takes."""
        if isinstance(self.takes, Range):
            kinds = (int, float) if self.takes.kind is float else (int,)
            if type(value) not in kinds:
                raise ValueError(f"{value!r} is no such number: {self.takes.mend}")
            self.takes.require(value)
        elif isinstance(self.takes, tuple):
            if type(value) is not type(self.takes[0]) or value not in self.takes:
                raise ValueError(f"{value!r} is none of {', '.join(map(str, self.takes))}")
        elif type(value) is not self.takes:
            raise ValueError(f"{value!r} is no {self.takes.__name__}")

    def require_range(self, value: Any) -> None:
        """Raise ValueError if a value, of whatever type of number, is out of the flag's range."""
        if isinstance(self.takes, Range):
            self.takes.require(value)
        else:
            self.require(value)
