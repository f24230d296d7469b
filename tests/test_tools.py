"""The arithmetic and the files of the maintainers' tools, on small inputs."""
import argparse
import json
import random
import re
from types import SimpleNamespace

import numpy as np
import pytest

from dcgan_mx.metrics.digit_classifier import SHA256
from dcgan_mx.runs.events import EventFile
from dcgan_mx.runs.grids import KINDS
from dcgan_mx.runs.run import Run
from tools.fuzz.__main__ import check
from tools.fuzz.fuzz_targets import TARGETS
from tools.fuzz.mutate import mutate
from tools.quality import __main__ as quality
from tools.quality.leaderboard import print_leaderboard
from tools.soak.bad_disk import count_missing, find_unnamed
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


def test_bad_disk_finds_what_no_warning_names(tmp_path):
    """The grids of step 2 are named as the first of a gap; afterwards one of step 4 is missing."""
    runs = whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    for run in runs:
        (run.path / "checkpoints/step-00000005").mkdir(parents=True)
        events = EventFile(run.path / "tensorboard")
        for step in range(1, 6):
            run.log({"step": step, "seconds": float(run is whole)})
            events.add(step, {"acc": 0.5}, {})
            for kind in KINDS:
                run.draw(kind, step, np.zeros((1, 3, 4, 4)))
        events.close()
    missing = dict.fromkeys(("log", "tensorboard", "fixed grids", "grids"), 0)
    assert count_missing(whole.path, run.path, "") == missing
    for name in ("gout-00000002", "diff-00000003"):
        (run.path / f"grids/{name}.png").unlink()
    output = "warning: run/grids/gout-00000002.png: full: step 2 is not written there; and"
    assert count_missing(whole.path, run.path, output) == {**missing, "grids": 2}
    for wrong in ("", output.replace("gout", "fixed"), output.replace("2", "3")):
        with pytest.raises(RuntimeError, match="grids of these steps are missing without"):
            count_missing(whole.path, run.path, wrong)
    assert find_unnamed([1, 2, 3, 4, 5], {1, 2, 4}, {2}) == [5]  # 2 was written when closing
    (run.path / "grids/fixed-00000004.png").unlink()
    with pytest.raises(RuntimeError, match=r"fixed grids of these steps .*: \[4\]"):
        count_missing(whole.path, run.path, output)
    run.draw("fixed", 4, np.zeros((1, 3, 4, 4)))
    run.draw("data", 5, np.ones((1, 3, 4, 4)))
    with pytest.raises(RuntimeError, match="data-00000005.png differs"):
        count_missing(whole.path, run.path, output)
    run.draw("data", 5, np.zeros((1, 3, 4, 4)))
    events = EventFile(whole.path / "tensorboard", 4)
    for _ in range(2):
        events.add(5, {"acc": 0.5}, {})  # a training and an evaluation
    events.close()
    with pytest.raises(RuntimeError, match=r"tensorboard of these steps .*: \[5\]"):
        count_missing(whole.path, run.path, output)
    output += "\nwarning: run/tensorboard/events: full: step 5 is not written there"
    (run.path / "checkpoints/step-00000005").rmdir()
    with pytest.raises(RuntimeError, match="the last or the best checkpoint is missing"):
        count_missing(whole.path, run.path, output)


def make_records(*points):
    """Records of `evaluate_all`."""
    return [{"name": name, "seed": seed, "step": step, "images": images,
             "frechet": 10.0 + step, "precision": 0.5, "recall": 0.5, "swd": 20.0 + step,
             "ms_ssim": 0.1, "classifier": SHA256}
            for name, seed, step, images in points]


POINTS = [("real", 0, 0, 4096), ("real", 0, 1, 16384), ("blog", 1, 468, 4096),
          ("blog", 1, 702, 4096), ("blog", 1, 936, 16384)]


def test_quality_writes_results_atomically(tmp_path, monkeypatch, limit_files):
    """The disk is full in the second line; the next start continues with the second point."""
    monkeypatch.setattr(quality, "make_evaluator",
                        lambda args: lambda *point: make_records(point)[0])
    args = argparse.Namespace(out=tmp_path)
    limit_files(len(json.dumps(make_records(POINTS[0])[0])) + 20)
    with pytest.raises(OSError, match="File too large"):
        quality.evaluate_all(POINTS, args)
    assert [*quality.read_metrics(tmp_path / "metrics.jsonl")] == POINTS[:1]
    limit_files()
    assert quality.evaluate_all(POINTS, args) == make_records(*POINTS)
    assert [*quality.read_metrics(tmp_path / "metrics.jsonl")] == POINTS


def test_quality_draws_each_baseline_below_its_points(tmp_path, monkeypatch, capsys):
    """All trainings are done, and all points are evaluated."""
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig",
                        lambda figure, path, dpi: drawn.append(figure))
    (tmp_path / "blog-1" / "checkpoints" / "step-00000936").mkdir(parents=True)
    (tmp_path / "step-seconds.json").write_text('{"blog": 120.0}')
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(record) + "\n" for record in make_records(*POINTS)))
    monkeypatch.setattr("sys.argv", ["quality", "--candidates", "blog", "--seeds", "1", "--every",
                                     "234", "--out", str(tmp_path)])
    monkeypatch.setattr(quality, "make_evaluator", lambda args: lambda *point: make_records(
        point)[0])
    quality.main()
    assert "0 of 1 seeds" in capsys.readouterr().out
    for figure, scale in zip(drawn, (1, 2)):  # steps, and minutes
        for axes, first in zip(figure.axes, (10.0, 20.0)):
            lines = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
            assert lines == {
                "blog": [[scale * step, first + step] for step in (234, 468, 702, 936)],
                "real digits, 4,096 images": [[scale * 234, first], [scale * 702, first]],
                "real digits, 16,384 images": [[scale * 936, first + 1]] * 2}


def test_the_leaderboard_has_the_first_point_that_reaches_each_goal(capsys):
    """Seed 1 reaches 100 at step 2 and 50 at step 3, seed 2 only 100, at step 4."""
    frechet = {1: (300.0, 100.0, 45.0, 60.0), 2: (900.0, 101.0, 500.0, 51.0)}
    records = [{"name": "blog", "seed": seed, "step": step, "seconds": 60.0 * step, "frechet": x}
               for seed, values in frechet.items() for step, x in enumerate(values, 1)]
    print_leaderboard(records, ["blog"])
    assert re.split(" {2,}", capsys.readouterr().out.splitlines()[1]) == [
        "blog", "2 of 2 seeds: 3.0 min, 3", "1 of 2 seeds: 3.0 min, 3", "0 of 2 seeds",
        "60.0, 51.0"]


@pytest.mark.parametrize("name, count", [
    ("config.json", 10), ("log.jsonl", 10), ("result.json", 10), ("evaluation.json", 10),
    ("state.json", 50), ("G-symbol.json", 50), ("G-0000.params", 50), ("records", 50),
    ("ZIP archive", 50), ("tar archive", 50)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_mutated_files_are_read_or_rejected(name, count, tmp_path):
    """As `make fuzz` checks every reader, without its audit hook, which could not be removed."""
    target = TARGETS[name]
    path = tmp_path / target.file
    path.parent.mkdir(parents=True, exist_ok=True)
    seeds = [*target.make(tmp_path)]
    for n in range(count):
        content = mutate(random.Random(f"{name} {n}"), seeds)
        problem = check(target, path, content, SimpleNamespace(breaches=[]), timeout=100)[1]
        assert problem is None, f"mutation {n}"


def test_mutations_are_reproducible():
    seeds = [b'{"a": [1, 2], "b": null}\n', bytes(range(256)), b""]
    first, second = ([mutate(random.Random(f"0 {n}"), seeds) for n in range(200)] for _ in range(2))
    assert first == second and len({*first}) > 150
