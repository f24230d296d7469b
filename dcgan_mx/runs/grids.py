"""The pictures that a training draws, by kind and step: found, thinned, forgotten."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Callable

import numpy as np

from ..machine.files import StrPath
from ..visual import make_grid, save_image

KINDS = ("gout", "diff", "data", "fixed")
FRAMES = 100  # of a film of a whole training, and no report shows more


def draw_grid(run_dir: StrPath, kind: str, step: int, images: np.ndarray) -> None:
    """Write a grid of images, (N, C, H, W), in [-1, 1], to grids/KIND-<step>.png."""
    folder = Path(run_dir) / "grids"
    folder.mkdir(exist_ok=True)
    save_image(folder / f"{kind}-{step:08d}.png", make_grid(images))


def list_grids(run_dir: StrPath, kind: str, most: int | None = None) -> dict[int, Path]:
    """Return the files of grids by step; see `Run.list_grids`."""
    found = ((re.fullmatch(rf"{kind}-([0-9]{{8,18}})\.png", path.name), path)
             for path in (Path(run_dir) / "grids").glob(f"{kind}-*.png"))
    grids = sorted((int(match[1]), path) for match, path in found if match)
    if most is not None and len(grids) > most:
        # From the last backwards, so that it is there even where it is the only one.
        places = np.linspace(len(grids) - 1, 0, most).round().astype(int)[::-1]
        grids = [grids[i] for i in places]
    return dict(grids)


def forget_grids(run_dir: StrPath, forget: Callable[[int], bool]) -> None:
    """Remove the grids of the steps of which `forget` says so; raises OSError if that fails."""
    for kind in KINDS:
        for step, path in list_grids(run_dir, kind).items():
            if forget(step):
                path.unlink()


def thin_grids(run_dir: StrPath, newest: int, every: int, saved: int) -> None:
    """Remove most of the older grids of a training.

    What stays of each kind: the newest ones; the first; and of all, up to `FRAMES` at even
    distances, which double when they would be more. What would have stayed at the step from which
    the run may go on stays, too, so that it is then as if it had never gone further.

    Parameters
    ----------
    run_dir
    newest : at least 1
    every
        Steps from one grid to the next.
    saved
        That step.

    Raises
    ------
    OSError
        If one cannot be removed.
    """
    for kind in KINDS:
        grids = list_grids(run_dir, kind)
        stay = _choose([*grids], newest, every)
        stay |= _choose([step for step in grids if step <= saved], newest, every)
        for step, path in grids.items():
            if step not in stay:
                path.unlink()


def _choose(steps: list[int], newest: int, every: int) -> set[int]:
    """Choose by the steps' own numbers, so that what went once is not missed later."""
    distance = every
    while steps and steps[-1] // distance > FRAMES:
        distance *= 2
    return {*steps[:1], *steps[-newest:], *(step for step in steps if step % distance == 0)}
