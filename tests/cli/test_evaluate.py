"""`evaluate`, and `train --eval-steps`."""
import hashlib
import json
import os
import shutil
import sys

import numpy as np
import pytest
from helpers.common import ROOT
from helpers.small import SMALL
from onnx import TensorProto, helper

from dcgan_mx.cli.evaluate import find_count
from dcgan_mx.cli.resolve import make_train_iter, resolve_model
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.engine.collectives import Workers
from dcgan_mx.iterators import FolderIter, MnistIter
from dcgan_mx.metrics import digit_classifier
from dcgan_mx.metrics.evaluator import find_nearest, first_images
from dcgan_mx.metrics.feature_sets import frechet_distance, precision_recall
from dcgan_mx.runs.log import parse_evaluation
from dcgan_mx.runs.run import Run
from dcgan_mx.sampling.generator import load_generator
from dcgan_mx.sampling.latent import make_latents
from dcgan_mx.system import memory
from dcgan_mx.system.errors import ArgumentError
from dcgan_mx.system.runtime import mx
from dcgan_mx.visual import read_png
from tools.common import read_numbers

pytestmark = pytest.mark.usefixtures("quick_evaluation")
FLAGS = (*SMALL, "--ema-decay", 0.9, "--eval-steps", 8, "--checkpoint-steps", 6,
         "--keep-checkpoints", 1, "--disp-batches", 3)
LAST = "checkpoints/step-00000020"


@pytest.fixture(scope="module")
def discs(quick_evaluation, train, tmp_path_factory):
    """An uninterrupted run of discs, evaluated at steps 8 and 16."""
    run_dir = tmp_path_factory.mktemp("discs") / "run"
    train(*FLAGS, "--max-steps", 20, "--run-dir", run_dir)
    return run_dir


@pytest.fixture(scope="module")
def digits(quick_evaluation, train, tmp_path_factory, mnist_root):
    """A run of digits, evaluated at its last step."""
    folder = tmp_path_factory.mktemp("digits")
    train("--dataset", "mnist", "--data-path", mnist_root, "--size", 16, "--ngf", 4, "--ndf", 4,
          "--max-steps", 3, "--eval-steps", 3, "--run-dir", folder / "run")
    return folder


def test_checkpoint_of_the_best_step_is_kept(discs):
    evaluated = [record for record in read_numbers(discs) if "swd" in record]
    assert [record["step"] for record in evaluated] == [8, 16]
    best = min(evaluated, key=lambda record: record["swd"])["step"]
    kept = [int(path.name[5:]) for path in Run(discs).list_checkpoints()]
    assert kept == sorted({best, 20})
    assert f"The best evaluated step is {best}" in (discs / "report.html").read_text()


def test_resume_with_averages_and_evaluations_is_bit_identical(discs, succeed, tmp_path):
    """From an evaluated step, and from a step after the best."""
    run_dir = tmp_path / "run"
    succeed("train", *FLAGS, "--max-steps", 8, "--run-dir", run_dir)
    for stop in (17, 20):
        done = succeed("train", "--resume", "--run-dir", run_dir, "--max-steps", stop)
        assert "best evaluated step" in done.stdout
    assert read_numbers(run_dir) == read_numbers(discs)
    for name in ("G-0000.params", "G-ema.params", "D-optimizer.params"):
        assert (run_dir / LAST / name).read_bytes() == (discs / LAST / name).read_bytes()
    assert {*os.listdir(run_dir / "grids")} == {*os.listdir(discs / "grids")}


def test_best_step_without_a_checkpoint_is_ignored(discs, train, tmp_path):
    run_dir = shutil.copytree(discs, tmp_path / "run")
    saved = [int(path.name[5:]) for path in Run(run_dir).list_checkpoints()]
    evaluated = next(record for record in Run(run_dir).read_log() if "swd" in record)
    Run(run_dir).log({**evaluated, "step": 19, "swd": 0.0})
    train("--resume", "--run-dir", run_dir, "--max-steps", 21)
    assert [int(path.name[5:]) for path in Run(run_dir).list_checkpoints()] == [saved[0], 21]


def test_evaluation_does_not_affect_training(discs, train, tmp_path):
    run_dir = tmp_path / "run"
    flags = [flag for flag in FLAGS if flag not in ("--eval-steps", 8, "--ema-decay", 0.9)]
    train(*flags, "--max-steps", 20, "--run-dir", run_dir)
    assert read_numbers(run_dir) == [record for record in read_numbers(discs)
                                     if "swd" not in record]
    last = f"{LAST}/D-optimizer.params"
    assert (run_dir / last).read_bytes() == (discs / last).read_bytes()


def test_evaluate_without_a_classifier(discs, succeed, tmp_path):
    run_dir = shutil.copytree(discs, tmp_path / "run")
    done = succeed("evaluate", run_dir, "--num-images", 64)
    assert "64 images of step 20 (ema weights, moving statistics)" in done.stdout
    assert "which --dataset synthetic does not have" in done.stdout
    assert "Fréchet distance  " not in done.stdout
    result = json.loads((run_dir / "evaluation.json").read_text())
    assert result["swd"] > result["baseline"]["swd"] > 0 and result["swd_levels"].keys() == {"16"}
    assert read_png(run_dir / "evaluation.png").shape == (4 * 16, 8 * 16, 3)
    raw = json.loads(succeed("evaluate", run_dir, "--num-images", 64, "--weights", "raw",
                             "--json").stdout)
    assert raw["weights"] == "raw" and raw["swd"] != result["swd"]
    assert raw["baseline"] == result["baseline"]
    assert f"{raw['swd']:.3f}" in (run_dir / "report.html").read_text()
    for weights in ("ema", "raw"):
        succeed("sample", run_dir, "--num-images", 4, "--weights", weights, "--out",
                tmp_path / f"{weights}.png")
    assert (read_png(tmp_path / "ema.png") != read_png(tmp_path / "raw.png")).any()


def test_evaluate_digits_with_the_classifier(digits, succeed):
    done = succeed("evaluate", digits / "run", "--num-images", 100)
    result = json.loads((digits / "run" / "evaluation.json").read_text())
    assert sum(result["class_counts"]) == sum(result["baseline"]["class_counts"]) == 100
    assert result["frechet"] > 2 * result["baseline"]["frechet"] > 0
    assert 0 <= result["precision"] < result["baseline"]["precision"] <= 1
    assert result["weights"] == "raw" and "Fréchet distance" in done.stdout
    logged, = (record for record in Run(digits / "run").read_log() if "frechet" in record)
    assert result["classifier"] == logged["classifier"] == digit_classifier.SHA256


def write_averages(path, size):
    """Write a network that returns the mean of each size x size pixels; return the path."""
    nodes = [helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[size, size],
                              strides=[size, size]),
             helper.make_node("Flatten", ["means"], ["features"])]
    graph = helper.make_graph(
        nodes, "averages",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", "d"])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("run", ["discs", "digits"])
def test_evaluate_with_the_features_of_a_network(run, discs, digits, succeed, tmp_path):
    """The network returns the mean of each 4x4 pixels."""
    run_dir = shutil.copytree({"discs": discs, "digits": digits / "run"}[run], tmp_path / "run")
    path = write_averages(tmp_path / "net.onnx", size=4)
    done = succeed("evaluate", run_dir, "--num-images", 64, "--features-model", path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"the outputs of --features-model, SHA-256 {digest}." in done.stdout
    result = json.loads((run_dir / "evaluation.json").read_text())
    assert result["features_model"] == result["baseline"]["features_model"] == digest
    assert digest in (run_dir / "report.html").read_text()
    assert ("class_counts" in result) == (run == "digits")

    _, settings, _ = resolve_model(str(run_dir), None)
    generator, _ = load_generator(run_dir)
    train_iter = make_train_iter(settings.replace({"batch_size": 1 if run == "discs" else 100}),
                                 Workers())
    images = generator.generate(make_latents(64, generator.nz, 0))
    sets = [images, *np.split(first_images(train_iter, 128), 2)]
    if run == "digits":
        sets = [images.mean(1, keepdims=True).repeat(3, 1) for images in sets]
    fake, real, other = (images.reshape(64, 3, 4, 4, 4, 4).mean((3, 5)).reshape(64, -1)
                         for images in sets)
    assert result["frechet"] == pytest.approx(frechet_distance(real, fake), rel=1e-3)
    assert result["recall"] == precision_recall(real, fake).recall
    assert result["baseline"]["frechet"] == pytest.approx(frechet_distance(real, other), rel=1e-3)


def test_default_number_of_images_fits_the_data_set(photo_folder):
    """The counts are those of the images, also where the training drops an incomplete batch."""
    discs = MnistIter(make_discs(101), 1, (1, 16, 16))
    photographs = FolderIter(photo_folder, 1, (1, 16, 16))
    for train_iter, n, total in ((discs, 50, 101), (photographs, 140, 280)):
        with pytest.warns(RuntimeWarning, match=f"only {total} real images: --num-images is {n} "):
            assert find_count(None, train_iter) == n
        assert find_count(n, train_iter) == n
    with pytest.raises(ArgumentError, match="51 needs two sets .* 101 in total: use 50 or less"):
        find_count(51, discs)
    with pytest.warns(RuntimeWarning, match="but there are only 280: it compares crops"):
        assert find_count(141, photographs) == 141


def test_nearest_real_images_are_found():
    rng = np.random.default_rng(0)
    real = rng.uniform(-1, 1, (30, 3, 4, 4)).astype(np.float32)
    fake = real[[7, 3, 21]] + rng.normal(0, 0.05, (3, 3, 4, 4)).astype(np.float32)
    batches = [mx.io.DataBatch([mx.nd.array(real[i:i + 10])], []) for i in (0, 10, 20)]
    np.testing.assert_array_equal(find_nearest(fake, batches), real[[7, 3, 21]])


@pytest.mark.parametrize("flags, parts", [
    (("--num-images", 15), ("--num-images: invalid value '15'",)),
    (("--num-images", 40_000), ("--num-images: 40000 needs two sets",)),
    (("--weights", "both"), ("--weights", "'both'")),
    (("--features-model", __file__), (f"--features-model: {__file__}: onnxruntime cannot load",)),
    (("--features-model", "none.onnx"), ("none.onnx: No such file or directory",)),
    (("--linear-probe",), ("--linear-probe: synthetic has no labels",))])
def test_invalid_flags_of_evaluate(flags, parts, discs, call, one_line_error):
    one_line_error(call("evaluate", discs, *flags), *parts)


def test_invalid_checkpoints_and_evaluations(run_dir, digits, call, one_line_error, tmp_path):
    one_line_error(call("evaluate", run_dir), "config.json", "No such file")
    one_line_error(call("evaluate", digits / "run", "--weights", "ema"), "has no averaged weights")
    plain = shutil.copytree(digits / "run", tmp_path / "plain")
    (plain / "evaluation.json").write_text("{")
    one_line_error(call("report", plain), "evaluation.json: not the result of an ", "remove it")


@pytest.mark.usefixtures("quick_evaluation")
def test_results_are_written_to_the_run_whose_checkpoints_are_a_link(discs, succeed, tmp_path):
    shutil.copy(discs / "config.json", tmp_path)
    (tmp_path / "checkpoints").symlink_to(discs / "checkpoints")
    before = {path: path.read_bytes() for path in discs.iterdir() if path.is_file()}
    succeed("evaluate", tmp_path, "--num-images", 16)
    assert (tmp_path / "evaluation.json").exists()
    assert before == {path: path.read_bytes() for path in discs.iterdir() if path.is_file()}


@pytest.mark.usefixtures("quick_evaluation")
def test_a_run_without_log_and_grids_is_evaluated(discs, succeed, tmp_path):
    for name in ("config.json", "checkpoints"):
        copy = shutil.copytree if (discs / name).is_dir() else shutil.copy
        copy(discs / name, tmp_path / name)
    done = succeed("evaluate", tmp_path, "--num-images", 16)
    assert f"warning: there is no report: {tmp_path} has neither" in done.stderr
    assert f"See {tmp_path / 'evaluation.png'}: 16 images" in done.stdout


@pytest.mark.parametrize("damaged", [
    "[]", '{"step": 1}', '{"step": 1, "images": 1, "baseline": null}',
    '{"step": 1, "images": 1, "swd": "x", "baseline": {}}',
    '{"step": 1, "images": 1, "class_counts": "abc", "baseline": {"class_counts": [1]}}',
    f'{{"step": 1, "images": 1, "class_counts": [{10**400}], "baseline": {{}}}}',
    '{"step": 1, "images": 1, "baseline": {"class_counts": [-1]}}',
    '{"step": 1, "images": 1.0, "baseline": {}}', '{"step": "1", "images": 1, "baseline": {}}',
    '{"step": 1, "images": 1, "baseline": {}, "svm_errors": {"a": 1}}',
    f'{{"step": 1, "images": {10**400}, "baseline": {{}}}}'])
def test_damaged_evaluation_is_rejected(damaged):
    good = b'{"step": 1, "images": 2, "class_counts": [2, 0], "swd": 1.5, "baseline": {"swd": 0.5}}'
    assert parse_evaluation(good) == json.loads(good)
    with pytest.raises(ValueError, match="not the result of an evaluation"):
        parse_evaluation(damaged.encode())


def test_too_little_memory_is_an_error_before_evaluating(digits, call, one_line_error, monkeypatch):
    for flags, needed in ((("--num-images", 16), 4 * 16 * (3 + 2) * 16**2),
                          (("--num-images", 16, "--linear-probe"), 4 * 70_000 * 16 * (4 + 8))):
        monkeypatch.setattr(memory, "read_available", lambda needed=needed: needed - 1)
        one_line_error(call("evaluate", digits / "run", *flags), str(flags[-1]), " MB")


@pytest.mark.slow
def test_two_workers_evaluate_and_resume_bit_identically(script, tmp_path):
    train = ["--", sys.executable, ROOT / "scripts" / "train.py", *FLAGS, "--kv-store", "dist_sync"]
    for run_dir, steps in (("run", 10), ("run", 20), ("whole", 20)):
        done = script("dcgan_mx", "launch", "-n", 2, *train, "--resume", "--run-dir", run_dir,
                      "--max-steps", steps, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    run, whole = tmp_path / "run", tmp_path / "whole"
    assert read_numbers(run) == read_numbers(whole)
    last = f"{LAST}/G-ema.params"
    assert (run / last).read_bytes() == (whole / last).read_bytes()
