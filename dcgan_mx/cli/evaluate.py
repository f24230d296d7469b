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
from ..metrics.features_model import FeaturesModel
from ..metrics.linear_probe import Features, svm_error
from ..reports.report import write_report
from ..runs.config import DATASETS, Number, Settings
from ..sampling.generator import describe_step, load_generator
from ..sampling.latent import make_latents
from ..system.devices import make_contexts
from ..system.errors import ArgumentError
from ..system.files import StrPath, data_folder
from ..system.memory import check_memory
from ..system.progress import show_parts, show_time
from ..visual import make_grid
from .parser import Parser
from .resolve import find_classifier, make_train_iter, resolve_model

_NUM_IMAGES, _LEAST = 4096, 16
_BATCH = 64  # generated images of a batch
# Batch sizes that divide the number of images, so that no image is dropped; other data sets: 1.
_READ = {"mnist": 100, "fashion-mnist": 100, "synthetic": 64}
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
                    "directory; no files are written for pretrained:NAME and models of MXNet's "
                    "example.")
    parser.add_shared("checkpoint")
    parser.add("--num-images", "number of generated images, and of real images to compare them "
               f"with (default: {_NUM_IMAGES}, or half of the real images if that is less)",
               Number(int, ge=_LEAST, lt=2**17))
    parser.add("--seed", "seed of the latent vectors", Number(int, ge=0, lt=2**63), default=0)
    parser.add_shared("--weights")
    parser.add_shared("--bn-stats")
    parser.add("--dataset", "data set of the real images; required for a model of MXNet's example, "
               "not allowed otherwise", DATASETS)
    parser.add("--data-path", "location of the real images (default: that of the training)",
               metavar="PATH")
    parser.add("--features-model", "network in an ONNX file, such as Inception, whose outputs "
               "Fréchet distance, precision and recall compare (default: for digits, the "
               "package's classifier)", metavar="FILE")
    parser.add("--linear-probe", "mnist: also train linear classifiers on the discriminator's "
               "features; takes 6 GB of memory and several minutes", action="store_true")
    parser.add("--json", "print JSON instead of a table", action="store_true")
    parser.add_shared("--gpu")
    return parser


def find_count(n: int | None, train_iter: EpochIter) -> int:
    """Return `n` if there are 2n real images; None: the default number, or a smaller one.

    Raises ArgumentError, or warns about crops, if there are fewer.
    """
    available: int = train_iter.num_batches * train_iter.batch_size
    most = available // 2
    if n is None and most >= _LEAST:
        if most < _NUM_IMAGES:
            warnings.warn(f"there are only {available} real images: --num-images is {most} instead "
                          f"of {_NUM_IMAGES}", RuntimeWarning, stacklevel=2)
        return min(_NUM_IMAGES, most)
    n = n or _LEAST
    if n > most and isinstance(train_iter, MnistIter):
        raise ArgumentError("num_images", f"{n} needs two sets of real images, and there are "
                            f"{available} in total: use {most} or less")
    if n > most:
        warnings.warn(f"the baseline needs two sets of {n} real images, but there are only "
                      f"{available}: it compares crops of the same images and is too low",
                      RuntimeWarning, stacklevel=2)
    return n


def format_table(result: dict[str, Any], source: StrPath) -> str:
    """Format the metrics of a model as a table."""
    baseline = result["baseline"]
    rows = []
    for name, label, digits in _ROWS:
        if name in result:
            rows.append((label, result[name], baseline[name], digits))
        if name == "swd":
            rows += [(f"  at {height}x{height} pixels", value, baseline["swd_levels"][height], 2)
                     for height, value in result["swd_levels"].items()]
    notes = []
    if "class_counts" in result:
        counts = zip(result["class_counts"], baseline["class_counts"])
        rows += [(f"share of {digit}, %", *(100 * x / result["images"] for x in pair), 1)
                 for digit, pair in enumerate(counts)]
        notes.append("The digit classifier has an error of "
                     f"{100 * result['classifier_error']:.2f} % on the test digits.")
    if "features_model" in result:
        notes.append("Fréchet distance, precision and recall compare the outputs of "
                     f"--features-model, SHA-256 {result['features_model']}.")
    elif "frechet" not in result:
        notes.append("Fréchet distance, precision and recall are missing: they need a classifier, "
                     f"which --dataset {result['dataset']} does not have, or --features-model.")
    return "\n".join([
        f"{result['images']} images of {describe_step(result['step'], source)} "
        f"({result['weights']} weights, "
        f"{result['bn']} statistics), compared with the same number of real images",
        f"{'':38}{'generated':>10}{'real images':>14}",
        *(f"{label:38}{ours:10.{digits}f}{real:14.{digits}f}"
          for label, ours, real, digits in rows),
        *notes,
        *(f"Error of a linear SVM on {name}: {100 * error:.2f} % of the test digits."
          for name, error in result.get("svm_errors", {}).items())])


def probe_features(features: Features, settings: Settings) -> dict[str, float]:
    """Return the errors of linear classifiers of digits, by D's features and by the pixels.

    Each is trained on all labels, and on 1,000: 100 of each digit, chosen with a fixed seed.
    """
    images, labels, tests, test_labels = read_mnist(settings.options.data_path or data_folder())
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
    settings = settings.replace({"batch_size": _READ.get(str(settings.config.dataset), 1)})
    model = FeaturesModel(args.features_model) if args.features_model else None
    generator, step = load_generator(source, ctx, args.bn_stats, _BATCH, args.weights)
    settings = settings.replace(generator.find_shape())
    config = settings.config
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
    train_iter = make_train_iter(settings, Workers(), list_skipped=False)
    n = find_count(args.num_images, train_iter)
    # Two real images for each generated one; real digits are gray.
    channels = config.nc + 2 * (1 if config.dataset == "mnist" else config.nc)
    check_memory(f"--num-images {n}", 4 * n * channels * config.size**2, "use a smaller number")
    classifier = find_classifier(settings, ctx)
    z = make_latents(n, generator.nz, args.seed)
    images = np.concatenate([*show_parts(
        (generator.generate(z[i:i + _BATCH]) for i in range(0, n, _BATCH)),
        "generating images", n, _BATCH)])
    real = first_images(train_iter, 2 * n, gray=classifier is not None)
    with show_time("computing the metrics of the generated images"):
        evaluator = Evaluator(real[:n], classifier, features_model=model)
        metrics = evaluator.evaluate(images)
    with show_time("computing the metrics of the real images"):
        baseline = evaluator.evaluate(real[n:])
    result = {"step": step, "dataset": config.dataset, "seed": args.seed, "bn": args.bn_stats,
              "weights": "ema" if generator.averaged else "raw", **metrics, "baseline": baseline}
    if classifier:
        result["classifier_error"] = round(classifier.error, 4)
    if features:
        with show_time("training linear classifiers"):
            result["svm_errors"] = probe_features(features, settings)
    text = json.dumps(result) if args.json else format_table(result, source)
    if run is None:
        print(text)
        return 0
    shown, half = images[:_SHOWN], _SHOWN // 2
    count = min(train_iter.num_batches, -(-_MOST_COMPARED // train_iter.batch_size))
    nearest = find_nearest(shown, show_parts(
        itertools.islice(iter_epochs(train_iter), count), "finding the nearest real images",
        count * train_iter.batch_size, train_iter.batch_size))
    grid = make_grid(np.concatenate([shown[:half], nearest[:half], shown[half:],
                                     nearest[half:]]), half)
    run.write_evaluation(result, grid)
    print(text, flush=True)
    pages = [*_write_report(run.path), str(run.path / "evaluation.png")]
    if not args.json:
        print(f"See {', and '.join(pages)}: {_SHOWN} images, each above the nearest real image.")
    return 0


def _write_report(run_dir: StrPath) -> list[str]:
    """Write a run's report; return its path, or none if the run has neither a log nor grids."""
    try:
        return [str(write_report(run_dir))]
    except ValueError as error:
        warnings.warn(f"there is no report: {error}", RuntimeWarning, stacklevel=2)
        return []
