"""Bundle the generator of a checkpoint with the package: RUN mnist.

The tool writes dcgan_mx/pretrained/NAME.params and NAME.json, which `dcgan-mx sample --pretrained
NAME` loads. docs/pretrained.md describes the whole procedure.
"""
from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from dcgan_mx.runs.checkpoint_files import LATENT, encode_state
from dcgan_mx.runs.params import dump_params
from dcgan_mx.runs.run import Run
from dcgan_mx.sampling import pretrained
from dcgan_mx.sampling.bn_calibration import measure_statistics
from dcgan_mx.sampling.generator import Generator, find_checkpoint, load_generator
from dcgan_mx.sampling.latent import make_latents
from dcgan_mx.symbols import make_dcgan_sym
from dcgan_mx.system.files import write_atomic

from ..common import make_parser

_COMPARED = 1024  # images


def make_pretrained(source: str, name: str, force: bool = False) -> str:
    """Round a generator's weights, calibrate BatchNorm, write both; describe the effect."""
    folder = find_checkpoint(source).resolve()
    dataset = Run(folder.parent.parent).read_settings().config.dataset
    generator, step = load_generator(folder)
    z = make_latents(_COMPARED, generator.nz)
    images = generator.generate(z)
    shape = generator.find_shape()
    symG, _ = make_dcgan_sym(shape["ngf"], 1, shape["nc"], size=shape["size"])
    if (Generator(symG, generator.get_params()).generate(z) != images).any():
        raise ValueError(f"{source}: its network was not made by make_dcgan_sym: give another run")
    params = round_weights(generator.get_params())
    if generator.averaged:
        params.update(measure_statistics(symG, params))
    path = write_pretrained(name, params, {
        "dataset": dataset, "step": step, "weights": "ema" if generator.averaged else "raw",
        **shape}, force)
    error = np.abs(Generator(symG, params).generate(z) - images) * 127.5
    return (f"{path}: {path.stat().st_size} bytes, of step {step}; {_COMPARED} images differ from "
            f"the checkpoint's by {error.mean():.4f} of 255 levels on average, {error.max():.1f} "
            "at most")


def round_weights(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Round weights to float16 and back, as files store them; moving statistics stay float32."""
    with np.errstate(over="ignore"):
        rounded = {key: array.astype(np.float16).astype(np.float32) if key.startswith("arg:") else
                   array for key, array in params.items()}
    for key, array in rounded.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{key} is not finite as float16: give another checkpoint")
    return rounded


def write_pretrained(name: str, params: Mapping[str, np.ndarray], metadata: Mapping[str, Any],
                     force: bool = False) -> Path:
    """Add a generator to the package; return its .params file.

    `params` are weights from `round_weights`, with moving statistics measured for these;
    `metadata` is what `read_pretrained` will return; `force` replaces an existing generator.
    """
    if name in pretrained.list_pretrained() and not force:
        raise ValueError(f"{name} exists: give another name, or --force to replace it")
    content = b"".join(map(bytes, dump_params({
        key: array.astype(np.float16) if key.startswith("arg:") else array
        for key, array in params.items()})))
    if len(content) > pretrained.MAX_BYTES:
        raise ValueError(f"{name} has {len(content)} bytes, more than the limit of "
                         f"{pretrained.MAX_BYTES}: give a generator with a lower ngf")
    path = pretrained.FOLDER / f"{name}.params"
    write_atomic(path, content, sync=True)
    write_atomic(path.with_suffix(".json"), encode_state({
        "format": pretrained.FORMAT, "latent": LATENT, **metadata,
        "files": {path.name: hashlib.sha256(content).hexdigest()}}), sync=True)
    return path


def main() -> None:
    """Parse the flags and write the model."""
    parser = make_parser(__doc__)
    parser.add_argument("source", metavar="RUN", help="a run directory, or a checkpoint of it")
    parser.add_argument("name", metavar="NAME", help="name of the model, such as mnist")
    parser.add_argument("--force", action="store_true", help="replace an existing model")
    args = parser.parse_args()
    try:
        print(make_pretrained(args.source, args.name, args.force))
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
