"""Follow the blog post on GANs section by section: python scripts/walkthrough.py."""
from dcgan_mx.cli.main import run_script

if __name__ == "__main__":
    run_script("walkthrough")
