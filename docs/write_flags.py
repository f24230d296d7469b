"""Write the page of all flags, from the parsers: make flags."""
from __future__ import annotations

import argparse
import importlib

from dcgan_mx.cli.main import COMMANDS


def write_page() -> str:
    """Return the page."""
    parts = ["# Flags\n\nWritten by `make flags`. Every command has a script of the same name for "
             "those who have the clone:\n`python scripts/train.py` is `dcgan-mx train`, `python "
             "scripts/make_rec.py` is `dcgan-mx pack`.\n"]
    for name, text in COMMANDS.items():
        parser = importlib.import_module(f"dcgan_mx.cli.{name}").make_parser()
        parts.append(f"\n## dcgan-mx {name}\n\n{text[0].upper()}{text[1:]}.\n")
        for group in parser._action_groups:
            parts += write_group(group)
    return "".join(parts)


def write_group(group: argparse._ArgumentGroup) -> list[str]:
    """Return a table of a group's flags, under its title where it has one of ours."""
    actions = [action for action in group._group_actions if action.dest != "help"]
    if not actions:
        return []
    ours = group.title not in ("options", "optional arguments", "positional arguments")
    rows = [f"| {flag_name(action)} | {explain(action)} |\n" for action in actions]
    return [f"\n**{group.title}**\n" * ours, "\n| | |\n|---|---|\n", *rows]


def flag_name(action: argparse.Action) -> str:
    """Return a flag with what it takes."""
    takes = action.metavar or ("\\|".join(map(str, action.choices)) if action.choices else "")
    if isinstance(takes, tuple):
        takes = " ".join(takes)
    if not action.option_strings:
        return f"`{takes}`"
    words = f" {takes}" if takes and action.nargs != 0 else ""
    return ", ".join(f"`{flag}{words}`" for flag in action.option_strings)


def explain(action: argparse.Action) -> str:
    """Return a flag's help, with its default."""
    return (action.help or "") % {"default": action.default}


if __name__ == "__main__":
    print(write_page(), end="")
