import pytest

from dcgan_mx.runs import grids
from dcgan_mx.runs.run import Run


@pytest.fixture(autouse=True)
def _short_films(monkeypatch):
    monkeypatch.setattr(grids, "FRAMES", 20)


def draw(run, step):
    (run.path / "grids").mkdir(exist_ok=True)
    for kind in ("gout", "diff"):
        (run.path / "grids" / f"{kind}-{step:08d}.png").touch()


def train(run, start, stop, every=1, newest=5, saves=7):
    """What a training does to its grids: a set every `every` steps, a checkpoint every `saves`."""
    for step in range(start + 1, stop + 1):
        if step % every == 0:
            draw(run, step)
        if step % saves == 0:
            (run.path / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
        if step % every == 0:
            run.thin_grids(newest, every)


def save(run, step):
    (run.path / "checkpoints" / f"step-{step:08d}").mkdir(parents=True, exist_ok=True)
    run.thin_grids(5, 1)


@pytest.mark.parametrize("steps, every", [(3, 1), (24, 1), (25, 1), (90, 1), (400, 10)])
def test_the_newest_stay_and_an_even_choice_of_all(tmp_path, steps, every):
    run = Run(tmp_path)
    train(run, 0, steps, every, saves=steps)
    drawn = [*range(every, steps + 1, every)]
    distance = every
    while len(drawn[distance // every - 1::distance // every]) > grids.FRAMES:
        distance *= 2
    expected = {*drawn[:1], *drawn[-5:], *(step for step in drawn if step % distance == 0)}
    for kind in ("gout", "diff"):
        assert [*run.list_grids(kind)] == sorted(expected)
    assert len(expected) <= grids.FRAMES + 6


@pytest.mark.parametrize("killed, ends", [
    (10, 12), (21, 21), (24, 22), (33, 31), (48, 43), (50, 60), (41, 44)])
def test_a_run_that_goes_on_has_the_grids_of_one_that_was_never_killed(tmp_path, killed, ends):
    """Also where it ends before the step at which it was killed."""
    listed = []
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        run = Run(tmp_path / name)
        if name == "killed":
            train(run, 0, killed)
            saved = killed - killed % 7
            for step in range(1, saved + 1):
                run.log({"step": step, "seconds": 0.1})
            run.rewind(saved)
            train(run, saved, ends)
        else:
            train(run, 0, ends)
        save(run, ends)
        listed.append([*run.list_grids("gout")])
    assert listed[0] == listed[1]


def test_many_at_once(tmp_path):
    """A run that had kept all gets rid of them, and other files stay."""
    run = Run(tmp_path)
    for step in range(10, 1000, 10):
        draw(run, step)
    (tmp_path / "grids" / "mine.png").touch()
    run.thin_grids(1, 10)
    steps = [*run.list_grids("diff")]
    assert steps == [10, *range(80, 990, 80), 990]
    assert (tmp_path / "grids" / "mine.png").exists()
