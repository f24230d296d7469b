"""An HTML report of a run: its curves, images and settings."""
from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..export.html import EmbeddedImage, embed_image, plot, render
from ..runs.config import DEFAULTS
from ..runs.log import METRICS, find_best
from ..runs.run import Run
from ..sampling.pretrained import check_run_dir
from ..system.command_line import command_line, flag_name, quote_path
from ..system.files import StrPath, write_atomic
from ..visual import read_png

# Kind of grid, label, the most images of this kind.
_GRIDS = (("gout", "generated images of random latent vectors", 24),
          ("fixed", "generated images of fixed latent vectors", 24),
          ("diff", "gradient of the loss at the generated images", 8),
          ("data", "real images", 8))
_CURVES = (("accuracy of D", {"accuracy": "acc"}),
           ("cross-entropy, nats", {"D": "d_entropy", "G": "g_entropy"}),
           ("images/s", {"speed": "images_per_s"}))
_LABELS = {"frechet": "Fréchet distance", "swd": "sliced Wasserstein distance x 1,000",
           "ms_ssim": "MS-SSIM", "precision": "precision", "recall": "recall"}
_MAX_POINTS = 400  # of a curve; with more, noise looks like a band
_MAX_WIDTH = 800
_MAX_SLIDER = 2_400_000  # characters; four sliders and the curves make 10 MB


def write_report(run_dir: StrPath, live: bool = False) -> Path:
    """Write report.html, a self-contained page, into a run directory; return its path.

    A `live` page reloads itself, for a day at most.
    """
    check_run_dir(run_dir)
    run = Run(Path(run_dir))
    config, records = run.read_config(), run.read_log()
    warned = [record for record in records if "warning" in record]
    evaluations = [record for record in records if {*METRICS} & {*record}]
    log = [record for record in records if not {*METRICS, "warning"} & {*record}]
    grids = {kind: run.list_grids(kind) for kind, _, _ in _GRIDS}
    steps = [record["step"] for record in log] or [step for kind in grids for step in grids[kind]]
    if not steps:
        raise ValueError(f"{run_dir} has neither a log line nor a grid: train at least one step")
    size = -(-len(log) // _MAX_POINTS) or 1  # lines of the log for each point
    groups = [log[i:i + size] for i in range(0, len(log), size)]
    evaluated = [[record] for record in evaluations]
    result, nearest = run.read_result(), run.path / "evaluation.png"
    defaults = DEFAULTS.to_flags()  # the settings that differ are shown first
    text = render(
        "report.html", written=live and round(1000 * time.time()), run=run, step=max(steps),
        flags=sorted(config["flags"].items(), key=lambda item: item[1] == defaults.get(item[0])),
        config=config, flag_name=flag_name, labels=_LABELS,
        result=result, size=size, last=log[-1] if log else None, warnings=warned,
        curves=[plot({name: (_average(groups, "step"), _average(groups, key))
                      for name, key in names.items()}, "step", label) for label, names in _CURVES],
        best=find_best(evaluations), evaluation=run.read_evaluation(),
        metrics=[plot({label: (_average(evaluated, "step"), _average(evaluated, name))},
                      "step", label)
                 for name, label in _LABELS.items() if any(name in one for one in evaluations)],
        nearest=embed_image(read_png(nearest), _MAX_WIDTH) if nearest.exists() else None,
        sliders=[(f"{kind}: {label}", _read_grids(run, kind, most))
                 for kind, label, most in _GRIDS if grids[kind]],
        zip=zip, resume=run.resume_command(result),
        sample=f"{command_line('sample')} {quote_path(run.path)}")
    path = run.path / "report.html"
    # A path need not be UTF-8, and JSON can hold lone surrogates.
    write_atomic(path, text.encode("utf-8", "backslashreplace"))
    return path


def _average(groups: list[list[dict[str, Any]]], key: str) -> list[float | None]:
    """Return the mean of a number in each group of log lines; None if no line has the number."""
    known = ([record[key] for record in group
              if type(record.get(key)) in (int, float) and abs(record[key]) < 1e300]
             for group in groups)
    return [sum(values) / len(values) if values else None for values in known]


def _read_grids(run: Run, kind: str, most: int) -> list[tuple[str, EmbeddedImage]]:
    """Return captions and grids, evenly chosen over the run, fewer if they are large."""
    while True:
        grids = run.list_grids(kind, most)
        try:
            frames = [(f"step {step}", embed_image(read_png(path), _MAX_WIDTH))
                      for step, path in grids.items()]
        except FileNotFoundError:  # a training with --keep-grids has removed one: list them again
            continue
        if len(frames) == 1 or sum(len(image.src) for _, image in frames) <= _MAX_SLIDER:
            return frames
        most = len(grids) // 2
