"""Train the settings of the blog post and a preset with several seeds; compare their images.

Each training is a run of `dcgan-mx train` that keeps a checkpoint at each point of evaluation.
Trainings continue where they were interrupted, and metrics are not computed again, unless the digit
classifier is another one.
"""
from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any, Callable, Tuple

from matplotlib.figure import Figure

from dcgan_mx.system.files import write_atomic

from ..common import TRAIN, make_parser

FULL = 16_384  # images that are evaluated at the last point of a training
METRICS = ("frechet", "precision", "recall", "swd", "ms_ssim")
Point = Tuple[str, int, int, int]  # candidate, seed, step, number of images


# Number of steps and flags of each training.
CANDIDATES: dict[str, tuple[int, tuple[str, ...]]] = {
    "blog": (936, ("--dataset", "mnist")),
    "digits": (1872, ("--preset", "digits")),
    "digits-bfloat16": (1872, ("--preset", "digits", "--precision", "bfloat16"))}


def train(name: str, seed: int, args: argparse.Namespace) -> None:
    """Train a run, or resume it, up to its last point."""
    run_dir = args.out / f"{name}-{seed}"
    steps, flags = CANDIDATES[name]
    if not (run_dir / "checkpoints" / f"step-{steps:08d}").exists():
        subprocess.run([*TRAIN, "--resume", *flags, "--seed", str(seed), "--max-steps", str(steps),
                        "--checkpoint-steps", str(args.every), "--data-path", args.data,
                        "--run-dir", str(run_dir)], check=True)


def list_points(name: str, seed: int, args: argparse.Namespace) -> list[Point]:
    """Return the points at which a training is evaluated."""
    steps, _ = CANDIDATES[name]
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
    from dcgan_mx.sampling.generator import load_generator
    from dcgan_mx.sampling.latent import make_latents
    train_iter = MnistIter(get_mnist(args.data)[0], 100, (1, 64, 64), seed=0)
    real, classifier = first_images(train_iter, 2 * FULL), load_classifier()
    evaluators = {n: Evaluator(real[:n], classifier, quick=n < FULL)
                  for n in (args.num_images, FULL)}

    def evaluate(name: str, seed: int, step: int, n: int) -> dict[str, Any]:
        images = real[FULL:FULL + n]
        if name != "real":
            folder = args.out / f"{name}-{seed}" / "checkpoints" / f"step-{step:08d}"
            generator, _ = load_generator(folder)
            images = generator.generate(make_latents(n, generator.nz, seed))
        return {"name": name, "seed": seed, "step": step, **evaluators[n].evaluate(images)}
    return evaluate


def read_metrics(path: Path) -> dict[Point, dict[str, Any]]:
    """Return the records of a file by point; {} if the file does not exist."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {(r["name"], r["seed"], r["step"], r["images"]): r for r in map(json.loads, lines)}


def print_table(records: list[dict[str, Any]]) -> None:
    """Print a line for each point."""
    print(f"{'':15} seed  step images" + "".join(f"{name:>11}" for name in METRICS))
    for r in sorted(records, key=lambda r: (r["name"], r["seed"], r["step"])):
        print(f"{r['name']:15} {r['seed']:4} {r['step']:5} {r['images']:6}"
              + "".join(f"{r[name]:11.{1 if name in ('frechet', 'swd') else 3}f}"
                        for name in METRICS))


def draw_curves(records: list[dict[str, Any]], path: Path) -> None:
    """Draw the Fréchet and the sliced Wasserstein distance over the steps."""
    figure = Figure(figsize=(9, 4))
    both = figure.subplots(1, 2, sharex=True)
    ours = sorted((r for r in records if r["name"] != "real"), key=lambda r: r["step"])
    for axes, metric, title in zip(both, ("frechet", "swd"),
                                   ("Fréchet distance", "sliced Wasserstein distance")):
        for name, seed in sorted({(r["name"], r["seed"]) for r in ours}):
            line = [r for r in ours if (r["name"], r["seed"]) == (name, seed)]
            axes.plot([r["step"] for r in line], [r[metric] for r in line], marker="o",
                      markevery=[-1], color=f"C{[*CANDIDATES].index(name)}",
                      label=name if seed == 1 else None)
        # The baseline falls with the number of images: it is drawn below the points of its number.
        baselines = {r["images"]: r[metric] for r in records if r["name"] == "real"}
        for (images, value), style in zip(baselines.items(), (":", "--")):
            steps = [r["step"] for r in ours if r["images"] == images]
            if steps:
                axes.plot([min(steps), max(steps)], [value, value], color="grey", marker="|",
                          linestyle=style, label=f"real digits, {images:,} images")
        axes.set(yscale="log", title=title, xlabel="steps of 64 images")
    figure.legend(*both[0].get_legend_handles_labels(), loc="lower center", ncol=5)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=90)


def main() -> None:
    """Parse the flags; train what is missing, evaluate, print and draw."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--candidates", default="blog,digits", help=f"some of {', '.join(CANDIDATES)}")
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
    args.out.mkdir(parents=True, exist_ok=True)
    # The steps 0 and 1 of "real" stand for the two numbers of images.
    points: list[Point] = [("real", 0, 0, args.num_images), ("real", 0, 1, FULL)]
    for seed in range(1, args.seeds + 1):
        for name in names:
            train(name, seed, args)
            points += list_points(name, seed, args)
    records = evaluate_all(points, args)
    print_table(records)
    draw_curves(records, args.out / "quality.png")
    print(f"\nsee {args.out / 'quality.png'}")


if __name__ == "__main__":
    main()
