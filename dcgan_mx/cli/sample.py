"""`dcgan-mx sample`: images from a trained generator."""
from __future__ import annotations

import argparse
import math
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np

from ..runs.config import Number
from ..sampling import latent
from ..sampling.generator import Generator, describe_step, load_generator
from ..sampling.plots import draw_rows
from ..sampling.pretrained import PREFIX
from ..system.command_line import flag_name
from ..system.cpu import physical_cores
from ..system.devices import make_contexts
from ..system.errors import ArgumentError
from ..system.files import name_errors
from ..system.progress import make_bar
from ..visual import check_image_name, encode_image, make_grid, save_image, to_pixels
from .parser import Parser

_NUM_IMAGES, _SEED, _STEPS = 64, 0, 8
_BATCH = 64  # images
# Rows of latent vectors, the captions of their images, and the signs of the rows.
Figure = Tuple[List[np.ndarray], List[List[str]], Tuple[str, ...]]
# The default file of each sampling mode, and the flags that apply to it.
_MODES = {"plain": ("samples.png", "num_images", "seed"),
          "interpolate": ("interpolation.png", "steps"),
          "traverse": ("traverse.png", "num_images", "seed", "steps"),
          "arithmetic": ("arithmetic.png", "seed")}


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser("sample", "Generate images from random latent vectors, from an interpolation "
                    "between two, a traversal of one dimension, or arithmetic.")
    source = parser.add_mutually_exclusive_group(required=True)
    mode = parser.add_mutually_exclusive_group()
    count, seed = Number(int, ge=1, lt=2**20), Number(int, ge=0, lt=2**63)
    parser.add_shared("checkpoint", group=source, nargs="?")
    parser.add("--pretrained", "a bundled generator, such as mnist; short for pretrained:NAME",
               group=source, metavar="NAME")
    parser.add("--out", "image file to write or replace: PNG, JPEG or WebP, by its extension "
               f"(default: {', '.join(name for name, *_ in _MODES.values())})", metavar="FILE")
    parser.add("--out-dir", "write each image to its own PNG file in DIR, instead of a grid",
               metavar="DIR")
    parser.add("--force", "with --out-dir: remove earlier images from DIR", action="store_true")
    parser.add("--captions", "label each image with its number, seed or value", action="store_true")
    parser.add("--num-images", "number of images, or of rows of --traverse (default: "
               f"{_NUM_IMAGES})", count)
    parser.add("--seed", f"seed of the latent vectors (default: {_SEED})", seed)
    parser.add_shared("--bn-stats")
    parser.add_shared("--weights")
    parser.add("--interpolate", "interpolate on the sphere between the latent vectors of two seeds",
               seed, mode, nargs=2, metavar=("A", "B"))
    parser.add("--traverse", "vary dimension DIM (from 0) of each latent vector from -3 to 3, in a "
               "row of images", Number(int, ge=0), mode, metavar="DIM")
    parser.add("--steps", f"images per row of --interpolate and --traverse (default: {_STEPS})",
               Number(int, ge=2, lt=2**20))
    parser.add("--arithmetic", "add and subtract the mean latent vectors of groups of seeds, as in "
               "'1,2,3 - 4,5,6 + 7,8,9'. Shows a row for each group, ending with its mean, and a "
               "row of variations of the result, ending with the result. Write --arithmetic=EXPR "
               "if EXPR begins with a minus", group=mode, metavar="EXPR", type=_parse_arithmetic)
    parser.add_shared("--gpu")
    return parser


def _parse_arithmetic(text: str) -> list[tuple[int, list[int]]]:
    try:
        return latent.parse_arithmetic(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def find_mode(args: argparse.Namespace) -> str:
    """Return the sampling mode that the flags select, and set its defaults."""
    mode = next((name for name in _MODES if getattr(args, name, None) is not None), "plain")
    for name in ("num_images", "seed", "steps"):
        if getattr(args, name) is not None and name not in _MODES[mode]:
            where = ("without --interpolate or --traverse" if mode == "plain" else
                     f"with {flag_name(mode)}")
            raise ArgumentError(name, f"has no effect {where}: remove it")
    for name in ("out", "out_dir"):
        if getattr(args, name) == "":
            raise ArgumentError(name, "empty path: give a path, or omit the flag")
    if args.force and args.out_dir is None:
        raise ArgumentError("force", "has no effect without --out-dir: remove it")
    for name in ("out", "captions"):
        if args.out_dir is not None and getattr(args, name):
            raise ArgumentError(name, "conflicts with --out-dir, which writes no grid: use one of "
                                "them")
    args.num_images, args.steps = args.num_images or _NUM_IMAGES, args.steps or _STEPS
    args.seed = _SEED if args.seed is None else args.seed
    return mode


def make_figure(mode: str, args: argparse.Namespace, nz: int) -> Figure:
    """Make the latent vectors that the flags select."""
    if mode == "interpolate":
        a, b = (latent.make_latents(1, nz, seed)[0] for seed in args.interpolate)
        t = np.linspace(0, 1, args.steps)
        return [latent.slerp(a, b, t)], [[f"{x:.2f}" for x in t]], ()
    if mode == "arithmetic":
        return _arithmetic(args.arithmetic, args.seed, nz)
    vectors = latent.make_latents(args.num_images, nz, args.seed)
    if mode == "traverse":
        values = np.linspace(-3, 3, args.steps)
        return ([latent.traverse(z, args.traverse, values) for z in vectors],
                [[f"{x:.1f}" for x in values]] * args.num_images, ())
    starts = range(0, args.num_images, math.isqrt(args.num_images - 1) + 1)  # a square
    rows = [vectors[i:i + starts.step] for i in starts]
    return rows, [[str(i + n) for n in range(len(row))] for i, row in zip(starts, rows)], ()


def _arithmetic(terms: list[tuple[int, list[int]]], seed: int, nz: int) -> Figure:
    """Return a row of each group, ending with its mean, and one of variations of the result."""
    groups, averages, total = latent.arithmetic(terms, nz)
    rng = np.random.default_rng(seed)
    # Source of the variations: Radford et al., arXiv:1511.06434, figure 7: uniform, +-0.25.
    noise = rng.uniform(-0.25, 0.25, (max(map(len, groups)), nz)).astype(np.float32)
    rows = [*(np.vstack([group, average]) for group, average in zip(groups, averages)),
            np.vstack([total + noise, total])]
    signs = ["-" if sign < 0 else "+" * (i > 0) for i, (sign, _) in enumerate(terms)]
    captions = [[*map(str, seeds), "mean"] for _, seeds in terms]
    return rows, [*captions, [*["near"] * len(noise), "sum"]], (*signs, "=")


def _write_files(folder: Path, generator: Generator, z: np.ndarray, force: bool) -> None:
    """Write each image to a file of its own; remove earlier images of the folder if `force`."""
    folder.mkdir(parents=True, exist_ok=True)
    earlier = [path for path in folder.iterdir() if re.fullmatch(r"[0-9]{6,}\.png", path.name)]
    if earlier and not force:
        raise ArgumentError("out_dir", f"{folder} contains {len(earlier)} images: choose another "
                            "folder, or add --force to remove them")
    for path in earlier:
        path.unlink()

    def write(start: int, images: np.ndarray) -> int:
        for i, pixels in enumerate(to_pixels(images), start):
            path = folder / f"{i:06d}.png"
            # Not atomic: on some file systems, a rename takes longer than to generate an image.
            with name_errors(path), open(path, "xb") as f:
                f.write(encode_image(pixels))
        return len(images)

    size = -(-_BATCH // physical_cores())
    with ThreadPoolExecutor() as pool, make_bar("sampling", len(z), "image") as bar:
        for start in range(0, len(z), _BATCH):
            images = generator.generate(z[start:start + _BATCH])
            # On all cores, but not while MXNet computes: its threads would wait for each other.
            numbers = range(start, start + len(images), size)
            parts = [images[i - start:i - start + size] for i in numbers]
            for count in pool.map(write, numbers, parts):
                bar.update(count)


def main(argv: Sequence[str]) -> int:
    """Generate the images; return the exit code."""
    args = make_parser().parse_args(argv)
    source = args.checkpoint if args.pretrained is None else PREFIX + args.pretrained
    mode = find_mode(args)
    out = args.out or _MODES[mode][0]
    check_image_name(out)
    generator, step = load_generator(source, make_contexts(args.gpu)[0], args.bn_stats,
                                     _BATCH, args.weights)
    vectors, captions, signs = make_figure(mode, args, generator.nz)
    z = np.concatenate(vectors)
    if args.out_dir is not None:
        _write_files(Path(args.out_dir), generator, z, args.force)
    elif args.captions or signs:
        rows = np.split(generator.generate(z), np.cumsum([len(row) for row in vectors])[:-1])
        save_image(out, draw_rows(rows, signs, captions if args.captions else (),
                                  last_apart=bool(signs)))
    else:
        save_image(out, make_grid(generator.generate(z), len(vectors[0])))
    print(f"{args.out_dir or out}: {len(z)} images of {describe_step(step, source)}")
    return 0
