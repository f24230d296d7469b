"""`dcgan-mx export`: a trained network for other programs."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Sequence

from .. import __version__
from ..images.layers import read_network
from ..images.onnx_model import import_onnx, make_model
from ..images.sample import load_generator, load_network
from ..machine.device import make_contexts
from ..machine.files import write_atomic
from ..machine.typed import typed
from ..runs.checkpoint import LATENT
from .cli import Parser

_OUTPUTS = {"G": "images", "D": "probability"}


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(typed("export"), "Write a trained network as an ONNX model, which other "
                    "programs run.")
    add = parser.add
    add("checkpoint", "a run directory: its newest checkpoint; or RUN/checkpoints/step-...",
        metavar="RUN")
    add("out", "the file: an ONNX model, NAME.onnx (it takes the package onnx)", metavar="OUT")
    add("--network", "the generator, or the discriminator", choices=("G", "D"), default="G")
    add("--weights", "G's averaged weights, or the last ones (default: averaged ones where there "
        "are any)", choices=("ema", "raw"))
    add("--force", "replace OUT if it is there", action="store_true")
    return parser


def main(argv: Sequence[str]) -> int:
    """Write the file; return the exit status."""
    args = make_parser().parse_args(argv)
    out = Path(args.out)
    if out.suffix.lower() != ".onnx":
        raise ValueError(f"OUT is {args.out!r}: give a name that ends in .onnx")
    if os.path.lexists(out) and not args.force:
        raise ValueError(f"{out} is there already: give another name, or --force to replace it")
    if args.network == "D" and args.weights == "ema":
        raise ValueError("--weights ema with --network D, which has no averaged weights: leave it "
                         "out")
    import_onnx()
    ctx = make_contexts()[0]
    if args.network == "D":
        symbol, params, document = load_network(args.checkpoint, "D")
        step = document["step"]
    else:
        generator, step = load_generator(args.checkpoint, ctx, weights=args.weights)
        symbol, params = generator.symbol, generator.get_params()
    network = read_network(symbol.tojson(), params)
    metadata: dict[str, object] = {"network": args.network, "step": step, "version": __version__}
    if args.network == "D":
        nc, size, _ = network.input_shape
    else:
        nc, size, _ = network.output_shape
        metadata.update(nz=generator.nz, latent=LATENT,
                        weights="ema" if generator.averaged else "raw")
    metadata.update(size=size, nc=nc)
    write_atomic(out, make_model(network, _OUTPUTS[args.network], metadata, __version__))
    print(f"{out}: {args.network} of step {step}")
    return 0
