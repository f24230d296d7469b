"""`python -m dcgan_mx` is the command `dcgan-mx`."""
import sys

from .commands.main import main

if __name__ == "__main__":
    sys.exit(main())
