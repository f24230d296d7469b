"""What the command lines of all scripts share: flags, errors, progress."""
import argparse
import contextlib
import os
import sys
import traceback
import warnings

import cv2
from tqdm import tqdm

from ..machine.runtime import first_line, mx


class Parser(argparse.ArgumentParser):
    """Answers a bad flag with a ValueError of one line."""

    def __init__(self, description):
        super().__init__(description=description, allow_abbrev=False)

    def add(self, flag, text, **kwargs):
        """Add a flag whose help ends with its default, where it has one."""
        if kwargs.get("default") not in (None, ()):
            text += " (default: %(default)s)"
        self.add_argument(flag, help=text, **kwargs)

    def error(self, message):
        """Raise the error."""
        raise ValueError(f"{message}; see --help")


def run(main):
    """Call a script's main function; bad input becomes one line and exit status 2.

    Parameters
    ----------
    main : callable
        Without arguments.
    """
    for module in (cv2, getattr(cv2.utils, "logging", None)):  # OpenCV 4, OpenCV 5
        if hasattr(module, "setLogLevel"):
            module.setLogLevel(0)  # silent: a damaged picture gets one line, from us
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        sys.exit(_fail(f"{what}; mend that, or give another path"))
    except ValueError as error:
        print_skipped(getattr(error, "skipped", None))
        sys.exit(_fail(str(error)))
    except (mx.base.MXNetError, MemoryError) as error:
        sys.exit(_fail(f"MXNet or Python: {first_line(error)}; see that the device has the memory"))
    except Exception:
        if _in_job():
            traceback.print_exc()
            _leave_job(1)
        raise
    finally:
        with contextlib.suppress(mx.base.MXNetError):
            mx.nd.waitall()  # MXNet must not be at work when the process ends


def _fail(message):
    sys.stderr.write("error: " + " ".join(message.split()) + "\n")  # in one piece: workers share it
    _leave_job(2)
    return 2


def _in_job():
    return bool(os.environ.get("DMLC_ROLE"))


def _leave_job(status):
    """End a worker at once: at its usual end MXNet would wait for the others, who wait for it."""
    if _in_job():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def number(kind, least=None, above=None, below=float("inf")):
    """Make the type of a flag: a number in a range; nan is in none.

    Parameters
    ----------
    kind : type
        int or float.
    least, above, below : int or float
        least <= number, or above < number; number < below.
    """
    bound = f"from {least}" if above is None else f"above {above}"
    if below < float("inf"):
        bound += f" and below {below}"
    mend = f"give a {'whole ' if kind is int else ''}number {bound}"

    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no such number: {mend}") from None
        if not ((least <= value if above is None else above < value) and value < below):
            raise argparse.ArgumentTypeError(f"{text} is out of range: {mend}")
        return value
    return convert


def show_packing(names):
    """Show a progress bar while a folder is packed; `progress` of `packing.pack`."""
    return tqdm(names, desc="packing", unit="file", dynamic_ncols=True)


def print_skipped(skipped):
    """Name each file that was left out of a pack, and why, on the standard error.

    Parameters
    ----------
    skipped : list of (str, str) or None
        As `packing.pack` returns them.
    """
    for name, reason in skipped or ():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode()
                        for c in name)
        print(f"skipped: {shown}: {' '.join(reason.split())}", file=sys.stderr)
