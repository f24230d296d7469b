from types import SimpleNamespace

import pytest

from dcgan_mx.hooks.checkpoints import Saver
from dcgan_mx.hooks.grids import PruneGrids
from dcgan_mx.runs import grids
from dcgan_mx.runs.run import Run


@pytest.fixture(autouse=True)
def _short_videos(monkeypatch):
    monkeypatch.setattr(grids, "FRAMES", 20)


def draw(run, step):
    (run.path / "grids").mkdir(exist_ok=True)
    for kind in ("gout", "diff"):
        (run.path / "grids" / f"{kind}-{step:08d}.png").touch()


def train(run, start, stop, every=1, newest=5, saves=7, late=0):
    """Draw grids every `every` steps; save every `saves` steps, on the disk `late` steps later."""
    saver = Saver(None, step=start)
    keep = PruneGrids(run, saver, newest, every)
    for step in range(start + 1, stop + 1):
        if step % every == 0:
            draw(run, step)
        if step % saves == 0:
            saver.step = step
        landed = step - late
        if landed > start and landed % saves == 0:
            (run.path / "checkpoints" / f"step-{landed:08d}").mkdir(parents=True, exist_ok=True)
        keep.on_step(SimpleNamespace(global_step=step))


def choose(drawn, newest=5):
    """The newest steps, and the first of each span of 2^k steps; at most 20 spans."""
    span = 1
    while drawn[-1] // span >= grids.FRAMES:
        span *= 2
    firsts = [min(step for step in drawn if step // span == i)
              for i in {step // span for step in drawn}]
    assert len(firsts) <= grids.FRAMES
    return sorted({*firsts, *drawn[-newest:]})


def save(run, step):
    (run.path / "checkpoints" / f"step-{step:08d}").mkdir(parents=True, exist_ok=True)
    run.prune_grids(5, step)


@pytest.mark.parametrize("steps, every", [(3, 1), (24, 1), (25, 1), (90, 1), (400, 10), (400, 7)])
def test_newest_grids_and_an_even_selection_are_kept(tmp_path, steps, every):
    run = Run(tmp_path)
    train(run, 0, steps, every, saves=steps)
    save(run, steps)
    for kind in ("gout", "diff"):
        assert [*run.list_grids(kind)] == choose([*range(every, steps + 1, every)])


@pytest.mark.parametrize("late", [0, 6])
@pytest.mark.parametrize("killed, ends", [
    (10, 12), (21, 21), (24, 22), (33, 31), (48, 43), (50, 60), (41, 44)])
def test_resumed_run_has_the_grids_of_an_uninterrupted_one(tmp_path, killed, ends, late):
    """Also if it ends before the step at which it was killed."""
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        run, saved = Run(tmp_path / name), 0
        if name == "killed":
            train(run, 0, killed, late=late)
            saved = max((int(path.name[5:]) for path in run.list_checkpoints()), default=0)
            for step in range(1, saved + 1):
                run.log({"step": step, "seconds": 0.1})
            run.rewind(saved)
        train(run, saved, ends, late=late)
        save(run, ends)
        assert [*run.list_grids("gout")] == choose([*range(1, ends + 1)])


@pytest.mark.parametrize("other", [3, 7, 25])
def test_new_interval_keeps_the_history(tmp_path, other):
    run = Run(tmp_path)
    train(run, 0, 400, 10, saves=400)
    save(run, 400)
    before = [*run.list_grids("gout")]
    assert before == choose([*range(10, 401, 10)])
    display = 400 // other * other + other
    train(run, 400, display, other)
    old = [step for step in run.list_grids("gout") if step <= 400]
    assert old == before
    train(run, display, 900, other)
    save(run, 900)
    drawn = [*range(10, 401, 10), *range(display, 901, other)]
    assert [*run.list_grids("gout")] == choose(drawn)
