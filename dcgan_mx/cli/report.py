"""`dcgan-mx report`: an HTML report of a run."""
from __future__ import annotations

from typing import Sequence

from ..reports.report import write_report
from .parser import Parser


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser("report", "Write report.html to a run directory: curves, images over time, "
                    "settings. The file is self-contained and works offline.")
    parser.add("run_dir", "a run directory; the run may still be training", metavar="RUN")
    return parser


def main(argv: Sequence[str]) -> int:
    """Write the report; return the exit code."""
    print(write_report(make_parser().parse_args(argv).run_dir))
    return 0
