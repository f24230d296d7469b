"""The pictures that a training draws, by kind and step: found, thinned, forgotten."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Callable, Iterable

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


def thin_grids(run_dir: StrPath, newest: int, saved: Iterable[int]) -> None:
    """Remove most of the older grids of a training.

    What stays of each kind: the newest ones; and of all, up to `FRAMES`: the first of every so many
    steps, which double when the grids would be more. What would have stayed at a step from which
    the run may go on stays, too, so that it is then as if it had never gone further.

    Parameters
    ----------
    run_dir
    newest : at least 1
    saved
        Those steps.

    Raises
    ------
    OSError
        If one cannot be removed.
    """
    ends = [*saved]
    for kind in KINDS:
        grids = list_grids(run_dir, kind)
        stay = _choose([*grids], newest)
        for end in ends:
            stay |= _choose([step for step in grids if step <= end], newest)
        for step, path in grids.items():
            if step not in stay:
                path.unlink()


def _choose(steps: list[int], newest: int) -> set[int]:
    """Choose by the steps' own numbers, so that what went once is not missed later.

    The first of a span is the first of one of its halves; so nothing is missed at double the
    distance, however many steps there were from one grid to the next.
    """
    distance = 1
    while steps and steps[-1] // distance >= FRAMES:
        distance *= 2
    firsts = {step // distance: step for step in reversed(steps)}
    return {*firsts.values(), *steps[-newest:]}
