"""Train the blog's settings, a recipe and PyTorch's DCGAN example; compare their pictures.

Ours are runs of `dcgan-mx train` that keep a checkpoint of each point; PyTorch's example is trained
on the same digits in a process of its own, which stops its clock at each point to draw. All images
are judged by the same code. What is done is kept in the folder --out, and not done again.
"""
from __future__ import annotations

import argparse
import importlib.util
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple, Tuple

import numpy as np

from dcgan_mx.system.files import write_atomic

FULL = 16_384  # images that are judged in full at the end of a training
FIGURES = ("frechet", "precision", "recall", "swd", "ms_ssim")
Point = Tuple[str, int, int]  # contestant, seed, step


class Contestant(NamedTuple):
    """What is trained for so many steps: our command with some flags, or PyTorch's example."""

    steps: int
    flags: tuple[str, ...] = ()


CONTESTANTS = {
    "blog": Contestant(936, ("--dataset", "mnist")),
    "digits": Contestant(1872, ("--preset", "digits")),
    "digits-bfloat16": Contestant(1872, ("--preset", "digits", "--precision", "bfloat16")),
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
    from dcgan_mx.runs.run import Run
    from dcgan_mx.sampling.generator import load_generator
    from dcgan_mx.sampling.latent import make_latents
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
            n = FULL if i == steps else args.num_images
            netG.eval()
            with torch.inference_mode():
                images = np.concatenate([netG(torch.randn(BATCH_SIZE, 100, 1, 1)).numpy()
                                         for _ in range(0, n, BATCH_SIZE)])
            netG.train()
            write_images(folder / f"{i}.npz", seconds, images.mean(1, keepdims=True))


def write_images(path: Path, seconds: float, images: np.ndarray) -> None:
    """Write what `draw_pytorch` reads: what is there is not made again, so it has to be whole."""
    kept = io.BytesIO()
    np.savez(kept, seconds=seconds, images=images)
    write_atomic(path, [kept.getbuffer()])


def draw_pytorch(name: str, seed: int, step: int, n: int, args: argparse.Namespace
                 ) -> tuple[np.ndarray, float]:
    """Return images that `train_pytorch` kept, and the seconds that it had trained for."""
    with np.load(args.out / f"{name}-{seed}" / f"{step}.npz") as kept:
        return kept["images"][:n], float(kept["seconds"])


def judge_all(points: list[Point], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the figures of each contestant at each point, and those of real digits."""
    path = args.out / "figures.jsonl"
    done = read_figures(path)
    # Real digits stand at the steps at which so many images are judged.
    points = [*points, ("real", 0, 0), ("real", 0, 1)]
    missing = [point for point in points if point not in done]
    judge = make_judge(args) if missing else None
    for point in missing:
        assert judge is not None
        done[point] = judge(*point)
        write_atomic(path, "".join(json.dumps(r) + "\n" for r in done.values()).encode(), sync=True)
    return [done[point] for point in points]


def make_judge(args: argparse.Namespace) -> Callable[[str, int, int], dict[str, Any]]:
    """Make a function that judges a contestant's images at a point."""
    from dcgan_mx import MnistIter, get_mnist
    from dcgan_mx.metrics.digit_classifier import load_classifier
    from dcgan_mx.metrics.evaluator import Evaluator, first_images
    train_iter = MnistIter(get_mnist(args.data)[0], 100, (1, 64, 64), seed=0)
    real, classifier = first_images(train_iter, 2 * FULL), load_classifier(args.data)
    judges = {n: Evaluator(real[:n], classifier, quick=n < FULL) for n in (args.num_images, FULL)}

    def judge(name: str, seed: int, step: int) -> dict[str, Any]:
        last = step == 1 if name == "real" else step == CONTESTANTS[name].steps
        n, seconds = FULL if last else args.num_images, 0.0
        images = real[FULL:FULL + n]
        if name != "real":
            draw = draw_pytorch if name == "pytorch" else draw_ours
            images, seconds = draw(name, seed, step, n, args)
        return {"name": name, "seed": seed, "step": step, "seconds": seconds,
                **judges[n].judge(images)}
    return judge


def read_figures(path: Path) -> dict[Point, dict[str, Any]]:
    """Return the records of a file by contestant, seed and step; none if it is not there."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {(r["name"], r["seed"], r["step"]): r for r in map(json.loads, lines)}


def find_lacking(name: str, seed: int, args: argparse.Namespace) -> list[int]:
    """Return the points of a training of ours of which there are neither images nor figures."""
    done = read_figures(args.out / "figures.jsonl")
    folder = args.out / f"{name}-{seed}" / "checkpoints"
    return [step for step in list_points(CONTESTANTS[name].steps, args.every)
            if (name, seed, step) not in done and not (folder / f"step-{step:08d}").exists()]


def list_points(steps: int, every: int) -> list[int]:
    """Return the steps at which a training of so many is looked at."""
    return [*range(every, steps, every), steps]


def print_table(records: list[dict[str, Any]]) -> None:
    """Print a line for each point of each training."""
    print(f"{'':15} seed  step  minutes images" + "".join(f"{name:>11}" for name in FIGURES))
    for r in sorted(records, key=lambda r: (r["name"], r["seed"], r["step"])):
        print(f"{r['name']:15} {r['seed']:4} {r['step']:5} {r['seconds'] / 60:8.1f} {r['images']:6}"
              + "".join(f"{r[name]:11.{1 if name in ('frechet', 'swd') else 3}f}"
                        for name in FIGURES))


def draw_curves(records: list[dict[str, Any]], key: str, label: str, path: Path) -> None:
    """Draw the Fréchet and the sliced Wasserstein distance over the steps or over the minutes."""
    import matplotlib
    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    figure, both = plt.subplots(1, 2, figsize=(9, 4), sharex=True)
    scale = 60 if key == "seconds" else 1
    ours = sorted((r for r in records if r["name"] != "real"), key=lambda r: r["step"])
    for axes, figure_of, title in zip(both, ("frechet", "swd"),
                                      ("Fréchet distance", "sliced Wasserstein distance")):
        for colour, name in enumerate(CONTESTANTS):
            for seed in sorted({r["seed"] for r in ours if r["name"] == name}):
                line = [r for r in ours if (r["name"], r["seed"]) == (name, seed)]
                axes.plot([r[key] / scale for r in line], [r[figure_of] for r in line], marker="o",
                          markevery=[-1], color=f"C{colour}", label=name if seed == 1 else None)
        # The floor falls with the number of images: each has its own points above it.
        floors = {r["images"]: r[figure_of] for r in records if r["name"] == "real"}
        for (images, floor), style in zip(floors.items(), (":", "--")):
            places = [r[key] / scale for r in ours if r["images"] == images]
            if places:
                axes.plot([min(places), max(places)], [floor, floor], color="grey", marker="|",
                          linestyle=style, label=f"real digits, {images:,} images")
        axes.set(yscale="log", title=title, xlabel=label)
    figure.legend(*both[0].get_legend_handles_labels(), loc="lower center", ncol=5)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=90)


def main() -> None:
    """Parse the flags; train what is missing, judge, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--contestants", default="blog,digits,pytorch",
        help=f"some of {', '.join(CONTESTANTS)}; default: %(default)s")
    add("--seeds", type=int, default=3, help="of each contestant; default: %(default)s")
    add("--every", type=int, default=117, help="steps between two points; default: %(default)s")
    add("--num-images", type=int, default=4096, help="images at each point; default: %(default)s")
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
    path, asked = args.out / "settings.json", {"num_images": args.num_images}
    if (json.loads(path.read_text()) if path.exists() else asked) != asked:
        parser.error(f"--num-images {args.num_images}: {args.out} was made with another number: give another "
                     "--out")
    write_atomic(path, json.dumps(asked).encode())
    for seed in range(1, args.seeds + 1):
        for name in names:
            if name == "pytorch":
                train_pytorch(name, seed, args)
                continue
            train_ours(name, seed, args)
            lacking = find_lacking(name, seed, args)
            if lacking:
                parser.error(f"--every {args.every}: {args.out / f'{name}-{seed}'} has no "
                             f"checkpoint of step {', '.join(map(str, lacking))}: give the "
                             "--every that it was trained with, or another --out")
    points = [(name, seed, step) for name in names for seed in range(1, args.seeds + 1)
              for step in list_points(CONTESTANTS[name].steps, args.every)]
    records = judge_all(points, args)
    print_table(records)
    print()
    for key, label, name in (("step", "steps of 64 images", "quality.png"),
                             ("seconds", "minutes", "quality-minutes.png")):
        draw_curves(records, key, label, args.out / name)
        print(f"see {args.out / name}")


if __name__ == "__main__":
    main()
