"""Make a film of a run's grids: python scripts/animate.py RUN."""
from dcgan_mx.commands import cli
from dcgan_mx.images import animate


def main():
    parser = cli.Parser("Make a GIF of a run's grids, with the step on each frame, and an MP4 "
                        "where ffmpeg is installed.")
    parser.add("run", "a run directory", metavar="RUN")
    parser.add("--out", "the GIF; absent: in the run directory", metavar="FILE")
    parser.add("--kind", "which grids; absent: the first of these that there is",
               choices=animate.KINDS)
    parser.add("--seconds", "length of the film", type=cli.number(float, above=0, below=600),
               default=8.0, metavar="X")
    args = parser.parse_args()
    for path in animate.animate(args.run, args.out, args.kind, args.seconds):
        print(path)


if __name__ == "__main__":
    cli.run(main)
