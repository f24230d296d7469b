"""`dcgan-mx export`: a trained network for other programs."""
from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Sequence

from .. import __version__
from ..export import browser_demo as generator_page
from ..export.layers import Network, read_network
from ..export.onnx_model import import_onnx, make_model
from ..runs.checkpoint import LATENT
from ..sampling.generator import load_generator, load_network
from ..sampling.latent import make_latents
from ..system.command_line import command_line
from ..system.devices import make_contexts
from ..system.files import write_atomic
from .parser import Parser

_OUTPUTS = {"G": "images", "D": "probability"}
_SLIDERS = 6


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(command_line("export"), "Write a trained network as an ONNX model, which other "
                    "programs run, or a generator as a page that makes images in a browser.")
    add = parser.add
    add("checkpoint", "a run directory: its newest checkpoint; or RUN/checkpoints/step-...; or "
        "pretrained:NAME", metavar="RUN")
    add("out", "the file: NAME.onnx, a model (it takes the package onnx), or NAME.html, a page "
        "that needs nothing else", metavar="OUT")
    add("--network", "the generator, or the discriminator", choices=("G", "D"), default="G")
    add("--weights", "G's averaged weights, or the last ones (default: averaged ones where there "
        "are any)", choices=("ema", "raw"))
    add("--force", "replace OUT if it is there", action="store_true")
    return parser


def check(args: argparse.Namespace) -> None:
    """Raise ValueError if flags do not go together, or OUT exists."""
    args.out = Path(args.out)
    args.suffix = args.out.suffix.lower()
    if args.suffix not in (".onnx", ".html"):
        raise ValueError(f"OUT is {str(args.out)!r}: give a name that ends in .onnx or .html")
    if os.path.lexists(args.out) and not args.force:
        raise ValueError(f"{args.out} is there already: give another name, or --force to replace "
                         "it")
    if args.network == "D" and args.weights == "ema":
        raise ValueError("--weights ema with --network D, which has no averaged weights: leave it "
                         "out")
    if args.network == "D" and args.suffix == ".html":
        raise ValueError("--network D makes no images for a page: give G, or a name that ends in "
                         ".onnx")


def load(args: argparse.Namespace) -> tuple[Network, dict[str, object]]:
    """Load the network, and the metadata of the file."""
    if args.network == "D":
        symbol, params, document = load_network(args.checkpoint, "D")
        network, step, more = read_network(symbol.tojson(), params), document["step"], {}
        nc, size, _ = network.input_shape
    else:
        generator, step = load_generator(args.checkpoint, make_contexts()[0], weights=args.weights)
        network = read_network(generator.symbol.tojson(), generator.get_params())
        nc, size, _ = network.output_shape
        more = {"nz": generator.nz, "latent": LATENT,
                "weights": "ema" if generator.averaged else "raw"}
    return network, {"network": args.network, **more, "size": size, "nc": nc, "step": step,
                     "version": __version__}


def main(argv: Sequence[str]) -> int:
    """Write the file; return the exit status."""
    args = make_parser().parse_args(argv)
    check(args)
    if args.suffix == ".onnx":
        import_onnx()
    network, metadata = load(args)
    if args.suffix == ".onnx":
        content = make_model(network, _OUTPUTS[args.network], metadata, __version__)
    else:
        vectors = make_latents(_SLIDERS, network.input_shape[0])
        content = generator_page.render(network, vectors, metadata).encode()
    write_atomic(args.out, content)
    print(f"{args.out}: {args.network} of step {metadata['step']}, {len(content) / 1e6:.1f} MB")
    return 0
