"""`python -m dcgan_mx` is the command `dcgan-mx`."""
import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
