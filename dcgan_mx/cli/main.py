"""The command `dcgan-mx`: subcommands, one-line errors, exit codes.

Exit codes: 0 success; 1 failure; 2 invalid input; 128 + n stopped by signal n. This module imports
neither MXNet nor anything else that `--help` does not need.
"""
from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import traceback
import warnings
from typing import Sequence

from ..system.errors import ArgumentError, one_line
from ..system.job_role import run_server

COMMANDS = {
    "train": "train a DCGAN",
    "sample": "generate images with a trained generator",
    "evaluate": "measure the image quality of a run",
    "report": "write an HTML report of a run: curves, images, settings",
    "runs": "list the runs in a folder: state, step, last metrics",
    "animate": "make a GIF and a video of a run's image grids",
    "export": "export a network to ONNX, or a generator to an HTML demo",
    "pack": "pack a folder of images into a record file",
    "launch": "train in several processes, on one machine or many",
    "walkthrough": "reproduce the blog post's experiments, section by section",
    "doctor": "check whether training works here, and how to fix problems",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command given first; return the exit code."""
    prepare_streams()
    try:
        status = _run_first(argv)
        sys.stdout.flush()
    except OSError as error:  # a pipe without a reader, or a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more at exit
        status = _report_error("", error)
    return status


def prepare_streams() -> None:
    """Open closed standard streams, and escape characters that a stream cannot encode."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened would get this number
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  stays open
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and mode == "w" and (
                stream.errors == "strict" or stream.encoding.lower() != "utf-8"):
            stream.reconfigure(errors="backslashreplace")


def _run_first(argv: Sequence[str] | None) -> int:
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name in COMMANDS:
        return run(name, rest)
    if name in ("-h", "--help", ""):
        width = max(map(len, COMMANDS))
        print("usage: dcgan-mx COMMAND [flags]\n\nTrain and use a DCGAN with MXNet.\n\n"
              + "\n".join(f"  {command:{width}}  {text}" for command, text in COMMANDS.items())
              + "\n\nFor the flags of a command: dcgan-mx COMMAND --help\n"
              "For the versions: dcgan-mx --version")
        return 0 if name else 2
    if name == "--version":
        from .. import __version__
        print(f"dcgan-mx {__version__}")
        return 0
    print_stderr(f"error: unknown command {name!r}: expected one of {', '.join(COMMANDS)}")
    return 2


def run(name: str, argv: Sequence[str]) -> int:
    """Run one of `COMMANDS`; return the exit code, after printing any error in one line."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # we report damaged images ourselves
    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        # Not where images are read: threads share the filters, and other warnings would be lost.
        warnings.filterwarnings("ignore", module="PIL")
        warnings.showwarning = lambda message, *_, **__: print_stderr(
            f"warning: {one_line(message)}")
        if "matplotlib_inline" in os.environ.get("MPLBACKEND", ""):
            del os.environ["MPLBACKEND"]  # of the notebook whose cell runs this command
        try:
            if name == "train":
                run_server()  # does not return in a server or scheduler of a job
            status: int = importlib.import_module(f"dcgan_mx.cli.{name}").main(argv)
        except BaseException as error:
            status = _report_error(name, error)
            if status and _in_job():
                # MXNet's exit handler would wait for workers that wait for this one.
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        finally:
            _wait_for_mxnet()
    return status


def _report_error(name: str, error: BaseException) -> int:
    """Print a user error in one line and return the exit code; re-raise bugs."""
    from ..system.cuda import BuildError
    mxnet = sys.modules.get("mxnet")
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return int(getattr(error, "code", 130) or 0)
    if isinstance(error, BrokenPipeError) and error.filename is None:  # as in `... | head -1`
        return 128 + signal.SIGPIPE
    if isinstance(error, OSError):
        message = error.strerror or str(error)
        if error.filename is not None:
            fix = "" if isinstance(error, FileNotFoundError) else "fix that, or "
            message = f"{error.filename}: {error.strerror}; {fix}give another path"
    elif isinstance(error, ArgumentError):
        parser = importlib.import_module(f"dcgan_mx.cli.{name}").make_parser()
        message = f"{parser.spell(error.argument)}: {error.problem}"
    elif isinstance(error, (ValueError, BuildError)):
        message = str(error)
    elif isinstance(error, MemoryError) or (mxnet and isinstance(error, mxnet.base.MXNetError)):
        message = f"MXNet or Python: {one_line(error)}; check that the device has enough memory"
    elif _in_job():
        traceback.print_exception(type(error), error, error.__traceback__)
        return 1
    else:
        raise error
    if hasattr(error, "skipped"):  # a DatasetError
        from .parser import print_skipped
        print_skipped(error.skipped)
    print_stderr(f"error: {one_line(message)}")
    return 2


def print_stderr(line: str) -> None:
    """Print to standard error, even if the terminal has been closed."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")  # one write: workers share the stream
        sys.stderr.flush()


def _in_job() -> bool:
    return bool(os.environ.get("DMLC_ROLE"))


def _wait_for_mxnet() -> None:
    """Wait for MXNet's pending operations: Python must not exit during one."""
    mxnet = sys.modules.get("mxnet")
    if mxnet is not None and hasattr(mxnet, "nd"):  # fully imported
        with contextlib.suppress(mxnet.base.MXNetError):
            mxnet.nd.waitall()
