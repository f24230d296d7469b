import json
import os
import re
import subprocess
import sys

import pytest
from helpers.common import CARDS, build_library

from dcgan_mx.cli import diagnostics, doctor
from dcgan_mx.system.cpu import cpu_flags
from dcgan_mx.system.runtime import mx

CHOICES = ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS")


@pytest.fixture
def examine(tmp_path):
    """Run the doctor in an empty folder; returns its status and its screen as one line."""
    def run(*flags, base=None, **env):
        clean = {name: value for name, value in (base or os.environ).items()
                 if name not in CHOICES and not name.startswith("DMLC_")}
        (tmp_path / "here").mkdir(exist_ok=True)
        done = subprocess.run([sys.executable, "-m", "dcgan_mx", "doctor", *flags],
                              cwd=tmp_path / "here", env={**clean, **env}, capture_output=True,
                              text=True, timeout=100, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout
    return run


def one_line(screen):
    return " ".join(screen.split())


def test_a_machine_that_can_train(examine):
    """The screen, and the same as JSON."""
    status, text = examine("--json")
    facts = json.loads(text)
    assert status == 0 and facts["can_train"]
    screen = doctor.render(facts)
    assert screen.splitlines()[-1] == "Training can start, on the CPU."
    assert "problem:" not in screen
    assert f"Python {sys.version.split()[0]}, mxnet {mx.__version__}, numpy" in screen
    assert "runs: " in screen and "GB free, will be made" in screen
    assert len(screen.splitlines()) < 30 and max(map(len, screen.splitlines())) <= 100
    assert {*facts["processor"]["bfloat16"]} == cpu_flags()
    assert facts["threads"] == {"number": facts["processor"]["physical_cores"],
                                "why": "one per physical core; set OMP_NUM_THREADS to change"}


@pytest.mark.parametrize("offers, text", [
    ([], "no AVX-512: train in float32"), (["avx512f"], "AVX-512: train in float32"),
    (["avx512f", "avx512_bf16"], "AVX-512, AVX512-BF16: --precision bfloat16 can be used")])
def test_what_is_said_of_bfloat16(offers, text, monkeypatch):
    monkeypatch.setattr(diagnostics, "ask_child", lambda function: {})
    monkeypatch.setattr(diagnostics, "cpu_flags", lambda: {*offers})
    assert f"bfloat16   {text}\n" in doctor.render(diagnostics.collect())


JOB = {"DMLC_ROLE": "server", "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": "9000",
       "DMLC_NUM_WORKER": "2", "DMLC_NUM_SERVER": "1"}


def test_a_role_in_a_job_is_told(examine):
    """Also that of a server, which would never return from the import."""
    status, screen = examine(OMP_NUM_THREADS="7", **JOB)
    assert status == 0 and "threads    7: you set OMP_NUM_THREADS=7\n" in screen
    assert ("job DMLC_ROLE=server, DMLC_PS_ROOT_URI=127.0.0.1, DMLC_NUM_WORKER=2, "
            "DMLC_NUM_SERVER=1, DMLC_PS_ROOT_PORT=9000 data") in one_line(screen)


def test_half_a_job_is_a_problem(examine):
    status, screen = examine(DMLC_ROLE="worker")
    assert status == 1
    assert re.search(r"problem: DMLC_PS_ROOT_URI is not set, but DMLC_ROLE is fix: start the job "
                     r"with \S*python\S* -m dcgan_mx launch, or unset all DMLC_ variables Training "
                     "cannot start", one_line(screen))


@pytest.mark.parametrize("name, flag, stops", [
    ("runs", "--run-dir", True), ("data", "--data-path", True),
    ("cache/dcgan_mx", "XDG_CACHE_HOME", False)])
def test_a_folder_that_cannot_be_written_to(name, flag, stops, examine, tmp_path):
    """In /proc not even root can write."""
    path = tmp_path / "here" / name
    path.parent.mkdir(parents=True)
    path.symlink_to("/proc/self/fdinfo")
    shown = tmp_path / "here" / name if flag == "XDG_CACHE_HOME" else name
    status, screen = examine(XDG_CACHE_HOME=str(tmp_path / "here" / "cache"))
    assert status == stops
    assert re.search(
        rf"{'problem' if stops else 'note'}: the folder {shown} cannot be written to \(.* at .*\) "
        f"fix: fix that, or choose another place with {flag} ", one_line(screen))


@pytest.mark.parametrize("digits, stops", [(False, True), (True, False)])
def test_a_full_disk_stops_what_has_to_be_written(digits, stops, tmp_path, monkeypatch):
    monkeypatch.setattr(diagnostics, "_LEAST_FREE", float("inf"))
    if digits:
        (tmp_path / "mnist").mkdir()
    problems = []
    assert not diagnostics._try_folder("data", tmp_path, problems)["writable"]
    assert re.fullmatch(rf"the folder {tmp_path} has only \d+ MB left", problems[0]["problem"])
    assert problems[0]["stops"] == stops


@pytest.mark.parametrize("code, said", [
    ("raise RuntimeError('boom')", "RuntimeError: boom"),
    ("import os; os.abort()", "the process was ended by SIGABRT"),
    ("import sys; sys.exit(0)", "the process ended without an answer")])
def test_an_mxnet_that_breaks_does_not_take_the_doctor_along(code, said, examine, tmp_path):
    broken = tmp_path / "first" / "mxnet"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(code)
    path = os.pathsep.join([str(broken.parent), os.environ.get("PYTHONPATH", "")])
    status, screen = examine(PYTHONPATH=path)
    assert status == 1
    assert (f"problem: MXNet and what it needs cannot be loaded ({broken}/__init__.py): {said} "
            "fix: pip install --no-deps mxnet==1.9.1 --force-reinstall, and see that no other "
            "folder named mxnet comes before it (PYTHONPATH) Training cannot start"
            ) in one_line(screen)


def test_an_mxnet_that_hangs_is_left():
    assert diagnostics.ask_child("probe_mxnet", timeout=0.1) == {
        "failure": "there was no answer within 0.1 seconds"}


def test_two_builds_are_a_problem(examine, tmp_path):
    for name in ("mxnet", "mxnet_cu117"):
        info = tmp_path / "first" / f"{name}-1.9.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.9.1\n")
    path = os.pathsep.join([str(tmp_path / "first"), os.environ.get("PYTHONPATH", "")])
    status, screen = examine(PYTHONPATH=path)
    assert status == 1
    assert ("problem: mxnet and mxnet-cu117 are both installed, and hold the same files fix: pip "
            "uninstall --yes mxnet mxnet-cu117, as") in one_line(screen)


@pytest.mark.parametrize("value", ["abc", "0", "4,2"])
def test_a_number_of_threads_that_ends_mxnet(value, examine):
    status, screen = examine(OMP_NUM_THREADS=value)
    assert status == 1
    assert (f"problem: OMP_NUM_THREADS is '{value}' fix: give a whole number from 1, or unset it "
            "Training cannot start") in one_line(screen)


def test_gpus_that_the_driver_lists(examine, stub_driver):
    """The build without CUDA sees none of them; one of the two could be used with the other."""
    status, screen = examine(base=stub_driver(*CARDS))
    line = one_line(screen)
    assert status == 0
    assert "driver NVIDIA's, for CUDA 12.4 GPU 0: NVIDIA GeForce RTX 3060, sm_86, 12.0 GiB:" in line
    assert "GPU 1: NVIDIA H100, sm_90, 80.0 GiB: cannot be used, see below" in line
    assert "note: MXNet sees no GPU: this is MXNet's build without CUDA fix: to get one" in line
    assert ("note: GPU 1, NVIDIA H100: sm_90 is too new: MXNet 1.9.1 has machine code for sm_50 to "
            "sm_86, and no PTX fix: train on the CPU, without --gpu, or on") in line
    assert line.endswith("Training can start, on the CPU.")


def test_where_no_gpu_would_do_the_other_build_is_not_named(examine, stub_driver):
    line = one_line(examine(base=stub_driver(CARDS[1]))[1])
    assert "sm_90 is too new" in line and "build without CUDA" not in line


def test_a_driver_that_crashes(examine, stub_driver, tmp_path):
    env = stub_driver()
    build_library(tmp_path / "libcuda.so.1",
                  "#include <stdlib.h>\nint cuDriverGetVersion(int *v) { abort(); }")
    status, screen = examine(base=env)
    assert status == 0
    assert ("note: asking the NVIDIA driver failed: the process was ended by SIGABRT fix: see "
            "that nvidia-smi works; reinstall the driver Training can") in one_line(screen)
