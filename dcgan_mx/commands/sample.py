"""`dcgan-mx sample`: images of a trained generator."""
from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import NamedTuple, Sequence

import numpy as np

from ..images import latent
from ..images.figure import draw_rows
from ..images.sample import Generator, load_generator
from ..machine.device import make_contexts
from ..machine.typed import typed
from ..runs.pretrained import PREFIX
from ..visual import make_grid, require_image_name, save_image, to_pixels
from .cli import Parser, number

_NUM, _SEED, _STEPS = 64, 0, 8
# What each way of sampling can be told, and where its figure goes.
_MODES = {"plain": ("num", "seed"), "interpolate": ("steps",), "sweep": ("num", "seed", "steps"),
          "arithmetic": ("seed",)}
_FILES = {"plain": "samples.png", "interpolate": "interpolation.png", "sweep": "sweep.png",
          "arithmetic": "arithmetic.png"}


class Figure(NamedTuple):
    """Rows of images, and what is written beside and below them."""

    rows: list[np.ndarray]
    captions: list[list[str]]
    signs: tuple[str, ...] = ()


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(typed("sample"), "Make images with the generator of a checkpoint.")
    add, count = parser.add, number(int, least=1, below=2**20)
    seed = number(int, least=0, below=2**63)
    add("checkpoint", "RUN/checkpoints/step-..., or a run directory: its newest one; or "
        "pretrained:NAME", metavar="CHECKPOINT", nargs="?")
    add("--pretrained", "the same as pretrained:NAME: a generator that comes with the package, as "
        "mnist", metavar="NAME")
    add("--out", "the picture, PNG, JPEG or WebP as its name says; replaced if it is there "
        f"(default: {_FILES['plain']}, or the name of the way of sampling)", metavar="FILE")
    add("--each", "write every image to a PNG file of its own in DIR, and no grid", metavar="DIR")
    add("--force", "with --each: remove the images that are in DIR", action="store_true")
    add("--captions", "write below each image which one it is", action="store_true")
    add("--num", f"images, or rows of --sweep (default: {_NUM})", type=count, metavar="N")
    add("--seed", f"of the latent vectors (default: {_SEED})", type=seed, metavar="N")
    add("--bn", "BatchNorm's mean and variance: of the training, or of each batch",
        choices=("moving", "batch"), default="moving")
    add("--weights", "G's averaged weights, or the last ones (default: averaged ones where there "
        "are any)", choices=("ema", "raw"))
    add("--interpolate", "go from the vector of seed A to that of seed B on the sphere", nargs=2,
        type=seed, metavar=("A", "B"))
    add("--sweep", "vary number DIM of each vector from -3 to 3, a row each",
        type=number(int, least=0), metavar="DIM")
    add("--steps", f"images in a row of --interpolate or --sweep (default: {_STEPS})", metavar="N",
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


def find_mode(args: argparse.Namespace) -> str:
    """Return which way of sampling the flags ask for.

    Raises
    ------
    ValueError
        If they ask for two, or hold one that has no use there.
    """
    modes = [mode for mode in ("interpolate", "sweep", "arithmetic")
             if getattr(args, mode) is not None]
    if len(modes) > 1:
        raise ValueError("--interpolate, --sweep and --arithmetic: give one of them")
    mode = modes[0] if modes else "plain"
    for name in ("num", "seed", "steps"):
        if getattr(args, name) is not None and name not in _MODES[mode]:
            where = "without --interpolate or --sweep" if mode == "plain" else f"with --{mode}"
            raise ValueError(f"--{name} has no use {where}: leave it out")
    for name in ("out", "captions"):
        if args.each is not None and getattr(args, name):
            raise ValueError(f"--{name} with --each, which makes no such picture: give one of them")
    if args.force and args.each is None:
        raise ValueError("--force without --each: leave it out")
    args.num, args.steps = args.num or _NUM, args.steps or _STEPS
    args.seed = _SEED if args.seed is None else args.seed
    return mode


def make_figure(mode: str, args: argparse.Namespace, generator: Generator) -> Figure:
    """Return the images that the flags ask for, in rows."""
    nz = generator.nz
    if mode == "interpolate":
        a, b = (latent.make_latents(1, nz, seed)[0] for seed in args.interpolate)
        t = np.linspace(0, 1, args.steps)
        return Figure([generator.generate(latent.slerp(a, b, t))], [[f"{x:.2f}" for x in t]])
    if mode == "sweep":
        values = np.linspace(-3, 3, args.steps)
        vectors = latent.make_latents(args.num, nz, args.seed)
        rows = [latent.sweep(z, args.sweep, values) for z in vectors]
        return Figure(_generate(generator, rows), [[f"{x:.1f}" for x in values]] * len(rows))
    if mode == "arithmetic":
        return _calculate(args.arithmetic, generator, args.seed)
    vectors = latent.make_latents(args.num, nz, args.seed)
    columns = math.isqrt(args.num - 1) + 1  # as high as wide
    starts = range(0, args.num, columns)
    return Figure(_generate(generator, [vectors[i:i + columns] for i in starts]),
                  [[str(n) for n in range(i, min(i + columns, args.num))] for i in starts])


def _calculate(terms: list[tuple[int, list[int]]], generator: Generator, seed: int) -> Figure:
    """Return the figure of a sum: each group and its average; variations of the result, and it."""
    groups, averages, total = latent.add(terms, generator.nz)
    rng = np.random.default_rng(seed)
    # Source of the variations: Radford et al., arXiv:1511.06434, figure 7: uniform, +-0.25.
    noise = rng.uniform(-0.25, 0.25, (max(map(len, groups)), generator.nz)).astype(np.float32)
    rows = [*(np.vstack([group, average[None]]) for group, average in zip(groups, averages)),
            np.vstack([total + noise, total[None]])]
    signs = ["-" if sign < 0 else "+" * (i > 0) for i, (sign, _) in enumerate(terms)]
    captions = [[*map(str, seeds), "mean"] for _, seeds in terms]
    return Figure(_generate(generator, rows), [*captions, [*["near"] * len(noise), "sum"]],
                  (*signs, "="))


def _generate(generator: Generator, rows: list[np.ndarray]) -> list[np.ndarray]:
    """Return the images of rows of vectors, in rows."""
    images = generator.generate(np.concatenate(rows))
    return np.split(images, np.cumsum([len(row) for row in rows])[:-1])


def draw(figure: Figure, captions: bool) -> np.ndarray:
    """Return the picture, (H, W, C), uint8: a grid, or, where something is to be written, rows."""
    if captions or figure.signs:
        return draw_rows(figure.rows, figure.signs, figure.captions if captions else (),
                         last_apart=bool(figure.signs))
    return make_grid(np.concatenate(figure.rows), len(figure.rows[0]))


def _write_each(folder: Path, images: np.ndarray, force: bool) -> None:
    """Write a file for each image, into a folder that has no others of the kind."""
    folder.mkdir(parents=True, exist_ok=True)
    earlier = [path for path in folder.iterdir() if re.fullmatch(r"[0-9]{6,}\.png", path.name)]
    if earlier and not force:
        raise ValueError(f"--each {folder}: {len(earlier)} images are there already: give a new "
                         "folder, or --force to remove them")
    for path in earlier:
        path.unlink()
    for i, pixels in enumerate(to_pixels(images)):
        save_image(folder / f"{i:06d}.png", pixels)


def main(argv: Sequence[str]) -> int:
    """Make the images; return the exit status."""
    args = make_parser().parse_args(argv)
    if (args.checkpoint is None) == (args.pretrained is None):
        raise ValueError("which generator? give one: CHECKPOINT, or --pretrained NAME")
    source = args.checkpoint if args.pretrained is None else PREFIX + args.pretrained
    mode = find_mode(args)
    out = args.out or _FILES[mode]
    require_image_name(out)
    generator, step = load_generator(source, make_contexts(args.gpu)[0], args.bn,
                                     weights=args.weights)
    figure = make_figure(mode, args, generator)
    if args.each is not None:
        _write_each(Path(args.each), np.concatenate(figure.rows), args.force)
    else:
        save_image(out, draw(figure, args.captions))
    print(f"{args.each or out}: {sum(map(len, figure.rows))} images of step {step}")
    return 0
