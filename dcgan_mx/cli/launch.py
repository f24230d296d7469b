"""`dcgan-mx launch`: one command in several processes."""
from __future__ import annotations

import shlex
import sys
from typing import Sequence

from ..distributed.launch import launch
from ..distributed.launchers import PROGRAMS
from ..distributed.monitor import JobError
from ..system.command_line import command_line
from .main import tell
from .parser import Parser, number


def make_parser() -> Parser:
    """Make the parser of the command."""
    command = command_line("launch")
    parser = Parser(command, "Run a command in N workers, as many servers and a scheduler; "
                    "what ends one of them early ends all.",
                    usage=f"{command} -n N [flags] -- command ...")
    count = number(int, least=1, below=2**16)
    add = parser.add_argument
    add("-n", "--num-workers", type=count, required=True, metavar="N", help="processes that train")
    add("-s", "--num-servers", type=count, metavar="N",
        help="processes that add up (default: as many as workers)")
    add("--launcher", choices=PROGRAMS, default="local",
        help="what starts them (default: %(default)s)")
    add("-H", "--hostfile", metavar="FILE",
        help="hosts for ssh and mpi, one a line: HOST, HOST:PORT or HOST slots=N")
    add("--host-ip", metavar="ADDRESS",
        help="this host's address for the others, if the one found is wrong")
    add("--start-timeout", type=number(float, least=1), default=60.0, metavar="SECONDS",
        help="for all to start in (default: %(default)s)")
    add("--stop-timeout", type=number(float, least=1), default=300.0, metavar="SECONDS",
        help="for a worker to finish its step, save and end after a signal, or after another one's "
        "end thereafter (default: %(default)s)")
    add("--nodes", type=count, metavar="N",
        help="for slurm: spread over so many (default: one for each process)")
    return parser


def main(argv: Sequence[str]) -> int:
    """Start the job, watch it, and return the exit status when nothing of it is left."""
    parser = make_parser()
    split = argv.index("--") if "--" in argv else len(argv)
    flags, command = list(argv[:split]), list(argv[split + 1:])
    args = parser.parse_args(flags)
    if not command:
        parser.error("there is no command: give it behind --")
    try:
        return launch(command, **vars(args), launched_by=f"{command_line('launch')} {shlex.join(flags)}")
    except JobError as error:
        # A progress bar, cut off, leaves its line open on a terminal.
        tell("\n" * sys.stderr.isatty() + f"error: {error}")
        return 1
