"""Pack a folder of pictures for training: python scripts/make_rec.py FOLDER OUT.rec."""
from dcgan_mx.cli.main import run_script

if __name__ == "__main__":
    run_script("pack")
