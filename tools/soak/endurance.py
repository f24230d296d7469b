"""Train a small network for 100,000 steps, with all hooks, and look for growth of resources.

The training is done in parts in one process, each of which begins with a resume. After each part
memory, open files, threads and the size of the run directory are measured. A number grows if its
median in the last third of the parts exceeds that in the first third by more than a tolerance: 5 %
of the median for memory; two thirds for the disk, because the grids that are kept vary between 50
and 100; nothing for open files and threads.
"""
from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure

from ..common import make_parser, read_status

PARTS = 50
GRAPH = Path("endurance.png")
UNITS = {"memory": "MB", "files": "open", "threads": "", "disk": "MB"}
TOLERANCES = {"memory": 0.05, "files": 0.0, "threads": 0.0, "disk": 2 / 3}


def measure(run_dir: Path) -> dict[str, float]:
    """Return the four numbers; the disk's without log.jsonl, which grows by design."""
    size = sum(path.stat().st_size for path in run_dir.rglob("*")
               if path.is_file() and path.name != "log.jsonl")
    return {"memory": read_status("VmRSS"), "files": len(os.listdir("/proc/self/fd")),
            "threads": read_status("Threads"), "disk": size / 1e6}


def compare(parts: list[dict[str, float]]) -> tuple[list[str], bool]:
    """Return a line for each of the four numbers, and whether one of them grows."""
    lines, grows = [], False
    for name, unit in UNITS.items():
        numbers = [part[name] for part in parts[1:]]  # the first part is the warm-up
        third = max(1, len(numbers) // 3)
        growth = median(numbers[-third:]) - median(numbers[:third])
        limit = TOLERANCES[name] * median(numbers)
        grows |= growth > limit
        lines.append(f"{name}: {min(numbers):.4g} to {max(numbers):.4g} {unit}".rstrip()
                     + f", last third minus first third: {growth:+.3g}, limit {limit:+.3g}")
    return lines, grows


def draw(parts: list[dict[str, float]], path: Path) -> None:
    """Write a graph with a curve for each of the four numbers."""
    figure = Figure(figsize=(7, 7))
    axes = figure.subplots(len(UNITS), 1, sharex=True)
    for ax, (name, unit) in zip(axes, UNITS.items()):
        ax.plot([part["step"] for part in parts], [part[name] for part in parts])
        ax.set_ylabel(f"{name}, {unit}" if unit else name)
        ax.set_ylim(bottom=0)
    axes[-1].set_xlabel("steps")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main() -> None:
    """Parse the flags; train in parts, measure, compare."""
    parser = make_parser(__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help=f"steps in all {PARTS} parts; "
                        "in each at least 1,000, after which the memory has its working size")
    args = parser.parse_args()
    from dcgan_mx.cli.main import run
    parts: list[dict[str, float]] = []
    each = args.steps // PARTS
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        for n in range(1, PARTS + 1):
            # Every kind of work happens in each part.
            status = run("train", [
                "--dataset", "synthetic", "--size", "16", "--ngf", "2", "--ndf", "2",
                "--batch-size", "4", "--max-steps", str(n * each), "--keep-checkpoints", "2",
                "--keep-grids", "20", "--fixed-noise", "--run-dir", str(run_dir), "--resume",
                "--disp-batches", str(each // 10), "--checkpoint-steps", str(each // 5),
                "--eval-steps", str(each // 2)])
            if status:
                sys.exit(status)
            parts.append({"step": n * each, **measure(run_dir)})
            print(json.dumps(parts[-1]), flush=True)
    draw(parts, GRAPH)
    lines, grows = compare(parts)
    print("\n".join(lines))
    print(f"{args.steps} steps in {PARTS} parts: "
          + ("something GROWS" if grows else "nothing grows") + f"; see {GRAPH}")
    sys.exit(grows)


if __name__ == "__main__":
    main()
