import json
import os
import re
import subprocess
import sys

import pytest
from helpers.common import CARDS, ROOT, build_library

from dcgan_mx.cli import diagnostics, doctor
from dcgan_mx.system.cpu import cpu_flags
from dcgan_mx.system.runtime import mx

VARIABLES = ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS")
JOB = {"DMLC_ROLE": "server", "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": "9000",
       "DMLC_NUM_WORKER": "2", "DMLC_NUM_SERVER": "1"}


@pytest.fixture
def run_doctor(tmp_path):
    """Run the doctor in an empty folder; return its exit code and its output in one line."""
    def run(*flags, base=None, **env):
        clean = {name: value for name, value in (base or os.environ).items()
                 if name not in VARIABLES and not name.startswith("DMLC_")}
        (tmp_path / "here").mkdir(exist_ok=True)
        done = subprocess.run([sys.executable, "-m", "dcgan_mx", "doctor", *flags],
                              cwd=tmp_path / "here", capture_output=True, text=True, timeout=300,
                              env={"PYTHONPATH": str(ROOT), **clean, **env}, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout if flags else " ".join(done.stdout.split())
    return run


@pytest.fixture
def collect(tmp_path, monkeypatch):
    """Collect diagnostics in this process, with stubs of what MXNet and the driver answer."""
    def run(mxnet=None, driver=None, **env):
        for name in [*VARIABLES, *(name for name in os.environ if name.startswith("DMLC_"))]:
            monkeypatch.delenv(name, raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        answers = {"probe_mxnet": mxnet or {"gpus": 0, "threads": 2, "with_cuda": False},
                   "probe_driver": driver or {"version": None, "gpus": []}}
        monkeypatch.setattr(diagnostics, "ask_child", answers.get)
        env = diagnostics.collect_env()
        return env, " ".join(doctor.render(env).split())
    return run


def test_doctor_of_a_machine_that_can_train(run_doctor):
    status, text = run_doctor("--json")
    env = json.loads(text)
    assert status == 0 and env["can_train"]
    screen = doctor.render(env)
    assert screen.splitlines()[-1] == "Training can start, on the CPU."
    assert "problem:" not in screen
    assert f"Python {sys.version.split()[0]}, mxnet {mx.__version__}, numpy" in screen
    assert "runs: " in screen and "GB free, will be created" in screen
    assert len(screen.splitlines()) < 30 and max(map(len, screen.splitlines())) <= 100
    assert {*env["processor"]["bfloat16"]} == cpu_flags()
    assert env["threads"] == {"number": env["processor"]["physical_cores"],
                              "why": "one per physical core; set OMP_NUM_THREADS to change"}


@pytest.mark.parametrize("flags, text", [
    ([], "no AVX-512: --precision bfloat16 is not supported"),
    (["avx512f"], "AVX-512: --precision bfloat16 is not supported"),
    (["avx512f", "avx512_bf16"], "AVX-512, AVX512-BF16: --precision bfloat16 is supported")])
def test_bfloat16_support(flags, text, collect, monkeypatch):
    monkeypatch.setattr(diagnostics, "cpu_flags", lambda: {*flags})
    assert f"bfloat16 {text} threads" in collect()[1]


def test_role_in_a_job_is_shown(run_doctor):
    """Also of a server, in which importing MXNet would never return."""
    status, screen = run_doctor(OMP_NUM_THREADS="7", **JOB)
    assert status == 0 and "threads 7: you set OMP_NUM_THREADS=7 " in screen
    assert ("job DMLC_ROLE=server, DMLC_PS_ROOT_URI=127.0.0.1, DMLC_NUM_WORKER=2, "
            "DMLC_NUM_SERVER=1, DMLC_PS_ROOT_PORT=9000 data") in screen


@pytest.mark.parametrize("env, words", [
    ({"DMLC_ROLE": "worker"}, ("DMLC_PS_ROOT_URI", "dcgan-mx launch")),
    *(({"OMP_NUM_THREADS": value}, (f"'{value}'", "unset it"))
      for value in ("abc", "0", "4,2"))])
def test_invalid_variables_are_problems(env, words, collect):
    found, screen = collect(**env)
    assert not found["can_train"] and 'Training cannot start until each "problem" is' in screen
    problem = found["problems"][0]
    assert words[0] in problem["problem"] and words[1] in problem["fix"]


@pytest.mark.parametrize("name, flag, stops", [
    ("runs", "--run-dir", True), ("data", "--data-path", True),
    ("cache/dcgan_mx", "XDG_CACHE_HOME", False)])
def test_unwritable_folder(name, flag, stops, collect, tmp_path):
    """Not even root can write to /proc."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/proc/self/fdinfo")
    env, screen = collect(XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert env["can_train"] != stops
    assert re.search(rf"{'problem' if stops else 'note'}: the folder \S*{name} is not writable "
                     rf"\(.* at .*\) fix: .* choose another folder with {flag} ", screen)


@pytest.mark.parametrize("downloaded, stops", [(False, True), (True, False)])
def test_full_disk_stops_training_unless_data_are_there(downloaded, stops, collect, tmp_path,
                                                        monkeypatch):
    monkeypatch.setattr(diagnostics, "_MIN_FREE", float("inf"))
    if downloaded:
        (tmp_path / "data" / "mnist").mkdir(parents=True)
    problem = next(problem for problem in collect()[0]["problems"] if "data" in problem["problem"])
    assert re.fullmatch(r"the folder data has only \d+ MB of free space", problem["problem"])
    assert problem["stops"] == stops


@pytest.mark.parametrize("code, failure", [
    ("raise RuntimeError('boom')", "RuntimeError: boom"),
    ("import os; os.abort()", "the process was ended by SIGABRT"),
    ("import sys; sys.exit(0)", "the process ended without an answer")])
def test_mxnet_that_fails_does_not_end_the_doctor(code, failure, run_doctor, tmp_path):
    broken = tmp_path / "first" / "mxnet"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(code)
    path = os.pathsep.join([str(broken.parent), str(ROOT)])
    status, screen = run_doctor(PYTHONPATH=path)
    assert status == 1
    assert (f"problem: cannot load MXNet or its dependencies ({broken}/__init__.py): {failure} "
            "fix: pip install --no-deps mxnet==1.9.1 --force-reinstall, and check that PYTHONPATH "
            "does not contain another folder named mxnet Training cannot start") in screen


def test_mxnet_that_hangs_is_stopped():
    assert diagnostics.ask_child("probe_mxnet", timeout=0.1) == {
        "failure": "no answer within 0.1 seconds"}


def test_two_builds_of_mxnet_are_a_problem(run_doctor, tmp_path):
    for name in ("mxnet", "mxnet_cu117"):
        info = tmp_path / "first" / f"{name}-1.9.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.9.1\n")
    status, screen = run_doctor(PYTHONPATH=os.pathsep.join([str(tmp_path / "first"), str(ROOT)]))
    assert status == 1
    assert re.search("problem: mxnet and mxnet-cu117 are both installed.* fix: pip uninstall "
                     "--yes mxnet mxnet-cu117", screen)


def test_gpus_of_the_driver_are_listed(run_doctor, stub_driver):
    """MXNet's CPU build detects neither; a CUDA build could use one of them."""
    status, screen = run_doctor(base=stub_driver(*CARDS))
    assert status == 0
    assert "driver NVIDIA, for CUDA 12.4 GPU 0: NVIDIA GeForce RTX 3060, sm_86, 12.0" in screen
    assert "GPU 1: NVIDIA H100, sm_90, 80.0 GiB: not usable, see below" in screen
    assert "note: MXNet detects no GPU: " in screen and "CPU build" in screen
    assert "note: GPU 1, NVIDIA H100: sm_90 is too new" in screen
    assert screen.endswith("Training can start, on the CPU.")


def test_other_build_is_not_recommended_for_unsupported_gpus(collect):
    name, capability, memory = CARDS[1]
    screen = collect(driver={"version": "12.4", "gpus": [[name, capability, memory]]})[1]
    assert "sm_90 is too new" in screen and "build without CUDA" not in screen


def test_driver_that_crashes(stub_driver, tmp_path, collect):
    env = stub_driver()
    build_library(tmp_path / "libcuda.so.1",
                  "#include <stdlib.h>\nint cuDriverGetVersion(int *v) { abort(); }")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_LIBRARY_PATH", env["LD_LIBRARY_PATH"])
        failure = diagnostics.ask_child("probe_driver")
    assert failure == {"failure": "the process was ended by SIGABRT"}
    screen = collect(driver=failure)[1]
    assert ("note: the NVIDIA driver does not respond: the process was ended by SIGABRT fix: "
            "check that nvidia-smi works; reinstall the driver Training can start") in screen
