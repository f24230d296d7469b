"""Train the blog post's settings, a preset and PyTorch's example with several seeds; compare them.

Ours are runs of `dcgan-mx train` that keep a checkpoint at each point of evaluation. PyTorch's
DCGAN example keeps images. The same code measures both. Trainings continue where they were
interrupted (PyTorch's start again), and metrics are not computed again, unless the digit classifier
is another one. The minutes are comparable only if nothing else runs.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, NamedTuple, Tuple

import numpy as np

from dcgan_mx.system.files import write_atomic

from ..common import TRAIN, find_pytorch, make_parser
from .leaderboard import draw_curves, print_leaderboard, print_table
from .pytorch_example import read_images

FULL = 16_384  # images that are evaluated at the last point of a run
Point = Tuple[str, int, int, int]  # candidate, seed, step, number of images


class Candidate(NamedTuple):
    """A training: its number of steps, and its flags of `dcgan-mx train` or PyTorch's example."""

    steps: int
    flags: tuple[str, ...]
    pytorch: bool = False


CANDIDATES = {
    "blog": Candidate(936, ("--dataset", "mnist")),
    "digits": Candidate(3744, ("--preset", "digits")),
    "digits-bfloat16": Candidate(3744, ("--preset", "digits", "--precision", "bfloat16")),
    "pytorch": Candidate(936, (), pytorch=True),
    "pytorch-bfloat16": Candidate(936, ("--bfloat16",), pytorch=True)}


def train(name: str, seed: int, args: argparse.Namespace) -> None:
    """Train up to the last point, unless that is done."""
    folder = args.out / f"{name}-{seed}"
    steps, flags, pytorch = CANDIDATES[name]
    words = [*flags, "--seed", str(seed)]
    if pytorch:
        if not (folder / f"{steps}.npz").exists():
            points = [str(n) for point in list_points(name, seed, args) for n in point[2:]]
            subprocess.run([sys.executable, "-m", "tools.quality.pytorch_example", *words, "--data",
                            args.data, "--out", str(folder), "--points", *points], check=True)
    elif not (folder / "checkpoints" / f"step-{steps:08d}").exists():
        subprocess.run([*TRAIN, "--resume", *words, "--max-steps", str(steps), "--checkpoint-steps",
                        str(args.every), "--data-path", args.data, "--run-dir", str(folder)],
                       check=True)


def list_points(name: str, seed: int, args: argparse.Namespace) -> list[Point]:
    """Return the points at which a run is evaluated."""
    steps = CANDIDATES[name].steps
    return [*((name, seed, step, args.num_images) for step in range(args.every, steps, args.every)),
            (name, seed, steps, FULL)]


def evaluate_all(points: list[Point], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the metrics at each point, in the order of the points."""
    path = args.out / "metrics.jsonl"
    from dcgan_mx.metrics.digit_classifier import SHA256
    done = {point: record for point, record in read_metrics(path).items()
            if record.get("classifier") == SHA256}
    missing = [point for point in points if point not in done]
    if missing:
        evaluate = make_evaluator(args)
    for point in missing:
        done[point] = evaluate(*point)
        write_atomic(path, "".join(json.dumps(r) + "\n" for r in done.values()).encode(), sync=True)
    return [done[point] for point in points]


def make_evaluator(args: argparse.Namespace) -> Callable[[str, int, int, int], dict[str, Any]]:
    """Return a function that evaluates the images of a point."""
    from dcgan_mx import MnistIter, get_mnist
    from dcgan_mx.metrics.digit_classifier import load_classifier
    from dcgan_mx.metrics.evaluator import Evaluator, first_images
    train_iter = MnistIter(get_mnist(args.data)[0], 100, (1, 64, 64), seed=0)
    real, classifier = first_images(train_iter, 2 * FULL), load_classifier()
    evaluators = {n: Evaluator(real[:n], classifier, quick=n < FULL)
                  for n in (args.num_images, FULL)}

    def evaluate(name: str, seed: int, step: int, n: int) -> dict[str, Any]:
        images, seconds = real[FULL:FULL + n], 0.0
        if name != "real":
            folder = args.out / f"{name}-{seed}"
            images, seconds = (read_images(folder / f"{step}.npz") if CANDIDATES[name].pytorch else
                               generate(folder, seed, step, n))
        return {"name": name, "seed": seed, "step": step, "seconds": seconds,
                **evaluators[n].evaluate(images)}
    return evaluate


def generate(run_dir: Path, seed: int, step: int, n: int) -> tuple[np.ndarray, float]:
    """Return images of a checkpoint, and the duration of the training before it."""
    from dcgan_mx.runs.run import Run
    from dcgan_mx.sampling.generator import load_generator
    from dcgan_mx.sampling.latent import make_latents
    generator, _ = load_generator(run_dir / "checkpoints" / f"step-{step:08d}")
    log = Run(run_dir).read_log()
    seconds = np.interp(step, [0, *(r["step"] for r in log)], [0, *(r["seconds"] for r in log)])
    return generator.generate(make_latents(n, generator.nz, seed)), float(seconds)


def read_metrics(path: Path) -> dict[Point, dict[str, Any]]:
    """Return the records of a file by point; {} if the file does not exist."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {(r["name"], r["seed"], r["step"], r["images"]): r for r in map(json.loads, lines)}


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
    args = parser.parse_args()
    names = args.candidates.split(",")
    for name in names:
        if name not in CANDIDATES:
            parser.error(f"--candidates: unknown {name!r}: give some of {', '.join(CANDIDATES)}")
    if not find_pytorch():
        skipped = [name for name in names if CANDIDATES[name].pytorch]
        if skipped:
            print(f"{', '.join(skipped)}: skipped: PyTorch is not installed (pip install torch)")
        names = [name for name in names if name not in skipped]
    args.out.mkdir(parents=True, exist_ok=True)
    # The steps 0 and 1 of "real" stand for the two numbers of images.
    points: list[Point] = [("real", 0, 0, args.num_images), ("real", 0, 1, FULL)]
    for seed in range(1, args.seeds + 1):
        for name in names:
            train(name, seed, args)
            points += list_points(name, seed, args)
    records = evaluate_all(points, args)
    print_table(records)
    print()
    print_leaderboard(records, names)
    for key, label, file in (("step", "steps of 64 images", "quality.png"),
                             ("seconds", "minutes", "quality-minutes.png")):
        draw_curves(records, names, key, label, args.out / file)
        print(f"see {args.out / file}")


if __name__ == "__main__":
    main()
