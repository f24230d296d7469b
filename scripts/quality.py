"""Train the blog's settings, a recipe and PyTorch's DCGAN example; compare their pictures.

Each contestant is trained on the same digits, seed by seed, in a process of its own, which stops
its clock at some points to draw images; all images are judged by the same code. What is done is
kept in the folder --out, and not done again.
"""
from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np

from dcgan_mx.runs.settings import DEFAULTS, RECIPES, Recipe

FULL = 16_384  # images that are judged in full at the end of a training
FIGURES = ("frechet", "precision", "recall", "swd", "ms_ssim")


def train_ours(name: str, seed: int, data: str) -> Iterator[Callable[[int], np.ndarray]]:
    """Train a recipe; yield, after each step, a function that draws images."""
    from dcgan_mx import MnistIter, RandIter, get_mnist, make_dcgan_sym
    from dcgan_mx.commands.train import make_trainer
    from dcgan_mx.images.latent import make_latents
    from dcgan_mx.images.sample import make_generator
    from dcgan_mx.machine.runtime import finish, mx
    from dcgan_mx.training.module_state import get_parameters

    recipe = find_recipe(name, seed)
    mx.random.seed(seed)
    symG, symD = make_dcgan_sym(recipe.ngf, recipe.ndf, recipe.nc, size=recipe.size)
    trainer = make_trainer(recipe, symG, symD)
    shape = (recipe.nc, recipe.size, recipe.size)
    train_iter = MnistIter(get_mnist(data)[0], recipe.batch_size, shape, seed)
    rand_iter = RandIter(recipe.batch_size, recipe.nz, seed)

    def draw(n: int) -> np.ndarray:
        finish()
        generator = make_generator(symG, get_parameters(trainer.modG), trainer.average.get())
        return generator.generate(make_latents(n, recipe.nz, seed))

    while True:
        trainer.fit(train_iter, rand_iter, None, hooks=(), max_steps=trainer.global_step + 1)
        mx.nd.waitall()
        yield draw


def find_recipe(name: str, seed: int) -> Recipe:
    """Return what a contestant is trained with."""
    return DEFAULTS.replace({**RECIPES.get(name, {}), "dataset": "mnist", "seed": seed}).recipe


def train_pytorch(name: str, seed: int, data: str) -> Iterator[Callable[[int], np.ndarray]]:
    """Train PyTorch's example on the blog's batches; yield as `train_ours` does."""
    import torch
    from loops import BATCH_SIZE, make_pytorch_step

    from dcgan_mx import MnistIter, get_mnist
    torch.manual_seed(seed)
    step, netG = make_pytorch_step()
    train_iter = MnistIter(get_mnist(data)[0], BATCH_SIZE, (3, 64, 64), seed)

    def draw(n: int) -> np.ndarray:
        netG.eval()
        with torch.inference_mode():
            images: np.ndarray = np.concatenate(
                [netG(torch.randn(BATCH_SIZE, 100, 1, 1)).numpy() for _ in range(0, n, BATCH_SIZE)])
        netG.train()
        return images[:n]

    while True:
        for batch in train_iter:
            step(torch.from_numpy(batch.data[0].asnumpy()))
            yield draw
        train_iter.reset()


CONTESTANTS = {"blog": train_ours, "digits": train_ours, "pytorch": train_pytorch}


def train_one(name: str, seed: int, args: argparse.Namespace) -> None:
    """Train one contestant; write its images at each point, then the seconds until each."""
    loop = CONTESTANTS[name](name, seed, args.data)
    seconds, lines = 0.0, []
    for step in range(1, args.steps + 1):
        start = time.perf_counter()
        draw = next(loop)
        seconds += time.perf_counter() - start
        if step % args.every == 0 or step == args.steps:
            images = draw(FULL if step == args.steps else args.num).mean(1, keepdims=True)
            np.save(args.out / f"{name}-{seed}-{step:05d}.npy",
                    np.round(images * 127).astype(np.int8))
            lines.append({"name": name, "seed": seed, "step": step, "seconds": seconds})
    with (args.out / "times.jsonl").open("a") as f:
        f.writelines(json.dumps(line) + "\n" for line in lines)


def judge_all(args: argparse.Namespace, names: list[str]) -> list[dict[str, Any]]:
    """Return the times, with the figures of what was drawn then, and those of real digits."""
    from dcgan_mx import MnistIter, get_mnist
    from dcgan_mx.images.digits import load_classifier
    from dcgan_mx.images.evaluation import Judge, take
    path = args.out / "figures.jsonl"
    done = {(r["name"], r["seed"], r["step"]): r for r in read_lines(path)}
    train_iter = MnistIter(get_mnist(args.data)[0], 100, (1, 64, 64), seed=0)
    real, classifier = take(train_iter, 2 * FULL), load_classifier(args.data)
    judges = {n: Judge(real[:n], classifier, quick=n < FULL) for n in (args.num, FULL)}
    points = [r for r in read_lines(args.out / "times.jsonl") if r["name"] in names]
    floors = [{"name": "real", "seed": 0, "step": 0, "seconds": 0.0},
              {"name": "real", "seed": 0, "step": args.steps, "seconds": 0.0}]
    for point in (*points, *floors):
        key = point["name"], point["seed"], point["step"]
        if key in done:
            continue
        n = FULL if point["step"] == args.steps else args.num
        images = real[FULL:FULL + n]
        if point["name"] != "real":
            drawn = np.load(args.out / f"{key[0]}-{key[1]}-{key[2]:05d}.npy")
            images = drawn.astype(np.float32) / 127
        done[key] = {**point, **judges[n].judge(images)}
        with path.open("a") as f:
            f.write(json.dumps(done[key]) + "\n")
    return [*done.values()]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file, none if it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def print_table(records: list[dict[str, Any]]) -> None:
    """Print a line for each point of each training."""
    print(f"{'':8} seed  step  minutes images" + "".join(f"{name:>11}" for name in FIGURES))
    for r in sorted(records, key=lambda r: (r["name"], r["seed"], r["step"])):
        print(f"{r['name']:8} {r['seed']:4} {r['step']:5} {r['seconds'] / 60:8.1f} {r['images']:6}"
              + "".join(f"{r[name]:11.{1 if name in ('frechet', 'swd') else 3}f}"
                        for name in FIGURES))


def draw_curves(records: list[dict[str, Any]], path: Path) -> None:
    """Draw the Fréchet distance over the steps and over the minutes."""
    import matplotlib
    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    figure, both = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axes, key, scale, label in ((both[0], "step", 1, "steps"),
                                    (both[1], "seconds", 60, "minutes on two cores")):
        for colour, name in enumerate(CONTESTANTS):
            for seed in sorted({r["seed"] for r in records if r["name"] == name}):
                line = [r for r in records if (r["name"], r["seed"]) == (name, seed)]
                axes.plot([r[key] / scale for r in line], [r["frechet"] for r in line],
                          color=f"C{colour}", label=name if seed == 1 else None)
        axes.axhline(next(r["frechet"] for r in records if r["name"] == "real"), color="grey",
                     linestyle=":", label="real digits")
        axes.set(xlabel=label, yscale="log")
    both[0].set_ylabel("Fréchet distance")
    both[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Parse the flags; train what is missing, judge, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--contestants", default="blog,digits,pytorch", help="default: %(default)s")
    add("--seeds", type=int, default=3, help="of each contestant; default: %(default)s")
    add("--steps", type=int, default=936, help="of each training; default: %(default)s")
    add("--every", type=int, default=117, help="steps between two points; default: %(default)s")
    add("--num", type=int, default=4096, help="images at each point; default: %(default)s")
    add("--data", default="data", help="folder of MNIST; default: %(default)s")
    add("--out", type=Path, default=Path("runs/quality"), help="default: %(default)s")
    add("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.contestants.split(",")
    for name in names:
        if name not in CONTESTANTS:
            parser.error(f"--contestants: {name!r} is none of {', '.join(CONTESTANTS)}")
    if args.one:
        train_one(args.one.split(",")[0], int(args.one.split(",")[1]), args)
        return
    if "pytorch" in names and importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed and left out (pip install torch)")
        names.remove("pytorch")
    args.out.mkdir(parents=True, exist_ok=True)
    # What is kept was made with these settings, or it is nothing to compare with.
    path = args.out / "settings.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    for name in names:
        asked = {"num": args.num, "steps": args.steps, "every": args.every,
                 **dataclasses.asdict(find_recipe(name, 0))}
        if kept.setdefault(name, asked) != asked:
            parser.error(f"--out {args.out}: {name} was trained with other settings there: give "
                         "another folder")
    path.write_text(json.dumps(kept))
    for seed in range(1, args.seeds + 1):
        for name in names:
            if not any((r["name"], r["seed"]) == (name, seed)
                       for r in read_lines(args.out / "times.jsonl")):
                subprocess.run([sys.executable, __file__, *sys.argv[1:], "--one",
                                f"{name},{seed}"], check=True)
    records = judge_all(args, names)
    print_table(records)
    draw_curves(records, args.out / "quality.png")
    print(f"\nsee {args.out / 'quality.png'}")


if __name__ == "__main__":
    main()
