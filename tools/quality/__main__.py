"""Train the blog post's settings, a preset and PyTorch's example with several seeds; compare them.

A candidate may have other flags than its own: `digits:translate=0,precision=bfloat16` is the preset
without shifts, in bfloat16.

Ours are runs of `dcgan-mx train` that keep a checkpoint at each point of evaluation. PyTorch's
DCGAN example keeps images. The same code measures both. Trainings continue where they were
interrupted (PyTorch's start again), and metrics are not computed again, unless the digit classifier
is another one. Minutes are steps times the seconds of a step, which are measured first, in short
trainings: nothing else must run then.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, NamedTuple, Sequence, Tuple

import numpy as np

from dcgan_mx.runs.run import Run
from dcgan_mx.system.files import write_atomic

from ..common import TRAIN, find_pytorch, make_parser
from .leaderboard import draw_curves, print_leaderboard, print_table
from .pytorch_example import read_images

FULL = 16_384  # images that are evaluated at the last point of a run
TIMED = 20, 60  # steps between which a step is timed
Point = Tuple[str, int, int, int]  # candidate, seed, step, number of images


class Candidate(NamedTuple):
    """A training: its number of steps, and its flags of `dcgan-mx train` or PyTorch's example."""

    steps: int
    flags: tuple[str, ...]
    pytorch: bool = False


CANDIDATES = {
    "blog": Candidate(936, ("--dataset", "mnist")),
    "digits": Candidate(3744, ("--preset", "digits")),
    "pytorch": Candidate(936, (), pytorch=True)}


def find_candidate(name: str) -> Candidate:
    """Return the candidate of a name such as digits:translate=0; KeyError if there is none."""
    known, _, more = name.partition(":")
    candidate = CANDIDATES[known]
    flags = [f"--{flag}" for flag in more.split(",") if flag]
    return candidate._replace(flags=(*candidate.flags, *flags))


def find_steps(name: str, args: argparse.Namespace) -> int:
    """Return the number of steps of a training."""
    return args.steps or find_candidate(name).steps


def measure_step(name: str, data: str) -> float:
    """Return the seconds of a step, from a short training."""
    _, flags, pytorch = find_candidate(name)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder, "run")
        if pytorch:
            run_pytorch(run_dir, 1, data, flags, [n for step in TIMED for n in (step, 1)])
            first, last = (read_images(run_dir / f"{step}.npz")[1] for step in TIMED)
        else:
            run_ours(run_dir, 1, data, [*flags, "--max-steps", str(TIMED[1]), "--disp-batches",
                                        str(TIMED[0])])
            seconds = {record["step"]: record["seconds"] for record in Run(run_dir).read_log()}
            first, last = (seconds[step] for step in TIMED)
    return (last - first) / (TIMED[1] - TIMED[0])


def measure_steps(names: Sequence[str], args: argparse.Namespace) -> dict[str, float]:
    """Return the seconds of a step of each candidate; each is measured once."""
    path = args.out / "step-seconds.json"
    seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    for name in names:
        if name not in seconds:
            seconds[name] = measure_step(name, args.data)
            write_atomic(path, json.dumps(seconds).encode(), sync=True)
    return seconds


def train(name: str, seed: int, args: argparse.Namespace) -> None:
    """Train up to the last point, unless that is done."""
    folder = args.out / f"{name}-{seed}"
    _, flags, pytorch = find_candidate(name)
    steps = find_steps(name, args)
    if pytorch:
        if not (folder / f"{steps}.npz").exists():
            run_pytorch(folder, seed, args.data, flags,
                        [n for point in list_points(name, seed, args) for n in point[2:]])
    elif not (folder / "checkpoints" / f"step-{steps:08d}").exists():
        run_ours(folder, seed, args.data, [*flags, "--resume", "--max-steps", str(steps),
                                           "--checkpoint-steps", str(args.every)])


def run_ours(run_dir: Path, seed: int, data: str, flags: Sequence[str]) -> None:
    """Train with `dcgan-mx train`."""
    subprocess.run([*TRAIN, *flags, "--seed", str(seed), "--data-path", data, "--run-dir",
                    str(run_dir)], check=True)


def run_pytorch(folder: Path, seed: int, data: str, flags: Sequence[str], points: list[int]
                ) -> None:
    """Train with PyTorch's example."""
    subprocess.run([sys.executable, "-m", "tools.quality.pytorch_example", *flags, "--seed",
                    str(seed), "--data", data, "--out", str(folder), "--points",
                    *map(str, points)], check=True)


def list_points(name: str, seed: int, args: argparse.Namespace) -> list[Point]:
    """Return the points at which a run is evaluated."""
    steps = find_steps(name, args)
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
        folder = args.out / f"{name}-{seed}"
        images = (real[FULL:FULL + n] if name == "real" else
                  read_images(folder / f"{step}.npz")[0] if find_candidate(name).pytorch else
                  generate(folder / "checkpoints" / f"step-{step:08d}", seed, n))
        return {"name": name, "seed": seed, "step": step, **evaluators[n].evaluate(images)}
    return evaluate


def generate(checkpoint: Path, seed: int, n: int) -> np.ndarray:
    """Return images of a checkpoint."""
    from dcgan_mx.sampling.generator import load_generator
    from dcgan_mx.sampling.latent import make_latents
    generator, _ = load_generator(checkpoint)
    return generator.generate(make_latents(n, generator.nz, seed))


def read_metrics(path: Path) -> dict[Point, dict[str, Any]]:
    """Return the records of a file by point; {} if the file does not exist."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {(r["name"], r["seed"], r["step"], r["images"]): r for r in map(json.loads, lines)}


def main() -> None:
    """Parse the flags; train what is missing, evaluate, print and draw."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--candidates", nargs="+", default=[*CANDIDATES], metavar="NAME[:FLAG=VALUE,...]",
        help=f"{', '.join(CANDIDATES)}, perhaps with other flags, as in digits:translate=0")
    add("--steps", type=int, help="steps of each training (default: those of the candidate)")
    add("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of each candidate")
    add("--every", type=int, default=117, help="steps between two points")
    add("--num-images", type=int, default=4096, help="images at each point but the last")
    add("--data", default="data", help="folder of MNIST")
    add("--out", type=Path, default=Path("runs/quality"), help="folder for runs and results")
    args = parser.parse_args()
    names = args.candidates
    for name in names:
        if name.partition(":")[0] not in CANDIDATES:
            parser.error(f"--candidates: unknown {name!r}: give some of {', '.join(CANDIDATES)}")
    if not find_pytorch():
        skipped = [name for name in names if find_candidate(name).pytorch]
        if skipped:
            print(f"{', '.join(skipped)}: skipped: PyTorch is not installed (pip install torch)")
        names = [name for name in names if name not in skipped]
    args.out.mkdir(parents=True, exist_ok=True)
    step_seconds = measure_steps(names, args)
    # The steps 0 and 1 of "real" stand for the two numbers of images.
    points: list[Point] = [("real", 0, 0, args.num_images), ("real", 0, 1, FULL)]
    for seed in args.seeds:
        for name in names:
            train(name, seed, args)
            points += list_points(name, seed, args)
    records = evaluate_all(points, args)
    for record in records:
        record["seconds"] = record["step"] * step_seconds.get(record["name"], 0.0)
    print_table(records)
    print()
    print_leaderboard(records, names)
    print("seconds of a step: " + ", ".join(f"{name} {step_seconds[name]:.2f}" for name in names))
    for key, label, file in (("step", "steps of 64 images", "quality.png"),
                             ("seconds", "minutes", "quality-minutes.png")):
        draw_curves(records, names, key, label, args.out / file)
        print(f"see {args.out / file}")


if __name__ == "__main__":
    main()
