import contextlib
import os

import pytest

from dcgan_mx.system.cuda import Gpu
from dcgan_mx.system.devices import check_gpu, make_contexts, make_kvstore, parse_gpus
from dcgan_mx.system.runtime import mx


def test_cpu_unless_asked():
    assert make_contexts() == [mx.cpu(0)]
    assert make_contexts(cpu_devices=3) == [mx.cpu(0), mx.cpu(1), mx.cpu(2)]


def test_require_gpu_needs_a_number():
    with pytest.raises(ValueError, match="--require-gpu without --gpu"):
        make_contexts(None, require_gpu=True)


def test_processor_or_gpus():
    with pytest.raises(ValueError, match="--cpu-devices 2 with --gpu 0: give one"):
        make_contexts("0", cpu_devices=2)


@pytest.mark.parametrize("text, numbers", [("0", [0]), ("0,1", [0, 1]), ("3,0", [3, 0])])
def test_numbers_of_gpus(text, numbers):
    assert parse_gpus(text) == numbers


@pytest.mark.parametrize("text, mend", [
    ("0,0", "each GPU once"), ("1,01", "each GPU once"), ("-1", "as in 0 or 0,1"),
    ("0,-1", "as in"), ("a", "as in"), ("0,", "as in"), ("", "as in"), ("0;1", "as in"),
    ("1.5", "as in"), ("²", "as in")])
def test_no_numbers_of_gpus(text, mend):
    with pytest.raises(ValueError, match=f"--gpu {text}: give .*{mend}"):
        parse_gpus(text)


JOB = {"DMLC_ROLE": "worker", "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": "9",
       "DMLC_NUM_WORKER": "2", "DMLC_NUM_SERVER": "1"}


@pytest.mark.parametrize("name", ["dist_sync", "dist_device_sync"])
def test_a_store_of_a_job_needs_one(name):
    with pytest.raises(ValueError, match=f"--kv-store {name}: this process is in no job"):
        make_kvstore(name)


@pytest.mark.parametrize("name", ["local", "device"])
def test_a_job_needs_its_store(name, monkeypatch):
    for variable, value in JOB.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=f"--kv-store {name}: this process is a worker of a job"):
        make_kvstore(name)


def test_a_job_half_told(monkeypatch):
    monkeypatch.setenv("DMLC_ROLE", "worker")
    with pytest.raises(ValueError, match="DMLC_PS_ROOT_URI is not set, but DMLC_ROLE is"):
        make_kvstore("dist_sync")


def test_no_gpu_is_one_loud_warning_or_an_error(call, one_line_error, tmp_path):
    """Where the driver is told to hide all GPUs, whatever build and machine this is."""
    reason = ("cuInit" if mx.runtime.Features().is_enabled("CUDA")
              else "build without CUDA")
    flags = ("--dataset", "synthetic", "--gpu", 2, "--dry-run")
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = call("train", *flags, env=env)
    assert done.returncode == 0
    line, = done.stderr.splitlines()
    for part in ("warning: --gpu 2: MXNet sees no GPU", reason, "GOING ON WITH THE CPU"):
        assert part in line
    assert '"device": "cpu(0)"' in done.stdout
    one_line_error(call("train", *flags, "--require-gpu", env=env),
                   "--gpu 2: MXNet sees no GPU", reason)


def test_a_run_on_several_contexts_goes_on_on_other_devices(call, tmp_path):
    """What is given takes the place of what the run had, in both directions."""
    small = ("--dataset", "synthetic", "--size", 16, "--ngf", 4, "--ndf", 4, "--batch-size", 8)
    run_dir = tmp_path / "run"
    assert call("train", *small, "--cpu-devices", 2, "--max-steps", 1, "--run-dir",
                  run_dir).returncode == 0
    resume = ("train", "--resume", "--run-dir", run_dir, "--max-steps", 2)
    done = call(*resume, "--gpu", 0, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0
    assert "workers x devices changed from 1 x 2 to 1 x 1: BatchNorm sees other" in done.stderr
    assert "epoch restarts" not in done.stderr
    done = call(*resume, "--cpu-devices", 4, "--dry-run")
    assert '"gpu": null' in done.stdout and '"cpu(0), cpu(1), cpu(2), cpu(3)"' in done.stdout


CARDS = [Gpu("Tesla V100", (7, 0), 0), Gpu("RTX 4090", (8, 9), 0), Gpu("H100", (9, 0), 0)]


@pytest.mark.parametrize("number, gpus, words", [
    (0, CARDS, None), (1, CARDS, None), (2, CARDS, "--gpu 2: H100: sm_90 is too new: .* CPU"),
    (3, CARDS, "--gpu 3: there is no such GPU: give 0 to 2"),
    (1, CARDS[:1], "--gpu 1: there is no such GPU: give 0$"),
    (-1, CARDS, "--gpu -1: there is no such GPU: give 0 to 2")])
def test_a_gpu_that_is_not_there_or_of_no_use(number, gpus, words):
    with pytest.raises(ValueError, match=words) if words else contextlib.nullcontext():
        check_gpu(number, gpus)
