"""`dcgan-mx sample`: images of a trained generator."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Sequence

import numpy as np

from ..images import latent
from ..images.sample import Generator, load_generator
from ..machine.device import make_contexts
from ..machine.typed import typed
from ..visual import make_grid, save_png, to_pixels
from .cli import Parser, number


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(typed("sample"), "Make images with the generator of a checkpoint.")
    add, count = parser.add, number(int, least=1, below=2**20)
    seed = number(int, least=0, below=2**63)
    add("checkpoint", "RUN/checkpoints/step-..., or a run directory: its newest one",
        metavar="CHECKPOINT")
    add("--out", "the grid, a PNG file; replaced if it is there", default="samples.png",
        metavar="FILE")
    add("--each", "write every image to a file of its own in DIR, and no grid", metavar="DIR")
    add("--num", "images", type=count, default=64, metavar="N")
    add("--seed", "of the latent vectors", type=seed, default=0, metavar="N")
    add("--bn", "BatchNorm's mean and variance: of the training, or of each batch",
        choices=("moving", "batch"), default="moving")
    add("--interpolate", "go from the vector of seed A to that of seed B on the sphere", nargs=2,
        type=seed, metavar=("A", "B"))
    add("--sweep", "vary number DIM of each vector from -3 to 3, a row each",
        type=number(int, least=0), metavar="DIM")
    add("--steps", "images in a row of --interpolate or --sweep", metavar="N", default=8,
        type=number(int, least=2, below=2**20))
    add("--arithmetic", "add and subtract averages of seeds, as in '1,2,3 - 4,5,6 + 7,8,9': a row "
        "for each group, its average last, and one for variations of the result, itself last; "
        "where it begins with a minus, --arithmetic=SUM",
        metavar="SUM", type=_parse_sum)
    add("--gpu", "number of the GPU; absent: the CPU", type=number(int, least=0), metavar="N")
    return parser


def _parse_sum(text: str) -> list[tuple[int, list[int]]]:
    try:
        return latent.parse_arithmetic(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def make_rows(args: argparse.Namespace, generator: Generator) -> list[np.ndarray]:
    """Return the rows of images that the flags ask for; one row of all where they ask for none."""
    if args.interpolate:
        a, b = (latent.make_latents(1, generator.nz, seed)[0] for seed in args.interpolate)
        return [generator.generate(latent.slerp(a, b, np.linspace(0, 1, args.steps)))]
    if args.sweep is not None:
        values = np.linspace(-3, 3, args.steps)
        vectors = latent.make_latents(args.num, generator.nz, args.seed)
        return _generate(generator, [latent.sweep(z, args.sweep, values) for z in vectors])
    if args.arithmetic:
        return _calculate(args.arithmetic, generator, args.seed)
    return [generator.generate(latent.make_latents(args.num, generator.nz, args.seed))]


def _calculate(terms: list[tuple[int, list[int]]], generator: Generator, seed: int
               ) -> list[np.ndarray]:
    """Return the figure's rows: each group and its average; variations of the result, and it."""
    groups, averages, total = latent.add(terms, generator.nz)
    rng = np.random.default_rng(seed)
    # Source of the variations: Radford et al., arXiv:1511.06434, figure 7: uniform, +-0.25.
    noise = rng.uniform(-0.25, 0.25, (max(map(len, groups)), generator.nz)).astype(np.float32)
    rows = [*(np.vstack([group, average[None]]) for group, average in zip(groups, averages)),
            np.vstack([total + noise, total[None]])]
    return _generate(generator, rows)


def _generate(generator: Generator, rows: list[np.ndarray]) -> list[np.ndarray]:
    """Return the images of rows of vectors, in rows."""
    images = generator.generate(np.concatenate(rows))
    return np.split(images, np.cumsum([len(row) for row in rows])[:-1])


def _align(rows: list[np.ndarray]) -> tuple[np.ndarray, int]:
    """Put rows below each other, what is missing left of the last image, black."""
    columns = max(map(len, rows))
    parts: list[np.ndarray] = []
    for row in rows:
        missing = np.full((columns - len(row), *row.shape[1:]), -1, np.float32)
        parts += [row[:-1], missing, row[-1:]]
    return np.concatenate(parts), columns


def main(argv: Sequence[str]) -> int:
    """Make the images; return the exit status."""
    args = make_parser().parse_args(argv)
    walks = [flag is not None for flag in (args.interpolate, args.sweep, args.arithmetic)]
    if sum(walks) > 1:
        raise ValueError("--interpolate, --sweep and --arithmetic: give one of them")
    generator, step = load_generator(args.checkpoint, make_contexts(args.gpu)[0], args.bn)
    rows = make_rows(args, generator)
    n = sum(map(len, rows))
    if args.each is not None:
        Path(args.each).mkdir(parents=True, exist_ok=True)
        for i, pixels in enumerate(to_pixels(np.concatenate(rows))):
            save_png(Path(args.each) / f"{i:06d}.png", pixels)
    else:
        save_png(args.out, make_grid(*_align(rows)) if any(walks) else make_grid(rows[0]))
    print(f"{args.each or args.out}: {n} images of step {step}")
    return 0
