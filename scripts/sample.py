"""Make images with a trained generator: python scripts/sample.py RUN."""
import argparse
from pathlib import Path

import numpy as np

from dcgan_mx import cli, latent
from dcgan_mx.device import make_context
from dcgan_mx.sample import load_generator
from dcgan_mx.visual import make_grid, save_png, to_pixels


def make_parser():
    parser = cli.Parser("Make images with the generator of a checkpoint.")
    add, count = parser.add, cli.number(int, least=1, below=2**20)
    seed = cli.number(int, least=0, below=2**63)
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
        type=cli.number(int, least=0), metavar="DIM")
    add("--steps", "images in a row of --interpolate or --sweep", metavar="N", default=8,
        type=cli.number(int, least=2, below=2**20))
    add("--arithmetic", "add and subtract averages of seeds, as in '1,2,3 - 4,5,6 + 7,8,9': a row "
        "for each group, its average last, and one for variations of the result, itself last",
        metavar="SUM", type=arithmetic)
    add("--gpu", "number of the GPU; absent: the CPU", type=cli.number(int, least=0), metavar="N")
    return parser


def arithmetic(text):
    """Parse a sum of seeds."""
    try:
        return latent.parse_arithmetic(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def make_images(args, generator):
    """Return the images that the flags ask for, and how many of them make a row, if that is set."""
    if args.interpolate:
        a, b = (latent.make_latents(1, generator.nz, seed)[0] for seed in args.interpolate)
        path = latent.slerp(a, b, np.linspace(0, 1, args.steps))
        return generator.generate(path), args.steps
    if args.sweep is not None:
        values = np.linspace(-3, 3, args.steps)
        vectors = latent.make_latents(args.num, generator.nz, args.seed)
        rows = [latent.sweep(z, args.sweep, values) for z in vectors]
        return generator.generate(np.concatenate(rows)), args.steps
    if args.arithmetic:
        return calculate(args.arithmetic, generator, args.seed)
    return generator.generate(latent.make_latents(args.num, generator.nz, args.seed)), None


def calculate(terms, generator, seed):
    """Return the rows of the figure: vectors of each group and their average; the result."""
    groups, averages, total = latent.add(terms, generator.nz)
    columns = max(map(len, groups)) + 1
    rng = np.random.default_rng(seed)
    # Source of the variations: Radford et al., arXiv:1511.06434, figure 7: uniform, +-0.25.
    varied = total + rng.uniform(-0.25, 0.25, (columns - 1, generator.nz)).astype(np.float32)
    vectors = np.concatenate([*groups, averages, varied, total[None]])
    images = generator.generate(vectors)
    blank = np.full_like(images[:1], -1)
    rows, start, first_average = [], 0, sum(map(len, groups))
    for i, group in enumerate(groups):
        rows += [images[start:start + len(group)], *[blank] * (columns - 1 - len(group)),
                 images[first_average + i:first_average + i + 1]]
        start += len(group)
    return np.concatenate([*rows, images[-columns:]]), columns


def main():
    args = make_parser().parse_args()
    if sum(x is not None for x in (args.interpolate, args.sweep, args.arithmetic)) > 1:
        raise ValueError("--interpolate, --sweep and --arithmetic: give one of them")
    generator, step = load_generator(args.checkpoint, make_context(args.gpu), args.bn)
    images, columns = make_images(args, generator)
    if args.each is not None:
        Path(args.each).mkdir(parents=True, exist_ok=True)
        for i, pixels in enumerate(to_pixels(images)):
            save_png(Path(args.each) / f"{i:06d}.png", pixels)
        print(f"{args.each}: {len(images)} images of step {step}")
        return
    save_png(args.out, make_grid(images, columns))
    print(f"{args.out}: {len(images)} images of step {step}")


if __name__ == "__main__":
    cli.run(main)
