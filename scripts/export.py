"""Write a network for other programs, or a page: python scripts/export.py RUN OUT.onnx."""
from dcgan_mx.cli.main import run_script

if __name__ == "__main__":
    run_script("export")
