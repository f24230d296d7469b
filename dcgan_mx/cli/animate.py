"""`dcgan-mx animate`: a GIF and a video of a run's image grids."""
from __future__ import annotations

from typing import Sequence

from ..sampling.animation import FRAMES, KINDS, SECONDS, WIDTH, animate
from ..system.command_line import command_line
from .parser import Parser, number


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(command_line("animate"),
                    "Make a GIF of a run's image grids, with the step on each frame, and an MP4 if "
                    "ffmpeg is installed. Existing files are replaced.")
    parser.add("run", "a run directory", metavar="RUN")
    parser.add("--out", "the GIF; the MP4 gets the same name with .mp4 (default: in the run "
               "directory)", metavar="FILE")
    parser.add("--kind", "kind of grids (default: the first of these that the run has)",
               choices=KINDS)
    parser.add("--seconds", "length of the animation; the last frame stays for one more second",
               type=number(float, gt=0, lt=600), default=SECONDS, metavar="X")
    parser.add("--width", "scale larger grids down to N pixels", default=WIDTH, metavar="N",
               type=number(int, ge=16, lt=2**14))
    parser.add("--frames", "number of grids at most, evenly spaced over the run",
               default=FRAMES, metavar="N", type=number(int, ge=1, lt=2**20))
    return parser


def main(argv: Sequence[str]) -> int:
    """Make the animation; return the exit code."""
    args = make_parser().parse_args(argv)
    for path in animate(args.run, args.out, args.kind, args.seconds, args.width, args.frames):
        print(path)
    return 0
