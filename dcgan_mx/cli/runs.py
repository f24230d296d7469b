"""`dcgan-mx runs`: the runs in a folder."""
from __future__ import annotations

import contextlib
import fcntl
from pathlib import Path
from typing import Sequence

from ..runs.log import METRICS
from ..runs.run import Run
from ..system.errors import one_line
from ..system.files import open_regular
from .parser import Parser

_LOGGED = ("epoch", "acc", "d_entropy", "g_entropy", "images_per_s")


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser("runs", "List the runs in a folder, the newest last: state, step, last "
                    "metrics and warnings.")
    parser.add("folder", "folder that contains run directories", nargs="?",
               default="runs", metavar="DIR")
    return parser


def is_running(run: Run) -> bool:
    """Whether a process holds the lock of a run."""
    try:
        with open_regular(run.path / "lock") as f:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no lock, or the file system has no locks
        pass
    return False


def describe(run: Run) -> str:
    """Return a line about a run."""
    try:
        records, result = run.read_log(), run.read_result()
    except (OSError, ValueError) as error:
        return one_line(f"{run.path}: unreadable: {error}")
    state = ("running" if is_running(run) else result.describe() if result else
             "not running, ended without a result")
    last: dict[str, object] = {}
    for record in records:
        last.update(record)
    shown = [f"{name} {value:.4g}" for name in (*_LOGGED, *METRICS)
             if isinstance(value := last.get(name), (int, float))]
    warned = [one_line(f"warning, step {record['step']}: {record.get('message')}")
              for record in records if "warning" in record]
    return "\n  ".join([one_line(f"{run.path}: {state}"), ", ".join(
        [f"step {last['step']}", *shown]) if last else "no log line yet", *warned])


def main(argv: Sequence[str]) -> int:
    """List the runs; return the exit code."""
    folder = Path(make_parser().parse_args(argv).folder)
    configs = []
    for path in folder.glob("[!.]*/config.json"):  # not those that are being created
        with contextlib.suppress(FileNotFoundError):  # removed or renamed meanwhile
            configs.append((path.stat().st_mtime_ns, path.parent))
    if not configs:
        raise ValueError(f"there is no run in {folder}: give a folder that contains runs")
    for _, path in sorted(configs):
        print(describe(Run(path)))
    return 0
