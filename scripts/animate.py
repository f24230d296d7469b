"""Make a film of a run's grids: python scripts/animate.py RUN."""
from dcgan_mx.cli.main import run_script

if __name__ == "__main__":
    run_script("animate")
