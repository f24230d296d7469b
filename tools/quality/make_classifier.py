"""Train the digit classifier that the package contains, on the MNIST files in a folder.

The tool writes dcgan_mx/pretrained/digit-classifier.params, and prints the SHA-256 for
`metrics.digit_classifier`. docs/pretrained.md has the command.
"""
from __future__ import annotations

import numpy as np

from dcgan_mx.data.datasets import read_mnist
from dcgan_mx.iterators import resize_to
from dcgan_mx.metrics.digit_classifier import (
    BATCH,
    PATH,
    SIDE,
    DigitClassifier,
    make_symbol,
    preprocess,
)
from dcgan_mx.runs.params import dump_params
from dcgan_mx.system.files import write_atomic
from dcgan_mx.system.runtime import mx

from ..common import make_parser

_LR = 2e-3


def train(images: np.ndarray, labels: np.ndarray, test_images: np.ndarray,
          test_labels: np.ndarray, epochs: int = 4) -> dict[str, np.ndarray]:
    """Train the classifier on digits, (N, 28, 28), uint8, from a fixed seed; return its parameters.

    Weights are rounded to float16, and `error` is measured with the rounded ones.

    Unlike digits, generated images have faint backgrounds, weak ink and noise. Each batch gets
    some of all three, so that the classifier does not mistake a shade for a digit.
    """
    rng = np.random.default_rng(1998)
    data, test = (_prepare(part) for part in (images, test_images))
    mod = mx.mod.Module(mx.sym.SoftmaxOutput(make_symbol(), name="softmax"))
    mod.bind([("data", (BATCH, 1, SIDE, SIDE))], [("softmax_label", (BATCH,))])
    mod.init_params(mx.init.Zero())
    mod.set_params({
        name: mx.nd.array(rng.standard_normal(array.shape) * np.sqrt(2 / np.prod(array.shape[1:])))
        for name, array in mod.get_params()[0].items() if array.ndim > 1}, {}, allow_missing=True)
    schedule = mx.lr_scheduler.PolyScheduler(epochs * (len(data) // BATCH), base_lr=_LR, pwr=1)
    mod.init_optimizer(optimizer="adam", optimizer_params={
        "learning_rate": _LR, "lr_scheduler": schedule})
    for _ in range(epochs):
        order = rng.permutation(len(data))
        for start in range(0, len(data) - BATCH + 1, BATCH):
            chosen = order[start:start + BATCH]
            mod.forward(mx.io.DataBatch([mx.nd.array(_augment(data[chosen], rng))],
                                        [mx.nd.array(labels[chosen])]), is_train=True)
            mod.backward()
            mod.update()
    params = {name: array.asnumpy().astype(np.float16)
              for name, array in mod.get_params()[0].items()}
    classifier = DigitClassifier({**params, "error": np.ones(1, np.float32)})
    found = classifier.predict(test)[1].argmax(1)
    return {**params, "error": np.array([(found != test_labels).mean()], np.float32)}


def _prepare(images: np.ndarray) -> np.ndarray:
    """Enlarge digits as for training, then preprocess them: (N, 1, 32, 32), in [-1, 1]."""
    return np.concatenate([preprocess(resize_to(images[start:start + 1000], (1, 64, 64)))
                           for start in range(0, len(images), 1000)])


def _augment(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a gray background, weaker ink and noise to digits, each of random strength."""
    n = len(data)
    ink = (data + 1) / 2
    low = rng.uniform(0, 0.3, (n, 1, 1, 1)) * (rng.random((n, 1, 1, 1)) < 0.5)
    high = rng.uniform(0.6, 1, (n, 1, 1, 1))
    noise = rng.uniform(0, 0.15, (n, 1, 1, 1)) * rng.standard_normal(data.shape, np.float32)
    augmented: np.ndarray = np.clip(low + (high - low) * ink + noise, 0, 1)
    return (2 * augmented - 1).astype(np.float32)


def main() -> None:
    """Parse the flags, train and write the classifier."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", default="data", help="folder of the MNIST files")
    images, labels, test_images, test_labels = read_mnist(parser.parse_args().data)
    params = train(images, labels, test_images, test_labels)
    write_atomic(PATH, dump_params(params), sync=True)
    print(f"{PATH}: {PATH.stat().st_size} bytes, error {100 * params['error'][0]:.2f} % of the "
          f"test digits\nSHA256 = \"{DigitClassifier(params).digest}\"")


if __name__ == "__main__":
    main()
