"""Train PyTorch's DCGAN example on MNIST with its own settings, and keep images of each point."""
from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Mapping

import numpy as np

from dcgan_mx.system.files import write_atomic

from ..benchmark.bench_loops import BATCH_SIZE
from ..common import make_parser


def train(out: Path, data: str, seed: int, bfloat16: bool, points: Mapping[int, int]) -> None:
    """Train to the last of `points`, steps with their numbers of images; write a file at each.

    With `bfloat16`, the networks are also channels_last. Only the steps and their data are timed.
    """
    import torch

    from dcgan_mx import MnistIter, get_mnist

    from ..benchmark.bench_loops import make_pytorch_step
    torch.manual_seed(seed)
    step, netG = make_pytorch_step(1, bfloat16, bfloat16)
    train_iter = MnistIter(get_mnist(data)[0], BATCH_SIZE, (1, 64, 64), seed)
    seconds = 0.0
    for i in range(1, max(points) + 1):
        start = time.perf_counter()
        if i > 1 and (i - 1) % train_iter.num_batches == 0:
            train_iter.reset()
        step(torch.from_numpy(train_iter.next().data[0].asnumpy()))
        seconds += time.perf_counter() - start
        if i in points:
            netG.eval()
            with torch.inference_mode():
                images = np.concatenate([netG(torch.randn(BATCH_SIZE, 100, 1, 1)).numpy()
                                         for _ in range(0, points[i], BATCH_SIZE)])
            netG.train()
            write_images(out / f"{i}.npz", images[:points[i]], seconds)


def write_images(path: Path, images: np.ndarray, seconds: float) -> None:
    """Write images, (N, 1, 64, 64), in [-1, 1], and the duration of the training before them."""
    buffer = io.BytesIO()
    np.savez(buffer, images=images, seconds=seconds)
    write_atomic(path, [buffer.getbuffer()])


def read_images(path: Path) -> tuple[np.ndarray, float]:
    """Return what `write_images` wrote."""
    with np.load(path) as kept:
        return kept["images"], float(kept["seconds"])


def main() -> None:
    """Parse the flags and train; `tools.quality` starts this program."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for the images")
    add("--data", default="data", help="folder of MNIST")
    add("--seed", type=int, default=1, help="seed of weights, noise and data order")
    add("--precision", choices=("float32", "bfloat16"), default="float32",
        help="number format; bfloat16 is trained in channels_last")
    add("--points", type=int, nargs="+", required=True, metavar="STEP IMAGES",
        help="steps, each with a number of images")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    train(args.out, args.data, args.seed, args.precision == "bfloat16",
          dict(zip(args.points[::2], args.points[1::2])))


if __name__ == "__main__":
    main()
