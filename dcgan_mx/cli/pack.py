"""`dcgan-mx pack`: images into a record file."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Sequence

from ..data.image_files import FORMATS
from ..data.packing import pack
from ..system.command_line import command_line
from ..system.cpu import physical_cores
from .parser import Parser, number, print_skipped, show_packing


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(command_line("pack"),
                    "Pack the images in a folder and below into a record file, which "
                    "`train --dataset imagenet --data-path OUT.rec` reads.")
    count = number(int, least=1, below=2**31)
    parser.add("folder", f"holds {', '.join(FORMATS)} files, under any name; or a record file, to "
               "scale what is in it", metavar="FOLDER")
    parser.add("out", "the record file; its index goes beside it, as OUT.idx", metavar="OUT.rec")
    parser.add("--resize", "scale the shorter side to N pixels, up or down; 0: never", default=256,
               type=number(int, least=0, below=2**15), metavar="N")
    parser.add("--quality", "of JPEG, which images that are scaled become", default=95,
               type=number(int, least=1, below=101), metavar="N")
    parser.add("--threads", "that work in parallel; they change no byte (default: one a core)",
               type=count, metavar="N")
    parser.add("--force", "replace OUT.rec and OUT.idx if they exist", action="store_true")
    parser.add("--min-images", "write nothing if fewer images can be read", type=count, default=1,
               metavar="N")
    return parser


def main(argv: Sequence[str]) -> int:
    """Pack; return the exit status."""
    args = make_parser().parse_args(argv)
    if not args.out.endswith(".rec"):
        raise ValueError(f"{args.out}: give a name that ends in .rec")
    for path in (args.out, Path(args.out).with_suffix(".idx")):
        if os.path.lexists(path) and not args.force:
            raise ValueError(f"{path}: exists already: give another name, or --force to replace it")
    n, skipped = pack(args.folder, args.out, args.resize, args.quality,
                      args.threads or physical_cores(), args.min_images, show_packing)
    print_skipped(skipped)
    print(f"{args.out}: {n} images; skipped: {len(skipped)}")
    return 0
