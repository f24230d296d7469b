"""`dcgan-mx evaluate`: the image quality of a run."""
from __future__ import annotations

import importlib.util
import itertools
import json
import warnings
from typing import Any, Sequence

import numpy as np

from ..data.datasets import read_mnist
from ..engine.collectives import Workers
from ..iterators import EpochIter, MnistIter, resize_to
from ..metrics.evaluator import Evaluator, find_nearest, first_images, iter_epochs
from ..metrics.linear_probe import Features, svm_error
from ..reports.report import write_report
from ..runs.config import DATASETS, Number, Settings
from ..sampling.generator import describe_step, load_generator
from ..sampling.latent import make_latents
from ..system.devices import make_contexts
from ..system.errors import ArgumentError
from ..system.memory import check_memory
from ..visual import make_grid
from .parser import Parser
from .resolve import find_classifier, make_train_iter, resolve_model

_MOST_COMPARED = 100_000  # real images searched for the nearest to a generated one
_SHOWN = 16
_DIGITS = 70_000  # training and test digits whose features are in memory at once
# Metrics of the table with their labels and numbers of decimals.
_ROWS = (("frechet", "Fréchet distance", 2), ("precision", "precision", 3), ("recall", "recall", 3),
         ("swd", "sliced Wasserstein distance x 1,000", 2), ("ms_ssim", "MS-SSIM", 3))


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser("evaluate", "Measure the quality of generated images, next to the same metrics "
                    "between two sets of real images. The results are also written to the run "
                    "directory; no files are written for pretrained:NAME.")
    parser.add_shared("checkpoint")
    parser.add("--num-images", "number of generated images, and of real images to compare them "
               "with", Number(int, ge=16, lt=2**17), default=4096)
    parser.add("--seed", "seed of the latent vectors", Number(int, ge=0, lt=2**63), default=0)
    parser.add_shared("--weights")
    parser.add_shared("--bn-stats")
    parser.add("--dataset", "data set of the real images, for a model of MXNet's example, which "
               "does not name it", DATASETS)
    parser.add("--data-path", "location of the real images (default: that of the training)",
               metavar="PATH")
    parser.add("--linear-probe", "mnist: also train linear classifiers on the discriminator's "
               "features; takes 6 GB of memory and several minutes", action="store_true")
    parser.add("--json", "print JSON instead of a table", action="store_true")
    parser.add_shared("--gpu")
    return parser


def check_count(n: int, train_iter: EpochIter) -> None:
    """Raise ArgumentError, or warn about crops, if there are fewer than 2n real images."""
    available = train_iter.num_batches * train_iter.batch_size
    if 2 * n > available and isinstance(train_iter, MnistIter):
        raise ArgumentError("num_images", f"{n} needs two sets of real images, and there are "
                            f"{available} in total: use {available // 2} or less")
    if 2 * n > available:
        warnings.warn(f"--num-images {n}: there are only {available} real images, so that the "
                      "baseline compares crops of the same images and is too low", RuntimeWarning,
                      stacklevel=2)


def format_table(result: dict[str, Any]) -> str:
    """Format the metrics as a table."""
    baseline = result["baseline"]
    rows = []
    for name, label, digits in _ROWS:
        if name in result:
            rows.append((label, result[name], baseline[name], digits))
        if name == "swd":
            rows += [(f"  at {height}x{height} pixels", value, baseline["swd_levels"][height], 2)
                     for height, value in result["swd_levels"].items()]
    if "class_counts" in result:
        counts = zip(result["class_counts"], baseline["class_counts"])
        rows += [(f"share of {digit}, %", *(100 * x / result["images"] for x in pair), 1)
                 for digit, pair in enumerate(counts)]
        note = (f"The digit classifier has an error of {100 * result['classifier_error']:.2f} % on "
                "the test digits.")
    else:
        note = ("Fréchet distance, precision and recall need a classifier, which "
                f"{result['dataset']} does not have.")
    return "\n".join([
        f"{result['images']} images of {describe_step(result['step'])} "
        f"({result['weights']} weights, "
        f"{result['bn']} statistics), compared with the same number of real images",
        f"{'':38}{'generated':>10}{'real images':>14}",
        *(f"{label:38}{ours:10.{digits}f}{real:14.{digits}f}"
          for label, ours, real, digits in rows),
        note,
        *(f"Error of a linear SVM on {name}: {100 * error:.2f} % of the test digits."
          for name, error in result.get("svm_errors", {}).items())])


def probe_features(features: Features, settings: Settings) -> dict[str, float]:
    """Return the errors of linear classifiers of digits, by D's features and by the pixels.

    Each is trained on all labels, and on 1,000: 100 of each digit, chosen with a fixed seed.
    """
    images, labels, tests, test_labels = read_mnist(settings.options.data_path or "data")
    config = settings.config
    shape = (config.nc, config.size, config.size)
    rng = np.random.default_rng(0)
    few = np.concatenate([rng.choice(np.flatnonzero(labels == digit), 100, replace=False)
                          for digit in range(10)])

    def extract(digits: np.ndarray) -> np.ndarray:
        extracted = np.empty((len(digits), features.count), np.float32)
        for i in range(0, len(digits), 1000):
            extracted[i:i + 1000] = features.extract(resize_to(digits[i:i + 1000], shape))
        return extracted

    def flatten(digits: np.ndarray) -> np.ndarray:
        return digits.reshape(len(digits), -1).astype(np.float32)

    return {f"{name}, {count} labels": svm_error(convert(images[chosen]), labels[chosen],
                                                 convert(tests), test_labels)
            for name, convert in (("features", extract), ("pixels", flatten))
            for count, chosen in (("1000", few), ("all", np.arange(len(labels))))}


def main(argv: Sequence[str]) -> int:
    """Evaluate; return the exit code."""
    args = make_parser().parse_args(argv)
    source, settings, run = resolve_model(args.checkpoint, args.dataset)
    ctx = make_contexts(args.gpu)[0]
    if args.data_path is not None:
        settings = settings.replace({"data_path": args.data_path})
    if settings.config.dataset in ("mnist", "fashion-mnist"):
        settings = settings.replace({"batch_size": 100})  # a divisor of 60,000: no image is dropped
    generator, step = load_generator(source, ctx, args.bn_stats, weights=args.weights)
    settings = settings.replace(generator.find_shape())
    config = settings.config
    # Two real images for each generated one; real digits are grey.
    channels = config.nc + 2 * (1 if config.dataset == "mnist" else config.nc)
    check_memory(f"--num-images {args.num_images}",
                 4 * args.num_images * channels * config.size**2, "use a smaller number")
    features = None
    if args.linear_probe:
        if config.dataset != "mnist":
            raise ArgumentError("linear_probe", f"{config.dataset} has no labels: remove the flag")
        if importlib.util.find_spec("scipy") is None:
            raise ArgumentError("linear_probe", "SciPy is not installed: pip install "
                                "'dcgan-mx[features]', or scipy")
        features = Features(source, (config.nc, config.size, config.size), ctx)
        check_memory("--linear-probe", 4 * _DIGITS * features.count, "remove the flag, or free "
                     "memory")
    train_iter = make_train_iter(settings, Workers())
    check_count(args.num_images, train_iter)
    classifier = find_classifier(settings, ctx)
    images = generator.generate(make_latents(args.num_images, generator.nz, args.seed))
    real = first_images(train_iter, 2 * args.num_images, grey=classifier is not None)
    evaluator = Evaluator(real[:args.num_images], classifier)
    result = {"step": step, "dataset": config.dataset, "seed": args.seed, "bn": args.bn_stats,
              "weights": "ema" if generator.averaged else "raw", **evaluator.evaluate(images),
              "baseline": evaluator.evaluate(real[args.num_images:])}
    if classifier:
        result["classifier_error"] = round(classifier.error, 4)
    if features:
        result["svm_errors"] = probe_features(features, settings)
    print(json.dumps(result) if args.json else format_table(result), flush=True)
    if run is None:
        return 0
    shown, half = images[:_SHOWN], _SHOWN // 2
    count = min(train_iter.num_batches, -(-_MOST_COMPARED // train_iter.batch_size))
    nearest = find_nearest(shown, itertools.islice(iter_epochs(train_iter), count))
    grid = make_grid(np.concatenate([shown[:half], nearest[:half], shown[half:],
                                     nearest[half:]]), half)
    run.write_evaluation(result, grid)
    page = write_report(run.path)
    if not args.json:
        print(f"See {page}, and {run.path / 'evaluation.png'}: {_SHOWN} images, each above the "
              "nearest real image.")
    return 0
