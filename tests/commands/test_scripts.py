import json
import os
import resource
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from browser import check_page
from conftest import ROOT, read_numbers
from tensorboardX.proto.event_pb2 import Event

from dcgan_mx.data import records
from dcgan_mx.runs import rundir
from dcgan_mx.images.latent import make_latents
from dcgan_mx.runs.params import parse_params
from dcgan_mx.machine.runtime import mx
from dcgan_mx.images.sample import load_generator
from dcgan_mx.visual import make_grid, read_png

SMALL = ("--dataset", "synthetic", "--size", 16, "--ngf", 4, "--ndf", 4, "--batch-size", 64)


def test_train_on_mnist_end_to_end(script, mnist_root, tmp_path):
    """The main command, small networks: warning, files, log, and a checkpoint MXNet can load."""
    run_dir = tmp_path / "run"
    done = script("train.py", "--dataset", "mnist", "--data-path", mnist_root, "--gpu", 0,
                  "--ngf", 8, "--ndf", 8, "--max-steps", 20, "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: --gpu 0: MXNet sees no GPU") == (mx.context.num_gpus() == 0)
    assert str(run_dir) in done.stdout
    assert sorted(os.listdir(run_dir)) == ["checkpoints", "config.json", "grids", "lock",
                                           "log.jsonl", "report.html"]
    config = json.loads((run_dir / "config.json").read_text())
    assert config["flags"]["seed"] == 1234 and config["flags"]["lr"] == 2e-4
    assert config["versions"]["mxnet"] == "1.9.1"
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20]
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    assert len(os.listdir(run_dir / "grids")) == 6
    checkpoint = run_dir / "checkpoints" / "step-00000020"
    for prefix in "GD":
        mx.model.load_checkpoint(str(checkpoint / prefix), 0)
    assert "gout-00000010.png" in os.listdir(run_dir / "grids")


def final(run_dir):
    folder = max((run_dir / "checkpoints").iterdir())
    paths = [folder / f"{prefix}-0000.params" for prefix in "GD"]
    return {name: value for path in paths
            for name, value in parse_params(path.read_bytes(), path).items()}


def test_same_seed_same_bits_and_other_seed_others(script, tmp_path):
    runs = {}
    for name, flags in (("a", ()), ("b", ("--data-threads", 2)), ("c", ("--seed", 5))):
        done = script("train.py", *SMALL, "--max-steps", 8, "--run-dir", tmp_path / name, *flags)
        assert done.returncode == 0, done.stderr
        runs[name] = final(tmp_path / name)
    for name, value in runs["a"].items():
        np.testing.assert_array_equal(value, runs["b"][name])
    assert (runs["a"]["arg:g1_weight"] != runs["c"]["arg:g1_weight"]).any()


@pytest.mark.parametrize("flags", [
    ("--nc", 1), ("--d-steps", 2), ("--g-loss", "saturating"), ("--size", 32)])
def test_options_train(flags, script, tmp_path):
    done = script("train.py", *SMALL, "--max-steps", 2, "--disp-batches", 1, "--run-dir",
                  tmp_path / "r", *flags)
    assert done.returncode == 0, done.stderr
    assert all(np.isfinite(value).all() for value in final(tmp_path / "r").values())


def test_default_run_directories_do_not_collide(script, tmp_path):
    for _ in range(2):
        done = script("train.py", *SMALL, "--max-steps", 1, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert len(os.listdir(tmp_path / "runs")) == 2


def test_dry_run_writes_nothing(script, tmp_path):
    done = script("train.py", *SMALL, "--lr", "1e-3", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["flags"]["lr"] == 1e-3
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("flags, parts", [
    (("--dataset", "cifar"), ("--dataset", "'cifar'", "mnist")),
    (("--batch-size", "0"), ("--batch-size", "0", "from 1")),
    (("--batch-size", "4096"), ("batch_size is 4096", "give 1 to 2048")),
    (("--batch-size", "many"), ("--batch-size", "'many'", "whole number")),
    (("--lr", "-1"), ("--lr", "-1", "above 0")),
    (("--lr", "nan"), ("--lr", "nan", "above 0")),
    (("--lr", "inf"), ("--lr", "inf", "above 0")),
    (("--beta1", "1"), ("--beta1", "1", "below 1")),
    (("--wd", "nan"), ("--wd", "nan", "from 0")),
    (("--size", "48"), ("--size", "48", "64")),
    (("--nc", "2"), ("--nc", "2", "1, 3")),
    (("--max-steps", "0"), ("--max-steps", "0", "from 1")),
    (("--seed", "-1"), ("--seed", "-1", "from 0")),
    (("--gpu=-1",), ("--gpu -1", "as in 0 or 0,1")),
    (("--gpu", "a"), ("--gpu a", "as in 0 or 0,1")),
    (("--gpu", "0,0"), ("--gpu 0,0", "each GPU once")),
    (("--gpu", "0", "--cpu-devices", "2"), ("--cpu-devices 2", "--gpu 0", "one of the two")),
    (("--cpu-devices", "0"), ("--cpu-devices", "0", "from 1")),
    (("--cpu-devices", "3"), ("batch_size is 64", "multiple of 3", "devices")),
    (("--kv-store", "dist_sync"), ("--kv-store dist_sync", "scripts/launch.py")),
    (("--kv-store", "dist_async"), ("--kv-store", "dist_async", "dist_sync")),
    (("--require-gpu",), ("--require-gpu", "--gpu 0")),
    (("--g-loss", "hinge"), ("--g-loss", "hinge", "saturating")),
    (("--show",), ("--show", "DISPLAY")),
    (("--run-dir", ""), ("--run-dir is empty",)),
    (("--ngf", "9" * 20), ("--ngf", "below 2147483648")),
    (("--learning-rate", "1"), ("--learning-rate",)),
    (("--data-p", "x"), ("--data-p",))])
def test_bad_flags(flags, parts, script, one_line_error, tmp_path):
    env = {**os.environ, "MPLBACKEND": "agg"}
    done = script("train.py", *SMALL, *flags, cwd=tmp_path, env=env)
    one_line_error(done, *parts)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("variables, parts", [
    ({"DMLC_ROLE": "worker"}, ("DMLC_PS_ROOT_URI is not set", "scripts/launch.py")),
    ({"DMLC_NUM_WORKER": "2"}, ("DMLC_ROLE is not set", "scripts/launch.py")),
    ({"DMLC_ROLE": "boss"}, ("DMLC_ROLE is 'boss'", "give worker"))])
def test_a_job_half_told(variables, parts, script, one_line_error):
    done = script("train.py", *SMALL, env={**os.environ, **variables})
    one_line_error(done, *parts)


def test_no_flags(script, one_line_error):
    one_line_error(script("train.py"), "--dataset")


def test_an_existing_run_directory_is_left_alone(script, one_line_error, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    done = script("train.py", *SMALL, "--run-dir", tmp_path / "mine")
    one_line_error(done, "--run-dir", tmp_path / "mine", "give a new one")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "dear"
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]


def test_a_run_directory_that_cannot_be(script, one_line_error, tmp_path):
    (tmp_path / "file").write_text("")
    one_line_error(script("train.py", *SMALL, "--run-dir", tmp_path / "file" / "run"),
                   tmp_path / "file" / "run", "Not a directory")


def test_a_data_folder_that_cannot_be(script, one_line_error, tmp_path):
    (tmp_path / "file").write_text("")
    one_line_error(script("train.py", *SMALL[2:], "--dataset", "mnist", "--data-path",
                          tmp_path / "file"), tmp_path / "file", "Not a directory")


def test_a_damaged_data_file_is_named(script, one_line_error, tmp_path):
    (tmp_path / "mnist").mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                 "t10k-labels-idx1-ubyte"):
        (tmp_path / "mnist" / name).write_bytes(b"\0\0\x08\x01\0\0\0\x03ab")
    done = script("train.py", "--dataset", "mnist", "--data-path", tmp_path, "--run-dir",
                  tmp_path / "run")
    one_line_error(done, "train-images-idx3-ubyte", "(60000, 28, 28)", "delete it")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_while_writing_a_grid(script, one_line_error, tmp_path):
    """The limit is above config.json and log.jsonl and below a grid of 64 coloured pictures."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
    done = script("train.py", *SMALL, "--disp-batches", 1, "--run-dir", tmp_path / "run",
                  preexec_fn=limit)
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if "error" in line]
    assert done.returncode == 2 and len(lines) == 1
    assert "Traceback" not in done.stderr
    assert "grids" in lines[0] and "File too large" in lines[0]
    assert all(not name.startswith(".") for name in os.listdir(tmp_path / "run" / "grids"))


def start(*args, **kwargs):
    """Start scripts/train.py and return when it trains."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "train.py"), *map(str, args)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
    assert any(line.startswith("writing to") for line in process.stdout)
    return process


def wait_for_log(run_dir, lines):
    path = run_dir / "log.jsonl"
    deadline = time.monotonic() + 60
    while not path.exists() or len(path.read_bytes().splitlines()) < lines:
        assert time.monotonic() < deadline
        time.sleep(0.005)


LONG = (*SMALL, "--max-steps", 60, "--disp-batches", 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody stopped: its final arrays and its log."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    process = start(*LONG, "--run-dir", run_dir)
    process.communicate()
    assert process.returncode == 0
    return final(run_dir), read_numbers(run_dir)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_resume_ends_as_if_there_was_none(number, status, whole, script,
                                                             tmp_path):
    run_dir = tmp_path / "run"
    process = start(*LONG, "--run-dir", run_dir)
    wait_for_log(run_dir, 3)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == status and "Traceback" not in errors
    folder = max((run_dir / "checkpoints").iterdir())
    assert str(folder) in output and f"stopped by {number.name}" in output
    assert f"python scripts/train.py --resume --run-dir {run_dir}" in output
    assert int(folder.name[5:]) < 60
    done = script("train.py", "--resume", "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    assert f"going on from {folder}" in done.stdout
    arrays = final(run_dir)
    for name, value in whole[0].items():
        np.testing.assert_array_equal(arrays[name], value)
    assert read_numbers(run_dir) == whole[1]
    assert sorted(os.listdir(run_dir)) == ["checkpoints", "config.json", "grids", "lock",
                                           "log.jsonl", "report.html"]


def test_a_second_signal_ends_it_at_once(tmp_path):
    run_dir = tmp_path / "run"
    process = start("--dataset", "synthetic", "--batch-size", 512, "--run-dir", run_dir)
    time.sleep(3)  # by now it waits for steps of several seconds each
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # as `timeout` sends it: no second one
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    start_of_end = time.monotonic()
    process.communicate(timeout=20)
    assert process.returncode == 143 and time.monotonic() - start_of_end < 1
    assert not (run_dir / "checkpoints").exists()


def test_the_same_command_with_resume_finds_its_run(whole, script, tmp_path):
    """Started with --resume (nothing there yet), killed before the first checkpoint, twice."""
    run_dir = tmp_path / "run"
    command = (*LONG, "--run-dir", run_dir, "--resume")
    for _ in range(2):
        process = start(*command)
        wait_for_log(run_dir, 2)
        process.kill()
        process.communicate()
    assert script("train.py", *command).returncode == 0
    for name, value in whole[0].items():
        np.testing.assert_array_equal(final(run_dir)[name], value)
    assert read_numbers(run_dir) == whole[1]


def test_resume_without_a_directory_takes_the_newest_run(script, tmp_path):
    for i in range(2):
        assert script("train.py", *SMALL, "--max-steps", i + 1, cwd=tmp_path).returncode == 0
    done = script("train.py", *SMALL, "--max-steps", 5, "--resume", cwd=tmp_path)
    assert "step-00000002" in done.stdout and done.returncode == 0, done.stderr
    assert len(os.listdir(tmp_path / "runs")) == 2


@pytest.fixture
def ended(script, tmp_path):
    """A run of two steps."""
    assert script("train.py", *SMALL, "--max-steps", 2, "--run-dir", tmp_path / "run"
                  ).returncode == 0
    return tmp_path / "run"


@pytest.mark.parametrize("flags, parts", [
    (("--lr", 0.1), ("--lr is 0.1", "has 0.0002", "--override lr")),
    (("--batch-size", 8), ("--batch-size is 8", "has 64", "--override batch_size")),
    (("--seed", 3), ("--seed is 3", "has 1234")),
    (("--ngf", 8), ("--ngf is 8", "has 4", "start a new run")),
    (("--override", "lr,speed"), ("--override", "'speed'")),
    (("--ngf", 8, "--override", "ngf"), ("--override", "'ngf'", "start a new run"))])
def test_flags_that_decide_the_numbers_must_be_the_runs(flags, parts, ended, script,
                                                        one_line_error):
    before = (ended / "config.json").read_bytes()
    one_line_error(script("train.py", "--resume", "--run-dir", ended, *flags), *parts)
    assert (ended / "config.json").read_bytes() == before


def test_other_flags_and_overrides_are_taken(ended, script):
    done = script("train.py", "--resume", "--run-dir", ended, "--max-steps", 6, "--disp-batches", 2,
                  "--lr", 0.001, "--batch-size", 32, "--override", "lr,batch-size")
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in read_numbers(ended)] == [4, 6]
    flags = json.loads((ended / "config.json").read_text())["flags"]
    assert (flags["lr"], flags["max_steps"], flags["ngf"]) == (0.001, 6, 4)


def test_damage_is_told_and_the_one_before_is_taken(script, tmp_path):
    run_dir = tmp_path / "run"
    script("train.py", *SMALL, "--max-steps", 4, "--checkpoint-steps", 2, "--run-dir", run_dir)
    damaged = run_dir / "checkpoints" / "step-00000004" / "G-optimizer.params"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = script("train.py", "--resume", "--run-dir", run_dir, "--max-steps", 6)
    assert done.returncode == 0
    assert f"warning: {damaged} is damaged; trying the checkpoint before it" in done.stderr
    assert "going on from" in done.stdout and "step-00000002" in done.stdout


def test_a_second_process_is_refused(script, one_line_error, tmp_path):
    run_dir = tmp_path / "run"
    process = start(*SMALL, "--run-dir", run_dir, "--num-epochs", 100000)
    try:
        done = script("train.py", "--resume", "--run-dir", run_dir)
        one_line_error(done, f"process {process.pid} is at work")
    finally:
        process.kill()
        process.communicate()


def test_divergence_stops_within_a_display_interval(script, tmp_path):
    """A learning rate of 1e30: the last checkpoint is finite, and told."""
    run_dir = tmp_path / "run"
    script("train.py", *SMALL, "--max-steps", 4, "--run-dir", run_dir)
    done = script("train.py", "--resume", "--run-dir", run_dir, "--lr", "1e38", "--override", "lr",
                  "--max-steps", 100, "--disp-batches", 5)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert last.startswith("error: step 5: ") or last.startswith("error: step 10: ")
    assert "the last good checkpoint is" in last and "step-00000004" in last
    assert [p.name for p in (run_dir / "checkpoints").iterdir()] == ["step-00000004"]
    assert all(np.isfinite(value).all() for value in final(run_dir).values())


PHOTOS = ("--size", 32, "--ngf", 4, "--ndf", 4, "--disp-batches", 2)


@pytest.fixture
def cache(tmp_path):
    """The environment of a user whose cache is empty."""
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_a_folder_of_photographs_end_to_end(photo_folder, script, cache, tmp_path):
    """Packed once, named where something is left out, resumed to the bit, in true colours."""
    folder = tmp_path / "my pictures"
    folder.mkdir()
    for path in photo_folder.iterdir():
        os.link(path, folder / path.name)
    (folder / "no\npicture.jpg").write_text("hello")
    command = ("--dataset", "folder", "--data-path", folder, *PHOTOS)
    done = script("train.py", *command, "--max-steps", 7, "--run-dir", tmp_path / "a", env=cache)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("packing: 100%") == 1
    assert "skipped: no\\npicture.jpg: is no picture\n" in done.stderr
    rec, = (tmp_path / "cache" / "dcgan_mx").glob("*.rec")
    done = script("train.py", *command, "--max-steps", 3, "--run-dir", tmp_path / "b", env=cache)
    assert done.returncode == 0 and "packing" not in done.stderr
    done = script("train.py", "--resume", "--run-dir", tmp_path / "b", "--max-steps", 7, env=cache)
    assert done.returncode == 0, done.stderr
    for name, value in final(tmp_path / "a").items():
        np.testing.assert_array_equal(value, final(tmp_path / "b")[name])
    assert read_numbers(tmp_path / "a") == read_numbers(tmp_path / "b")
    grid = cv2.imread(str(tmp_path / "a" / "grids" / "data-00000002.png"))[..., ::-1]
    means = grid.reshape(-1, 3).mean(0)
    sources = [cv2.imread(str(path))[..., ::-1].reshape(-1, 3).mean(0)
               for path in photo_folder.iterdir()]
    np.testing.assert_allclose(means, np.mean(sources, 0), atol=20)
    assert means[0] > means[1] + 10 > means[2] + 12  # these photographs are rather red than blue


def test_pictures_that_changed_are_not_resumed_on(photo_rec, script, one_line_error, tmp_path):
    rec = tmp_path / "a.rec"
    rec.write_bytes(photo_rec.read_bytes())
    command = ("--dataset", "imagenet", "--data-path", rec, *PHOTOS, "--run-dir", tmp_path / "run")
    assert script("train.py", *command, "--max-steps", 1).returncode == 0
    offsets, _, _ = records.scan(rec)
    rec.write_bytes(photo_rec.read_bytes()[:offsets[200]])
    one_line_error(script("train.py", *command, "--resume"), rec, "records: 200, then 280")


def test_a_bad_picture_in_the_middle_of_a_run_loses_no_step(photo_rec, script, tmp_path):
    """One record of 281 is no picture, and has no checksum that would tell at the start."""
    rec, run_dir = tmp_path / "a.rec", tmp_path / "run"
    header = mx.recordio.IRHeader(0, 0.0, 280, 0)
    bad = records.frame(mx.recordio.pack(header, b"no picture")[24:], 280)
    rec.write_bytes(photo_rec.read_bytes() + bad[:24] + bytes(8) + bad[32:])
    done = script("train.py", "--dataset", "imagenet", "--data-path", rec, *PHOTOS, "--run-dir",
                  run_dir, "--batch-size", 8)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert last.startswith(f"error: {rec}: record 281 is no picture") and "saved in" in last
    assert len(list((run_dir / "checkpoints").iterdir())) >= 1


def test_make_rec(photo_folder, photo_rec, script, tmp_path):
    out = tmp_path / "o ut.rec"
    done = script("make_rec.py", photo_folder, out, "--threads", 3)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}: 280 pictures; skipped: 0\n"
    assert out.read_bytes() == photo_rec.read_bytes()
    done = script("train.py", "--dataset", "imagenet", "--data-path", out, "--nc", 1, "--size", 16,
                  "--ngf", 4, "--ndf", 4, "--max-steps", 6, "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("ImageRecordIter2") == 0


@pytest.mark.parametrize("flags, parts", [
    (("--dataset", "folder"), ("--data-path is missing", "folder")),
    (("--dataset", "imagenet"), ("--data-path is missing", "record file")),
    (("--dataset", "imagenet", "--data-path", "nothing.rec"), ("nothing.rec", "No such file")),
    (("--dataset", "imagenet", "--data-path", "empty"), ("empty", "no plain file")),
    (("--dataset", "imagenet", "--data-path", "cut.rec"), ("cut.rec", "cut off in record 5")),
    (("--dataset", "imagenet", "--data-path", "few.rec"), ("batch_size is 64", "give 1 to 5")),
    (("--dataset", "folder", "--data-path", "nothing"), ("nothing", "No such file")),
    (("--dataset", "folder", "--data-path", "few.rec"), ("few.rec", "Not a directory")),
    (("--dataset", "folder", "--data-path", "empty"), ("empty has 0 readable pictures", "64"))])
def test_bad_pictures_are_one_line(flags, parts, photo_rec, script, one_line_error, cache,
                                   tmp_path):
    offsets, _, _ = records.scan(photo_rec)
    (tmp_path / "few.rec").write_bytes(photo_rec.read_bytes()[:offsets[5]])
    (tmp_path / "cut.rec").write_bytes(photo_rec.read_bytes()[:offsets[5] - 4])
    (tmp_path / "empty").mkdir()
    done = script("train.py", *flags, cwd=tmp_path, env=cache)
    done.stderr = "\n".join(line for line in done.stderr.replace("\r", "\n").splitlines()
                            if not line.startswith("packing") and line)
    one_line_error(done, *parts)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("args, parts", [
    (("empty", "o.rec"), ("empty has 0 readable pictures",)),
    (("nothing", "o.rec"), ("nothing", "No such file")),
    (("empty", "empty/o.rec"), ("empty/o.rec is in the folder",)),
    (("empty", "nothing/o.rec"), ("nothing/o.rec", "No such file")),
    (("empty", "o.rec", "--quality", 101), ("--quality", "101", "below 101")),
    (("empty",), ("OUT.rec",))])
def test_bad_arguments_of_make_rec(args, parts, script, one_line_error, tmp_path):
    (tmp_path / "empty").mkdir()
    done = script("make_rec.py", *args, cwd=tmp_path)
    done.stderr = "\n".join(line for line in done.stderr.replace("\r", "\n").splitlines()
                            if not line.startswith("packing") and line)
    one_line_error(done, *parts)
    assert os.listdir(tmp_path) == ["empty"] and os.listdir(tmp_path / "empty") == []


def test_fixed_noise_and_tensorboard_show_and_change_nothing(script, tmp_path):
    plain, shown = tmp_path / "plain", tmp_path / "shown"
    assert script("train.py", *SMALL, "--max-steps", 4, "--run-dir", plain).returncode == 0
    for steps, flags in ((2, ("--fixed-noise", "--tensorboard")), (4, ("--resume",))):
        done = script("train.py", *SMALL, "--max-steps", steps, "--disp-batches", 1, "--run-dir",
                      shown, *flags)
        assert done.returncode == 0, done.stderr
    for name, value in final(plain).items():
        np.testing.assert_array_equal(value, final(shown)[name])
    generator, step = load_generator(shown, bn="batch")
    grid = make_grid(generator.generate(make_latents(64, 100, 1234)))
    assert step == 4 and sorted(rundir.list_grids(shown, "fixed")) == [1, 2, 3, 4]
    np.testing.assert_array_equal(read_png(shown / "grids" / "fixed-00000004.png"), grid)
    scalars, pictures = {}, set()
    for path in sorted((shown / "tensorboard").iterdir()):
        raw = path.read_bytes()
        while raw:  # TFRecord: length, checksum, content, checksum
            length = int.from_bytes(raw[:8], "little")
            event = Event.FromString(raw[12:12 + length])
            raw = raw[16 + length:]
            for value in event.summary.value:
                if value.HasField("image"):
                    pictures.add((value.tag, event.step))
                else:
                    scalars[value.tag, event.step] = value.simple_value
    assert pictures == {(tag, step) for tag in ("gout", "diff", "data") for step in (1, 2, 3, 4)}
    for record in rundir.read_log(shown):
        for name in ("acc", "d_entropy", "g_entropy", "images_per_s"):
            assert scalars[name, record["step"]] == np.float32(record[name])


def test_a_run_ends_with_its_report(script, browser, tmp_path):
    run_dir = tmp_path / "run"
    done = script("train.py", *SMALL, "--max-steps", 3, "--disp-batches", 1, "--run-dir", run_dir)
    assert f"see {run_dir / 'report.html'}" in done.stdout
    check_page(browser, run_dir / "report.html")
    (run_dir / "grids" / "gout-00000002.png").write_bytes(b"damaged")
    done = script("train.py", "--resume", "--run-dir", run_dir, "--max-steps", 4)
    assert done.returncode == 0 and "warning: there is no report" in done.stderr
