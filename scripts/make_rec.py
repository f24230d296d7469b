"""Pack a folder of pictures for training: python scripts/make_rec.py FOLDER OUT.rec."""
from dcgan_mx.commands import cli
from dcgan_mx.data import packing
from dcgan_mx.data.encoding import FORMATS
from dcgan_mx.machine.runtime import physical_cores


def main():
    parser = cli.Parser("Pack the pictures in a folder and below into a record file, which "
                        "scripts/train.py reads with --dataset imagenet --data-path OUT.rec.")
    count = cli.number(int, least=1, below=2**31)
    parser.add("folder", f"holds {', '.join(FORMATS)} files, under any name; or a record file, to "
               "scale what is in it",
               metavar="FOLDER")
    parser.add("out", "the record file; its index goes beside it, as OUT.idx", metavar="OUT.rec")
    parser.add("--resize", "scale the shorter side to N pixels, up or down; 0: never", default=256,
               type=cli.number(int, least=0, below=2**15), metavar="N")
    parser.add("--quality", "of JPEG, which pictures that are scaled become", default=95,
               type=cli.number(int, least=1, below=101), metavar="N")
    parser.add("--threads", "at work together; they change no byte", type=count, metavar="N",
               default=physical_cores())
    parser.add("--least", "write nothing if fewer pictures can be read", type=count, default=1,
               metavar="N")
    args = parser.parse_args()
    n, skipped = packing.pack(args.folder, args.out, args.resize, args.quality, args.threads,
                              args.least, cli.show_packing)
    cli.print_skipped(skipped)
    print(f"{args.out}: {n} pictures; skipped: {len(skipped)}")


if __name__ == "__main__":
    cli.run(main)
