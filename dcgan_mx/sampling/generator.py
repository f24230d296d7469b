"""Load the networks of a checkpoint, and generate images."""
from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ..runs import checkpoint
from ..runs.config import check_settings
from ..symbols import make_dcgan_sym
from ..system.errors import ArgumentError
from ..system.files import StrPath
from ..system.memory import check_memory
from ..system.runtime import mx, set_parameters
from .bn_calibration import measure_statistics
from .latent import make_latents
from .networks import HINT, check_params, find_files, find_shape, load_files, rebuild
from .pretrained import PREFIX, check_run_dir, is_pretrained, read_pretrained


class Generator:
    """A trained generator.

    Parameters
    ----------
    symG, params
        A network of `make_dcgan_sym`, and its float32 arrays as arg:NAME and aux:NAME.
    ctx : mx.Context
        Default: MXNet's current context.
    bn_stats : 'moving' or 'batch'
        Whether BatchNorm uses its moving statistics, so that an image depends on its latent vector
        alone, or the statistics of each batch, as in training.
    batch_size : int
        Images in a batch. An incomplete batch is padded with the last of the first
        `batch_size` latent vectors of seed 0.

    Attributes
    ----------
    symbol, nz
        The network, and the length of a latent vector.
    averaged : bool
        Whether the weights are an average over the training (EMA).

    Raises
    ------
    ValueError
        If `params` do not fit the network.
    """

    def __init__(self, symG: Any, params: dict[str, np.ndarray], ctx: Any = None,
                 bn_stats: str = "moving", batch_size: int = 64) -> None:
        if bn_stats not in ("moving", "batch"):
            raise ArgumentError("bn_stats",
                                f"invalid value {bn_stats!r}: expected 'moving' or 'batch'")
        check_settings(batch_size=batch_size)
        # At least 1, so that `check_params` can report a missing or empty weight.
        self.nz: int = max((1, *params.get("arg:g1_weight", np.empty(0)).shape[:1]))
        self.symbol, self.averaged, self._is_train = symG, False, bn_stats == "batch"
        shape = (batch_size, self.nz, 1, 1)
        check_params(symG, params, rand=shape)
        self._lock = threading.Lock()  # a Module holds the batch that it computes
        self._mod = mx.mod.Module(symG, data_names=("rand",), label_names=None,
                                  context=ctx or mx.current_context())
        self._mod.bind(data_shapes=[("rand", shape)], for_training=False)
        self.set_params(params)

    def get_params(self) -> dict[str, np.ndarray]:
        """Return the parameters, as `params` of the class."""
        return {f"{kind}:{name}": array.asnumpy()
                for kind, arrays in zip(("arg", "aux"), self._mod.get_params())
                for name, array in arrays.items()}

    def set_params(self, params: dict[str, np.ndarray]) -> None:
        """Replace the parameters by others of the same names and shapes."""
        set_parameters(self._mod, params)

    def find_shape(self) -> dict[str, int]:
        """Return `size`, `nc`, `nz` and `ngf`, as `make_dcgan_sym` takes them."""
        return find_shape(self.get_params())

    def generate(self, z: np.ndarray) -> np.ndarray:
        """Generate images, (N, C, H, W), float32, in [-1, 1], from latent vectors `z`, (N, nz).

        Raises ValueError if `z` has another shape, or the images do not fit in memory.
        """
        if z.ndim != 2 or z.shape[1] != self.nz or not len(z):
            raise ValueError(f"z has shape {z.shape}: expected (N, {self.nz}) with N at least 1")
        image_shape = self._mod.output_shapes[0][1][1:]
        check_memory(f"an image for each of {len(z)} latent vectors",
                     4 * len(z) * math.prod(image_shape), "generate fewer at once")
        shape = self._mod.data_shapes[0].shape
        filler = make_latents(shape[0], self.nz, 0).reshape(shape)
        with self._lock:
            return forward_batches(self._mod, z.reshape(-1, *shape[1:]), filler, self._is_train)[0]


def forward_batches(mod: Any, inputs: np.ndarray, filler: np.ndarray | None = None,
                    is_train: bool = False) -> list[np.ndarray]:
    """Run a bound module on (N, ...) inputs of any N; return its outputs, (N, ...) each.

    An incomplete last batch is padded with the end of `filler`, a whole batch; default: zeros.
    """
    shape = mod.data_shapes[0].shape
    filler = np.zeros(shape, np.float32) if filler is None else filler
    results = [np.empty((len(inputs), *size[1:]), np.float32) for _, size in mod.output_shapes]
    for start in range(0, len(inputs), shape[0]):
        part = inputs[start:start + shape[0]]
        batch = mx.nd.array(np.concatenate([part, filler[len(part):]]))
        mod.forward(mx.io.DataBatch([batch], []), is_train=is_train)
        for result, output in zip(results, mod.get_outputs()):
            result[start:start + len(part)] = output.asnumpy()[:len(part)]
    return results


def make_generator(symG: Any, params: dict[str, np.ndarray], average: dict[str, np.ndarray],
                   ctx: Any = None, bn_stats: str = "moving", batch_size: int = 64) -> Generator:
    """Make a generator of averaged weights (arg:NAME), or of `params` if `average` is empty."""
    params = {**params, **average}
    generator = Generator(symG, params, ctx, bn_stats, batch_size)
    if average:
        generator.set_params({**params, **measure_statistics(symG, params, ctx)})
        generator.averaged = True
    return generator


def load_generator(path: StrPath, ctx: Any = None, bn_stats: str = "moving", batch_size: int = 64,
                   weights: str | None = None) -> tuple[Generator, int | None]:
    """Load a generator; return it, and the training step of its checkpoint, if that is known.

    `path` is a checkpoint's directory, where files of D may be missing, a run directory, whose
    newest checkpoint is loaded, `pretrained:NAME`, or a model of MXNet's example, whose step is
    unknown: a .params file, or the prefix of `PREFIX-symbol.json` and `PREFIX-0001.params`.
    `weights` are 'ema' (averaged) or 'raw' (from the last step); default: averaged if the
    checkpoint has them. `Generator` describes the other arguments. Raises ValueError if there is no
    such generator, it is damaged, or it lacks these weights.
    """
    if weights not in (None, "ema", "raw"):
        raise ArgumentError("weights", f"invalid value {weights!r}: expected 'ema' or 'raw'")
    if is_pretrained(path):
        metadata, params = read_pretrained(path)
        if weights not in (None, metadata["weights"]):
            raise ArgumentError("weights", f"{path} has only {metadata['weights']} weights, not "
                                f"{weights}: omit the argument")
        symG, _ = make_dcgan_sym(metadata["ngf"], 1, metadata["nc"], size=metadata["size"])
        generator = Generator(symG, params, ctx, bn_stats, batch_size)
        generator.averaged = metadata["weights"] == "ema"
        return generator, metadata["step"]
    files = find_files(path)
    path = path if files else find_checkpoint(path)
    symG, params, state = load_network(path, "G")
    try:
        average = {} if files or weights == "raw" else checkpoint.load_average(path)
    except checkpoint.CheckpointError as error:
        raise ValueError(f"{error}: {HINT}") from None
    if weights == "ema" and not average:
        raise ArgumentError("weights", f"{path} has no averaged weights: give 'raw', or train with "
                            "ema_decay")
    if state["latent"] != checkpoint.LATENT:
        raise ValueError(f"{path} needs latent vectors of distribution {state['latent']!r}; this "
                         f"version supports {checkpoint.LATENT!r}: {HINT}")
    return make_generator(symG, params, average, ctx, bn_stats, batch_size), state["step"]


def describe_step(step: int | None, path: StrPath) -> str:
    """Describe the training step of a loaded model for messages; if unknown, name its file."""
    files = find_files(path) if step is None else None
    return str(files[0]) if files else f"step {step}"


def load_pretrained(name: str, ctx: Any = None, bn_stats: str = "moving", batch_size: int = 64
                    ) -> Generator:
    """Load a bundled generator, such as 'mnist' (digits); see `Generator` for the other arguments.

    Raises ValueError if there is no such generator, or its files are damaged.
    """
    source = name if is_pretrained(name) else PREFIX + name
    return load_generator(source, ctx, bn_stats, batch_size)[0]


def load_network(path: StrPath, network: str) -> tuple[Any, dict[str, np.ndarray], dict[str, Any]]:
    """Load 'G' or 'D' of a checkpoint, or of a run's newest: symbol, parameters, state.json.

    Of a model of MXNet's example, `step` is None; its state has nothing else but `latent`.
    """
    files = find_files(path)
    if files:
        return (*load_files(*files, network), {"step": None, "latent": checkpoint.LATENT})
    path = find_checkpoint(path)
    try:
        text, params, state = checkpoint.load_network(path, network)
    except checkpoint.CheckpointError as error:
        raise ValueError(f"{error}: {HINT}") from None
    problem = (f"{path / f'{network}-symbol.json'} is not a network of make_dcgan_sym with these "
               f"parameters: {HINT}")
    return rebuild(text, params, network, problem), params, state


def find_checkpoint(path: StrPath) -> Path:
    """Return `path` if it is a checkpoint's directory, else the newest checkpoint of that run."""
    check_run_dir(path)
    path = Path(path)
    if not path.is_dir():
        problem = "is not a directory or a model" if path.exists() else "does not exist"
        raise ValueError(f"{path} {problem}: give a run directory, a checkpoint, "
                         "RUN/checkpoints/step-..., or the .params file or prefix of a model of "
                         "MXNet's example")
    if (path / checkpoint.STATE).exists():
        return path
    folders = checkpoint.list_checkpoints(path)
    if not folders:
        raise ValueError(f"{path} has no checkpoint: give another directory, or train longer")
    return folders[-1]
