"""What command lines share: flags, their ranges, what they show."""
from __future__ import annotations

import argparse
import math
import sys
from typing import Any, Callable, Iterable, NoReturn

from ..runs.config import Number, check, flag_name, list_fields


class Parser(argparse.ArgumentParser):
    """Answers a bad flag with a ValueError of one line."""

    def __init__(self, command: str, description: str, **kwargs: Any) -> None:
        super().__init__(prog=command, description=description, allow_abbrev=False, **kwargs)
        self._titled: dict[str, Any] = {"": self}

    def add(self, flag: str, text: str, group: str = "", **kwargs: Any) -> None:
        """Add a flag whose help ends with its default, where it has one."""
        if kwargs.get("default") not in (None, ()):
            text += " (default: %(default)s)"
        self._group(group).add_argument(flag, help=text, **kwargs)

    def add_setting(self, name: str) -> None:
        """Add the flag of a setting; what is not given is not in the result."""
        field, flags = list_fields()[name], [flag_name(name)]
        about, takes = field.metadata, field.metadata["takes"]
        kwargs: dict[str, Any] = {"help": about["help"], "default": argparse.SUPPRESS}
        shown = about["shown"] if field.default is None else field.default
        if takes is bool:
            flags.append(flags[0].replace("--", "--no-", 1))
            kwargs.update(dest=name, action=_Switch, nargs=0)
        elif shown is not None:
            kwargs["help"] += f" (default: {shown})"
        if isinstance(takes, Number):
            kwargs["type"] = convert(takes)
        elif isinstance(takes, tuple):
            kwargs.update(choices=takes, type=type(takes[0]))
        if about["metavar"]:
            kwargs["metavar"] = about["metavar"]
        self._group(about["group"]).add_argument(*flags, **kwargs)

    def _group(self, name: str) -> Any:
        if name not in self._titled:
            self._titled[name] = self.add_argument_group(name)
        return self._titled[name]

    def error(self, message: str) -> NoReturn:
        """Raise the error, in one line whatever it quotes."""
        raise ValueError(f"{' '.join(message.split())}; see --help")


class _Switch(argparse.Action):
    """A flag that is given as --NAME, or, against what a run has, as --no-NAME."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: Any, option_string: str | None = None) -> None:
        """Note which of the two was given."""
        setattr(namespace, self.dest, not str(option_string).startswith("--no-"))


def number(kind: type, least: float = 0, above: float | None = None,
           below: float = math.inf) -> Callable[[str], Any]:
    """Make the type of a flag: a number from `least`, or above `above`, and below `below`."""
    low, ends = (least, "[)") if above is None else (above, "()")
    return convert(Number(kind, low, below, ends))


def convert(numbers: Number) -> Callable[[str], Any]:
    """Make the type of a flag that takes some numbers."""
    def to_number(text: str) -> Any:
        try:
            value = numbers.kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number: give {numbers}") from None
        try:
            check(value, numbers)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value
    return to_number


def show_packing(names: Iterable[int]) -> Iterable[int]:
    """Show a progress bar while a folder is packed; `progress` of `packing.pack`."""
    from tqdm import tqdm

    bar: Iterable[int] = tqdm(names, desc="packing", unit="file", dynamic_ncols=True)
    return bar


def print_skipped(skipped: Iterable[tuple[str, str]]) -> None:
    """Name each file that was left out of a pack, and why, on the standard error."""
    for name, reason in skipped:
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode()
                        for c in name)
        print(f"skipped: {shown}: {' '.join(reason.split())}", file=sys.stderr)
