"""Train in several processes: python scripts/launch.py -n 2 -- python scripts/train.py ..."""
import argparse
import sys

from dcgan_mx.jobs.launch import JobError, launch
from dcgan_mx.jobs.launchers import PROGRAMS


class Parser(argparse.ArgumentParser):
    """Answers a bad flag with a ValueError of one line."""

    def error(self, message):
        """Raise the error."""
        raise ValueError(f"{message}; see --help")


def parse(argv):
    parser = Parser(usage="%(prog)s -n N [flags] -- command ...", allow_abbrev=False, description=(
        "Run a command in N workers, as many servers and a scheduler, on MXNet's tracker; what "
        "ends one of them early ends all."))
    parser.add_argument("-n", "--num-workers", type=int, required=True, metavar="N",
                        help="processes that train")
    parser.add_argument("-s", "--num-servers", type=int, metavar="N",
                        help="processes that add up (default: as many as workers)")
    parser.add_argument("--launcher", choices=PROGRAMS, default="local",
                        help="what starts them (default: %(default)s)")
    parser.add_argument("-H", "--hostfile", metavar="FILE",
                        help="hosts for ssh and mpi, one a line: HOST, HOST:PORT or HOST slots=N")
    parser.add_argument("--host-ip", metavar="ADDRESS",
                        help="this host's address for the others, if the one found is wrong")
    parser.add_argument("--start-timeout", type=float, default=60.0, metavar="SECONDS",
                        help="for all to start in (default: %(default)s)")
    parser.add_argument("--nodes", type=int, metavar="N",
                        help="for slurm: spread over so many (default: one for each process)")
    parser.add_argument("--yarn-app-dir", metavar="DIR", help="where dmlc-yarn.jar is, for yarn")
    parser.add_argument("--image", help="the container, for kubernetes")
    split = argv.index("--") if "--" in argv else len(argv)
    args = parser.parse_args(argv[:split])
    args.command = argv[split + 1:]
    if not args.command:
        parser.error("there is no command: give it behind --")
    for name in ("num_workers", "num_servers", "nodes", "start_timeout"):
        value = getattr(args, name)
        if value is not None and not value >= 1:
            parser.error(f"--{name.replace('_', '-')} is {value}: give a number from 1")
    return args


def main():
    try:
        sys.exit(launch(**vars(parse(sys.argv[1:]))))
    except KeyboardInterrupt:
        sys.exit(130)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        print(f"error: {name}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except JobError as error:
        # A progress bar, cut off, leaves its line open on a terminal.
        print("\n" * sys.stderr.isatty() + f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
