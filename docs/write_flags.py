"""Print the page of all flags, docs/flags.md, from the parsers: make flags."""
from __future__ import annotations

import argparse
import importlib

from dcgan_mx.cli.main import COMMANDS


def write_page() -> str:
    """Return the page as Markdown."""
    parts = ["# Flags\n\n`make flags` writes this page. In a clone, `python scripts/train.py` is "
             "the same as `dcgan-mx train`.\n"]
    for name, text in COMMANDS.items():
        parser = importlib.import_module(f"dcgan_mx.cli.{name}").make_parser()
        parts.append(f"\n## dcgan-mx {name}\n\n{text[0].upper()}{text[1:]}.\n")
        for group in parser._action_groups:
            parts += write_group(group)
    return "".join(parts)


def write_group(group: argparse._ArgumentGroup) -> list[str]:
    """Return a table of a group's flags, under its title unless that is argparse's own."""
    actions = [action for action in group._group_actions if action.dest != "help"]
    if not actions:
        return []
    titled = group.title not in ("options", "optional arguments", "positional arguments")
    rows = [f"| {write_flag(action)} | {(action.help or '') % vars(action)} |\n"
            for action in actions]
    return [f"\n**{group.title}**\n" * titled, "\n| | |\n|---|---|\n", *rows]


def write_flag(action: argparse.Action) -> str:
    """Return the spellings of a flag with its placeholder."""
    metavar = action.metavar or ""
    words = " ".join(metavar) if isinstance(metavar, tuple) else metavar
    words = words.strip("{}").replace(",", "\\|") if words.startswith("{") else words
    spellings = [f"{flag} {words}".rstrip() for flag in action.option_strings] or [words]
    return ", ".join(f"`{spelling}`" for spelling in spellings)


if __name__ == "__main__":
    print(write_page(), end="")
