"""`train --precision`."""
import json
import os
import signal

import numpy as np
import pytest
from helpers.common import needs_bfloat16, read_numbers
from helpers.small import LONG, SMALL, final, start, wait_for_log

from dcgan_mx.system import cpu
from dcgan_mx.system.runtime import mx

BFLOAT16 = ("--precision", "bfloat16")


@needs_bfloat16
def test_a_run_in_bfloat16_is_a_run(call, tmp_path):
    """Its files are those of one in float32, MXNet reads them, and so do our commands."""
    runs = {}
    for name in ("float32", "bfloat16"):
        done = call("train", *SMALL, "--max-steps", 2, "--precision", name, "--ema-decay", 0.9,
                    "--run-dir", tmp_path / name)
        assert done.returncode == 0, done.stderr
        runs[name] = final(tmp_path / name)
    run_dir, folder = tmp_path / "bfloat16", "checkpoints/step-00000002"
    assert json.loads((run_dir / "config.json").read_text())["flags"]["precision"] == "bfloat16"
    for prefix in "GD":
        symbol, params, states = mx.model.load_checkpoint(str(run_dir / folder / prefix), 0)
        assert {array.dtype for array in (*params.values(), *states.values())} == {np.float32}
        file = f"{folder}/{prefix}-symbol.json"
        assert (run_dir / file).read_bytes() == (tmp_path / "float32" / file).read_bytes()
    for name, array in runs["float32"].items():  # two updates of at most about 2e-4 each
        assert np.abs(runs["bfloat16"][name] - array).max() < 1e-3 or "moving" in name
        assert (runs["bfloat16"][name] != array).any() or "gamma" in name
    done = call("sample", run_dir, "--out", tmp_path / "images.png", "--num-images", 4)
    assert done.returncode == 0, done.stderr
    assert call("report", run_dir).returncode == 0


@needs_bfloat16
def test_a_run_changes_its_precision_where_that_is_asked_for(call, one_line_error, tmp_path):
    run_dir = tmp_path / "run"
    assert call("train", *SMALL, "--max-steps", 1, "--run-dir", run_dir).returncode == 0
    resume = ("train", "--resume", "--run-dir", run_dir)
    one_line_error(call(*resume, *BFLOAT16, "--max-steps", 2),
                   "--precision is bfloat16", "has float32", "--override precision")
    for steps, (old, new) in ((2, ("float32", "bfloat16")), (3, ("bfloat16", "float32"))):
        done = call(*resume, "--precision", new, "--override", "precision", "--max-steps", steps)
        assert done.returncode == 0, done.stderr
        assert (f"warning: --resume: the run has trained in {old}, and goes on in {new}: its "
                "parameters and moments are float32 in both\n") in done.stderr
    assert [line["step"] for line in read_numbers(run_dir)] == [3]


@needs_bfloat16
def test_killed_and_resumed_it_ends_as_if_it_was_not(tmp_path):
    """All in processes of their own: AMX is at work in all of them, or in none."""
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    flags = (*LONG, *BFLOAT16, "--checkpoint-steps", 5)
    process = start(*flags, "--run-dir", pieces)
    wait_for_log(pieces, 13)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    processes = [start(*flags, "--run-dir", whole), start("--resume", "--run-dir", pieces)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert len(os.listdir(pieces / "checkpoints")) == 12
    arrays = final(whole)
    for name, value in final(pieces).items():
        np.testing.assert_array_equal(value, arrays[name])
    assert read_numbers(pieces) == read_numbers(whole)


@pytest.mark.parametrize("text", ["", "flags : fpu avx2\n"])
def test_a_processor_without_bfloat16_is_refused(text, call, one_line_error, tmp_path,
                                                 monkeypatch):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(cpu, "_CPUINFO", str(tmp_path / "cpuinfo"))
    done = call("train", *SMALL, *BFLOAT16, "--run-dir", tmp_path / "run")
    one_line_error(done, "--precision bfloat16", "has no instructions for it", "float32")
    assert not (tmp_path / "run").exists()
