"""What the commands share: argument parsing, common flags, and progress on the terminal."""
from __future__ import annotations

import argparse
import re
import sys
from typing import Any, Callable, Iterable, NoReturn

from ..runs.config import Number, check, describe, list_fields
from ..system.command_line import flag_name
from .flags import HELP, METAVARS


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ValueError, with a message of one line, for invalid input."""

    def __init__(self, command: str, description: str, **kwargs: Any) -> None:
        super().__init__(prog=command, description=description, allow_abbrev=False, **kwargs)
        self._titled: dict[str, Any] = {"": self}

    def add(self, flag: str, text: str, group: str = "", **kwargs: Any) -> None:
        """Add an argument; its help ends with its default, if it has one."""
        if kwargs.get("default") not in (None, ()):
            text += " (default: %(default)s)"
        if "choices" in kwargs:
            choices = kwargs.pop("choices")
            kwargs.update(type=converter(choices), metavar=f"{{{','.join(map(str, choices))}}}")
        self._group(group).add_argument(flag, help=text, **kwargs)

    def add_setting(self, name: str) -> None:
        """Add the flag of a setting; `parse_args` returns a setting only if it is given."""
        field, flags = list_fields()[name], [flag_name(name)]
        allowed = field.metadata["allowed"]
        group = next(group for group, texts in HELP.items() if name in texts)
        kwargs: dict[str, Any] = {"help": HELP[group][name], "default": argparse.SUPPRESS}
        if allowed is bool:
            flags.append(flags[0].replace("--", "--no-", 1))
            kwargs.update(dest=name, action=_Switch, nargs=0)
        elif field.default is not None:
            kwargs["help"] += f" (default: {field.default})"
        if isinstance(allowed, tuple):
            kwargs.update(type=converter(allowed), metavar=f"{{{','.join(map(str, allowed))}}}")
        elif isinstance(allowed, Number):
            kwargs.update(type=converter(allowed), metavar="N" if allowed.kind is int else "X")
        elif allowed is str:
            kwargs["metavar"] = METAVARS[name]
        self._group(group).add_argument(*flags, **kwargs)

    def _group(self, name: str) -> Any:
        if name not in self._titled:
            self._titled[name] = self.add_argument_group(name)
        return self._titled[name]

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


class _Switch(argparse.Action):
    """A flag with a negative: --NAME and --no-NAME."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: Any, option_string: str | None = None) -> None:
        """Store which of the two was given."""
        setattr(namespace, self.dest, not str(option_string).startswith("--no-"))


def number(kind: type, **bounds: Any) -> Callable[[str], Any]:
    """Return an argparse type for numbers within bounds: `ge`, `gt`, `le`, `lt`."""
    return converter(Number(kind, **bounds))


def converter(allowed: Number | tuple[Any, ...]) -> Callable[[str], Any]:
    """Return an argparse type that accepts the values of a Number, or of a tuple of choices."""
    kind = allowed.kind if isinstance(allowed, Number) else type(allowed[0])

    def convert(text: str) -> Any:
        try:
            value = kind(text)
            check(value, allowed)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"invalid value {text!r}: expected {describe(allowed)}") from None
        return value
    return convert


def add_checkpoint(parser: Parser, optional: bool = False) -> None:
    """Add the argument CHECKPOINT."""
    parser.add("checkpoint", "a run directory (its newest checkpoint), a checkpoint "
               "(RUN/checkpoints/step-...), or pretrained:NAME for a bundled generator",
               metavar="CHECKPOINT", nargs="?" if optional else None)


def add_weights(parser: Parser) -> None:
    """Add the flag --weights."""
    parser.add("--weights", "generator weights: the moving average (ema), or those of the last "
               "step (raw) (default: ema if the checkpoint has them)", choices=("ema", "raw"))


def add_bn_stats(parser: Parser) -> None:
    """Add the flag --bn-stats."""
    parser.add("--bn-stats", "BatchNorm statistics: the moving averages of the training, or those "
               "of each batch", choices=("moving", "batch"), default="moving")


def add_gpu(parser: Parser) -> None:
    """Add the flag --gpu of a command that uses one device."""
    parser.add("--gpu", "number of the GPU (default: the CPU)", type=number(int, ge=0), metavar="N")


def show_packing(names: Iterable[int]) -> Iterable[int]:
    """Show a progress bar while a folder is packed; for `packing.pack`."""
    from tqdm import tqdm

    bar: Iterable[int] = tqdm(names, desc="packing", unit="file", dynamic_ncols=True)
    return bar


def print_skipped(skipped: Iterable[tuple[str, str]]) -> None:
    """Print each file that was skipped, and why, to standard error."""
    for name, reason in skipped:
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode()
                        for c in name)
        print(f"skipped: {shown}: {' '.join(reason.split())}", file=sys.stderr)
