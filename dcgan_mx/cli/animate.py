"""`dcgan-mx animate`: a film of a run's grids."""
from __future__ import annotations

from typing import Sequence

from ..sampling.animation import FRAMES, KINDS, SECONDS, WIDTH, animate
from ..system.command_line import command_line
from .parser import Parser, number


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(command_line("animate"),
                    "Make a GIF of a run's grids, with the step on each frame, and an MP4 where "
                    "ffmpeg is installed.")
    parser.add("run", "a run directory", metavar="RUN")
    parser.add("--out", "the GIF; absent: in the run directory. It and the MP4, whose name "
               "ends in .mp4 instead, are replaced if they are there", metavar="FILE")
    parser.add("--kind", "which grids; absent: the first of these that there is", choices=KINDS)
    parser.add("--seconds", "length of the film; its last frame stays for one more",
               type=number(float, above=0, below=600), default=SECONDS, metavar="X")
    parser.add("--width", "scale grids down to so many pixels", default=WIDTH, metavar="N",
               type=number(int, least=16, below=2**14))
    parser.add("--frames", "show so many grids, evenly chosen, where there are more",
               default=FRAMES, metavar="N", type=number(int, least=1, below=2**20))
    return parser


def main(argv: Sequence[str]) -> int:
    """Make the film; return the exit status."""
    args = make_parser().parse_args(argv)
    for path in animate(args.run, args.out, args.kind, args.seconds, args.width, args.frames):
        print(path)
    return 0
