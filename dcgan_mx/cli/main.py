"""The command `dcgan-mx`: one of several, and what all of them have in common.

Nothing here waits for MXNet, or for anything else that a list of commands does not need.
"""
from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
import warnings
from typing import Sequence

from ..system.job_role import run_server

COMMANDS = {
    "train": "train a DCGAN as in the blog post",
    "sample": "make images with a trained generator",
    "evaluate": "say how good the pictures of a run are",
    "report": "write a page about a run: curves, pictures, settings",
    "animate": "make a film of a run's grids",
    "export": "write a network for other programs, or a page that makes images",
    "pack": "pack a folder of pictures into a record file",
    "launch": "train in several processes, on one machine or many",
    "walkthrough": "follow the blog post section by section, measured anew",
    "doctor": "say whether training can start here, and if not, what mends it",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that is named first; return the exit status, 2 for an input in error."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name in COMMANDS:
        return run(name, rest)
    if name in ("-h", "--help", ""):
        width = max(map(len, COMMANDS))
        print("usage: dcgan-mx COMMAND [flags]\n\nDCGAN on MXNet, as in the blog post.\n\n"
              + "\n".join(f"  {command:{width}}  {text}" for command, text in COMMANDS.items())
              + "\n\nEach command has its flags: dcgan-mx COMMAND --help")
        return 0 if name else 2
    if name == "--version":
        from .. import __version__
        print(f"dcgan-mx {__version__}")
        return 0
    print(f"error: {name!r} is no command: give one of {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


def run_script(name: str) -> None:
    """Run a command with the flags of this process's command line, and end the process."""
    sys.exit(run(name, sys.argv[1:]))


def run(name: str, argv: Sequence[str]) -> int:
    """Run one of `COMMANDS`; what is wrong with its input becomes one line and the status 2."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # a damaged picture gets one line, from us
    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = lambda message, *_, **__: tell(f"warning: {message}")
        try:
            run_server()  # does not return in a server or scheduler of a job
            status: int = importlib.import_module(f"dcgan_mx.cli.{name}").main(argv)
        except BaseException as error:
            status = _explain(error)
            if status and _in_job():
                _leave_job(status)
        finally:
            _wait_for_mxnet()
    return status


def _explain(error: BaseException) -> int:
    """Tell of an error in one line; return the status, or raise what is nobody's input's fault."""
    mxnet = sys.modules.get("mxnet")
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return int(getattr(error, "code", 130) or 0)
    if isinstance(error, OSError):
        message = error.strerror or str(error)
        if error.filename is not None:
            message = f"{error.filename}: {error.strerror}; mend that, or give another path"
    elif isinstance(error, ValueError) or hasattr(error, "problem"):  # MXNet cannot be loaded here
        from .parser import print_skipped
        print_skipped(getattr(error, "skipped", ()))
        message = str(error)
    elif isinstance(error, MemoryError) or (mxnet and isinstance(error, mxnet.base.MXNetError)):
        from ..system.runtime import first_line
        message = f"MXNet or Python: {first_line(error)}; see that the device has the memory"
    elif _in_job():
        traceback.print_exception(type(error), error, error.__traceback__)
        return 1
    else:
        raise error
    tell("error: " + " ".join(message.split()))
    return 2


def tell(line: str) -> None:
    """Say something on the standard error; nobody need be there to read it, as a terminal is."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")  # in one piece: workers share it
        sys.stderr.flush()


def _in_job() -> bool:
    return bool(os.environ.get("DMLC_ROLE"))


def _leave_job(status: int) -> None:
    """End a worker at once: at its usual end MXNet would wait for the others, who wait for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _wait_for_mxnet() -> None:
    """Return when MXNet is not at work any more: it must not be when the process ends."""
    mxnet = sys.modules.get("mxnet")
    if mxnet is not None and hasattr(mxnet, "nd"):  # whole, not in the middle of its import
        with contextlib.suppress(mxnet.base.MXNetError):
            mxnet.nd.waitall()
