"""Scripts that measure, without what they measure."""
import argparse
import json
import resource
import runpy

import numpy as np
import pytest
from helpers.common import ROOT


def load(name):
    return runpy.run_path(str(ROOT / "scripts" / name))


def test_endurance_tells_what_is_growth():
    """5 % of the median of memory, two thirds of the disk's, any file and any thread."""
    compare = load("endurance.py")["compare"]

    def run(**last):
        first = {"memory": 300.0, "files": 6, "threads": 7, "disk": 2.0}
        return compare([dict.fromkeys(first, 9e9), *[first] * 6, *[{**first, **last}] * 3])

    lines, grows = run(memory=314.9, disk=3.3, threads=6)
    assert not grows and lines[0] == ("memory: 300 to 314.9 MB, the last third less the first: "
                                      "+14.9; growth is more than +15")
    assert lines[2] == "threads: 6 to 7, the last third less the first: -1; growth is more than +0"
    for name, value in (("memory", 315.1), ("files", 7), ("threads", 8), ("disk", 3.4)):
        assert run(**{name: value})[1], name


@pytest.mark.parametrize("flags, words", [
    (("--parts", 3), "--parts 3: give 4 or more"),
    (("--parts", 4, "--steps", 3999), "--steps 3999: give 4000 or more for --parts 4: in shorter")])
def test_endurance_refuses_parts_that_say_nothing(flags, words, script):
    done = script("endurance.py", *flags)
    assert done.returncode == 2 and words in done.stderr.splitlines()[-1]


@pytest.fixture
def little_room():
    """Make a function after which no file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def make_figures(*points):
    """Records as `judge_all` keeps them: of 16,384 images at the blog's last step."""
    return [{"name": name, "seed": seed, "step": step, "seconds": 60.0 * step,
             "images": 16384 if (name, step) in (("blog", 936), ("real", 1)) else 4096,
             "frechet": 10.0 + step, "precision": 0.5, "recall": 0.5, "swd": 20.0 + step,
             "ms_ssim": 0.1} for name, seed, step in points]


BLOG = [("blog", 1, 468), ("blog", 1, 702), ("blog", 1, 936), ("real", 0, 0), ("real", 0, 1)]


def test_quality_keeps_whole_lines_and_whole_files(tmp_path, monkeypatch, little_room):
    """The disk fills up in the second line, and in the images."""
    quality = load("quality.py")
    judge_all, draw = quality["judge_all"], quality["draw_pytorch"]
    monkeypatch.setitem(judge_all.__globals__, "make_judge",
                        lambda args: lambda *point: make_figures(point)[0])
    first = len(json.dumps(make_figures(BLOG[0])[0])) + 1
    args = argparse.Namespace(out=tmp_path)
    (tmp_path / "pytorch-1").mkdir()
    path, images = tmp_path / "pytorch-1" / "5.npz", np.arange(500.0).reshape(5, 100)
    little_room(first + 20)
    with pytest.raises(OSError, match="File too large"):
        judge_all(BLOG[:3], args)
    with pytest.raises(OSError, match="File too large"):
        quality["write_images"](path, 7.0, images)
    assert [*quality["read_figures"](tmp_path / "figures.jsonl")] == BLOG[:1]
    assert not path.exists()
    little_room(10**6)
    assert judge_all(BLOG[:3], args) == make_figures(*BLOG)
    assert [*quality["read_figures"](tmp_path / "figures.jsonl")] == BLOG
    quality["write_images"](path, 7.0, images)
    kept, seconds = draw("pytorch", 1, 5, 3, args)
    np.testing.assert_array_equal(kept, images[:3])
    assert seconds == 7.0


@pytest.mark.parametrize("key, scale", [("step", 1), ("seconds", 60)])
def test_quality_draws_each_floor_below_its_own_points(key, scale, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig",
                        lambda figure, path, dpi: drawn.append(figure))
    load("quality.py")["draw_curves"](make_figures(*BLOG), key, "steps", "unused.png")
    for axes, first in zip(drawn[0].axes, (10.0, 20.0)):
        lines = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
        assert lines == {"blog": [[step, first + step] for step in (468, 702, 936)],
                         "real digits, 4,096 images": [[468, first], [702, first]],
                         "real digits, 16,384 images": [[936, first + 1], [936, first + 1]]}


def test_quality_names_the_points_that_have_no_checkpoint(script, tmp_path):
    (tmp_path / "blog-1" / "checkpoints" / "step-00000936").mkdir(parents=True)
    (tmp_path / "figures.jsonl").write_text(
        "".join(json.dumps(record) + "\n" for record in make_figures(*BLOG)))
    flags = ("--contestants", "blog", "--seeds", 1, "--out", tmp_path, "--every")
    done = script("quality.py", *flags, 300)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].endswith(
        f"--every 300: {tmp_path / 'blog-1'} has no checkpoint of step 300, 600, 900: give the "
        "--every that it was trained with, or another --out")
    done = script("quality.py", *flags, 468)  # nothing is left to train or to judge
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 + 4 + 1 + 2
    assert f"see {tmp_path / 'quality.png'}" in done.stdout and (tmp_path / "quality.png").exists()
