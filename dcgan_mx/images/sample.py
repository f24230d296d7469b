"""A checkpoint's generator, to make images with."""
from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from ..machine.files import StrPath
from ..machine.memory import require_memory
from ..machine.runtime import first_line, mx, set_parameters
from ..runs import checkpoint
from ..runs.pretrained import PREFIX, is_pretrained, read_pretrained, require_run
from ..symbols import make_dcgan_sym
from .latent import make_latents
from .statistics import measure_statistics
from .symbol_file import load_symbol

_MEND = "give another checkpoint, RUN/checkpoints/step-..."


class SampleError(ValueError):
    """There is no generator to sample from, or not in this way."""


@contextlib.contextmanager
def belonging_together() -> Iterator[None]:
    """Turn whatever MXNet says of parameters and a network into one line."""
    try:
        yield
    except (mx.base.MXNetError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise SampleError("these are not the parameters of this network "
                          f"({first_line(error)}): give a checkpoint that dcgan-mx train "
                          "wrote") from None


class Generator:
    """A generator that makes images and learns no more.

    Parameters
    ----------
    symG : mx.sym.Symbol
        As `make_dcgan_sym` returns it.
    params : float32
        Under arg:NAME and aux:NAME, as `module_state.get_parameters` returns them.
    ctx : mx.Context
        MXNet's current context if left out.
    bn : 'moving' or 'batch'
        BatchNorm takes mean and variance from the training, so that an image depends on its latent
        vector alone; or from the batch it is made in, as during the training.
    batch_size : at least 1
        Images at once. With 'batch', the first vectors of seed 0 fill up what is missing.

    Attributes
    ----------
    nz : int
        Length of a latent vector.
    averaged : bool
        Whether the weights are averages over a training.

    Raises
    ------
    SampleError
        If parameters and network do not belong together.
    """

    def __init__(self, symG: Any, params: dict[str, np.ndarray], ctx: Any = None,
                 bn: str = "moving", batch_size: int = 64) -> None:
        if bn not in ("moving", "batch"):
            raise SampleError(f"bn is {bn!r}: give 'moving' or 'batch'")
        with belonging_together():
            self.nz = params["arg:g1_weight"].shape[0]
            self._shape = (batch_size, self.nz, 1, 1)
            self._mod = mx.mod.Module(symG, data_names=("rand",), label_names=None,
                                      context=ctx or mx.current_context())
            self._mod.bind(data_shapes=[("rand", self._shape)], for_training=False)
            self.set_params(params)
        self._is_train = bn == "batch"
        self.averaged = False

    @property
    def symbol(self) -> Any:
        """The network, mx.sym.Symbol."""
        return self._mod.symbol

    def get_params(self) -> dict[str, np.ndarray]:
        """Return the parameters that images are made with, in the form of `params` above."""
        return {f"{kind}:{name}": array.asnumpy()
                for kind, arrays in zip(("arg", "aux"), self._mod.get_params())
                for name, array in arrays.items()}

    def set_params(self, params: dict[str, np.ndarray]) -> None:
        """Take other parameters of the same network, in the form of `params` above."""
        set_parameters(self._mod, params)

    def find_shape(self) -> dict[str, int]:
        """Return `size`, `nc`, `nz` and `ngf`, as `make_dcgan_sym` takes them."""
        weights = [array for name, array in sorted(self.get_params().items())
                   if re.fullmatch("arg:g[0-9]_weight", name)]
        with belonging_together():
            ngf, nc = weights[-1].shape[:2]
        return {"size": 2 ** (len(weights) + 1), "nc": nc, "nz": self.nz, "ngf": ngf}

    def generate(self, z: np.ndarray) -> np.ndarray:
        """Make an image of each latent vector.

        Parameters
        ----------
        z : (N, nz), float32
            N at least 1.

        Returns
        -------
        (N, C, H, W), float32
            In [-1, 1].

        Raises
        ------
        SampleError
            If `z` has another shape.
        ValueError
            If the images cannot fit into memory.
        """
        if z.ndim != 2 or z.shape[1] != self.nz or not len(z):
            raise SampleError(f"z has shape {z.shape}: give (N, {self.nz}) with N = 1 or more")
        shape = (len(z), *self._mod.output_shapes[0][1][1:])
        require_memory(f"z has {len(z)} vectors, and an image of each", 4 * math.prod(shape),
                       "give fewer at once")
        images = np.empty(shape, np.float32)
        size = self._shape[0]
        filler = make_latents(size, self.nz, 0)
        for start in range(0, len(z), size):
            part = z[start:start + size]
            rand = mx.nd.array(np.concatenate([part, filler[len(part):]]).reshape(self._shape))
            self._mod.forward(mx.io.DataBatch([rand], []), is_train=self._is_train)
            images[start:start + size] = self._mod.get_outputs()[0].asnumpy()[:len(part)]
        return images


def make_generator(symG: Any, params: dict[str, np.ndarray], average: dict[str, np.ndarray],
                   ctx: Any = None, bn: str = "moving", batch_size: int = 64) -> Generator:
    """Make a generator of averaged weights, or of the last ones where `average` is empty.

    Parameters
    ----------
    symG, params, ctx, bn, batch_size
        As `Generator` takes them.
    average : float32
        Under arg:NAME.
    """
    params = {**params, **average}
    generator = Generator(symG, params, ctx, bn, batch_size)
    if average:
        with belonging_together():
            generator.set_params({**params, **measure_statistics(symG, params, ctx)})
        generator.averaged = True
    return generator


def load_generator(path: StrPath, ctx: Any = None, bn: str = "moving", batch_size: int = 64,
                   weights: str | None = None) -> tuple[Generator, int]:
    """Load the generator of a checkpoint, or one that comes with the package.

    Parameters
    ----------
    path
        A checkpoint's folder, of which only G's files and state.json are looked at; or a run
        directory, whose newest checkpoint is taken; or `pretrained:NAME`.
    ctx, bn, batch_size
        As `Generator` takes them.
    weights : 'ema' or 'raw'
        Those that were averaged over the training, or the last ones; if left out, averaged ones
        where there are any. The package has one kind of each generator.

    Returns
    -------
    generator
    step
        Of the checkpoint.

    Raises
    ------
    SampleError
        If there is no checkpoint, or it is damaged, or it has no such weights.
    PretrainedError
        If there is no such generator in the package, or it is damaged.
    """
    if is_pretrained(path):
        return _open_box(path, ctx, bn, batch_size, weights)
    path = find_checkpoint(path)
    symG, params, document = load_network(path, "G")
    try:
        average = {} if weights == "raw" else checkpoint.load_average(path)
    except checkpoint.CheckpointError as error:
        raise SampleError(f"{error}: {_MEND}") from None
    if weights == "ema" and not average:
        raise SampleError(f"--weights ema: {path} has no averaged weights: give raw, or train with "
                          "--ema")
    if document["latent"] != checkpoint.LATENT:
        raise SampleError(f"{path}: its latent vectors are {document['latent']!r}, which this "
                          f"version cannot draw: give one of {checkpoint.LATENT!r} ones")
    return make_generator(symG, params, average, ctx, bn, batch_size), document["step"]


def load_network(path: StrPath, network: str) -> tuple[Any, dict[str, np.ndarray], dict[str, Any]]:
    """Load one network of a checkpoint.

    Parameters
    ----------
    path
        As `load_generator` takes it.
    network : 'G' or 'D'

    Returns
    -------
    symbol : mx.sym.Symbol
    params : float32
        Under arg:NAME and aux:NAME: the last ones, and their moving statistics.
    document
        The content of state.json.

    Raises
    ------
    SampleError
        If there is no checkpoint, or it is damaged, or lacks the network.
    """
    path = find_checkpoint(path)
    try:
        text, params, document = checkpoint.load_network(path, network)
    except checkpoint.CheckpointError as error:
        raise SampleError(f"{error}: {_MEND}") from None
    try:
        return load_symbol(text), params, document
    except ValueError as error:
        raise SampleError(f"{path / f'{network}-symbol.json'} {error}: {_MEND}") from None


def load_pretrained(name: str, ctx: Any = None, bn: str = "moving", batch_size: int = 64
                    ) -> Generator:
    """Load a generator that comes with the package.

    Parameters
    ----------
    name
        Such as 'mnist': digits.
    ctx, bn, batch_size
        As `Generator` takes them.

    Raises
    ------
    PretrainedError
        If there is no such generator, or its files are damaged.
    """
    return load_generator(PREFIX + name, ctx, bn, batch_size)[0]


def _open_box(source: StrPath, ctx: Any, bn: str, batch_size: int, weights: str | None
              ) -> tuple[Generator, int]:
    facts, params = read_pretrained(source)
    if weights not in (None, facts["weights"]):
        raise SampleError(f"--weights {weights}: {source} has {facts['weights']} weights alone: "
                          "leave it out")
    symG, _ = make_dcgan_sym(facts["ngf"], 1, facts["nc"], size=facts["size"])
    generator = Generator(symG, params, ctx, bn, batch_size)
    generator.averaged = facts["weights"] == "ema"
    return generator, facts["step"]


def find_checkpoint(path: StrPath) -> Path:
    """Return the checkpoint's folder that is meant: `path`, or the newest one of that run.

    Raises
    ------
    SampleError
        If there is none.
    PretrainedError
        If `path` is a generator of the box.
    """
    require_run(path)
    path = Path(path)
    if not path.is_dir():
        raise SampleError(f"{path} is no folder: give a checkpoint's, RUN/checkpoints/step-..., or "
                          "a run directory")
    if not (path / checkpoint.STATE).exists():
        folders = checkpoint.list(path)
        if not folders:
            raise SampleError(f"{path} is no checkpoint, and has none: give another folder, or "
                              "train longer")
        path = folders[-1]
    return path
