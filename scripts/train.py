"""Train a DCGAN: python scripts/train.py --dataset mnist --gpu 0."""
from dcgan_mx.cli.main import run_script

if __name__ == "__main__":
    run_script("train")
