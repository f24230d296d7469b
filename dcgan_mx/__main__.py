"""`python -m dcgan_mx` runs the command `dcgan-mx`."""
import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
