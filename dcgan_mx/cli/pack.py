"""`dcgan-mx pack`: a folder of images into a record file."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Sequence

from ..data.image_files import FORMATS
from ..data.packing import pack
from ..runs.config import Number
from ..system.command_line import command_line
from ..system.cpu import physical_cores
from ..system.errors import ArgumentError
from ..system.progress import show_parts
from .parser import Parser, print_skipped


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser("pack", "Pack the images in a folder or an archive into a record file for "
                    f"`{command_line('train')} --dataset imagenet --data-path OUT.rec`. Files that "
                    "are not images are skipped and listed.")
    count = Number(int, ge=1, lt=2**31)
    parser.add("folder", "images to pack: a folder, an archive (.zip, or .tar with or without "
               f"compression) of {', '.join(FORMATS)} files, or a record file to repack",
               metavar="FOLDER")
    parser.add("out", "the record file; its index is written to OUT.idx", metavar="OUT.rec")
    parser.add("--resize", "scale the shorter side of each image to N pixels; 0: do not scale",
               Number(int, ge=0, lt=2**15), default=256)
    parser.add("--quality", "JPEG quality of scaled images", Number(int, ge=1, le=100), default=95)
    parser.add("--threads", "parallel threads; they do not affect the output (default: one per "
               "core)", count)
    parser.add("--force", "replace OUT.rec and OUT.idx if they exist", action="store_true")
    parser.add("--min-images", "fail if fewer images can be read", count, default=1)
    return parser


def main(argv: Sequence[str]) -> int:
    """Pack; return the exit code."""
    args = make_parser().parse_args(argv)
    if not args.out.endswith(".rec"):
        raise ArgumentError("out", f"invalid name {args.out!r}: expected NAME.rec")
    for path in (args.out, Path(args.out).with_suffix(".idx")):
        if os.path.lexists(path) and not args.force:
            raise ValueError(f"{path} exists: choose another name, or add --force to replace it")
    n, skipped = pack(args.folder, args.out, args.resize, args.quality,
                      args.threads or physical_cores(), args.min_images,
                      lambda numbers: show_parts(numbers, "packing", len(numbers), 1))
    print_skipped(skipped)
    print(f"{args.out}: {n} images; skipped: {len(skipped)}")
    return 0
