"""Put the generator of a checkpoint into the package: python scripts/make_pretrained.py RUN mnist.

It becomes dcgan_mx/pretrained/NAME.params and NAME.json; `dcgan-mx sample --pretrained NAME` makes
images with it. docs/pretrained.md has the whole way.
"""
from __future__ import annotations

import argparse

import numpy as np

from dcgan_mx.runs.run import Run
from dcgan_mx.sampling.bn_calibration import measure_statistics
from dcgan_mx.sampling.generator import Generator, find_checkpoint, load_generator
from dcgan_mx.sampling.latent import make_latents
from dcgan_mx.sampling.pretrained import round_weights, write_pretrained
from dcgan_mx.symbols import make_dcgan_sym

_COMPARED = 1024  # images


def make_pretrained(source: str, name: str, force: bool = False) -> str:
    """Round a generator's weights, measure their statistics, store both; say what that changes."""
    folder = find_checkpoint(source).resolve()
    dataset = Run(folder.parent.parent).read_settings().config.dataset
    generator, step = load_generator(folder)
    z = make_latents(_COMPARED, generator.nz)
    images = generator.generate(z)
    shape = generator.find_shape()
    symG, _ = make_dcgan_sym(shape["ngf"], 1, shape["nc"], size=shape["size"])
    if (Generator(symG, generator.get_params()).generate(z) != images).any():
        raise ValueError(f"{source}: its network is none of make_dcgan_sym's: give another one")
    params = round_weights(generator.get_params())
    if generator.averaged:
        params.update(measure_statistics(symG, params))
    path = write_pretrained(name, params, {
        "dataset": dataset, "step": step, "weights": "ema" if generator.averaged else "raw",
        **shape}, force)
    apart = np.abs(Generator(symG, params).generate(z) - images) * 127.5
    return (f"{path}: {path.stat().st_size} bytes, of step {step}; {_COMPARED} images: "
            f"{apart.mean():.4f} of 255 levels from the checkpoint's in the mean, "
            f"{apart.max():.1f} at most")


def main() -> None:
    """Parse the flags and make it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", metavar="RUN", help="a run directory, or a checkpoint of it")
    parser.add_argument("name", metavar="NAME", help="such as mnist")
    parser.add_argument("--force", action="store_true", help="replace the one of that name")
    args = parser.parse_args()
    try:
        print(make_pretrained(args.source, args.name, args.force))
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
