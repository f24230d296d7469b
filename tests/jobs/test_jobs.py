"""Training in jobs of several processes, as scripts/launch.py starts them."""
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import worker
from common import ROOT, needs_bfloat16, read_numbers
from small import PHOTOS

from dcgan_mx.data import records
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint import PARAMS
from dcgan_mx.runs.checkpoint_files import REPLICAS, STATE

LAUNCH = [sys.executable, str(ROOT / "scripts" / "launch.py"), "-n", "2", "-s", "1", "--",
          sys.executable]
# Importing MXNet has set it here, for one process that has the machine for itself.
ENV = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
ENV["MPLBACKEND"] = "agg"


def run(*command, **variables):
    """Run a job to its end; return the launcher."""
    return subprocess.run([*LAUNCH, *map(str, command)], capture_output=True, text=True,
                          env={**ENV, **variables}, timeout=100, check=False)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The folder in which tests/worker.py has left what two workers had, with and without."""
    folder = tmp_path_factory.mktemp("job")
    for broadcast in ("yes", "no"):
        done = run(ROOT / "tests" / "worker.py", folder, broadcast)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def two_contexts():
    """The parameters of the same training on two contexts."""
    trainer = worker.train_two_contexts()
    return worker.list_parameters(trainer), trainer.metrics.get()


def test_two_workers_are_two_contexts(job, two_contexts):
    """Batches of 32, ten steps: equal; and the workers to one another, to the bit."""
    first, second = (dict(np.load(job / f"yes-{rank}.npz")) for rank in (0, 1))
    assert first.keys() == second.keys() == two_contexts[0].keys()
    for name, array in two_contexts[0].items():
        np.testing.assert_allclose(first[name], array, rtol=0, atol=1e-6)
        assert first[name].tobytes() == second[name].tobytes()


def test_without_the_first_ones_weights_they_are_not(job, two_contexts):
    """What the test above sees if nobody sends initial weights."""
    first, second = (dict(np.load(job / f"no-{rank}.npz")) for rank in (0, 1))
    assert abs(first["g1_weight"] - second["g1_weight"]).max() > 0.01
    assert abs(second["g1_weight"] - two_contexts[0]["g1_weight"]).max() > 0.01


@pytest.mark.slow
@needs_bfloat16
def test_two_workers_are_two_contexts_in_bfloat16(tmp_path):
    done = run(ROOT / "tests" / "worker.py", tmp_path, "yes", "bfloat16")
    assert done.returncode == 0, done.stderr
    first, second, contexts = (dict(np.load(tmp_path / f"{name}.npz"))
                               for name in ("yes-0", "yes-1", "contexts-0"))
    assert first.keys() == second.keys() == contexts.keys()
    for name, array in contexts.items():
        np.testing.assert_allclose(first[name], array, rtol=0, atol=1e-6)
        assert first[name].tobytes() == second[name].tobytes()


def test_what_workers_tell_each_other(job, two_contexts):
    for rank in (0, 1):
        heard = dict(np.load(job / f"speech-{rank}.npz"))
        values = np.array([[0.0, -0.0, 1e-45, 3.4e38, own] for own in (0, 1)], np.float32)
        assert heard["gathered"].tobytes() == values.tobytes()
        assert heard["shared"].tobytes() == (-values[0]).tobytes()
        np.testing.assert_array_equal(heard["long"], np.arange(2**20 + 3))
        assert heard["texts"].tolist() == ["é", "é" * 10]
        assert heard["any"] and not heard["none"]
        assert str(heard["refusal"]).startswith("flags: worker 1 has 1 left, worker 0 0 left"
                                                if rank else "")
        assert str(heard["refusal"]).endswith("but not flags") == (rank == 0)
        assert str(heard["resumed"]).startswith("--run-dir elsewhere: is not on the first worker's")
        assert str(heard["divergence"]) == "step 21: " + (
            "aux:gbn1_moving_mean of G is no longer finite: give a lower --lr" if rank else
            "a number of another worker is no longer finite: give a lower --lr")
        for name, value in two_contexts[1].items():  # over the images of both
            assert heard[f"average {name}"] == pytest.approx(value, abs=1e-5)


def test_workers_that_differ_in_terminals_and_logs_stop_and_save_together(job):
    assert [str(np.load(job / f"speech-{rank}.npz")["trouble"]) for rank in (0, 1)] == [
        "no paper", ""]
    assert [path.name for path in checkpoint.list(job)] == ["step-00000021"]
    checkpoint.verify(checkpoint.list(job)[0])


TRAIN = [ROOT / "scripts" / "train.py", "--dataset", "synthetic", "--size", 16, "--ngf", 4,
         "--ndf", 4, "--batch-size", 8, "--disp-batches", 2, "--checkpoint-steps", 10,
         "--max-steps", 300, "--num-epochs", 5]


def read_run(run_dir):
    folder = checkpoint.list(run_dir)[-1]
    return [(folder / name).read_bytes() for name in (*PARAMS, REPLICAS, STATE)]


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


def find_workers(run_dir):
    """Process numbers of the workers that train into a run directory."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (str(run_dir).encode() in (folder / "cmdline").read_bytes()
                    and b"train.py" in (folder / "cmdline").read_bytes().split(b"\0")[1]
                    and b"DMLC_ROLE=worker" in (folder / "environ").read_bytes()):
                found.append(int(folder.name))
    return found


def test_a_job_goes_on_to_the_bit(tmp_path, call):
    """Stopped by SIGTERM, by the death of a worker, by the sleep of one: as if never stopped."""
    def start():
        return subprocess.Popen(
            [*LAUNCH, *map(str, TRAIN), "--run-dir", str(pieces), "--resume"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    done = run(*TRAIN, "--run-dir", whole)
    assert done.returncode == 0, done.stderr
    for number in (signal.SIGTERM, signal.SIGKILL):
        process, before = start(), len(checkpoint.list(pieces))
        wait_for(lambda n=before: len(checkpoint.list(pieces)) > n, process)
        if number == signal.SIGTERM:
            process.send_signal(number)
        else:
            os.kill(find_workers(pieces)[-1], number)
        output, errors = process.communicate(timeout=30)
        if number == signal.SIGTERM:
            assert process.returncode == 143 and "stopped after step" in output
            assert re.search(fr"to go on: \S*python {LAUNCH[1]} -n 2 -s 1 -- \S*python {TRAIN[0]} "
                             f"--resume --run-dir {pieces}\n", output)
        else:
            assert process.returncode == 1
            message, = re.findall("error: .*", errors)
            assert re.search("worker [01] .*killed by SIGKILL", message)
        assert find_workers(pieces) == []
    assert int(checkpoint.list(pieces)[-1].name[5:]) < 250
    config = json.loads((pieces / "config.json").read_text())
    config["flags"]["show"] = True
    (pieces / "config.json").write_text(json.dumps(config))
    process, before = start(), len(checkpoint.list(pieces))
    wait_for(lambda: len(checkpoint.list(pieces)) > before, process)
    sleeper = find_workers(pieces)[-1]
    os.kill(sleeper, signal.SIGSTOP)
    log = b""
    while (pieces / "log.jsonl").read_bytes() != log:  # until the other one waits for it
        log = (pieces / "log.jsonl").read_bytes()
        time.sleep(2)
    assert process.poll() is None
    os.kill(sleeper, signal.SIGCONT)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    # said by the first worker only, which alone would show anything
    assert errors.count("warning: --show: matplotlib can open no window here") == 1
    assert f"going on from {pieces}" in output
    assert read_run(whole) == read_run(pieces)
    assert read_numbers(whole) == read_numbers(pieces)

    alone = call("train", "--resume", "--run-dir", pieces, "--kv-store", "local",
                   "--max-steps", 302)
    assert alone.returncode == 0
    assert ("warning: --resume: workers x devices is 1 x 1, and was 2 x 1: BatchNorm sees other "
            "parts") in alone.stderr
    assert "the epoch begins anew" in alone.stderr
    assert [path.name for path in checkpoint.list(pieces)][-1] == "step-00000302"
    assert not (checkpoint.list(pieces)[-1] / REPLICAS).exists()


def test_images_that_cannot_be_read_cost_a_job_no_step(photo_rec, tmp_path):
    """The last 101 of 381: the worker that meets the first of them has all stop, and both save."""
    rec, run_dir, temporary = (tmp_path / name for name in ("a.rec", "run", "tmp"))
    temporary.mkdir()
    rec.write_bytes(photo_rec.read_bytes()
                    + b"".join(records.frame(b"damaged", n) for n in range(101)))
    done = run(ROOT / "scripts" / "train.py", "--dataset", "imagenet", "--data-path", rec, *PHOTOS,
               "--batch-size", 4, "--seed", 4, "--run-dir", run_dir, TMPDIR=str(temporary))
    assert done.returncode == 1 and os.listdir(temporary) == []
    first, last = re.findall("error: .*", done.stderr)
    assert first.startswith(f"error: {rec}: 100 images in a row cannot be read")
    assert re.match(r"error: worker [01] .* ended with status 2: see its message above", last)
    folder, = checkpoint.list(run_dir)
    step = int(folder.name[5:])
    assert f"; saved in {folder}\n" in done.stdout
    assert step == read_numbers(run_dir)[-1]["step"] and step > 1
    assert (run_dir / "grids" / f"gout-{step:08d}.png").exists()
    assert (run_dir / "report.html").exists()


def test_a_saved_job_asks_for_its_launcher(tmp_path, call, one_line_error):
    done = call("train", *TRAIN[1:], "--kv-store", "dist_sync", "--run-dir", tmp_path / "run")
    one_line_error(done, "--kv-store dist_sync", "dcgan-mx launch", "--kv-store local")
    assert not (tmp_path / "run").exists()
