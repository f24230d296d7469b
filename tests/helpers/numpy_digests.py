"""Print digests of results that must not depend on NumPy; `make test-all` compares them.

The first line names the versions. Digests depend on the processor, so they are not stored.
"""
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import dcgan_mx
from dcgan_mx import RandIter, frechet_distance, ms_ssim, precision_recall, sliced_wasserstein

SMALL = ["--dataset", "synthetic", "--size", "32", "--ngf", "16", "--ndf", "16", "--batch-size",
         "16", "--disp-batches", "5", "--checkpoint-steps", "10", "--ema-decay", "0.9", "--seed",
         "3"]


def digest(*contents):
    """Return the start of the SHA-256 of some bytes or arrays."""
    return hashlib.sha256(b"".join(map(bytes, contents))).hexdigest()[:16]


def train(*flags):
    """Run `dcgan-mx train` to its end."""
    subprocess.run([sys.executable, "-m", "dcgan_mx", "train", *map(str, flags)], check=True,
                   env={**os.environ, "OMP_NUM_THREADS": "2"}, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def read_run(folder):
    """Return the digest of a run's last checkpoint and grids."""
    paths = sorted([*folder.glob("checkpoints/step-00000020/*.params"),
                    *folder.glob("grids/*.png")])
    assert len(paths) > 10
    return digest(*(path.read_bytes() for path in paths))


def main():
    """Print one line for each kind of number."""
    print("Python", sys.version.split()[0], "NumPy", np.__version__, "dcgan-mx",
          dcgan_mx.__version__)
    with tempfile.TemporaryDirectory() as name:
        whole, resumed = Path(name, "whole"), Path(name, "resumed")
        train(*SMALL, "--run-dir", whole, "--max-steps", 20)
        train(*SMALL, "--run-dir", resumed, "--max-steps", 7)
        train("--resume", "--run-dir", resumed, "--max-steps", 20)
        print("training            ", read_run(whole))
        assert read_run(whole) == read_run(resumed)
    noise = RandIter(64, 100)
    print("RandIter            ", digest(*(next(noise).data[0].asnumpy() for _ in range(3))))
    rng = np.random.default_rng(0)
    real, fake = (rng.uniform(-1, 1, (256, 1, 64, 64)).astype(np.float32) for _ in range(2))
    features = [rng.normal(size=(500, 64)) for _ in range(2)]
    # Rounded: the OpenBLAS of each NumPy may add in a different order.
    print("metrics             ", *(f"{value:.7g}" for value in (
        sliced_wasserstein(real, fake).mean, ms_ssim(real),
        frechet_distance(*features), *precision_recall(*features))))


if __name__ == "__main__":
    main()
