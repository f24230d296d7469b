"""From the text of --gpu to an MXNet context."""
import ctypes
import warnings

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
    reason = f"--gpu {gpu}: MXNet sees no GPU: {_why_no_gpu()}"
    if require_gpu:
        raise ValueError(reason)
    warnings.warn(f"{reason}. TRAINING ON THE CPU", RuntimeWarning, stacklevel=2)
    return mx.cpu()


def check_gpu(gpu, count):
    """Raise ValueError if `count` GPUs, numbered from 0, do not include number `gpu`."""
    if not 0 <= gpu < count:
        numbers = "0" if count == 1 else f"0 to {count - 1}"
        raise ValueError(f"--gpu {gpu}: there is no such GPU: give {numbers}")


def _why_no_gpu():
    if not mx.runtime.Features().is_enabled("CUDA"):
        return ("this is MXNet's build without CUDA; to get one with it, pip uninstall mxnet and "
                "pip install mxnet-cu117==1.9.1 with the CUDA 11.7 libraries")
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1); install the driver of your card"
    status = driver.cuInit(0)
    return (f"the NVIDIA driver answers cuInit with error {status}; see that nvidia-smi lists the "
            "card, and that CUDA_VISIBLE_DEVICES does not hide it")
