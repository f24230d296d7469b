"""`dcgan-mx export`: a trained network for other programs."""
from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Sequence

from .. import __version__
from ..export import browser_demo
from ..export.layers import Network, read_network
from ..export.onnx_model import import_onnx, make_model
from ..runs.checkpoint import LATENT
from ..sampling.generator import describe_step, load_generator, load_network
from ..sampling.latent import make_latents
from ..system.devices import make_contexts
from ..system.errors import ArgumentError
from ..system.files import write_atomic
from .parser import Parser

_OUTPUTS = {"G": "images", "D": "probability"}
_SLIDERS = 6


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser("export", "Export a trained network to ONNX, or a generator to an HTML page "
                    "that makes images in the browser.")
    parser.add_shared("checkpoint")
    parser.add("out", "NAME.onnx for a model (needs the package onnx), or NAME.html for a "
               "self-contained page", metavar="OUT")
    parser.add("--network", "the generator or the discriminator", ("G", "D"), default="G")
    parser.add_shared("--weights")
    parser.add("--force", "replace OUT if it exists", action="store_true")
    return parser


def check_args(args: argparse.Namespace) -> None:
    """Raise ArgumentError if OUT is invalid or exists, or flags contradict each other."""
    args.out = Path(args.out)
    args.suffix = args.out.suffix.lower()
    if args.suffix not in (".onnx", ".html"):
        raise ArgumentError("out", f"invalid name {str(args.out)!r}: expected NAME.onnx or "
                            "NAME.html")
    if os.path.lexists(args.out) and not args.force:
        raise ArgumentError("out", f"{args.out} exists: choose another name, or add --force to "
                            "replace it")
    if args.network == "D" and args.weights == "ema":
        raise ArgumentError("weights", "only the generator has averaged weights: remove --weights")
    if args.network == "D" and args.suffix == ".html":
        raise ArgumentError("network", "D makes no images for a page: expected G, or NAME.onnx")


def load(args: argparse.Namespace) -> tuple[Network, dict[str, Any]]:
    """Load the network, and the metadata of the file."""
    if args.network == "D":
        symbol, params, metadata = load_network(args.checkpoint, "D")
        network, step, more = read_network(symbol.tojson(), params), metadata["step"], {}
        nc, size, _ = network.input_shape
    else:
        generator, step = load_generator(args.checkpoint, make_contexts()[0], weights=args.weights)
        network = read_network(generator.symbol.tojson(), generator.get_params())
        nc, size, _ = network.output_shape
        more = {"nz": generator.nz, "latent": LATENT,
                "weights": "ema" if generator.averaged else "raw"}
    more.update({} if step is None else {"step": step})
    return network, {"network": args.network, **more, "size": size, "nc": nc,
                     "version": __version__}


def main(argv: Sequence[str]) -> int:
    """Write the file; return the exit code."""
    args = make_parser().parse_args(argv)
    check_args(args)
    if args.suffix == ".onnx":
        import_onnx()
    network, metadata = load(args)
    if args.suffix == ".onnx":
        content = make_model(network, _OUTPUTS[args.network], metadata, __version__)
    else:
        vectors = make_latents(_SLIDERS, network.input_shape[0])
        content = browser_demo.render(network, vectors, metadata).encode()
    write_atomic(args.out, content)
    model = describe_step(metadata.get("step"), args.checkpoint)
    print(f"{args.out}: {args.network} of {model}, {len(content) / 1e6:.1f} MB")
    return 0
