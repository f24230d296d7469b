"""Make images with a trained generator: python scripts/sample.py RUN."""
from dcgan_mx.cli.main import run_script

if __name__ == "__main__":
    run_script("sample")
