import dataclasses
import json
import os

import numpy as np
import pytest
from helpers.common import read_scalars
from helpers.small import SMALL, assert_same_arrays, final

from dcgan_mx.cli import train_args
from dcgan_mx.cli.train import make_trainer
from dcgan_mx.runs import grids
from dcgan_mx.runs.config import PRESETS, TrainConfig
from dcgan_mx.runs.run import Run
from dcgan_mx.sampling.generator import load_generator
from dcgan_mx.sampling.latent import make_latents
from dcgan_mx.system import cpu
from dcgan_mx.system.runtime import mx
from dcgan_mx.visual import make_grid, read_png
from tools.common import read_events


def test_train_on_mnist_end_to_end(succeed, mnist_root, tmp_path):
    """Small networks: warning, files, log, and a checkpoint that MXNet can load."""
    run_dir = tmp_path / "run"
    done = succeed("train", "--dataset", "mnist", "--data-path", mnist_root, "--gpu", 0,
                   "--ngf", 4, "--ndf", 4, "--max-steps", 10, "--disp-batches", 5,
                   "--run-dir", run_dir)
    assert done.stderr.count("the CPU is used") == (mx.context.num_gpus() == 0)
    assert str(run_dir) in done.stdout
    assert sorted(os.listdir(run_dir)) == ["checkpoints", "config.json", "grids", "lock",
                                           "log.jsonl", "report.html", "result.json"]
    config = json.loads((run_dir / "config.json").read_text())
    assert config["flags"]["seed"] == 1234 and config["flags"]["lr"] == 2e-4
    assert config["versions"]["mxnet"] == "1.9.1"
    lines = Run(run_dir).read_log()
    assert [line["step"] for line in lines] == [5, 10]
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    assert sorted(path.name for path in (run_dir / "grids").iterdir()) == [
        f"{kind}-000000{step}.png" for kind in ("data", "diff", "gout") for step in ("05", "10")]
    for prefix in "GD":
        mx.model.load_checkpoint(str(run_dir / "checkpoints" / "step-00000010" / prefix), 0)


def test_dry_run_writes_nothing_and_flags_take_precedence_over_a_preset(succeed, tmp_path):
    command = ("train", "--preset", "digits", "--dry-run")
    flags = json.loads(succeed(*command, cwd=tmp_path).stdout)["flags"]
    assert PRESETS["digits"].items() <= flags.items()
    other = json.loads(succeed(*command, "--lr-g", 3e-4, cwd=tmp_path).stdout)["flags"]
    assert other == {**flags, "lr_g": 3e-4}
    for more, lr_d in (((), None), (("--lr-d", 3e-4), 3e-4)):
        other = json.loads(succeed(*command, "--lr", 1e-4, *more, cwd=tmp_path).stdout)["flags"]
        assert other == {**flags, "lr": 1e-4, "lr_g": None, "lr_d": lr_d}
    other = json.loads(succeed(*command, "--ema-decay", 0.9, cwd=tmp_path).stdout)["flags"]
    assert other == {**flags, "ema_decay": 0.9, "ema_rel_std": 0}
    assert os.listdir(tmp_path) == []


def test_the_number_of_threads_is_stored_whichever_variable_sets_it(call, tmp_path):
    assert call("train", *SMALL, "--max-steps", 1, "--run-dir", tmp_path / "run", env={
        "OMP_NUM_THREADS": "", "MXNET_OMP_MAX_THREADS": "3"}).returncode == 0
    assert Run(tmp_path / "run").read_config()["omp_num_threads"] == "3"


BAD_FLAGS = [
    (("--dataset", "cifar"), "--dataset", "'cifar'", "mnist"),
    (("--batch-size", 0), "--batch-size: invalid value '0'", "an integer >= 1"),
    (("--batch-size", 4096), "4096"), (("--batch-size", "many"), "--batch-size", "'many'"),
    (("--lr", "nan"), "--lr", "nan"), (("--lr", 0), "--lr: invalid value '0'", "a number > 0"),
    (("--size", 48), "--size", "48", "64"),
    (("--precision", "bfloat16"), "bfloat16", "float32"), (("--gpu=-1",), "--gpu", "-1", "0,1"),
    (("--gpu", "a"), "--gpu", "a", "0,1"), (("--gpu", "0,0"), "--gpu", "0,0"),
    (("--gpu", 0, "--cpu-devices", 2), "cpu", "gpu"),
    (("--cpu-devices", 3), "64", "multiple of 3", "devices"),
    (("--kv-store", "dist_sync"), "dist_sync", "dcgan-mx launch"),
    (("--kv-store", "dist_async"), "--kv-store", "dist_async", "dist_sync"),
    (("--require-gpu",), "gpu"), (("--g-loss", "hinge"), "--g-loss", "hinge", "saturating"),
    (("--show",), "show: ", "DISPLAY"), (("--tensorboard",), "pip install 'dcgan-mx[tensorboard]'"),
    (("--run-dir", ""), "empty"), (("--data-p", "x"), "--data-p"),
    (("--lr", 0.1, "--lr-g", 0.2, "--lr-d", 0.3), "--lr: has no effect", "--lr-g 0.2"),
    (("--override", "lr"), "override: ", "--resume"), (("--preset", "cats"), "--preset", "'cats'")]


@pytest.mark.parametrize("flags, parts", [(flags, parts) for flags, *parts in BAD_FLAGS])
def test_invalid_flags_fail_in_one_line(flags, parts, call, one_line_error, tmp_path, monkeypatch):
    monkeypatch.setattr(train_args.importlib.util, "find_spec", lambda name: None)  # tensorboardX
    monkeypatch.setattr(cpu, "_CPUINFO", str(tmp_path / "cpuinfo"))  # no flags of a processor
    one_line_error(call("train", *SMALL, *flags, cwd=tmp_path, env={"MPLBACKEND": "agg"}), *parts)
    assert os.listdir(tmp_path) == []


def test_an_incomplete_job_environment_fails_in_one_line(script, one_line_error):
    """Also: scripts/train.py is the command."""
    one_line_error(script("train.py", *SMALL, env={**os.environ, "DMLC_ROLE": "worker"}),
                   "DMLC_PS_ROOT_URI is not set")


def test_an_invalid_run_directory_stays_unchanged(call, one_line_error, tmp_path):
    one_line_error(call("train"), "dataset: ", "give one of mnist, fashion-mnist, ")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    done = call("train", *SMALL, "--run-dir", tmp_path / "mine")
    one_line_error(done, tmp_path / "mine", "give a new one")
    done = call("train", *SMALL, "--run-dir", tmp_path / "mine" / "thesis.txt" / "run")
    one_line_error(done, tmp_path / "mine" / "thesis.txt" / "run", "Not a directory")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "dear"
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]


def test_unavailable_data_are_named_and_create_no_folder(call, one_line_error, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "mnist").mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                 "t10k-labels-idx1-ubyte"):
        (tmp_path / "mnist" / name).write_bytes(b"\0\0\x08\x01\0\0\0\x03ab")
    before = sorted(tmp_path.rglob("*"))
    for dataset, path, *parts in (
            ("mnist", "typo/x", "typo"), ("fashion-mnist", "typo/x", "typo"),
            ("mnist", "file", "file"),
            ("mnist", "", "train-images-idx3-ubyte", "not have the published MD5", "delete it")):
        one_line_error(call("train", "--dataset", dataset, "--data-path", tmp_path / path,
                            "--run-dir", tmp_path / "run"), *parts)
        assert sorted(tmp_path.rglob("*")) == before


def test_results_depend_on_the_seed_and_not_on_threads_fixed_noise_and_tensorboard(train, tmp_path):
    plain, other, shown = (tmp_path / name for name in ("plain", "other", "shown"))
    train(*SMALL, "--max-steps", 4, "--run-dir", plain)
    train(*SMALL, "--max-steps", 4, "--run-dir", other, "--seed", 5)
    for steps, flags in ((2, ("--fixed-noise", "--tensorboard", "--data-threads", 2)),
                         (4, ("--resume",))):
        train(*SMALL, "--max-steps", steps, "--disp-batches", 1, "--run-dir", shown, *flags)
    assert_same_arrays(final(plain), final(shown))
    assert (final(plain)["arg:g1_weight"] != final(other)["arg:g1_weight"]).any()
    generator, step = load_generator(shown, bn_stats="batch")
    grid = make_grid(generator.generate(make_latents(64, 100, 1234)))
    assert step == 4 and sorted(Run(shown).list_grids("fixed")) == [1, 2, 3, 4]
    np.testing.assert_array_equal(read_png(shown / "grids" / "fixed-00000004.png"), grid)
    scalars = read_scalars(shown)
    pictures = {(value.tag, event.step) for event in read_events(shown)
                for value in event.summary.value if value.HasField("image")}
    assert pictures == {(tag, step) for tag in ("gout", "diff", "data") for step in (1, 2, 3, 4)}
    for record in Run(shown).read_log():
        for name in ("acc", "d_entropy", "g_entropy", "images_per_s"):
            assert scalars[name, record["step"]] == np.float32(record[name])


def test_keep_grids_removes_older_grids(train, tmp_path, monkeypatch):
    monkeypatch.setattr(grids, "FRAMES", 2)
    run_dir = tmp_path / "run"
    for steps in (3, 9):
        train(*SMALL, "--max-steps", steps, "--disp-batches", 1, "--keep-grids", 1, "--run-dir",
              run_dir, "--resume")
    assert [*Run(run_dir).list_grids("gout")] == [1, 8, 9]
    assert [record["step"] for record in Run(run_dir).read_log()] == [*range(1, 10)]
    train("--max-steps", 10, "--keep-grids", 0, "--run-dir", run_dir, "--resume")
    assert len(Run(run_dir).list_grids("gout")) == 4


def test_settings_of_the_augmentation_reach_the_trainer(make_batches):
    """Each of the three changes the first gradient that the generator gets."""
    config = TrainConfig("synthetic", nz=5, ngf=4, ndf=4, size=16, batch_size=4, translate=4,
                         instance_noise=0.5, seed=7)

    def find_gradient(**changes):
        mx.random.seed(0)
        trainer = make_trainer(dataclasses.replace(config, **changes), [mx.cpu()])
        trainer.step(*make_batches(1, 4, (3, 16, 16), nz=5)[0])
        return trainer.diffD.asnumpy()

    expected = find_gradient()
    np.testing.assert_array_equal(find_gradient(), expected)
    for changes in ({"translate": 3}, {"instance_noise": 0.4}, {"seed": 8}):
        assert (find_gradient(**changes) != expected).any()
