"""From the text of --gpu to an MXNet context."""
import warnings

from .cuda import why_no_gpu
from .runtime import mx


def make_context(gpu=None, require_gpu=False):
    """Return the context to train on.

    Parameters
    ----------
    gpu : int, at least 0, optional
        The GPU's number; the CPU if left out.
    require_gpu : bool
        Fail where MXNet sees no GPU at all, instead of warning and taking the CPU.

    Returns
    -------
    mx.Context

    Raises
    ------
    ValueError
        If there are GPUs but not this one, or none and `require_gpu` is set.

    Warns
    -----
    RuntimeWarning
        If MXNet sees no GPU: why, and how to get one.
    """
    if gpu is None:
        if require_gpu:
            raise ValueError("--require-gpu without --gpu: say which one, as in --gpu 0")
        return mx.cpu()
    count = mx.context.num_gpus()
    if count:
        check_gpu(gpu, count)
        return mx.gpu(gpu)
    trouble = why_no_gpu(mx.runtime.Features().is_enabled("CUDA"))
    reason = f"--gpu {gpu}: MXNet sees no GPU: {trouble.problem}; {trouble.mend}"
    if require_gpu:
        raise ValueError(reason)
    warnings.warn(f"{reason}. TRAINING ON THE CPU", RuntimeWarning, stacklevel=2)
    return mx.cpu()


def check_gpu(gpu, count):
    """Raise ValueError if `count` GPUs, numbered from 0, do not include number `gpu`."""
    if not 0 <= gpu < count:
        numbers = "0" if count == 1 else f"0 to {count - 1}"
        raise ValueError(f"--gpu {gpu}: there is no such GPU: give {numbers}")
