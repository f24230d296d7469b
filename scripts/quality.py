"""Train the blog's settings, a recipe and PyTorch's DCGAN example; compare their pictures.

Ours are runs of `dcgan-mx train` that keep a checkpoint of each point; PyTorch's example is trained
on the same digits in a process of its own, which stops its clock at each point to draw. All images
are judged by the same code. What is done is kept in the folder --out, and not done again.
"""
from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FULL = 16_384  # images that are judged in full at the end of a training
FIGURES = ("frechet", "precision", "recall", "swd", "ms_ssim")


class Contestant(NamedTuple):
    """What is trained for so many steps: our command with some flags, or PyTorch's example."""

    steps: int
    flags: tuple[str, ...] = ()


CONTESTANTS = {
    "blog": Contestant(936, ("--dataset", "mnist")),
    "digits": Contestant(1872, ("--recipe", "digits")),
    "digits-bfloat16": Contestant(1872, ("--recipe", "digits", "--precision", "bfloat16")),
    "pytorch": Contestant(936),
}


def train_ours(name: str, seed: int, args: argparse.Namespace) -> None:
    """Train a run, or go on with it, up to its last point."""
    run_dir = args.out / f"{name}-{seed}"
    steps, flags = CONTESTANTS[name]
    if not (run_dir / "checkpoints" / f"step-{steps:08d}").exists():
        subprocess.run([sys.executable, "-m", "dcgan_mx", "train", "--resume", *flags, "--seed",
                        str(seed), "--max-steps", str(steps), "--checkpoint-steps",
                        str(args.every), "--data-path", args.data, "--run-dir", str(run_dir)],
                       check=True)


def draw_ours(name: str, seed: int, step: int, n: int, args: argparse.Namespace
              ) -> tuple[np.ndarray, float]:
    """Return images of a run's checkpoint, and the seconds that its training had taken."""
    from dcgan_mx.images.latent import make_latents
    from dcgan_mx.images.sample import load_generator
    from dcgan_mx.runs.run import Run
    run = Run(args.out / f"{name}-{seed}")
    generator, _ = load_generator(run.path / "checkpoints" / f"step-{step:08d}")
    log = [record for record in run.read_log() if "images_per_s" in record]
    seconds = np.interp(step, [r["step"] for r in log], [r["seconds"] for r in log])
    return generator.generate(make_latents(n, generator.nz, seed)), float(seconds)


def train_pytorch(name: str, seed: int, args: argparse.Namespace) -> None:
    """Train PyTorch's example on the blog's batches; keep its images at each point."""
    points = list_points(CONTESTANTS[name].steps, args.every)
    if not all((args.out / f"{name}-{seed}" / f"{step}.npz").exists() for step in points):
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--one", f"{name},{seed}"],
                       check=True)


def keep_pytorch(name: str, seed: int, args: argparse.Namespace) -> None:
    """Do the work of `train_pytorch`."""
    import torch
    from loops import BATCH_SIZE, make_pytorch_step

    from dcgan_mx import MnistIter, get_mnist
    torch.manual_seed(seed)
    step, netG = make_pytorch_step()
    train_iter = MnistIter(get_mnist(args.data)[0], BATCH_SIZE, (3, 64, 64), seed)
    folder, steps, seconds = args.out / f"{name}-{seed}", CONTESTANTS[name].steps, 0.0
    folder.mkdir(exist_ok=True)
    for i in range(1, steps + 1):
        start = time.perf_counter()
        step(torch.from_numpy(train_iter.next().data[0].asnumpy()))
        seconds += time.perf_counter() - start
        if i % args.every == 0 or i == steps:
            n = FULL if i == steps else args.num
            netG.eval()
            with torch.inference_mode():
                images = np.concatenate([netG(torch.randn(BATCH_SIZE, 100, 1, 1)).numpy()
                                         for _ in range(0, n, BATCH_SIZE)])
            netG.train()
            np.savez(folder / f"{i}.npz", seconds=seconds, images=images.mean(1, keepdims=True))


def draw_pytorch(name: str, seed: int, step: int, n: int, args: argparse.Namespace
                 ) -> tuple[np.ndarray, float]:
    """Return images that `train_pytorch` kept, and the seconds that it had trained for."""
    with np.load(args.out / f"{name}-{seed}" / f"{step}.npz") as kept:
        return kept["images"][:n], float(kept["seconds"])


def judge_all(args: argparse.Namespace, names: list[str]) -> list[dict[str, Any]]:
    """Return the figures of each contestant at each point, and those of real digits."""
    from dcgan_mx import MnistIter, get_mnist
    from dcgan_mx.images.digits import load_classifier
    from dcgan_mx.images.evaluation import Judge, take
    path = args.out / "figures.jsonl"
    done = {(r["name"], r["seed"], r["step"]): r for r in read_lines(path)}
    points = [(name, seed, step) for name in names for seed in range(1, args.seeds + 1)
              for step in list_points(CONTESTANTS[name].steps, args.every)]
    train_iter = MnistIter(get_mnist(args.data)[0], 100, (1, 64, 64), seed=0)
    real, classifier = take(train_iter, 2 * FULL), load_classifier(args.data)
    judges = {n: Judge(real[:n], classifier, quick=n < FULL) for n in (args.num, FULL)}
    # Real digits stand at the steps at which so many images are judged.
    for point in (*points, ("real", 0, 0), ("real", 0, 1)):
        if point in done:
            continue
        name, seed, step = point
        last = step == 1 if name == "real" else step == CONTESTANTS[name].steps
        n, seconds = FULL if last else args.num, 0.0
        images = real[FULL:FULL + n]
        if name != "real":
            draw = draw_pytorch if name == "pytorch" else draw_ours
            images, seconds = draw(name, seed, step, n, args)
        done[point] = {"name": name, "seed": seed, "step": step, "seconds": seconds,
                       **judges[n].judge(images)}
        with path.open("a") as f:
            f.write(json.dumps(done[point]) + "\n")
    return [r for r in done.values() if r["name"] in (*names, "real")]


def list_points(steps: int, every: int) -> list[int]:
    """Return the steps at which a training of so many is looked at."""
    return [*range(every, steps, every), steps]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file, none if it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def print_table(records: list[dict[str, Any]]) -> None:
    """Print a line for each point of each training."""
    print(f"{'':15} seed  step  minutes images" + "".join(f"{name:>11}" for name in FIGURES))
    for r in sorted(records, key=lambda r: (r["name"], r["seed"], r["step"])):
        print(f"{r['name']:15} {r['seed']:4} {r['step']:5} {r['seconds'] / 60:8.1f} {r['images']:6}"
              + "".join(f"{r[name]:11.{1 if name in ('frechet', 'swd') else 3}f}"
                        for name in FIGURES))


def draw_curves(records: list[dict[str, Any]], path: Path) -> None:
    """Draw the Fréchet and the sliced Wasserstein distance over the steps and over the minutes."""
    import matplotlib
    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    figure, rows = plt.subplots(2, 2, figsize=(9, 6.4), sharex="col", sharey="row")
    for row, (figure_of, title) in zip(rows, (("frechet", "Fréchet distance"),
                                              ("swd", "sliced Wasserstein distance"))):
        for axes, key, scale in ((row[0], "step", 1), (row[1], "seconds", 60)):
            for colour, name in enumerate(CONTESTANTS):
                for seed in sorted({r["seed"] for r in records if r["name"] == name}):
                    line = sorted((r["step"], r[key] / scale, r[figure_of]) for r in records
                                  if (r["name"], r["seed"]) == (name, seed))
                    axes.plot([x for _, x, _ in line], [y for _, _, y in line],
                              color=f"C{colour}", label=name if seed == 1 else None)
            axes.axhline(min(r[figure_of] for r in records if r["name"] == "real"), color="grey",
                         linestyle=":", label="real digits")
            axes.set(yscale="log")
        row[0].set_ylabel(title)
    rows[1, 0].set_xlabel("steps of 64 images")
    rows[1, 1].set_xlabel("minutes")
    rows[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    """Parse the flags; train what is missing, judge, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--contestants", default="blog,digits,pytorch",
        help=f"some of {', '.join(CONTESTANTS)}; default: %(default)s")
    add("--seeds", type=int, default=3, help="of each contestant; default: %(default)s")
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
        keep_pytorch(args.one.split(",")[0], int(args.one.split(",")[1]), args)
        return
    if "pytorch" in names and importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed and left out (pip install torch)")
        names.remove("pytorch")
    args.out.mkdir(parents=True, exist_ok=True)
    # What is kept was made with these settings, or it is nothing to compare with.
    path, asked = args.out / "settings.json", {"num": args.num}
    if (json.loads(path.read_text()) if path.exists() else asked) != asked:
        parser.error(f"--num {args.num}: {args.out} was made with another number: give another "
                     "--out")
    path.write_text(json.dumps(asked))
    for seed in range(1, args.seeds + 1):
        for name in names:
            (train_pytorch if name == "pytorch" else train_ours)(name, seed, args)
    records = judge_all(args, names)
    print_table(records)
    draw_curves(records, args.out / "quality.png")
    print(f"\nsee {args.out / 'quality.png'}")


if __name__ == "__main__":
    main()
