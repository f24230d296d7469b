import contextlib
import os

import pytest

from dcgan_mx.system.cuda import Gpu, no_gpu_reason
from dcgan_mx.system.devices import check_gpu, make_contexts, make_kvstore, parse_gpus
from dcgan_mx.system.errors import ArgumentError
from dcgan_mx.system.runtime import mx

JOB = {"DMLC_ROLE": "worker", "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": "9",
       "DMLC_NUM_WORKER": "2", "DMLC_NUM_SERVER": "1"}
CARDS = [Gpu("Tesla V100", (7, 0), 0), Gpu("RTX 4090", (8, 9), 0), Gpu("H100", (9, 0), 0)]


def test_cpu_is_the_default():
    assert make_contexts() == [mx.cpu(0)]
    assert make_contexts(cpu_devices=3) == [mx.cpu(0), mx.cpu(1), mx.cpu(2)]


@pytest.mark.parametrize("gpu, cpu_devices, message", [
    (None, None, "gpu: a GPU is required, but none is given"),
    ("0", 2, "cpu_devices: 2 conflicts with gpu 0: give only one")])
def test_conflicting_devices(gpu, cpu_devices, message):
    with pytest.raises(ArgumentError, match=message):
        make_contexts(gpu, cpu_devices, require_gpu=True)


def test_parse_gpus():
    assert [parse_gpus(text) for text in ("0", "0,1", "3,0")] == [[0], [0, 1], [3, 0]]


@pytest.mark.parametrize("text, fix", [
    ("0,0", "each GPU once"), ("1,01", "each GPU once"), ("-1", "as in 0 or 0,1"),
    ("0,-1", "as in"), ("a", "as in"), ("0,", "as in"), ("", "as in"), ("0;1", "as in"),
    ("1.5", "as in"), ("²", "as in"), ("9" * 5000, "as in")])
def test_invalid_gpu_numbers(text, fix):
    with pytest.raises(ArgumentError, match=f"gpu: invalid value {text!r}: .*{fix}"):
        parse_gpus(text)


@pytest.mark.parametrize("name, job, message", [
    ("dist_sync", {}, "kv_store: dist_sync needs a distributed job: start one"),
    ("dist_device_sync", {}, "kv_store: dist_device_sync needs a distributed job"),
    ("local", JOB, "kv_store: local does not work in a distributed job"),
    ("device", JOB, "kv_store: device does not work in a distributed job"),
    ("dist_sync", {"DMLC_ROLE": "worker"}, "DMLC_PS_ROOT_URI is not set, but DMLC_ROLE is"),
    ("dist_sync", {"DMLC_ROLE": "server"}, "DMLC_PS_ROOT_URI is not set, but DMLC_ROLE is")])
def test_kvstore_must_fit_the_role(name, job, message, monkeypatch):
    for variable, value in job.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=message):
        make_kvstore(name)


def test_missing_gpu_is_a_warning_or_an_error(call, one_line_error):
    """CUDA_VISIBLE_DEVICES hides all GPUs."""
    reason = no_gpu_reason(mx.runtime.Features().is_enabled("CUDA")).problem
    flags = ("--dataset", "synthetic", "--gpu", 2, "--dry-run")
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = call("train", *flags, env=env)
    assert done.returncode == 0
    line, = done.stderr.splitlines()
    for part in ("warning: GPU 2: ", reason, "; the CPU is used"):
        assert part in line
    assert '"device": "cpu(0)"' in done.stdout
    one_line_error(call("train", *flags, "--require-gpu", env=env),
                   "--gpu: 2: ", reason)


def test_run_resumes_on_different_devices(call, tmp_path):
    """Flags replace the settings of the run, in both directions."""
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


@pytest.mark.parametrize("number, words", [
    (0, None), (1, None), (2, "gpu: GPU 2, H100: sm_90 is too new: .* CPU"),
    (3, "gpu: GPU 3 does not exist: expected 0 to 2")])
def test_check_gpu(number, words):
    with pytest.raises(ArgumentError, match=words) if words else contextlib.nullcontext():
        check_gpu(number, CARDS)
