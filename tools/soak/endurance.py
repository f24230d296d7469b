"""Train a small network for 100,000 steps, with all that happens beside it, and see what grows.

In parts, each of which begins with a resume. After each part: resident memory, open files, threads
and the size of the run on the disk, all of the same process. What grows is what has more at the end
than at the beginning: the median of the last third of the parts is compared with that of the first.
Of memory, up to 5 % of the median of all parts may come together by chance; of the disk, two
thirds, because the grids that are kept go from 50 to 100 and back; one more open file or thread is
growth.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Sequence

SIGNS = {"memory": "MB", "files": "open", "threads": "", "disk": "MB"}
# What may come together by chance, as a share of the median of all parts: of memory, what the
# allocator holds back; of the disk, 50 grids more, of 75.
MOST = {"memory": 0.05, "files": 0.0, "threads": 0.0, "disk": 2 / 3}
LEAST = 1000  # steps a part: at first memory grows to what it needs


def measure(run_dir: Path) -> dict[str, float]:
    """Return the four numbers; of the disk without log.jsonl, which has a line for each display."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    size = sum(path.stat().st_size for path in run_dir.rglob("*")
               if path.is_file() and path.name != "log.jsonl")
    return {"memory": int(status["VmRSS"].split()[0]) / 1e3,
            "files": len(os.listdir("/proc/self/fd")), "threads": int(status["Threads"]),
            "disk": size / 1e6}


def find_growth(numbers: Sequence[float]) -> float:
    """Return the median of the last third of some numbers less that of the first third."""
    third = max(1, len(numbers) // 3)
    return statistics.median(numbers[-third:]) - statistics.median(numbers[:third])


def compare(parts: list[dict[str, float]]) -> tuple[list[str], bool]:
    """Return a line for each of the four numbers, and whether one of them grows."""
    lines, grows = [], False
    for name, unit in SIGNS.items():
        numbers = [part[name] for part in parts[1:]]  # the first one has yet to make what stays
        growth, most = find_growth(numbers), MOST[name] * statistics.median(numbers)
        grows |= growth > most
        lines.append(f"{name}: {min(numbers):.4g} to {max(numbers):.4g} {unit}".rstrip()
                     + f", the last third less the first: {growth:+.3g}; growth is more than "
                     + f"{most:+.3g}")
    return lines, grows


def draw(parts: list[dict[str, float]], path: Path) -> None:
    """Write the graph, a curve for each of the four numbers."""
    import matplotlib
    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(len(SIGNS), 1, figsize=(7, 7), sharex=True)
    for ax, (name, unit) in zip(axes, SIGNS.items()):
        ax.plot([part["step"] for part in parts], [part[name] for part in parts])
        ax.set_ylabel(f"{name}, {unit}" if unit else name)
        ax.set_ylim(bottom=0)
    axes[-1].set_xlabel("steps")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main() -> None:
    """Parse the flags; train in parts, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--parts", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--graph", type=Path, default=Path("endurance.png"),
                        help="a PNG file; default: %(default)s")
    args = parser.parse_args()
    if args.parts < 4:
        parser.error(f"--parts {args.parts}: give 4 or more")
    if args.steps < LEAST * args.parts:
        parser.error(f"--steps {args.steps}: give {LEAST * args.parts} or more for --parts "
                     f"{args.parts}: in shorter parts memory still grows to what it needs")
    from dcgan_mx.cli.main import run
    parts: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        run_dir, each = Path(folder) / "run", args.steps // args.parts
        for n in range(1, args.parts + 1):
            # as often as keeps every kind of work in each part
            often = {"--disp-batches": each // 10, "--checkpoint-steps": each // 5,
                     "--eval-steps": each // 2}
            flags = [word for name, value in often.items() for word in (name, str(max(1, value)))]
            status = run("train", [
                "--dataset", "synthetic", "--size", "16", "--ngf", "2", "--ndf", "2",
                "--batch-size", "4", "--max-steps", str(n * each), "--keep-checkpoints", "2", "--keep-grids",
                "20", "--fixed-noise", "--run-dir", str(run_dir), "--resume", *flags])
            if status:
                sys.exit(status)
            parts.append({"step": n * each, **measure(run_dir)})
            print(json.dumps(parts[-1]), flush=True)
    draw(parts, args.graph)
    lines, grows = compare(parts)
    print("\n".join(lines))
    print(f"{args.steps} steps in {args.parts} parts: "
          + ("something GROWS" if grows else "nothing grows") + f"; see {args.graph}")
    if grows:
        sys.exit(1)


if __name__ == "__main__":
    main()
