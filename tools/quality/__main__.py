"""Train the blog's settings, a preset and PyTorch's DCGAN example; compare their images.

Ours are runs of `dcgan-mx train` that keep a checkpoint at each point. PyTorch's example is trained
on the same digits in a process of its own, which stops its clock at each point to generate images.
The same code measures all images. Results are kept in the folder --out and are not computed again.
"""
from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple, Tuple

import numpy as np

from dcgan_mx.system.files import write_atomic

from ..common import TRAIN, find_pytorch, load_pyplot, make_parser, run_python

FULL = 16_384  # images that are evaluated at the last point of a training
METRICS = ("frechet", "precision", "recall", "swd", "ms_ssim")
Point = Tuple[str, int, int]  # candidate, seed, step


class Candidate(NamedTuple):
    """A training of a number of steps: our command with some flags, or PyTorch's example."""

    steps: int
    flags: tuple[str, ...] = ()


CANDIDATES = {
    "blog": Candidate(936, ("--dataset", "mnist")),
    "digits": Candidate(1872, ("--preset", "digits")),
    "digits-bfloat16": Candidate(1872, ("--preset", "digits", "--precision", "bfloat16")),
    "pytorch": Candidate(936),
}


def list_points(name: str, every: int) -> list[int]:
    """Return the steps at which a candidate is evaluated."""
    steps = CANDIDATES[name].steps
    return [*range(every, steps, every), steps]


def train_ours(name: str, seed: int, args: argparse.Namespace) -> None:
    """Train a run, or resume it, up to its last point."""
    run_dir = args.out / f"{name}-{seed}"
    steps, flags = CANDIDATES[name]
    if not (run_dir / "checkpoints" / f"step-{steps:08d}").exists():
        subprocess.run([*TRAIN, "--resume", *flags, "--seed", str(seed), "--max-steps", str(steps),
                        "--checkpoint-steps", str(args.every), "--data-path", args.data,
                        "--run-dir", str(run_dir)], check=True)


def generate_ours(name: str, seed: int, step: int, n: int, args: argparse.Namespace
                  ) -> tuple[np.ndarray, float]:
    """Return images of a run's checkpoint, and the seconds of training before it."""
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
    import torch

    from dcgan_mx import MnistIter, get_mnist

    from ..benchmark.bench_loops import BATCH_SIZE, make_pytorch_step
    torch.manual_seed(seed)
    step, netG = make_pytorch_step()
    train_iter = MnistIter(get_mnist(args.data)[0], BATCH_SIZE, (3, 64, 64), seed)
    folder, points, seconds = args.out / f"{name}-{seed}", list_points(name, args.every), 0.0
    folder.mkdir(exist_ok=True)
    for i in range(1, points[-1] + 1):
        start = time.perf_counter()
        step(torch.from_numpy(train_iter.next().data[0].asnumpy()))
        seconds += time.perf_counter() - start
        if i in points:
            n = FULL if i == points[-1] else args.num_images
            netG.eval()
            with torch.inference_mode():
                images = np.concatenate([netG(torch.randn(BATCH_SIZE, 100, 1, 1)).numpy()
                                         for _ in range(0, n, BATCH_SIZE)])
            netG.train()
            write_images(folder / f"{i}.npz", seconds, images.mean(1, keepdims=True))


def write_images(path: Path, seconds: float, images: np.ndarray) -> None:
    """Write a file for `read_images`, atomically: an existing file is not made again."""
    buffer = io.BytesIO()
    np.savez(buffer, seconds=seconds, images=images)
    write_atomic(path, [buffer.getbuffer()])


def read_images(name: str, seed: int, step: int, n: int, args: argparse.Namespace
                ) -> tuple[np.ndarray, float]:
    """Return images that `train_pytorch` kept, and the seconds of training before them."""
    with np.load(args.out / f"{name}-{seed}" / f"{step}.npz") as kept:
        return kept["images"][:n], float(kept["seconds"])


def evaluate_all(points: list[Point], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the metrics of each candidate at each point, and the real-vs-real baselines."""
    path = args.out / "metrics.jsonl"
    done = read_metrics(path)
    # The steps 0 and 1 of "real" stand for the two numbers of images.
    points = [*points, ("real", 0, 0), ("real", 0, 1)]
    missing = [point for point in points if point not in done]
    evaluate = make_evaluator(args) if missing else None
    for point in missing:
        assert evaluate is not None
        done[point] = evaluate(*point)
        write_atomic(path, "".join(json.dumps(r) + "\n" for r in done.values()).encode(), sync=True)
    return [done[point] for point in points]


def make_evaluator(args: argparse.Namespace) -> Callable[[str, int, int], dict[str, Any]]:
    """Return a function that evaluates a candidate's images at a point."""
    from dcgan_mx import MnistIter, get_mnist
    from dcgan_mx.metrics.digit_classifier import load_classifier
    from dcgan_mx.metrics.evaluator import Evaluator, first_images
    train_iter = MnistIter(get_mnist(args.data)[0], 100, (1, 64, 64), seed=0)
    real, classifier = first_images(train_iter, 2 * FULL), load_classifier(args.data)
    evaluators = {n: Evaluator(real[:n], classifier, quick=n < FULL)
                  for n in (args.num_images, FULL)}

    def evaluate(name: str, seed: int, step: int) -> dict[str, Any]:
        last = step == 1 if name == "real" else step == CANDIDATES[name].steps
        n, seconds = FULL if last else args.num_images, 0.0
        images = real[FULL:FULL + n]
        if name != "real":
            generate = read_images if name == "pytorch" else generate_ours
            images, seconds = generate(name, seed, step, n, args)
        return {"name": name, "seed": seed, "step": step, "seconds": seconds,
                **evaluators[n].evaluate(images)}
    return evaluate


def read_metrics(path: Path) -> dict[Point, dict[str, Any]]:
    """Return the records of a file by candidate, seed and step; {} if it does not exist."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {(r["name"], r["seed"], r["step"]): r for r in map(json.loads, lines)}


def find_missing(name: str, seed: int, args: argparse.Namespace) -> list[int]:
    """Return the points of a training of ours that have neither a checkpoint nor metrics."""
    done = read_metrics(args.out / "metrics.jsonl")
    folder = args.out / f"{name}-{seed}" / "checkpoints"
    return [step for step in list_points(name, args.every)
            if (name, seed, step) not in done and not (folder / f"step-{step:08d}").exists()]


def print_table(records: list[dict[str, Any]]) -> None:
    """Print a line for each point of each training."""
    print(f"{'':15} seed  step  minutes images" + "".join(f"{name:>11}" for name in METRICS))
    for r in sorted(records, key=lambda r: (r["name"], r["seed"], r["step"])):
        print(f"{r['name']:15} {r['seed']:4} {r['step']:5} {r['seconds'] / 60:8.1f} {r['images']:6}"
              + "".join(f"{r[name]:11.{1 if name in ('frechet', 'swd') else 3}f}"
                        for name in METRICS))


def draw_curves(records: list[dict[str, Any]], key: str, label: str, path: Path) -> None:
    """Draw the Fréchet and the sliced Wasserstein distance over the steps or over the minutes."""
    figure, both = load_pyplot().subplots(1, 2, figsize=(9, 4), sharex=True)
    scale = 60 if key == "seconds" else 1
    ours = sorted((r for r in records if r["name"] != "real"), key=lambda r: r["step"])
    for axes, metric, title in zip(both, ("frechet", "swd"),
                                   ("Fréchet distance", "sliced Wasserstein distance")):
        for color, name in enumerate(CANDIDATES):
            for seed in sorted({r["seed"] for r in ours if r["name"] == name}):
                line = [r for r in ours if (r["name"], r["seed"]) == (name, seed)]
                axes.plot([r[key] / scale for r in line], [r[metric] for r in line], marker="o",
                          markevery=[-1], color=f"C{color}", label=name if seed == 1 else None)
        # The baseline falls with the number of images: it is drawn below the points of its number.
        baselines = {r["images"]: r[metric] for r in records if r["name"] == "real"}
        for (images, value), style in zip(baselines.items(), (":", "--")):
            places = [r[key] / scale for r in ours if r["images"] == images]
            if places:
                axes.plot([min(places), max(places)], [value, value], color="grey", marker="|",
                          linestyle=style, label=f"real digits, {images:,} images")
        axes.set(yscale="log", title=title, xlabel=label)
    figure.legend(*both[0].get_legend_handles_labels(), loc="lower center", ncol=5)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=90)


def main() -> None:
    """Parse the flags; train what is missing, evaluate, print and draw."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--candidates", default="blog,digits,pytorch", help=f"some of {', '.join(CANDIDATES)}")
    add("--seeds", type=int, default=3, help="number of seeds of each candidate")
    add("--every", type=int, default=117, help="steps between two points")
    add("--num-images", type=int, default=4096, help="images at each point but the last")
    add("--data", default="data", help="folder of MNIST")
    add("--out", type=Path, default=Path("runs/quality"), help="folder for runs and results")
    add("--pytorch-seed", type=int, help="only train PyTorch's example with this seed")
    args = parser.parse_args()
    if args.pytorch_seed is not None:
        train_pytorch("pytorch", args.pytorch_seed, args)
        return
    names = args.candidates.split(",")
    for name in names:
        if name not in CANDIDATES:
            parser.error(f"--candidates: unknown {name!r}: give some of {', '.join(CANDIDATES)}")
    if "pytorch" in names and not find_pytorch():
        print("PyTorch is skipped: it is not installed (pip install torch)")
        names.remove("pytorch")
    args.out.mkdir(parents=True, exist_ok=True)
    # Kept results are comparable only if they were made with the same number of images.
    path, wanted = args.out / "settings.json", {"num_images": args.num_images}
    if (json.loads(path.read_text()) if path.exists() else wanted) != wanted:
        parser.error(f"--num-images: {args.num_images} differs from the number that {args.out} was "
                     "made with: give another --out")
    write_atomic(path, json.dumps(wanted).encode())
    trainings = [(name, seed) for seed in range(1, args.seeds + 1) for name in names]
    for name, seed in trainings:
        folder = args.out / f"{name}-{seed}"
        if name != "pytorch":
            train_ours(name, seed, args)
            missing = find_missing(name, seed, args)
            if missing:
                parser.error(f"--every: {folder} has no checkpoint of step "
                             f"{', '.join(map(str, missing))}: give the --every that it was "
                             "trained with, or another --out")
        elif not all((folder / f"{step}.npz").exists() for step in list_points(name, args.every)):
            run_python("-m", "tools.quality", *sys.argv[1:], "--pytorch-seed", str(seed))
    records = evaluate_all([(name, seed, step) for name, seed in trainings
                            for step in list_points(name, args.every)], args)
    print_table(records)
    print()
    for key, label, file in (("step", "steps of 64 images", "quality.png"),
                             ("seconds", "minutes", "quality-minutes.png")):
        draw_curves(records, key, label, args.out / file)
        print(f"see {args.out / file}")


if __name__ == "__main__":
    main()
