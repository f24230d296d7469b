import os

import pytest

from dcgan_mx.device import check_gpu, make_context
from dcgan_mx.runtime import mx


def test_cpu_unless_asked():
    assert make_context() == mx.cpu()


def test_require_gpu_needs_a_number():
    with pytest.raises(ValueError, match="--require-gpu without --gpu"):
        make_context(None, require_gpu=True)


def test_no_gpu_is_one_loud_warning_or_an_error(script, one_line_error, tmp_path):
    """Where the driver is told to hide all GPUs, whatever build and machine this is."""
    reason = ("cuInit" if mx.runtime.Features().is_enabled("CUDA")
              else "build without CUDA; to get one with it, pip uninstall mxnet")
    flags = ("--dataset", "synthetic", "--gpu", 2, "--dry-run")
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = script("train.py", *flags, env=env)
    assert done.returncode == 0
    line, = done.stderr.splitlines()
    for part in ("warning: --gpu 2: MXNet sees no GPU", reason, "TRAINING ON THE CPU"):
        assert part in line
    assert '"device": "cpu(0)"' in done.stdout
    one_line_error(script("train.py", *flags, "--require-gpu", env=env),
                   "--gpu 2: MXNet sees no GPU", reason)


@pytest.mark.parametrize("gpu, count, good", [
    (0, 1, True), (3, 4, True), (1, 1, False), (3, 2, False), (-1, 2, False)])
def test_a_number_that_is_not_there(gpu, count, good):
    if good:
        check_gpu(gpu, count)
    else:
        with pytest.raises(ValueError, match=f"--gpu {gpu}: there is no such GPU: give 0"):
            check_gpu(gpu, count)
