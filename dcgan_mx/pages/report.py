"""A page about a run: its curves, its pictures over time, its settings."""
from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..machine.files import StrPath, write_atomic
from ..machine.typed import typed
from ..runs.ending import Ending
from ..runs.log import FIGURES, find_best
from ..runs.pretrained import require_run
from ..runs.run import Run
from ..runs.settings import spell
from ..visual import read_png
from . import page

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
    """Write report.html, which holds all that it shows, into a run directory.

    Returns
    -------
    Of the page; one that was there is replaced.

    Raises
    ------
    PretrainedError
        If it is a generator of the box.
    ReportError
        If the run has neither a log line nor a grid.
    ValueError
        If a grid is damaged.
    RunError
        If config.json, log.jsonl or ended.json is none of a run.
    OSError
        If a file cannot be read or written.
    """
    require_run(run_dir)
    run_dir = Path(run_dir)
    run = Run(run_dir)
    config, records = run.read_config(), run.read_log()
    evaluations, log = ([record for record in records if ({*FIGURES} & {*record} != set()) is kind]
                        for kind in (True, False))
    steps = [record["step"] for record in log] or [
        step for kind, _, _ in _GRIDS for step in run.list_grids(kind)]
    if not steps:
        raise ReportError(f"{run_dir} has no log line and no grid yet: train a step or more")
    ending = run.read_ending()
    body = [page.note(f"A run of dcgan-mx in {run_dir}"), page.note(
                ending.describe() if ending else "It is training, or ended without a word."),
            "<h2>Curves</h2>", _curves(log),
            *_quality(run, evaluations),
            "<h2>Pictures</h2>", _pictures(run),
            "<h2>Settings</h2>", _settings(config),
            "<h2>Go on</h2>", _commands(run, ending)]
    text = page.render(f"{config['flags'].get('dataset')}, step {max(steps)}", "\n".join(body))
    path = run_dir / "report.html"
    # A path need not be UTF-8, and JSON can hold halves of characters.
    write_atomic(path, text.encode("utf-8", "backslashreplace"))
    return path


def _curves(log: list[dict[str, Any]]) -> str:
    """The log as plots, and its last line as a table."""
    if not log:
        return page.note("log.jsonl has no line yet.")
    n = -(-len(log) // _MAX_POINTS)
    groups = [log[i:i + n] for i in range(0, len(log), n)]
    steps = _means(groups, "step")
    cells = [page.plot({name: (steps, _means(groups, key)) for name, key in lines.items()},
                       "step", label) for label, lines in _CURVES]
    last = log[-1]
    rows = [("step", last["step"]), ("epochs done", last.get("epoch")),
            ("accuracy of D", _shown(last.get("acc"), 3)),
            ("entropy of D, nats", _shown(last.get("d_entropy"), 3)),
            ("entropy of G, nats", _shown(last.get("g_entropy"), 3)),
            ("images/s", _shown(last.get("images_per_s"), 1)),
            ("minutes", _shown(last["seconds"] / 60, 1))]
    cells.append(page.table(("last line of the log", ""), rows))
    means = [page.note(f"Every point is the mean of {n} lines of the log.")] if n > 1 else []
    return "\n".join([*means, page.columns(cells)])


def _means(groups: list[list[dict[str, Any]]], key: str) -> list[float | None]:
    """The mean of a number in each group of log lines; None where no line has it."""
    known = ([record[key] for record in group
              if type(record.get(key)) in (int, float) and abs(record[key]) < 1e300]
             for group in groups)
    return [sum(values) / len(values) if values else None for values in known]


def _quality(run: Run, evaluations: list[dict[str, Any]]) -> list[str]:
    """What evaluations found, within the training and after it; nothing if there were none."""
    result, parts = run.read_evaluation(), []
    if evaluations:
        best = find_best(evaluations)
        steps = [record["step"] for record in evaluations]
        parts += [page.note(f"The best step of those evaluated is {best['step']}.")] if best else []
        parts.append(page.columns([
            page.plot({label: (steps, [record.get(name) for record in evaluations])}, "step", label)
            for name, label in _FIGURES.items() if any(name in record for record in evaluations)]))
    if result:
        floor = result.get("floor", {})
        rows = [(label, _shown(result[name], 3), _shown(floor.get(name), 3))
                for name, label in _FIGURES.items() if name in result]
        if "classes" in result and "classes" in floor:
            share = 100 / result["images"]
            rows += [(f"share of {digit}, %", _shown(share * here, 1), _shown(share * real, 1))
                     for digit, (here, real) in enumerate(zip(result["classes"], floor["classes"]))]
        for name, error in result.get("svm_errors", {}).items():
            rows.append((f"a linear SVM errs, by {name}, %", _shown(100 * error, 2), ""))
        path = run.path / "evaluation.png"
        pictures = [page.picture(_read(path), "images and the nearest real ones")
                    ] if path.exists() else []
        parts += [page.note(f"dcgan-mx evaluate, step {result['step']}: {result.get('images')} "
                            "images against as many real ones; a picture of some, with the real "
                            "image nearest to each below it"),
                  page.columns([page.table(("figure", "here", "real images"), rows), *pictures])]
    return ["<h2>Quality</h2>", *parts] if parts else []


def _pictures(run: Run) -> str:
    """A slider for each kind of grid that is there."""
    cells = [_slider(run, kind, f"{kind}: {label}", most)
             for kind, label, most in _GRIDS if run.list_grids(kind)]
    return page.columns(cells) if cells else page.note("There is no grid yet.")


def _slider(run: Run, kind: str, label: str, most: int) -> str:
    """A slider over the whole time of a run, with fewer pictures where they are large."""
    while True:
        grids = run.list_grids(kind, most)
        slider = page.slider([_read(path) for path in grids.values()],
                             [f"step {step}" for step in grids], label)
        if len(slider) <= _MAX_SLIDER or len(grids) == 1:
            return slider
        most = len(grids) // 2


def _read(path: Path) -> np.ndarray:
    """The pixels of a PNG file, (H, W, C), uint8, scaled down where it is too wide."""
    pixels = read_png(path)
    height, width, channels = pixels.shape
    if width <= _MAX_WIDTH:
        return pixels
    size = _MAX_WIDTH, max(1, round(height * _MAX_WIDTH / width))
    small: np.ndarray = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small.reshape(*size[::-1], channels)


def _settings(config: dict[str, Any]) -> str:
    """The flags, and what else explains the numbers."""
    flags = [(spell(name), _shown(value))
             for name, value in config["flags"].items()]
    others = []
    for name, value in config.items():
        if isinstance(value, dict) and name != "flags":
            others += [(f"{name}: {key}", _shown(part)) for key, part in value.items()]
        elif name != "flags" and value is not None:
            others.append((name, _shown(value)))
    return page.columns([page.table(("flag", "value"), flags),
                         page.table(("device and versions", ""), others)])


def _commands(run: Run, ending: Ending | None) -> str:
    """How to train on, and how to draw from what was trained."""
    further = ending.further if ending else []
    return "\n".join([page.note("To train longer:" if further else "To go on:"),
                      page.code(run.resume_command(*further)),
                      page.note("To have G make pictures:"),
                      page.code(f"{typed('sample')} {shlex.quote(str(run.path))}")])


def _shown(value: object, digits: int | None = None) -> str:
    """A value for people to read."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if digits is not None and isinstance(value, float):
        return f"{value:.{digits}f}"
    return str(value)
