"""Train in several processes: python scripts/launch.py -n 2 -- python scripts/train.py ..."""
from dcgan_mx.cli.main import run_script

if __name__ == "__main__":
    run_script("launch")
