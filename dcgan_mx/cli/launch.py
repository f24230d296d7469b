"""`dcgan-mx launch`: one command in several processes."""
from __future__ import annotations

import shlex
import sys
from typing import Sequence

from ..distributed.launch import launch
from ..distributed.launchers import PROGRAMS
from ..distributed.monitor import JobError
from ..system.command_line import command_line
from .main import print_stderr
from .parser import Parser, number


def make_parser() -> Parser:
    """Make the parser of the command."""
    command = command_line("launch")
    parser = Parser(command, "Run a command in N workers, with servers and a scheduler. If one "
                    "process fails, all are stopped.",
                    usage=f"{command} -n N [flags] -- command ...")
    count, seconds = number(int, ge=1, lt=2**16), number(float, ge=1)
    parser.add_argument("-n", "--num-workers", type=count, required=True, metavar="N",
                        help="number of processes that train")
    parser.add_argument("-s", "--num-servers", type=count, metavar="N",
                        help="number of processes that sum gradients (default: --num-workers)")
    parser.add("--launcher", "how to start the processes", choices=tuple(PROGRAMS), default="local")
    parser.add_argument("-H", "--hostfile", metavar="FILE",
                        help="hosts for ssh and mpi, one per line: HOST, HOST:PORT or HOST slots=N")
    parser.add("--host-ip", "address at which the other hosts reach this one (default: detected)",
               metavar="ADDRESS")
    parser.add("--start-timeout", "time limit for all processes to start", type=seconds,
               default=60.0, metavar="SECONDS")
    parser.add("--stop-timeout", "time limit for a worker to finish its step and save after a "
               "signal, or to end after another worker has", type=seconds, default=300.0,
               metavar="SECONDS")
    parser.add("--nodes", "slurm: number of nodes (default: one per process)", type=count,
               metavar="N")
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
        return launch(command, **vars(args),
                      launched_by=f"{command_line('launch')} {shlex.join(flags)}")
    except JobError as error:
        # On a terminal, an interrupted progress bar leaves its line open.
        print_stderr("\n" * sys.stderr.isatty() + f"error: {error}")
        return 1
