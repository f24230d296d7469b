"""Distributed training with real processes, started by `dcgan-mx launch`."""
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.common import ROOT, needs_bfloat16
from helpers.processes import find_processes, make_env, start_job, wait_until
from helpers.small import PHOTOS

from dcgan_mx.data import recordio
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint import PARAMS
from dcgan_mx.runs.checkpoint_files import REPLICAS, STATE
from tools.common import read_numbers


def start(*command, **variables):
    """Start a job with two workers and a server."""
    return start_job(["-n", 2, "-s", 1], [sys.executable, *command], make_env(**variables))


def run(*command, **variables):
    """Run a job; return the completed launcher."""
    launcher = start(*command, **variables)
    output, errors = launcher.communicate(timeout=300)
    return subprocess.CompletedProcess(command, launcher.returncode, output, errors)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The folder with the results of tests/helpers/worker.py."""
    folder = tmp_path_factory.mktemp("job")
    done = run(ROOT / "tests" / "helpers" / "worker.py", folder)
    assert done.returncode == 0, done.stderr
    return folder


def check_two_contexts(folder):
    """Ten steps of two batches of 32 equal one context pair; both workers are bit-identical.

    The workers' seeds differ, so that the weights would differ if they were not broadcast.
    """
    first, second, contexts = (dict(np.load(folder / f"{name}.npz"))
                               for name in ("worker-0", "worker-1", "contexts"))
    assert first.keys() == second.keys() == contexts.keys()
    for name, array in contexts.items():
        np.testing.assert_allclose(first[name], array, rtol=0, atol=1e-6)
        assert first[name].tobytes() == second[name].tobytes()


def test_two_workers_equal_two_contexts(job):
    check_two_contexts(job)


@pytest.mark.slow
@needs_bfloat16
def test_two_workers_equal_two_contexts_in_bfloat16(tmp_path):
    done = run(ROOT / "tests" / "helpers" / "worker.py", tmp_path, "bfloat16")
    assert done.returncode == 0, done.stderr
    check_two_contexts(tmp_path)


def test_collectives_between_workers(job):
    for rank in (0, 1):
        results = dict(np.load(job / f"results-{rank}.npz"))
        values = np.array([[0.0, -0.0, 1e-45, 3.4e38, own] for own in (0, 1)], np.float32)
        assert results["gathered"].tobytes() == values.tobytes()
        assert results["shared"].tobytes() == (-values[0]).tobytes()
        np.testing.assert_array_equal(results["long"], np.arange(2**20 + 3))
        assert results["texts"].tolist() == ["é", "é" * 10]
        assert results["any"] and not results["none"]
        different, other_flags = str(results["different"]), str(results["other_flags"])
        assert different.startswith("data: worker 1 has 1 left, worker 0 0 left" if rank else "")
        assert other_flags.startswith("flags: worker 1 has {" if rank else "")
        assert bool(different) == bool(other_flags) == (rank == 1)
        assert str(results["resumed"]).startswith("run_dir: elsewhere exists on another worker's")
        assert str(results["divergence"]) == "step 21: " + (
            "aux:gbn1_moving_mean of G is not finite: use a lower learning rate" if rank else
            "a number of another worker is not finite: use a lower learning rate")
        averages = [results[name] for name in results if name.startswith("average ")]
        assert len(averages) == 3
        for average, expected in averages:  # over the images of both
            assert average == pytest.approx(expected, abs=1e-5)


def test_workers_with_different_hooks_stop_and_save_together(job):
    assert [str(np.load(job / f"results-{rank}.npz")["failure"]) for rank in (0, 1)] == [
        "no paper", ""]
    assert [path.name for path in checkpoint.list_checkpoints(job)] == ["step-00000021"]
    checkpoint.verify(checkpoint.list_checkpoints(job)[0])


TRAIN = [ROOT / "scripts" / "train.py", "--dataset", "synthetic", "--size", 16, "--ngf", 4,
         "--ndf", 4, "--batch-size", 32, "--disp-batches", 5, "--checkpoint-steps", 10]
EPOCH = 2048 // (2 * 32)  # steps of two workers


def read_run(run_dir):
    folder = checkpoint.list_checkpoints(run_dir)[-1]
    return [(folder / name).read_bytes() for name in (*PARAMS, REPLICAS, STATE)]


def newest_step(run_dir):
    return max(map(checkpoint.step_of, checkpoint.list_checkpoints(run_dir)), default=0)


def test_resumed_job_is_bit_identical(tmp_path, call):
    """After SIGTERM, after the death of a worker, and with a worker that pauses."""
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    for number in (signal.SIGTERM, signal.SIGKILL):
        before = newest_step(pieces)
        process = start(*TRAIN, "--max-steps", 10**6, "--run-dir", pieces, "--resume")
        wait_until(lambda before=before: newest_step(pieces) > before, process)
        worker = find_processes(pieces, "worker")[-1]
        os.kill(worker, signal.SIGSTOP)
        time.sleep(1)  # any pause is tolerated
        assert process.poll() is None
        os.kill(worker, signal.SIGCONT)
        if number == signal.SIGTERM:
            process.send_signal(number)
        else:
            os.kill(worker, number)
        output, errors = process.communicate(timeout=300)
        if number == signal.SIGTERM:
            assert process.returncode == 143 and "stopped after step" in output
            assert re.search(fr"to resume: \S*dcgan-mx launch --num-workers 2 --num-servers 1 -- "
                             fr"\S*python {TRAIN[0]} --resume --run-dir {pieces}\n", output)
        else:
            assert process.returncode == 1
            message, = re.findall("error: .*", errors)
            assert re.search("worker [01] .*killed by SIGKILL", message)
        assert find_processes(pieces) == []
    config = json.loads((pieces / "config.json").read_text())
    config["flags"]["show"] = True
    (pieces / "config.json").write_text(json.dumps(config))
    steps = (newest_step(pieces) // EPOCH + 1) * EPOCH + 10  # in another epoch
    resumed, done = (run(*TRAIN, "--max-steps", steps, "--run-dir", run_dir, "--resume")
                     for run_dir in (pieces, whole))
    assert resumed.returncode == done.returncode == 0, (resumed.stderr, done.stderr)
    # by the first worker only
    assert resumed.stderr.count("warning: --show: matplotlib cannot open a window here") == 1
    assert f"resuming from {pieces}" in resumed.stdout
    assert read_run(whole) == read_run(pieces)
    assert read_numbers(whole) == read_numbers(pieces)

    alone = call("train", "--resume", "--run-dir", pieces, "--kv-store", "local",
                   "--max-steps", steps + 2)
    assert alone.returncode == 0
    assert ("warning: --resume: workers x devices changed from 2 x 1 to 1 x 1: BatchNorm sees "
            "other parts") in alone.stderr
    assert "the epoch restarts" in alone.stderr
    assert newest_step(pieces) == steps + 2
    assert not (checkpoint.list_checkpoints(pieces)[-1] / REPLICAS).exists()


def test_job_saves_before_it_fails_on_damaged_images(photo_rec, tmp_path):
    """Damaged are the last 101 of 381 images; the first worker that reads one stops both."""
    rec, run_dir, temporary = (tmp_path / name for name in ("a.rec", "run", "tmp"))
    temporary.mkdir()
    rec.write_bytes(photo_rec.read_bytes()
                    + b"".join(recordio.encode_record(b"damaged", n) for n in range(101)))
    done = run(ROOT / "scripts" / "train.py", "--dataset", "imagenet", "--data-path", rec, *PHOTOS,
               "--batch-size", 4, "--seed", 4, "--run-dir", run_dir, TMPDIR=str(temporary))
    assert done.returncode == 1 and os.listdir(temporary) == []
    first, last = re.findall("error: .*", done.stderr)
    assert first.startswith(f"error: {rec}: 100 images in a row cannot be read")
    assert re.match(r"error: worker [01] .* ended with status 2: see its message above", last)
    folder, = checkpoint.list_checkpoints(run_dir)
    step = int(folder.name[5:])
    assert f"; saved in {folder}\n" in done.stdout
    assert step == read_numbers(run_dir)[-1]["step"] and step > 1
    assert (run_dir / "grids" / f"gout-{step:08d}.png").exists()
    assert (run_dir / "report.html").exists()
