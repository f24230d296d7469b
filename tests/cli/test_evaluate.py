"""`evaluate`, and `train --eval-steps`."""
import json
import re
import shutil
import sys

import numpy as np
import pytest
from helpers.common import ROOT, read_numbers
from helpers.small import SMALL

from dcgan_mx.data.datasets import read_mnist
from dcgan_mx.metrics.digit_classifier import train
from dcgan_mx.metrics.evaluator import find_nearest
from dcgan_mx.runs.config import PRESETS
from dcgan_mx.runs.evaluation import decode_evaluation
from dcgan_mx.runs.params import dump_params
from dcgan_mx.runs.run import Run
from dcgan_mx.system import memory
from dcgan_mx.system.runtime import mx
from dcgan_mx.visual import read_png

FLAGS = (*SMALL, "--ema-decay", 0.9, "--eval-steps", 8, "--checkpoint-steps", 6, "--keep-checkpoints", 1,
         "--disp-batches", 3)


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """A run of discs, evaluated at steps 8 and 16, that nobody stopped."""
    from dcgan_mx.cli.main import run
    run_dir = tmp_path_factory.mktemp("discs") / "run"
    assert run("train", [str(flag) for flag in (*FLAGS, "--max-steps", 20, "--run-dir", run_dir)]
               ) == 0
    return run_dir


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_root):
    """A run of digits, and a folder with a hastily trained classifier of these."""
    from dcgan_mx.cli.main import run
    folder = tmp_path_factory.mktemp("digits")
    images, labels, test_images, test_labels = read_mnist(mnist_root)
    params = train(images[:2000], labels[:2000], test_images[:500], test_labels[:500], epochs=1)
    path = folder / "dcgan_mx" / "classifier" / "digits-1.params"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(map(bytes, dump_params(params))))
    assert run("train", ["--dataset", "mnist", "--data-path", str(mnist_root), "--size", "16",
                         "--ngf", "4", "--ndf", "4", "--max-steps", "3", "--run-dir",
                         str(folder / "run")]) == 0
    return folder


def test_the_log_names_the_best_step_and_keeps_its_checkpoint(discs):
    evaluated = [record for record in read_numbers(discs) if "swd" in record]
    assert [record["step"] for record in evaluated] == [8, 16]
    best = min(evaluated, key=lambda record: record["swd"])["step"]
    kept = [int(path.name[5:]) for path in Run(discs).list_checkpoints()]
    assert kept == sorted({best, 20})
    assert f"The best step of those evaluated is {best}" in (discs / "report.html").read_text()


@pytest.mark.parametrize("stop", [7, 8, 9, 17])
def test_resume_with_averages_and_evaluations_is_exact(stop, discs, call, tmp_path):
    run_dir = tmp_path / "run"
    assert call("train", *FLAGS, "--max-steps", stop, "--run-dir", run_dir).returncode == 0
    done = call("train", "--resume", "--run-dir", run_dir, "--max-steps", 20)
    assert done.returncode == 0 and "best evaluated step" in done.stdout
    assert read_numbers(run_dir) == read_numbers(discs)
    for name in ("G-0000.params", "G-ema.params", "D-optimizer.params"):
        last = "checkpoints", "step-00000020", name
        assert run_dir.joinpath(*last).read_bytes() == discs.joinpath(*last).read_bytes()
    grids = [sorted(path.name for path in (folder / "grids").iterdir())
             for folder in (run_dir, discs)]
    assert grids[0] == grids[1]


def test_a_best_step_that_never_reached_the_disk_costs_no_other(discs, call, tmp_path):
    """As after a kill: the log knows it, no checkpoint does."""
    run_dir = tmp_path / "run"
    shutil.copytree(discs, run_dir)
    saved = [int(path.name[5:]) for path in Run(run_dir).list_checkpoints()]
    evaluated = next(record for record in Run(run_dir).read_log() if "swd" in record)
    Run(run_dir).log({**evaluated, "step": 19, "swd": 0.0})
    done = call("train", "--resume", "--run-dir", run_dir, "--max-steps", 21)
    assert done.returncode == 0, done.stderr
    assert [int(path.name[5:]) for path in Run(run_dir).list_checkpoints()] == [saved[0], 21]


def test_evaluating_changes_no_number_of_the_training(discs, call, tmp_path):
    run_dir = tmp_path / "run"
    flags = [flag for flag in FLAGS if flag not in ("--eval-steps", 8, "--ema-decay", 0.9)]
    assert call("train", *flags, "--max-steps", 20, "--run-dir", run_dir).returncode == 0
    assert read_numbers(run_dir) == [record for record in read_numbers(discs)
                                     if "swd" not in record]
    last = "checkpoints", "step-00000020", "D-optimizer.params"
    assert run_dir.joinpath(*last).read_bytes() == discs.joinpath(*last).read_bytes()


def test_evaluate_discs(discs, call, tmp_path):
    run_dir = shutil.copytree(discs, tmp_path / "run")
    done = call("evaluate", run_dir, "--num-images", 64)
    assert done.returncode == 0, done.stderr
    assert "64 images of step 20 (ema weights, moving statistics)" in done.stdout
    assert "synthetic has no classifier here" in done.stdout
    assert "Fréchet distance  " not in done.stdout
    result = json.loads((run_dir / "evaluation.json").read_text())
    assert result["swd"] > result["floor"]["swd"] > 0 and result["swd_levels"].keys() == {"16"}
    assert read_png(run_dir / "evaluation.png").shape == (4 * 16, 8 * 16, 3)
    raw = json.loads(call("evaluate", run_dir, "--num-images", 64, "--weights", "raw", "--json").stdout)
    assert raw["weights"] == "raw" and raw["swd"] != result["swd"]
    assert raw["floor"] == result["floor"]
    assert call("report", run_dir).returncode == 0
    assert f"{raw['swd']:.3f}" in (run_dir / "report.html").read_text()
    samples = [call("sample", run_dir, "--num-images", 4, "--weights", weights, "--out",
                    tmp_path / f"{weights}.png").returncode for weights in ("ema", "raw")]
    assert samples == [0, 0]
    assert (read_png(tmp_path / "ema.png") != read_png(tmp_path / "raw.png")).any()


def test_evaluate_digits(digits, call):
    done = call("evaluate", digits / "run", "--num-images", 100, env={"XDG_CACHE_HOME": str(digits)})
    assert done.returncode == 0, done.stderr
    result = json.loads((digits / "run" / "evaluation.json").read_text())
    assert sum(result["classes"]) == sum(result["floor"]["classes"]) == 100
    assert result["frechet"] > 2 * result["floor"]["frechet"] > 0
    assert 0 <= result["precision"] < result["floor"]["precision"] <= 1
    assert result["weights"] == "raw" and "Fréchet distance" in done.stdout


def test_the_nearest_image_by_brute_force():
    rng = np.random.default_rng(0)
    real = rng.uniform(-1, 1, (30, 3, 4, 4)).astype(np.float32)
    fake = real[[7, 3, 21]] + rng.normal(0, 0.05, (3, 3, 4, 4)).astype(np.float32)
    batches = [mx.io.DataBatch([mx.nd.array(real[i:i + 10])], []) for i in (0, 10, 20)]
    np.testing.assert_array_equal(find_nearest(fake, batches), real[[7, 3, 21]])


@pytest.mark.parametrize("flags, parts", [
    (("--num-images", 15), ("--num-images", "15 is out of range")),
    (("--num-images", 100_000), ("--num-images 100000", "give")),
    (("--weights", "both"), ("--weights", "'both'"))])
def test_bad_flags(flags, parts, discs, call, one_line_error):
    one_line_error(call("evaluate", discs, *flags), *parts)


def test_what_cannot_be_evaluated(discs, run_dir, call, one_line_error, tmp_path):
    (tmp_path / "empty").mkdir()
    one_line_error(call("evaluate", tmp_path / "empty"), "is no checkpoint, and has none")
    one_line_error(call("evaluate", run_dir), "config.json", "No such file")
    one_line_error(call("evaluate", tmp_path / "none"), "is no folder")
    plain = tmp_path / "plain"
    assert call("train", *SMALL, "--max-steps", 1, "--run-dir", plain).returncode == 0
    one_line_error(call("evaluate", plain, "--weights", "ema"), "has no averaged weights")
    (plain / "evaluation.json").write_text("{")
    one_line_error(call("report", plain), "evaluation.json is none of an evaluation: remove it")
    one_line_error(call("evaluate", discs, "--linear-probe"), "--linear-probe: synthetic has no labels")


@pytest.mark.parametrize("damaged", [
    "[]", '{"step": 1}', '{"step": 1, "images": 1, "floor": null}',
    '{"step": 1, "images": 1, "swd": "x", "floor": {}}',
    '{"step": 1, "images": 1, "classes": "abc", "floor": {"classes": [1]}}',
    f'{{"step": 1, "images": 1, "classes": [{10**400}], "floor": {{}}}}',
    '{"step": 1, "images": 1, "floor": {"classes": [-1]}}',
    '{"step": 1, "images": 1.0, "floor": {}}', '{"step": "1", "images": 1, "floor": {}}',
    '{"step": 1, "images": 1, "floor": {}, "svm_errors": {"a": 1}}',
    f'{{"step": 1, "images": {10**400}, "floor": {{}}}}'])
def test_damaged_evaluations(damaged):
    good = b'{"step": 1, "images": 2, "classes": [2, 0], "swd": 1.5, "floor": {"swd": 0.5}}'
    assert decode_evaluation(good) == json.loads(good)
    with pytest.raises(ValueError, match="is none of an evaluation"):
        decode_evaluation(damaged.encode())


def test_what_does_not_fit_is_refused_before_it_begins(digits, call, one_line_error, monkeypatch):
    """16 images and twice as many grey real ones; 192 features of each of 70,000 digits."""
    for flags, needed in ((("--num-images", 16), 4 * 16 * (3 + 2) * 16**2),
                          (("--num-images", 16, "--linear-probe"), 4 * 70_000 * 16 * (4 + 8))):
        monkeypatch.setattr(memory, "read_available", lambda needed=needed: needed - 1)
        one_line_error(call("evaluate", digits / "run", *flags), f"{flags[-1]} takes ",
                       " MB of memory or more, and ")


def test_a_training_that_diverges_says_so_at_an_evaluation(call, tmp_path):
    done = call("train", *SMALL, "--lr", 1e30, "--eval-steps", 5, "--max-steps", 20, "--run-dir",
                tmp_path / "run")
    assert done.returncode == 2
    assert re.search(r"\nerror: step 5: \S+ of G is not finite: use a lower learning rate\n$",
                     done.stderr)


@pytest.mark.slow
def test_two_workers_evaluate_and_average_alike(script, tmp_path):
    """The first one evaluates, all save, and all have the average that resuming needs."""
    flags = [str(flag) for flag in (*FLAGS, "--kv-store", "dist_sync", "--run-dir", "run")]
    train = ["--", sys.executable, str(ROOT / "scripts" / "train.py")]
    done = script("launch.py", "-n", 2, *train, *flags, "--max-steps", 10, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = script("launch.py", "-n", 2, *train, "--resume", "--run-dir", "run", "--max-steps", 20,
                  cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = script("launch.py", "-n", 2, *train, *flags[:-1], "whole", "--max-steps", 20,
                  cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_numbers(tmp_path / "run") == read_numbers(tmp_path / "whole")
    last = "checkpoints", "step-00000020", "G-ema.params"
    assert (tmp_path.joinpath("run", *last).read_bytes()
            == tmp_path.joinpath("whole", *last).read_bytes())


def test_a_recipe_is_settings_that_flags_change(call, one_line_error):
    flags = json.loads(call("train", "--preset", "digits", "--dry-run").stdout)["flags"]
    assert {name: flags[name] for name in PRESETS["digits"]} == PRESETS["digits"]
    other = json.loads(call("train", "--preset", "digits", "--lr-g", 3e-4, "--dry-run").stdout)
    assert other["flags"] == {**flags, "lr_g": 3e-4}
    one_line_error(call("train", "--preset", "cats"), "--preset", "'cats'")
