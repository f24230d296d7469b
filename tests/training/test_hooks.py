import json

import cv2
import numpy as np
import pytest

from dcgan_mx import MnistIter, RandIter, Trainer, make_dcgan_sym
from dcgan_mx.training import hooks
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.machine.runtime import mx
from dcgan_mx.visual import make_grid, standardise


def train(*all_hooks, max_steps=6, **options):
    trainer = Trainer(*make_dcgan_sym(4, 4, 3, size=16), 4, (3, 16, 16), nz=5, **options)
    trainer.fit(MnistIter(make_discs(16), 4, (3, 16, 16)), RandIter(4, 5), 100, all_hooks,
                max_steps)
    return trainer


def test_log_lines_average_the_steps_since_the_last(tmp_path):
    """A line every second step against two lines of a run that writes one every step."""
    logs = {}
    for n in (1, 2):
        mx.random.seed(0)
        train(hooks.display_every(n, hooks.make_log(tmp_path / f"{n}")))
        logs[n] = [json.loads(line) for line in (tmp_path / f"{n}").read_text().splitlines()]
    assert [line["step"] for line in logs[1]] == [1, 2, 3, 4, 5, 6]
    assert [(line["step"], line["epoch"]) for line in logs[2]] == [(2, 0), (4, 1), (6, 1)]
    for line, first, second in zip(logs[2], logs[1][::2], logs[1][1::2]):
        for name in ("acc", "d_entropy", "g_entropy"):
            assert line[name] == pytest.approx((first[name] + second[name]) / 2, rel=1e-6)
    seconds = [line["seconds"] for line in logs[2]]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    # 2 steps of 4 images each between two lines
    assert logs[2][2]["images_per_s"] == pytest.approx(8 / (seconds[2] - seconds[1]))


def test_grids_are_the_steps_own_images(tmp_path):
    expected = {}

    def keep(trainer):
        if trainer.global_step % 3 == 0:
            for name, images in (("gout", trainer.outG.asnumpy()),
                                 ("diff", standardise(trainer.diffD.asnumpy())),
                                 ("data", trainer.batch.data[0].asnumpy())):
                expected[f"{name}-{trainer.global_step:08d}.png"] = make_grid(images)

    train(keep, hooks.display_every(3, hooks.make_grids(tmp_path / "grids")))
    written = {path.name: cv2.imread(str(path))[..., ::-1]
               for path in (tmp_path / "grids").iterdir()}
    assert written.keys() == expected.keys() and len(written) == 6
    for name, grid in expected.items():
        np.testing.assert_array_equal(written[name], grid)


def test_no_gradient_grid_before_g_was_trained(tmp_path):
    train(hooks.display_every(1, hooks.make_grids(tmp_path / "g")), max_steps=1, d_steps=2)
    assert sorted(p.name for p in (tmp_path / "g").iterdir()) == ["data-00000001.png",
                                                                   "gout-00000001.png"]


def test_progress_shows_the_numbers(capsys):
    progress = hooks.Progress(6)
    train(progress, hooks.display_every(2, progress.show))
    progress.close()
    shown = capsys.readouterr().err
    assert "6/6" in shown
    for word in ("images/s", "acc 0.", "G ", "D ", "step/s"):
        assert word in shown


def test_saved_at_every_epochs_end_or_every_n_steps(tmp_path):
    saver = hooks.Saver(tmp_path)
    train(hooks.save_every(saver), max_steps=9)
    saver.wait()
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000004", "step-00000008"]
    saver = hooks.Saver(tmp_path)
    train(hooks.save_every(saver, 3), max_steps=6)
    saver.wait()
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == [f"step-{n:08d}" for n in (3, 4, 6, 8)]
