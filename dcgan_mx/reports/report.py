"""A page about a run: its curves, its pictures over time, its settings."""
from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ..export.html import Picture, picture, plot, render
from ..runs.log import METRICS, find_best
from ..runs.run import Run
from ..sampling.pretrained import check_run_dir
from ..system.command_line import command_line, flag_name
from ..system.files import StrPath, write_atomic
from ..visual import read_png

# Kind of grid, what it shows, the most pictures of it.
_GRIDS = (("gout", "what G makes of random vectors", 24),
          ("fixed", "what G makes of the same vectors every time", 24),
          ("diff", "the gradient that D sends back to these images", 8),
          ("data", "real images", 8))
_CURVES = (("accuracy of D", {"accuracy": "acc"}),
           ("entropy, nats", {"D": "d_entropy", "G": "g_entropy"}),
           ("images/s", {"speed": "images_per_s"}))
_FIGURES = {"frechet": "Fréchet distance", "swd": "sliced Wasserstein distance x 1,000",
            "ms_ssim": "MS-SSIM", "precision": "precision", "recall": "recall"}
_MAX_POINTS = 400  # more of them make a line that goes up and down a band
_MAX_WIDTH = 800
_MAX_SLIDER = 2_400_000  # characters; the four of them and the curves make 10 MB


class ReportError(ValueError):
    """A run has nothing to report yet."""


def write_report(run_dir: StrPath) -> Path:
    """Write report.html, a self-contained page, into a run directory; return its path.

    Raises
    ------
    ReportError
        If the run has neither a log line nor a grid.
    ValueError
        If the directory holds no run, or a file in it is damaged.
    OSError
        If a file cannot be read or written.
    """
    check_run_dir(run_dir)
    run = Run(Path(run_dir))
    config, records = run.read_config(), run.read_log()
    log, evaluations = ([record for record in records if bool({*METRICS} & {*record}) is kind]
                        for kind in (False, True))
    grids = {kind: run.list_grids(kind) for kind, _, _ in _GRIDS}
    steps = [record["step"] for record in log] or [step for kind in grids for step in grids[kind]]
    if not steps:
        raise ReportError(f"{run_dir} has no log line and no grid yet: train a step or more")
    size = -(-len(log) // _MAX_POINTS) or 1  # lines of the log for each point
    groups = [log[i:i + size] for i in range(0, len(log), size)]
    ending, nearest = run.read_result(), run.path / "evaluation.png"
    text = render(
        "report.html", run=run, step=max(steps), config=config, spell=flag_name, figures=_FIGURES,
        ending=ending, size=size, last=log[-1] if log else None,
        curves=[plot({name: (_average(groups, "step"), _average(groups, key))
                      for name, key in names.items()}, "step", label) for label, names in _CURVES],
        best=find_best(evaluations), evaluation=run.read_evaluation(),
        qualities=[plot({label: ([record["step"] for record in evaluations],
                                 [record.get(name) for record in evaluations])}, "step", label)
                   for name, label in _FIGURES.items() if any(name in one for one in evaluations)],
        nearest=picture(read_png(nearest), _MAX_WIDTH) if nearest.exists() else None,
        sliders=[(f"{kind}: {label}", _read_grids(run, kind, most))
                 for kind, label, most in _GRIDS if grids[kind]],
        zip=zip, resume=run.resume_command(ending),
        sample=f"{command_line('sample')} {shlex.quote(str(run.path))}")
    path = run.path / "report.html"
    # A path need not be UTF-8, and JSON can hold halves of characters.
    write_atomic(path, text.encode("utf-8", "backslashreplace"))
    return path


def _average(groups: list[list[dict[str, Any]]], key: str) -> list[float | None]:
    """The mean of a number in each group of log lines; None where no line has it."""
    known = ([record[key] for record in group
              if type(record.get(key)) in (int, float) and abs(record[key]) < 1e300]
             for group in groups)
    return [sum(values) / len(values) if values else None for values in known]


def _read_grids(run: Run, kind: str, most: int) -> list[tuple[str, Picture]]:
    """Captions and grids over the whole time of a run, fewer where they are large."""
    while True:
        grids = run.list_grids(kind, most)
        frames = [(f"step {step}", picture(read_png(path), _MAX_WIDTH))
                  for step, path in grids.items()]
        if len(frames) == 1 or sum(len(image.src) for _, image in frames) <= _MAX_SLIDER:
            return frames
        most = len(grids) // 2
