"""Say how good the pictures of a run are: python scripts/evaluate.py RUN."""
from dcgan_mx.cli.main import run_script

if __name__ == "__main__":
    run_script("evaluate")
