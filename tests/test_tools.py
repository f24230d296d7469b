"""The arithmetic and the files of the maintainers' tools, on small inputs."""
import argparse
import json
import random
import resource

import numpy as np
import pytest

from tools.fuzz.mutate import mutate
from tools.quality import __main__ as quality
from tools.soak.endurance import compare


def test_endurance_detects_growth():
    """Limits: 5 % of the median memory, 2/3 of the median disk usage, no new file or thread."""
    def run(**last):
        first = {"memory": 300.0, "files": 6, "threads": 7, "disk": 2.0}
        return compare([dict.fromkeys(first, 9e9), *[first] * 6, *[{**first, **last}] * 3])

    lines, grows = run(memory=314.9, disk=3.3, threads=6)
    assert not grows and lines[0] == ("memory: 300 to 314.9 MB, last third minus first third: "
                                      "+14.9, limit +15")
    assert lines[2] == "threads: 6 to 7, last third minus first third: -1, limit +0"
    for name, value in (("memory", 315.1), ("files", 7), ("threads", 8), ("disk", 3.4)):
        assert run(**{name: value})[1], name


@pytest.mark.parametrize("flags, words", [
    (("--parts", 3), "--parts: invalid value 3: give 4 or more"),
    (("--parts", 4, "--steps", 3999), "--steps: 3999 is too few for --parts 4: give 4000")])
def test_endurance_rejects_short_parts(flags, words, script):
    done = script("tools.soak.endurance", *flags)
    assert done.returncode == 2 and words in done.stderr.splitlines()[-1]


@pytest.fixture
def limit_file_size():
    """A function that sets the maximum size of files."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def make_records(*points):
    """Records of `evaluate_all`; at the last step of the blog's settings of 16,384 images."""
    return [{"name": name, "seed": seed, "step": step, "seconds": 60.0 * step,
             "images": 16384 if (name, step) in (("blog", 936), ("real", 1)) else 4096,
             "frechet": 10.0 + step, "precision": 0.5, "recall": 0.5, "swd": 20.0 + step,
             "ms_ssim": 0.1} for name, seed, step in points]


BLOG = [("blog", 1, 468), ("blog", 1, 702), ("blog", 1, 936), ("real", 0, 0), ("real", 0, 1)]


def test_quality_writes_results_atomically(tmp_path, monkeypatch, limit_file_size):
    """The disk fills up in the second line, and in the images."""
    monkeypatch.setattr(quality, "make_evaluator",
                        lambda args: lambda *point: make_records(point)[0])
    first = len(json.dumps(make_records(BLOG[0])[0])) + 1
    args = argparse.Namespace(out=tmp_path)
    (tmp_path / "pytorch-1").mkdir()
    path, images = tmp_path / "pytorch-1" / "5.npz", np.arange(500.0).reshape(5, 100)
    limit_file_size(first + 20)
    with pytest.raises(OSError, match="File too large"):
        quality.evaluate_all(BLOG[:3], args)
    with pytest.raises(OSError, match="File too large"):
        quality.write_images(path, 7.0, images)
    assert [*quality.read_metrics(tmp_path / "metrics.jsonl")] == BLOG[:1]
    assert not path.exists()
    limit_file_size(10**6)
    assert quality.evaluate_all(BLOG[:3], args) == make_records(*BLOG)
    assert [*quality.read_metrics(tmp_path / "metrics.jsonl")] == BLOG
    quality.write_images(path, 7.0, images)
    kept, seconds = quality.read_images("pytorch", 1, 5, 3, args)
    np.testing.assert_array_equal(kept, images[:3])
    assert seconds == 7.0


@pytest.mark.parametrize("key, scale", [("step", 1), ("seconds", 60)])
def test_quality_draws_each_baseline_below_its_points(key, scale, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig",
                        lambda figure, path, dpi: drawn.append(figure))
    quality.draw_curves(make_records(*BLOG), key, "steps", "unused.png")
    for axes, first in zip(drawn[0].axes, (10.0, 20.0)):
        lines = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
        assert lines == {"blog": [[step, first + step] for step in (468, 702, 936)],
                         "real digits, 4,096 images": [[468, first], [702, first]],
                         "real digits, 16,384 images": [[936, first + 1], [936, first + 1]]}


def test_quality_reports_missing_checkpoints(script, tmp_path):
    (tmp_path / "blog-1" / "checkpoints" / "step-00000936").mkdir(parents=True)
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(record) + "\n" for record in make_records(*BLOG)))
    flags = ("--candidates", "blog", "--seeds", 1, "--out", tmp_path, "--every")
    done = script("tools.quality", *flags, 300)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].endswith(
        f"--every: {tmp_path / 'blog-1'} has no checkpoint of step 300, 600, 900: give the "
        "--every that it was trained with, or another --out")
    done = script("tools.quality", *flags, 468)  # everything is done
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 + 4 + 1 + 2
    assert f"see {tmp_path / 'quality.png'}" in done.stdout and (tmp_path / "quality.png").exists()


def test_mutations_are_reproducible():
    seeds = [b'{"a": [1, 2], "b": null}\n', bytes(range(256)), b""]
    first, second = ([mutate(random.Random(f"0 {n}"), seeds) for n in range(200)] for _ in range(2))
    assert first == second and len({*first}) > 150
