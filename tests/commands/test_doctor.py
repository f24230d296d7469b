import json
import os
import re
import subprocess
import sys

import pytest
from common import CARDS, build_library, needs_bfloat16

from dcgan_mx.commands import doctor, examination
from dcgan_mx.machine.processor import read_isa
from dcgan_mx.machine.runtime import mx

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


def no_space(text):
    """Leave out what differs from one examination to the next: free space, and what is timed."""
    return re.sub(r'[0-9.]+ GB free|"free": \d+|(?s:bfloat16   .*?)(?=\nthreads)', "", text)


def test_a_machine_that_can_train(examine):
    status, screen = examine()
    assert status == 0
    assert screen.splitlines()[-1] == "Training can start, on the CPU."
    assert "problem:" not in screen
    assert f"Python {sys.version.split()[0]}, mxnet {mx.__version__}, numpy" in screen
    assert "runs: " in screen and "GB free, will be made" in screen
    assert len(screen.splitlines()) < 30 and max(map(len, screen.splitlines())) <= 100


def test_json_says_what_the_screen_says(examine):
    status, text = examine("--json")
    facts = json.loads(text)
    assert status == 0 and facts["can_train"]
    assert no_space(doctor.render(facts) + "\n") == no_space(examine()[1])
    assert facts["threads"] == {
        "number": facts["processor"]["physical_cores"],
        "why": "one for each physical core; OMP_NUM_THREADS overrides it"}


def test_a_users_number_of_threads_is_told(examine):
    assert "threads    7: you set OMP_NUM_THREADS=7\n" in examine(OMP_NUM_THREADS="7")[1]
    assert ": you set MXNET_OMP_MAX_THREADS=1\n" in examine(MXNET_OMP_MAX_THREADS="1")[1]


JOB = {"DMLC_ROLE": "server", "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": "9000",
       "DMLC_NUM_WORKER": "2", "DMLC_NUM_SERVER": "1"}


def test_a_role_in_a_job_is_told(examine):
    """Also that of a server, which would never return from the import."""
    status, screen = examine(**JOB)
    assert status == 0
    assert ("job DMLC_ROLE=server, DMLC_PS_ROOT_URI=127.0.0.1, DMLC_NUM_WORKER=2, "
            "DMLC_NUM_SERVER=1, DMLC_PS_ROOT_PORT=9000 data") in one_line(screen)


def test_half_a_job_is_a_problem(examine):
    status, screen = examine(DMLC_ROLE="worker")
    assert status == 1
    assert re.search(r"problem: DMLC_PS_ROOT_URI is not set, but DMLC_ROLE is mend: start the job "
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
        f"mend: mend that, or name another place with {flag} ", one_line(screen))


def test_the_size_of_the_cache_is_told(examine, tmp_path):
    cache = tmp_path / "cache" / "dcgan_mx"
    cache.mkdir(parents=True)
    for name in "ab":
        (cache / f"{name}.rec").write_bytes(bytes(3_000_000))
    screen = one_line(examine(XDG_CACHE_HOME=str(tmp_path / "cache"))[1])
    assert "GB free; 2 packed folders of pictures, 6 MB" in screen


@pytest.mark.parametrize("digits, stops", [(False, True), (True, False)])
def test_a_full_disk_stops_what_has_to_be_written(digits, stops, tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "_LEAST_FREE", float("inf"))
    if digits:
        (tmp_path / "mnist").mkdir()
    problems = []
    assert not examination._try_folder("data", tmp_path, problems)["writable"]
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
            "mend: pip install --no-deps mxnet==1.9.1 --force-reinstall, and see that no other "
            "folder named mxnet comes before it (PYTHONPATH) Training cannot start"
            ) in one_line(screen)


def test_an_mxnet_that_hangs_is_left():
    assert examination.ask_child("probe_mxnet", timeout=0.1) == {
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
    assert ("problem: mxnet and mxnet-cu117 are both installed, and hold the same files mend: pip "
            "uninstall --yes mxnet mxnet-cu117, as") in one_line(screen)


@pytest.mark.parametrize("value", ["abc", "0", "4,2"])
def test_a_number_of_threads_that_ends_mxnet(value, examine):
    status, screen = examine(OMP_NUM_THREADS=value)
    assert status == 1
    assert (f"problem: OMP_NUM_THREADS is '{value}' mend: give a whole number from 1, or unset it "
            "Training cannot start") in one_line(screen)


def test_gpus_that_the_driver_lists(examine, stub_driver):
    """The build without CUDA sees none of them; one of the two could be used with the other."""
    status, screen = examine(base=stub_driver(*CARDS))
    line = one_line(screen)
    assert status == 0
    assert "driver NVIDIA's, for CUDA 12.4 GPU 0: NVIDIA GeForce RTX 3060, sm_86, 12.0 GiB:" in line
    assert "GPU 1: NVIDIA H100, sm_90, 80.0 GiB: cannot be used, see below" in line
    assert "note: MXNet sees no GPU: this is MXNet's build without CUDA mend: to get one" in line
    assert ("note: GPU 1, NVIDIA H100: sm_90 is too new: MXNet 1.9.1 has machine code for sm_50 to "
            "sm_86, and no PTX mend: train on the CPU, without --gpu, or on") in line
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
    assert ("note: asking the NVIDIA driver failed: the process was ended by SIGABRT mend: see "
            "that nvidia-smi works; install the driver anew Training can") in one_line(screen)


def test_an_unknown_flag_is_refused(tmp_path):
    done = subprocess.run([sys.executable, "-m", "dcgan_mx", "doctor", "--js"], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 2


def test_the_faster_precision_is_named(examine):
    """What the processor has is told by the kernel; what is measured, only where it has it."""
    facts = json.loads(examine("--json")[1])["bfloat16"]
    assert {*facts["offers"]} == read_isa()
    assert bool(facts["milliseconds"]) == bool(read_isa() & {"avx512_bf16", "amx_bf16"})
    assert all(0 < milliseconds < 5000 for milliseconds in facts["milliseconds"].values())


@pytest.mark.parametrize("facts, said", [
    ({"offers": []}, "neither AVX-512 nor AMX: train in float32"),
    ({"offers": ["avx512f"]}, "AVX-512: train in float32"),
    ({"offers": ["avx512f", "avx512_bf16"], "failure": "boom"},
     "AVX-512, AVX512-BF16: see below"),
    ({"offers": ["avx512f", "avx512_bf16", "amx_bf16"],
      "milliseconds": {"bfloat16": 52.3, "float32": 38.7}, "said": ["AMX stays asleep: tests"]},
     "AVX-512, AVX512-BF16, AMX: float32 is faster here: 39 ms for a step of small networks on one "
     "core, 52 ms in bfloat16; AMX stays asleep: tests")])
def test_what_is_said_of_bfloat16(facts, said):
    assert doctor._describe_bfloat16(**{"milliseconds": {}, "said": [], **facts}) == said


@needs_bfloat16
def test_bfloat16_that_crashes_stops_no_training(monkeypatch):
    monkeypatch.setattr(examination, "ask_child", lambda *_, **__: {"failure": "SIGILL"})
    problems = []
    assert examination._judge_bfloat16(False, problems)["failure"] == "SIGILL"
    assert [problem["stops"] for problem in problems] == [False]
