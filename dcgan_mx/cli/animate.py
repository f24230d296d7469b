"""`dcgan-mx animate`: a GIF and a video of a run's image grids."""
from __future__ import annotations

from typing import Sequence

from ..runs.config import Number
from ..sampling.animation import FRAMES, KINDS, SECONDS, WIDTH, animate
from .parser import Parser


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser("animate", "Make a GIF of a run's image grids, with the step on each frame, "
                    "and an MP4 if ffmpeg is installed. Existing files are replaced.")
    parser.add("run", "a run directory", metavar="RUN")
    parser.add("--out", "the GIF; the MP4 gets the same name with .mp4 (default: in the run "
               "directory)", metavar="FILE")
    parser.add("--kind", "kind of grids (default: the first of these that the run has)", KINDS)
    parser.add("--seconds", "length of the animation; the last frame stays for one more second",
               Number(float, gt=0, lt=600), default=SECONDS)
    parser.add("--width", "scale larger grids down to N pixels", Number(int, ge=16, lt=2**14),
               default=WIDTH)
    parser.add("--frames", "maximum number of grids, evenly spaced over the run",
               Number(int, ge=1, lt=2**20), default=FRAMES)
    return parser


def main(argv: Sequence[str]) -> int:
    """Make the animation; return the exit code."""
    args = make_parser().parse_args(argv)
    for path in animate(args.run, args.out, args.kind, args.seconds, args.width, args.frames):
        print(path)
    return 0
