"""The two networks of the DCGAN paper as MXNet symbols, with the names of MXNet's example."""
from __future__ import annotations

from numbers import Integral
from typing import Any

from .system.errors import ArgumentError
from .system.runtime import mx

SIZES = (16, 32, 64, 128, 256)
# Doubles height and width in a deconvolution, and halves them in a convolution.
DOUBLE = {"kernel": (4, 4), "stride": (2, 2), "pad": (1, 1)}


def make_dcgan_sym(ngf: int, ndf: int, nc: int, no_bias: bool = True, fix_gamma: bool = True,
                   eps: float = 1e-5 + 1e-12, size: int = 64) -> tuple[Any, Any]:
    """Make the generator and the discriminator of the DCGAN paper.

    Source: Radford, Metz and Chintala, arXiv:1511.06434, section 3, as built by MXNet 1.0.0,
    example/gan/dcgan.py.

    Parameters
    ----------
    ngf, ndf : at least 1
        Channels of the generator's last and of the discriminator's first hidden layer.
    nc : 1 or 3
        Channels of an image.
    no_bias
        Omit the biases of all convolutions and deconvolutions.
    fix_gamma
        Fix the scale of every BatchNorm at 1.
    eps
        Added to the variance in BatchNorm; cuDNN requires more than 1e-5.
    size : 16, 32, 64, 128 or 256
        Height and width of an image in pixels. At 64 the graph is the reference's, name for name;
        other sizes have fewer or more stages, none wider than 8 * ngf or 8 * ndf.

    Returns
    -------
    symG : mx.sym.Symbol
        From `rand` (N, nz, 1, 1) to images (N, nc, size, size) in [-1, 1].
    symD : mx.sym.Symbol
        From `data` (N, nc, size, size) and `label` (N,) to the probability (N, 1) that an image
        is real. Its gradient is that of the summed cross-entropy against `label`.

    Raises
    ------
    ArgumentError
        If `ngf`, `ndf`, `nc` or `size` is invalid.
    """
    for name, value, valid, expected in (
            ("ngf", ngf, isinstance(ngf, Integral) and ngf >= 1, "1 or more channels"),
            ("ndf", ndf, isinstance(ndf, Integral) and ndf >= 1, "1 or more channels"),
            ("nc", nc, nc in (1, 3), "1 (gray) or 3 (RGB)"),
            ("size", size, size in SIZES, f"one of {', '.join(map(str, SIZES))}")):
        if not valid:
            raise ArgumentError(name, f"invalid value {value!r}: expected {expected}")
    ngf, ndf, nc, size = map(int, (ngf, ndf, nc, size))  # of NumPy, perhaps
    bn = {"fix_gamma": fix_gamma, "eps": eps}
    with mx.name.NameManager():  # numbers unnamed layers from 0 in every call
        return _generator(ngf, nc, no_bias, bn, size), _discriminator(ndf, nc, no_bias, bn, size)


def _widths(size: int) -> list[int]:
    """Return the channels, in multiples of ngf or ndf, of the 4x4 to the size/2 x size/2 stage."""
    stages = size.bit_length() - 3
    return [min(8, 2 ** (stages - 1 - i)) for i in range(stages)]


def _generator(ngf: int, nc: int, no_bias: bool, bn: dict[str, Any], size: int) -> Any:
    # (N, nz, 1, 1)
    x = mx.sym.Variable("rand")
    for i, width in enumerate(_widths(size), 1):
        # 1 -> 4 pixels first, doubled in every further stage
        x = mx.sym.Deconvolution(x, name=f"g{i}", num_filter=ngf * width, no_bias=no_bias,
                                 **({"kernel": (4, 4)} if i == 1 else DOUBLE))
        x = mx.sym.BatchNorm(x, name=f"gbn{i}", **bn)
        x = mx.sym.Activation(x, name=f"gact{i}", act_type="relu")
    # (N, ngf, size/2, size/2)
    name = f"g{i + 1}"
    x = (_deconv_one_channel(x, name, ngf, no_bias, size) if nc == 1 else
         mx.sym.Deconvolution(x, name=name, num_filter=nc, no_bias=no_bias, **DOUBLE))
    # (N, nc, size, size)
    return mx.sym.Activation(x, name=f"gact{i + 1}", act_type="tanh")


def _deconv_one_channel(x: Any, name: str, ngf: int, no_bias: bool, size: int) -> Any:
    """Deconvolve to one channel by the definition: the kernel times each pixel, then col2im."""
    # On a CPU, MXNet 1.9.1 has no data gradient of a Deconvolution to one channel ("could not
    # create a primitive descriptor for a reorder primitive"). A second channel of a computed
    # weight does not help: it corrupts the memory that the executor shares between gradients.
    weight = mx.sym.Variable(f"{name}_weight", shape=(ngf, 1, 4, 4))
    pixels = mx.sym.reshape(x, (0, 0, -1))
    kernels = mx.sym.broadcast_like(mx.sym.reshape(weight, (1, ngf, 16)), pixels, lhs_axes=(0,),
                                    rhs_axes=(0,))
    columns = mx.sym.linalg_gemm2(kernels, pixels, transpose_a=True, name=f"{name}_columns")
    # (N, 16, size/2 * size/2)
    x = mx.sym.col2im(columns, output_size=(size, size), name=name, **DOUBLE)
    if no_bias:
        return x
    bias = mx.sym.Variable(f"{name}_bias", shape=(1,))
    return mx.sym.broadcast_add(x, mx.sym.reshape(bias, (1, 1, 1, 1)), name=f"{name}_add")


def _discriminator(ndf: int, nc: int, no_bias: bool, bn: dict[str, Any], size: int) -> Any:
    # (N, nc, size, size)
    x = mx.sym.Variable("data")
    for i, width in enumerate(reversed(_widths(size)), 1):
        # halved in every stage, down to 4 x 4
        x = mx.sym.Convolution(x, name=f"d{i}", num_filter=ndf * width, no_bias=no_bias, **DOUBLE)
        if i > 1:
            x = mx.sym.BatchNorm(x, name=f"dbn{i}", **bn)
        x = mx.sym.LeakyReLU(x, name=f"dact{i}", act_type="leaky", slope=0.2)
    x = mx.sym.Convolution(x, name=f"d{i + 1}", kernel=(4, 4), num_filter=1, no_bias=no_bias)
    # (N, 1, 1, 1)
    x = mx.sym.Flatten(x, name="flatten0")
    return mx.sym.LogisticRegressionOutput(x, mx.sym.Variable("label"), name="dloss")
