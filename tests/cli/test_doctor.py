import json
import os
import re
import sys
import tempfile

import pytest
from helpers.common import CARDS, ROOT, build_library, run_code, write_package

from dcgan_mx.cli import diagnostics, doctor
from dcgan_mx.system.cpu import cpu_flags
from dcgan_mx.system.runtime import mx

VARIABLES = ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS")
JOB = {"DMLC_ROLE": "server", "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": "9000",
       "DMLC_NUM_WORKER": "2", "DMLC_NUM_SERVER": "1"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder, and an environment without variables of threads and jobs."""
    for name in [*VARIABLES, *(name for name in os.environ if name.startswith("DMLC_"))]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", tempfile.gettempdir())  # short, and can be written
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def collect(monkeypatch):
    """Collect diagnostics with stubs of what MXNet and the driver answer."""
    def run(driver=None, **env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        answers = {"probe_mxnet": {"gpus": 0, "threads": 2, "with_cuda": False},
                   "probe_driver": driver or {"version": None, "gpus": []}}
        monkeypatch.setattr(diagnostics, "ask_child", answers.get)
        env = diagnostics.collect_env()
        return env, " ".join(doctor.render(env).split())
    return run


def test_doctor_of_a_machine_that_can_train(succeed):
    env = json.loads(succeed("doctor", "--json").stdout)
    assert env["can_train"]
    screen = doctor.render(env)
    assert screen.splitlines()[-1] == "Training can start, on the CPU."
    assert "problem:" not in screen
    assert f"Python {sys.version.split()[0]}, mxnet {mx.__version__}, numpy" in screen
    assert "runs: " in screen and "GB free, will be created" in screen
    assert len(screen.splitlines()) < 30 and max(map(len, screen.splitlines())) <= 100
    assert {*env["processor"]["bfloat16"]} == cpu_flags()
    assert env["threads"] == {"number": env["processor"]["physical_cores"],
                              "why": "one per physical core; set OMP_NUM_THREADS to change"}


@pytest.mark.parametrize("name", VARIABLES)
def test_the_users_number_of_threads_is_shown(name, collect):
    assert collect(**{name: "5"})[0]["threads"] == {"number": 5, "why": f"you set {name}=5"}


@pytest.mark.parametrize("flags, text", [
    ([], "no AVX-512: --precision bfloat16 is not supported"),
    (["avx512f"], "AVX-512: --precision bfloat16 is not supported"),
    (["avx512f", "avx512_bf16"], "AVX-512, AVX512-BF16: --precision bfloat16 is supported")])
def test_bfloat16_support(flags, text, collect, monkeypatch):
    monkeypatch.setattr(diagnostics, "cpu_flags", lambda: {*flags})
    assert f"bfloat16 {text} threads" in collect()[1]


@pytest.mark.parametrize("env, words", [
    ({"DMLC_ROLE": "worker"}, ("DMLC_PS_ROOT_URI", "dcgan-mx launch")),
    *(({"OMP_NUM_THREADS": value}, (f"'{value}'", "unset it"))
      for value in ("abc", "0", "4,2", "9" * 30))])
def test_invalid_variables_are_problems(env, words, collect):
    found, screen = collect(**env)
    assert not found["can_train"] and 'Training cannot start until each "problem" is' in screen
    problem, = (problem for problem in found["problems"] if problem["stops"])
    assert words[0] in problem["problem"] and words[1] in problem["fix"]


@pytest.mark.parametrize("name, flag", [("runs", "--run-dir"), ("data", "--data-path")])
def test_unwritable_folder(name, flag, collect, here):
    """Not even root can write to /proc."""
    (here / name).symlink_to("/proc/self/fdinfo")
    env, screen = collect()
    assert not env["can_train"]
    assert re.search(rf"problem: the folder {name} is not writable \(.* at .*\) fix: .* choose "
                     rf"another folder with {flag} ", screen)


@pytest.mark.parametrize("downloaded, stops", [(False, True), (True, False)])
def test_full_disk_stops_training_unless_data_are_there(downloaded, stops, collect, here,
                                                        monkeypatch):
    monkeypatch.setattr(diagnostics, "_MIN_FREE", float("inf"))
    (here / "data" / ("mnist" if downloaded else "")).mkdir(parents=True)
    problem = next(problem for problem in collect()[0]["problems"] if "data" in problem["problem"])
    assert re.fullmatch(r"the folder data has only \d+ MB of free space", problem["problem"])
    assert problem["stops"] == stops


def test_mxnet_that_fails_or_hangs_does_not_end_the_doctor(here, monkeypatch):
    (here / "mxnet").mkdir()
    code = here / "mxnet" / "__init__.py"
    code.write_text("raise RuntimeError('boom')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(ROOT)]))
    done = run_code("import sys; from dcgan_mx.cli.main import run; sys.exit(run('doctor', []))",
                    cwd=here, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert (f"problem: cannot load MXNet or its dependencies ({code}): RuntimeError: boom "
            "fix: pip install --no-deps mxnet==1.9.1 --force-reinstall, and check that PYTHONPATH "
            "does not contain another folder named mxnet Training cannot start"
            ) in " ".join(done.stdout.split())
    for text, timeout, failure in (
            ("import os; os.abort()", 120, "the process was ended by SIGABRT"),
            ("import sys; sys.exit(0)", 120, "the process ended without an answer"),
            ("import time; time.sleep(100)", 0.1, "no answer within 0.1 seconds")):
        code.write_text(text)
        assert diagnostics.ask_child("probe_mxnet", timeout) == {"failure": failure}


def test_modules_of_the_current_folder_are_not_imported(here):
    (here / "numpy.py").write_text("raise ImportError('of the current folder')")
    assert diagnostics.ask_child("probe_mxnet")["gpus"] == 0


def test_two_builds_of_mxnet_are_a_problem(call, tmp_path):
    for name in ("mxnet", "mxnet-cu117"):
        write_package(tmp_path, name)
    done = call("doctor", env={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])})
    assert done.returncode == 1
    assert re.search("problem: mxnet and mxnet-cu117 are both installed.* fix: pip uninstall "
                     "--yes mxnet mxnet-cu117", " ".join(done.stdout.split()))


def test_gpus_and_the_role_in_a_job_are_listed(script, stub_driver, here):
    """MXNet's CPU build detects no GPU; a CUDA build could use one of the two.

    In a server of a job, importing MXNet would never return.
    """
    done = script("dcgan_mx", "doctor", cwd=here,
                  env={**stub_driver(*CARDS), **JOB, "OMP_NUM_THREADS": "7"})
    screen = " ".join(done.stdout.split())
    assert "threads 7: you set OMP_NUM_THREADS=7 " in screen
    assert ("job DMLC_ROLE=server, DMLC_PS_ROOT_URI=127.0.0.1, DMLC_NUM_WORKER=2, "
            "DMLC_NUM_SERVER=1, DMLC_PS_ROOT_PORT=9000 data") in screen
    assert "driver NVIDIA, for CUDA 12.4 GPU 0: NVIDIA GeForce RTX 3060, sm_86, 12.0" in screen
    assert "GPU 1: NVIDIA H100, sm_90, 80.0 GiB: not usable, see below" in screen
    assert "note: MXNet detects no GPU: " in screen and "CPU build" in screen
    assert "note: GPU 1, NVIDIA H100: sm_90 is too new" in screen
    assert done.returncode == 0 and screen.endswith("Training can start, on the CPU.")


def test_other_build_is_not_recommended_for_unsupported_gpus(collect):
    name, capability, memory = CARDS[1]
    screen = collect(driver={"version": "12.4", "gpus": [[name, capability, memory]]})[1]
    assert "sm_90 is too new" in screen and "build without CUDA" not in screen


def test_driver_that_crashes(stub_driver, tmp_path, collect, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", stub_driver()["LD_LIBRARY_PATH"])
    build_library(tmp_path / "libcuda.so.1",
                  "#include <stdlib.h>\nint cuDriverGetVersion(int *v) { abort(); }")
    failure = diagnostics.ask_child("probe_driver")
    assert failure == {"failure": "the process was ended by SIGABRT"}
    screen = collect(driver=failure)[1]
    assert ("note: the NVIDIA driver does not respond: the process was ended by SIGABRT fix: "
            "check that nvidia-smi works; reinstall the driver Training can start") in screen
