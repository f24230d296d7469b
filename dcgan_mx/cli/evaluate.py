"""`dcgan-mx evaluate`: how good the pictures of a run are."""
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
from ..metrics.digit_classifier import DigitClassifier
from ..metrics.evaluator import Evaluator, find_nearest, first_images, iter_epochs
from ..metrics.linear_probe import Features, svm_error
from ..reports.report import write_report
from ..runs.config import Settings
from ..sampling.generator import load_generator
from ..sampling.latent import make_latents
from ..system.command_line import command_line
from ..system.devices import make_contexts
from ..system.memory import check_memory
from ..visual import make_grid
from .parser import Parser, number
from .resolve import find_classifier, make_train_iter, resolve_model

_MOST_COMPARED = 100_000  # real images that a fake is compared with to find the nearest
_SHOWN = 16
_DIGITS = 70_000  # whose features are there at the same time, those of the test among them
_ROWS = (("frechet", "Fréchet distance"), ("precision", "precision"), ("recall", "recall"),
         ("swd", "sliced Wasserstein distance x 1,000"), ("ms_ssim", "MS-SSIM"))


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(command_line("evaluate"), "Say how good the pictures of a run are: figures of "
                    "quality, beside what they say of real images.")
    add = parser.add
    add("checkpoint", "a run directory: its newest checkpoint; or RUN/checkpoints/step-...; or "
        "pretrained:NAME, of which nothing is written", metavar="RUN")
    add("--num-images", "images, compared with as many real ones", metavar="N", default=4096,
        type=number(int, least=16, below=2**17))
    add("--seed", "of the latent vectors", type=number(int, least=0, below=2**63), default=0,
        metavar="N")
    add("--weights", "G's averaged weights, or the last ones (default: averaged ones where there "
        "are any)", choices=("ema", "raw"))
    add("--bn-stats", "BatchNorm's mean and variance: of the training, or of each batch",
        choices=("moving", "batch"), default="moving")
    add("--data-path", "where the real images are, if not where the training had them",
        metavar="PATH")
    add("--linear-probe", "of digits: how well a linear classifier tells them by D's features, too; "
        "takes 6 GB and some minutes", action="store_true")
    add("--json", "print one line of JSON instead of a table", action="store_true")
    add("--gpu", "number of the GPU; absent: the CPU", type=number(int, least=0), metavar="N")
    return parser


def evaluate(images: np.ndarray, train_iter: EpochIter, classifier: DigitClassifier | None
             ) -> dict[str, Any]:
    """Return the metrics of images, and, as `baseline`, those of real images against others."""
    n = len(images)
    there = train_iter.num_batches * train_iter.batch_size
    if 2 * n > there and isinstance(train_iter, MnistIter):
        raise ValueError(f"--num-images {n}: two sets of real images are compared, too, and there are "
                         f"{there}: give {there // 2} or less")
    if 2 * n > there:
        warnings.warn(f"--num-images {n}: there are {there} pictures; real images are compared with other "
                      "crops of the same ones, which puts the floor too low", RuntimeWarning,
                      stacklevel=2)
    real = first_images(train_iter, 2 * n, grey=classifier is not None)
    judge = Evaluator(real[:n], classifier)
    return {**judge.evaluate(images), "baseline": judge.evaluate(real[n:])}


def describe(result: dict[str, Any]) -> str:
    """Return the metrics as a table to read."""
    floor = result["baseline"]
    rows = []
    for name, label in _ROWS:
        if name in result:
            digits = 2 if name in ("frechet", "swd") else 3
            rows.append((label, result[name], floor[name], digits))
        if name == "swd":
            rows += [(f"  at {height}x{height} pixels", value, floor["swd_levels"][height], 2)
                     for height, value in result["swd_levels"].items()]
    if "class_counts" in result:
        rows += [(f"share of {digit}, %", *(100 * x / result["images"] for x in counts), 1)
                 for digit, counts in enumerate(zip(result["class_counts"], floor["class_counts"]))]
        note = (f"the classifier of digits errs on {100 * result['classifier_error']:.2f} % of the "
                "test digits")
    else:
        note = (f"{result['dataset']} has no classifier here: Fréchet distance, precision and "
                "recall need one, and are left out")
    return "\n".join([
        f"{result['images']} images of step {result['step']} ({result['weights']} weights, "
        f"{result['bn']} statistics), against as many real ones",
        f"{'':38}{'here':>10}{'real images':>14}",
        *(f"{label:38}{ours:10.{digits}f}{real:14.{digits}f}"
          for label, ours, real, digits in rows),
        note,
        *(f"a linear SVM errs, by {name}: {100 * error:.2f} % of the test digits"
          for name, error in result.get("svm_errors", {}).items())])


def measure_features(features: Features, settings: Settings) -> dict[str, float]:
    """Return the errors of linear classifiers of digits, by D's features and by the pixels.

    Each learns from all labels, and from 1,000: 100 of each digit, chosen by a fixed seed.
    """
    images, labels, tests, test_labels = read_mnist(settings.options.data_path or "data")
    config = settings.config
    shape = (config.nc, config.size, config.size)
    rng = np.random.default_rng(0)
    few = np.concatenate([rng.choice(np.flatnonzero(labels == digit), 100, replace=False)
                          for digit in range(10)])

    def see(digits: np.ndarray) -> np.ndarray:
        seen = np.empty((len(digits), features.count), np.float32)
        for i in range(0, len(digits), 1000):
            seen[i:i + 1000] = features.extract(resize_to(digits[i:i + 1000], shape))
        return seen

    def flatten(digits: np.ndarray) -> np.ndarray:
        return digits.reshape(len(digits), -1).astype(np.float32)

    return {f"{name}, {count} labels": svm_error(convert(images[chosen]), labels[chosen],
                                                 convert(tests), test_labels)
            for name, convert in (("features", see), ("pixels", flatten))
            for count, chosen in (("1000", few), ("all", np.arange(len(labels))))}


def main(argv: Sequence[str]) -> int:
    """Evaluate; return the exit status."""
    args = make_parser().parse_args(argv)
    source, settings, run = resolve_model(args.checkpoint)
    ctx = make_contexts(args.gpu)[0]
    if args.data_path is not None:
        settings = settings.replace({"data_path": args.data_path})
    config = settings.config
    if config.dataset in ("mnist", "fashion-mnist"):
        settings = settings.replace({"batch_size": 100})  # which leaves none of 60,000 out
    generator, step = load_generator(source, ctx, args.bn_stats, weights=args.weights)
    # Real images two times as many as those that are made; of digits, these are grey.
    channels = config.nc + 2 * (1 if config.dataset == "mnist" else config.nc)
    check_memory(f"--num-images {args.num_images}", 4 * args.num_images * channels * config.size**2, "give less")
    features = None
    if args.linear_probe:
        if config.dataset != "mnist":
            raise ValueError(f"--linear-probe: {config.dataset} has no labels here: leave it out")
        if importlib.util.find_spec("scipy") is None:
            raise ValueError("--linear-probe: SciPy is missing: pip install 'dcgan-mx[features]', or "
                             "scipy itself")
        features = Features(source, (config.nc, config.size, config.size), ctx)
        check_memory("--linear-probe", 4 * _DIGITS * features.count, "leave it out, or end what else "
                       "has memory")
    train_iter = make_train_iter(settings, Workers())
    classifier = find_classifier(settings, ctx)
    images = generator.generate(make_latents(args.num_images, generator.nz, args.seed))
    result = {"step": step, "dataset": config.dataset, "seed": args.seed, "bn": args.bn_stats,
              "weights": "ema" if generator.averaged else "raw",
              **evaluate(images, train_iter, classifier)}
    if classifier:
        result["classifier_error"] = round(classifier.error, 4)
    if features:
        result["svm_errors"] = measure_features(features, settings)
    print(json.dumps(result) if args.json else describe(result), flush=True)
    if run is None:
        return 0
    shown, half = images[:_SHOWN], _SHOWN // 2
    count = min(train_iter.num_batches, -(-_MOST_COMPARED // train_iter.batch_size))
    nearest = find_nearest(shown, itertools.islice(iter_epochs(train_iter), count))
    picture = make_grid(np.concatenate([shown[:half], nearest[:half], shown[half:],
                                        nearest[half:]]), half)
    run.write_evaluation(result, picture)
    page = write_report(run.path)
    if not args.json:
        print(f"see {run.path / 'evaluation.png'}: {_SHOWN} images, and below each the real one "
              f"that is nearest to it; and {page}")
    return 0
