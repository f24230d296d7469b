"""`dcgan-mx sample`: images of a trained generator."""
from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import NamedTuple, Sequence

import numpy as np

from ..runs.config import flag_name
from ..sampling import latent
from ..sampling.generator import load_generator
from ..sampling.plots import draw_rows
from ..sampling.pretrained import PREFIX
from ..system.command_line import command_line
from ..system.devices import make_contexts
from ..visual import check_image_name, make_grid, save_image, to_pixels
from .parser import Parser, number

_NUM, _SEED, _STEPS = 64, 0, 8
# The default file of each way of sampling, and the flags that it takes.
_MODES = {"plain": ("samples.png", "num_images", "seed"),
          "interpolate": ("interpolation.png", "steps"),
          "traverse": ("traverse.png", "num_images", "seed", "steps"),
          "arithmetic": ("arithmetic.png", "seed")}


class Figure(NamedTuple):
    """Rows of latent vectors, the captions of their images, and the signs before the rows."""

    rows: list[np.ndarray]
    captions: list[list[str]]
    signs: tuple[str, ...] = ()


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(command_line("sample"), "Make images with the generator of a checkpoint.")
    add, count = parser.add, number(int, least=1, below=2**20)
    seed = number(int, least=0, below=2**63)
    add("checkpoint", "RUN/checkpoints/step-..., or a run directory: its newest one; or "
        "pretrained:NAME", metavar="CHECKPOINT", nargs="?")
    add("--pretrained", "the same as pretrained:NAME: a generator that comes with the package, as "
        "mnist", metavar="NAME")
    add("--out", "the picture, PNG, JPEG or WebP as its name says; replaced if it is there "
        f"(default: {_MODES['plain'][0]}, or the name of the way of sampling)", metavar="FILE")
    add("--out-dir", "write every image to a PNG file of its own in DIR, and no grid", metavar="DIR")
    add("--force", "with --out-dir: remove the images that are in DIR", action="store_true")
    add("--captions", "write below each image which one it is", action="store_true")
    add("--num-images", f"images, or rows of --traverse (default: {_NUM})", type=count, metavar="N")
    add("--seed", f"of the latent vectors (default: {_SEED})", type=seed, metavar="N")
    add("--bn-stats", "BatchNorm's mean and variance: of the training, or of each batch",
        choices=("moving", "batch"), default="moving")
    add("--weights", "G's averaged weights, or the last ones (default: averaged ones where there "
        "are any)", choices=("ema", "raw"))
    add("--interpolate", "go from the vector of seed A to that of seed B on the sphere", nargs=2,
        type=seed, metavar=("A", "B"))
    add("--traverse", "vary number DIM of each vector from -3 to 3, a row each",
        type=number(int, least=0), metavar="DIM")
    add("--steps", f"images in a row of --interpolate or --traverse (default: {_STEPS})", metavar="N",
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
    """Return which way of sampling the flags ask for; fill in its defaults."""
    modes = [mode for mode in _MODES if getattr(args, mode, None) is not None]
    if len(modes) > 1:
        raise ValueError("--interpolate, --traverse and --arithmetic: give one of them")
    mode = modes[0] if modes else "plain"
    for name in ("num_images", "seed", "steps"):
        if getattr(args, name) is not None and name not in _MODES[mode]:
            where = f"with --{mode}" if modes else "without --interpolate or --traverse"
            raise ValueError(f"{flag_name(name)} has no use {where}: leave it out")
    for name in ("out", "captions"):
        if args.out_dir is not None and getattr(args, name):
            raise ValueError(f"{flag_name(name)} with --out-dir, which makes no such picture: give one of them")
    if args.force and args.out_dir is None:
        raise ValueError("--force without --out-dir: leave it out")
    args.num_images, args.steps = args.num_images or _NUM, args.steps or _STEPS
    args.seed = _SEED if args.seed is None else args.seed
    return mode


def make_figure(mode: str, args: argparse.Namespace, nz: int) -> Figure:
    """Make the latent vectors that the flags ask for."""
    if mode == "interpolate":
        a, b = (latent.make_latents(1, nz, seed)[0] for seed in args.interpolate)
        t = np.linspace(0, 1, args.steps)
        return Figure([latent.slerp(a, b, t)], [[f"{x:.2f}" for x in t]])
    if mode == "arithmetic":
        return _calculate(args.arithmetic, args.seed, nz)
    vectors = latent.make_latents(args.num_images, nz, args.seed)
    if mode == "traverse":
        values = np.linspace(-3, 3, args.steps)
        return Figure([latent.traverse(z, args.traverse, values) for z in vectors],
                      [[f"{x:.1f}" for x in values]] * args.num_images)
    starts = range(0, args.num_images, math.isqrt(args.num_images - 1) + 1)  # as high as wide
    rows = [vectors[i:i + starts.step] for i in starts]
    return Figure(rows, [[str(i + n) for n in range(len(row))] for i, row in zip(starts, rows)])


def _calculate(terms: list[tuple[int, list[int]]], seed: int, nz: int) -> Figure:
    """Each group and its average; variations of the result, and the result."""
    groups, averages, total = latent.arithmetic(terms, nz)
    rng = np.random.default_rng(seed)
    # Source of the variations: Radford et al., arXiv:1511.06434, figure 7: uniform, +-0.25.
    noise = rng.uniform(-0.25, 0.25, (max(map(len, groups)), nz)).astype(np.float32)
    rows = [*(np.vstack([group, average]) for group, average in zip(groups, averages)),
            np.vstack([total + noise, total])]
    signs = ["-" if sign < 0 else "+" * (i > 0) for i, (sign, _) in enumerate(terms)]
    captions = [[*map(str, seeds), "mean"] for _, seeds in terms]
    return Figure(rows, [*captions, [*["near"] * len(noise), "sum"]], (*signs, "="))


def _write_each(folder: Path, images: np.ndarray, force: bool) -> None:
    """Write a file for each image, into a folder that has no others of the kind."""
    folder.mkdir(parents=True, exist_ok=True)
    earlier = [path for path in folder.iterdir() if re.fullmatch(r"[0-9]{6,}\.png", path.name)]
    if earlier and not force:
        raise ValueError(f"--out-dir {folder}: {len(earlier)} images are there already: give a new "
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
    out = args.out or _MODES[mode][0]
    check_image_name(out)
    generator, step = load_generator(source, make_contexts(args.gpu)[0], args.bn_stats,
                                     weights=args.weights)
    vectors, captions, signs = make_figure(mode, args, generator.nz)
    images = generator.generate(np.concatenate(vectors))
    if args.out_dir is not None:
        _write_each(Path(args.out_dir), images, args.force)
    elif args.captions or signs:
        rows = np.split(images, np.cumsum([len(row) for row in vectors])[:-1])
        save_image(out, draw_rows(rows, signs, captions if args.captions else (),
                                  last_apart=bool(signs)))
    else:
        save_image(out, make_grid(images, len(vectors[0])))
    print(f"{args.out_dir or out}: {len(images)} images of step {step}")
    return 0
