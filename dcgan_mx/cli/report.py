"""`dcgan-mx report`: a page about a run."""
from __future__ import annotations

from typing import Sequence

from ..reports.report import write_report
from ..system.command_line import command_line
from .parser import Parser


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(command_line("report"),
                    "Write report.html into a run's folder: curves, pictures over time, settings. "
                    "It is one file that needs no other and no network.")
    parser.add("run", "the folder of the run, which may still be training", metavar="RUN")
    return parser


def main(argv: Sequence[str]) -> int:
    """Write the page; return the exit status."""
    print(write_report(make_parser().parse_args(argv).run))
    return 0
