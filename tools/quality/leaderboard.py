"""Tables and plots of the metrics of runs, over the steps and over the minutes."""
from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any, Sequence

from matplotlib.figure import Figure

METRICS = ("frechet", "precision", "recall", "swd", "ms_ssim")
GOALS = (100, 50, 25)  # Fréchet distances
Record = Any  # dict of a point: name, seed, step, seconds, images and metrics


def print_table(records: list[Record]) -> None:
    """Print a line for each point."""
    width = max(16, *(len(r["name"]) for r in records))
    print(f"{'':{width}} seed  step images" + "".join(f"{name:>11}" for name in METRICS))
    for r in sorted(records, key=lambda r: (r["name"], r["seed"], r["step"])):
        print(f"{r['name']:{width}} {r['seed']:4} {r['step']:5} {r['images']:6}"
              + "".join(f"{r[name]:11.{1 if name in ('frechet', 'swd') else 3}f}"
                        for name in METRICS))


def print_leaderboard(records: list[Record], names: Sequence[str]) -> None:
    """Print when each candidate first reaches each of `GOALS`, and its last Fréchet distances.

    A cell has the median minutes and steps of the seeds that reach the goal, and their share.
    """
    width = max(map(len, names), default=0)
    print(f"{'':{width}}" + "".join(f"  {f'Fréchet distance {goal}':26}" for goal in GOALS)
          + "  at the end")
    for name in names:
        lines = split_by_seed(records, name)
        cells = []
        for goal in GOALS:
            reached = [point for point in (find_goal(line, goal) for line in lines) if point]
            cells.append(f"{len(reached)} of {len(lines)} seeds" + (
                f": {median(r['seconds'] for r in reached) / 60:.1f} min, "
                f"{median(r['step'] for r in reached):.0f}" if reached else ""))
        print(f"{name:{width}}" + "".join(f"  {cell:26}" for cell in cells) + "  "
              + ", ".join(f"{line[-1]['frechet']:.1f}" for line in lines))


def split_by_seed(records: list[Record], name: str) -> list[list[Record]]:
    """Return the points of each seed of a candidate, in the order of their steps."""
    own = sorted((r for r in records if r["name"] == name), key=lambda r: r["step"])
    return [[r for r in own if r["seed"] == seed] for seed in sorted({r["seed"] for r in own})]


def find_goal(line: list[Record], goal: float) -> Record | None:
    """Return the first point of a run at which the Fréchet distance is at most `goal`."""
    return next((r for r in line if r["frechet"] <= goal), None)


def draw_curves(records: list[Record], names: Sequence[str], key: str, label: str, path: Path
                ) -> None:
    """Draw the Fréchet and the sliced Wasserstein distance over the steps or over the minutes."""
    figure, scale = Figure(figsize=(9, 4)), 60 if key == "seconds" else 1
    both = figure.subplots(1, 2, sharex=True)
    ours = sorted((r for r in records if r["name"] != "real"), key=lambda r: r["step"])
    for axes, metric, title in zip(both, ("frechet", "swd"),
                                   ("Fréchet distance", "sliced Wasserstein distance")):
        for color, name in enumerate(names):
            for i, line in enumerate(split_by_seed(records, name)):
                axes.plot([r[key] / scale for r in line], [r[metric] for r in line], marker="o",
                          markevery=[-1], color=f"C{color}", label=None if i else name)
        # The baseline falls with the number of images: it is drawn below the points of its number.
        baselines = {r["images"]: r[metric] for r in records if r["name"] == "real"}
        for (images, value), style in zip(baselines.items(), (":", "--")):
            places = [r[key] / scale for r in ours if r["images"] == images]
            if places:
                axes.plot([min(places), max(places)], [value, value], color="gray", marker="|",
                          linestyle=style, label=f"real digits, {images:,} images")
        axes.set(yscale="log", title=title, xlabel=label)
    figure.legend(*both[0].get_legend_handles_labels(), loc="lower center", ncol=5)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=90)
