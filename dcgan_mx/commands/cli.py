"""What command lines share: flags, their ranges, what they show."""
from __future__ import annotations

import argparse
import sys
from typing import Any, Callable, Iterable, NoReturn, Sequence

from ..runs.flags import Flag, Range
from ..runs.settings import spell


class Parser(argparse.ArgumentParser):
    """Answers a bad flag with a ValueError of one line.

    Parameters
    ----------
    command
        Its name, as the user types it.
    description
    """

    def __init__(self, command: str, description: str, **kwargs: Any) -> None:
        super().__init__(prog=command, description=description, allow_abbrev=False, **kwargs)
        self._groups: dict[str, Any] = {}

    def add(self, flag: str, text: str, group: str = "", **kwargs: Any) -> None:
        """Add a flag whose help ends with its default, where it has one."""
        if kwargs.get("default") not in (None, ()):
            text += " (default: %(default)s)"
        self._group(group).add_argument(flag, help=text, **kwargs)

    def add_setting(self, name: str, flag: Flag, default: Any) -> None:
        """Add the flag of a setting; what is not given is not in the result."""
        shown = flag.shown if default is None else default
        text = flag.text if default is False or shown is None else f"{flag.text} (default: {shown})"
        words = spell(name)
        group = self._group(flag.group)
        if flag.takes is bool:
            group.add_argument(words, words.replace("--", "--no-", 1), dest=name, action=_Switch,
                               default=argparse.SUPPRESS, help=text)
            return
        kwargs: dict[str, Any] = {"metavar": flag.metavar} if flag.metavar else {}
        if isinstance(flag.takes, Range):
            kwargs["type"] = convert(flag.takes)
        elif isinstance(flag.takes, tuple):
            kwargs.update(choices=flag.takes, type=type(flag.takes[0]))
        group.add_argument(words, default=argparse.SUPPRESS, help=text, **kwargs)

    def _group(self, name: str) -> Any:
        if not name:
            return self
        if name not in self._groups:
            self._groups[name] = self.add_argument_group(name)
        return self._groups[name]

    def error(self, message: str) -> NoReturn:
        """Raise the error, in one line whatever it quotes."""
        raise ValueError(f"{' '.join(message.split())}; see --help")


class _Switch(argparse.Action):
    """A flag that is given as --NAME, or, against what a run has, as --no-NAME."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: Any, option_string: str | None = None) -> None:
        """Note which of the two was given."""
        setattr(namespace, self.dest, not str(option_string).startswith("--no-"))


def number(kind: type, least: float | None = None, above: float | None = None,
           below: float = float("inf")) -> Callable[[str], Any]:
    """Make the type of a flag: a number in a range, as `Range` has it."""
    return convert(Range(kind, least, above, below))


def convert(numbers: Range) -> Callable[[str], Any]:
    """Make the type of a flag that takes what a range has."""
    def to_number(text: str) -> Any:
        try:
            value = numbers.kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no such number: {numbers.mend}"
                                             ) from None
        try:
            numbers.require(value)
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
    """Name each file that was left out of a pack, and why, on the standard error.

    Parameters
    ----------
    skipped
        As `packing.pack` returns them.
    """
    for name, reason in skipped:
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode()
                        for c in name)
        print(f"skipped: {shown}: {' '.join(reason.split())}", file=sys.stderr)
