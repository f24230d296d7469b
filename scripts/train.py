"""Train a DCGAN: python scripts/train.py --dataset mnist --gpu 0."""
import sys

from dcgan_mx.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
