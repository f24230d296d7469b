"""`train --precision bfloat16`."""
import json

import numpy as np
from helpers.common import needs_bfloat16
from helpers.small import SMALL, final

from dcgan_mx.system.runtime import mx
from tools.common import read_numbers

BFLOAT16 = ("--precision", "bfloat16")


@needs_bfloat16
def test_a_run_has_the_files_of_float32(succeed, train, tmp_path):
    """MXNet and the other commands read them."""
    runs = {}
    for name in ("float32", "bfloat16"):
        train(*SMALL, "--max-steps", 2, "--precision", name, "--ema-decay", 0.9, "--run-dir",
              tmp_path / name)
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
    succeed("sample", run_dir, "--out", tmp_path / "images.png", "--num-images", 4)
    succeed("report", run_dir)


@needs_bfloat16
def test_precision_changes_only_with_override(call, succeed, train, one_line_error, tmp_path):
    run_dir = tmp_path / "run"
    train(*SMALL, "--max-steps", 1, "--run-dir", run_dir)
    resume = ("train", "--resume", "--run-dir", run_dir)
    one_line_error(call(*resume, *BFLOAT16, "--max-steps", 2),
                   "bfloat16", "float32", "--override precision")
    for steps, (old, new) in ((2, ("float32", "bfloat16")), (3, ("bfloat16", "float32"))):
        done = succeed(*resume, "--precision", new, "--override", "precision", "--max-steps", steps)
        assert any(old in line and new in line for line in done.stderr.splitlines())
    assert [line["step"] for line in read_numbers(run_dir)] == [3]
