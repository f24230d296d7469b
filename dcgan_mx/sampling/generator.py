"""The networks of a checkpoint, and the generator that makes images with one of them."""
from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from ..runs import checkpoint
from ..symbols import make_dcgan_sym
from ..system.files import StrPath, parse_json
from ..system.memory import check_memory
from ..system.runtime import first_line, mx, set_parameters
from .bn_calibration import measure_statistics
from .latent import make_latents
from .pretrained import PREFIX, check_run_dir, is_pretrained, read_pretrained

_HINT = "give another checkpoint, RUN/checkpoints/step-..."


class Generator:
    """A trained generator.

    Parameters
    ----------
    symG : mx.sym.Symbol
        As `make_dcgan_sym` returns it.
    params : float32
        Under arg:NAME and aux:NAME, as `module_state.get_parameters` returns them.
    ctx : mx.Context
        MXNet's current context if left out.
    bn : 'moving' or 'batch'
        Whether BatchNorm normalizes by the moving statistics of the training, so that an image
        depends on its latent vector alone, or by those of each batch, as during the training.
    batch_size : at least 1
        Images in a batch. The first vectors of seed 0 fill up an incomplete one.

    Attributes
    ----------
    nz : int
        Length of a latent vector.
    averaged : bool
        Whether the weights are averages over a training.

    Raises
    ------
    ValueError
        If the parameters are not those of the network.
    """

    def __init__(self, symG: Any, params: dict[str, np.ndarray], ctx: Any = None,
                 bn: str = "moving", batch_size: int = 64) -> None:
        if bn not in ("moving", "batch"):
            raise ValueError(f"bn is {bn!r}: give 'moving' or 'batch'")
        self.nz: int = max((1, *params.get("arg:g1_weight", np.empty(0)).shape[:1]))
        self.averaged, self._is_train = False, bn == "batch"
        self._shape = (batch_size, self.nz, 1, 1)
        check_params(symG, params, rand=self._shape)
        self._mod = mx.mod.Module(symG, data_names=("rand",), label_names=None,
                                  context=ctx or mx.current_context())
        self._mod.bind(data_shapes=[("rand", self._shape)], for_training=False)
        self.set_params(params)

    @property
    def symbol(self) -> Any:
        """The network, mx.sym.Symbol."""
        return self._mod.symbol

    def get_params(self) -> dict[str, np.ndarray]:
        """Return the parameters, in the form of `params` above."""
        return {f"{kind}:{name}": array.asnumpy()
                for kind, arrays in zip(("arg", "aux"), self._mod.get_params())
                for name, array in arrays.items()}

    def set_params(self, params: dict[str, np.ndarray]) -> None:
        """Take other parameters of the same network, in the form of `params` above."""
        set_parameters(self._mod, params)

    def find_shape(self) -> dict[str, int]:
        """Return `size`, `nc`, `nz` and `ngf`, as `make_dcgan_sym` takes them."""
        weights = _list_weights(self.get_params())
        ngf, nc = weights[-1].shape[:2]
        return {"size": 1 << len(weights) + 1, "nc": nc, "nz": self.nz, "ngf": ngf}

    def generate(self, z: np.ndarray) -> np.ndarray:
        """Make an image of each latent vector: z, (N, nz), to (N, C, H, W), float32, in [-1, 1]."""
        if z.ndim != 2 or z.shape[1] != self.nz or not len(z):
            raise ValueError(f"z has shape {z.shape}: give (N, {self.nz}) with N = 1 or more")
        shape = (len(z), *self._mod.output_shapes[0][1][1:])
        check_memory(f"z has {len(z)} vectors, and an image of each", 4 * math.prod(shape),
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
    """Make a generator of averaged weights (arg:NAME), or, if there are none, of `params`."""
    params = {**params, **average}
    generator = Generator(symG, params, ctx, bn, batch_size)
    if average:
        generator.set_params({**params, **measure_statistics(symG, params, ctx)})
        generator.averaged = True
    return generator


def load_generator(path: StrPath, ctx: Any = None, bn: str = "moving", batch_size: int = 64,
                   weights: str | None = None) -> tuple[Generator, int]:
    """Load the generator of a checkpoint, or one that comes with the package.

    Parameters
    ----------
    path
        A checkpoint's folder, of which only G's files and state.json are read; or a run directory,
        whose newest checkpoint is taken; or `pretrained:NAME`.
    ctx, bn, batch_size
        As `Generator` takes them.
    weights : 'ema' or 'raw'
        The averaged weights, or the last ones; by default the averaged ones where there are any.

    Returns
    -------
    The generator, and the step of the checkpoint.

    Raises
    ------
    ValueError
        If there is no such generator, it is damaged, or it has no such weights.
    """
    if is_pretrained(path):
        facts, params = read_pretrained(path)
        if weights not in (None, facts["weights"]):
            raise ValueError(f"--weights {weights}: {path} has {facts['weights']} weights alone: "
                             "leave it out")
        symG, _ = make_dcgan_sym(facts["ngf"], 1, facts["nc"], size=facts["size"])
        generator = Generator(symG, params, ctx, bn, batch_size)
        generator.averaged = facts["weights"] == "ema"
        return generator, facts["step"]
    path = find_checkpoint(path)
    symG, params, document = load_network(path, "G")
    try:
        average = {} if weights == "raw" else checkpoint.load_average(path)
    except checkpoint.CheckpointError as error:
        raise ValueError(f"{error}: {_HINT}") from None
    if weights == "ema" and not average:
        raise ValueError(f"--weights ema: {path} has no averaged weights: give raw, or train with "
                         "--ema-decay")
    if document["latent"] != checkpoint.LATENT:
        raise ValueError(f"{path}: its latent vectors are {document['latent']!r}, which this "
                         f"version cannot draw: give one of {checkpoint.LATENT!r} ones")
    return make_generator(symG, params, average, ctx, bn, batch_size), document["step"]


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
    ValueError
        If there is no such generator, or its files are damaged.
    """
    return load_generator(PREFIX + name, ctx, bn, batch_size)[0]


def load_network(path: StrPath, network: str) -> tuple[Any, dict[str, np.ndarray], dict[str, Any]]:
    """Load G or D of a checkpoint, or of a run's newest one: symbol, parameters, state.json."""
    path = find_checkpoint(path)
    try:
        text, params, document = checkpoint.load_network(path, network)
    except checkpoint.CheckpointError as error:
        raise ValueError(f"{error}: {_HINT}") from None
    try:
        symbol, inputs = _rebuild(text, params, network)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError,
            mx.base.MXNetError):
        raise ValueError(f"{path / f'{network}-symbol.json'} is not a network of make_dcgan_sym "
                         f"with the parameters beside it: {_HINT}") from None
    check_params(symbol, params, **inputs)
    return symbol, params, document


def _rebuild(text: str, params: Mapping[str, np.ndarray], network: str
             ) -> tuple[Any, dict[str, Any]]:
    """Make the network that a checkpoint's files describe, and the shape of its input.

    The file's graph is compared with it and never run: MXNet believes the numbers in a graph, and
    some of its operators read or write wherever these lead.
    """
    graph, weights = parse_json(text.encode()), _list_weights(params)
    norm = [node["attrs"] for node in graph["nodes"] if node["op"] == "BatchNorm"][0]
    size, nz = 1 << len(weights) + 1, weights[0].shape[0]
    width, nc = (weights[-1] if network == "G" else weights[0]).shape[:2]
    symG, symD = make_dcgan_sym(width, width, nc, f"arg:{network.lower()}1_bias" not in params,
                                norm["fix_gamma"] == "True", float(norm["eps"]), size)
    symbol = symG if network == "G" else symD
    if not nz or parse_json(symbol.tojson().encode()) != graph:
        raise ValueError
    inputs = {"rand": (1, nz, 1, 1)} if network == "G" else {"data": (1, nc, size, size)}
    return symbol, inputs


def check_params(symbol: Any, params: Mapping[str, np.ndarray], **inputs: tuple[int, ...]) -> None:
    """Raise ValueError unless parameters have the names and shapes that a network needs."""
    try:
        args, _, aux = symbol.infer_shape(**inputs)
    except mx.base.MXNetError as error:
        raise ValueError(f"inputs of shape {inputs} do not fit this network ({first_line(error)})"
                         ) from None
    needed = {**{f"arg:{name}": shape for name, shape in zip(symbol.list_arguments(), args)
                 if name not in (*inputs, "label")},
              **{f"aux:{name}": shape for name, shape in zip(symbol.list_auxiliary_states(), aux)}}
    found = {name: array.shape for name, array in params.items()}
    for name in sorted({*needed, *found}):
        if found.get(name) != needed.get(name):
            raise ValueError("these are not the parameters of this network: the shape of "
                             f"{name} is {found.get(name)}, expected {needed.get(name)}: {_HINT}")


def _list_weights(params: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return the weights of all layers: n of them make images of 2^(n + 1) pixels a side."""
    return [array for name, array in sorted(params.items())
            if re.fullmatch("arg:[gd][0-9]_weight", name)]


def find_checkpoint(path: StrPath) -> Path:
    """Return a checkpoint's folder: `path`, or the newest one of that run."""
    check_run_dir(path)
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{path} is no folder: give a checkpoint's, RUN/checkpoints/step-..., or "
                         "a run directory")
    if not (path / checkpoint.STATE).exists():
        folders = checkpoint.list_checkpoints(path)
        if not folders:
            raise ValueError(f"{path} is no checkpoint, and has none: give another folder, or "
                             "train longer")
        path = folders[-1]
    return path
