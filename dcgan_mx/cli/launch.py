"""`dcgan-mx launch`: one command in several processes."""
from __future__ import annotations

import sys
from typing import Sequence

from ..distributed.launch import launch
from ..distributed.launchers import PROGRAMS
from ..distributed.monitor import JobError
from ..runs.launch_flags import COUNT, SECONDS
from ..system.errors import one_line
from .main import print_stderr
from .parser import Parser


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser("launch", "Run a command in N workers, with servers and a scheduler. If one "
                    "process fails, all are stopped.", "%(prog)s -n N [flags] -- command ...")
    parser.add("-n --num-workers", "number of processes that train", COUNT, required=True)
    parser.add("-s --num-servers", "number of processes that sum gradients (default: "
               "--num-workers)", COUNT)
    parser.add("--launcher", "how to start the processes", tuple(PROGRAMS), default="local")
    parser.add("-H --hostfile", "hosts for ssh and mpi, one per line: HOST, HOST:PORT or HOST "
               "slots=N", metavar="FILE")
    parser.add("--host-ip", "address at which the other hosts reach this one (default: detected)",
               metavar="ADDRESS")
    parser.add("--start-timeout", "time limit for all processes to start", SECONDS, default=60.0,
               metavar="SECONDS")
    parser.add("--stop-timeout", "time limit for a worker to finish its step and save after a "
               "signal, or to end after another worker has ended", SECONDS, default=300.0,
               metavar="SECONDS")
    parser.add("--nodes", "slurm: number of nodes (default: one per process)", COUNT)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the job; return the exit code once all its processes have ended."""
    parser = make_parser()
    split = argv.index("--") if "--" in argv else len(argv)
    flags, command = list(argv[:split]), list(argv[split + 1:])
    args = parser.parse_args(flags)
    if not command:
        parser.error("the command is missing: add it after --")
    try:
        return launch(command, **vars(args), launched_by={
            name: value for name, value in vars(args).items() if value != parser.get_default(name)})
    except JobError as error:
        # On a terminal, an interrupted progress bar leaves its line open.
        print_stderr("\n" * sys.stderr.isatty() + f"error: {one_line(error)}")
        return 1
