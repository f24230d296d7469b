"""`dcgan-mx walkthrough`: the blog post's experiments, section by section."""
from __future__ import annotations

import inspect
import tempfile
import textwrap
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from ..data.datasets import get_mnist, make_discs
from ..data.recordio import encode_record
from ..export.html import EmbeddedImage, embed_image, plot, render
from ..hooks.base import LambdaHook
from ..hooks.progress import Progress
from ..iterators import ImagenetIter, MnistIter, RandIter, resize_to
from ..reports.blog_experiments import Probe, check_rules, find_layers, find_shapes, measure_loss
from ..symbols import make_dcgan_sym
from ..system.devices import make_contexts
from ..system.files import data_folder, write_atomic
from ..system.opencv import cv2
from ..system.runtime import mx
from ..trainer import Trainer
from ..visual import fill_buf, make_grid, standardize, to_pixels, visual
from .parser import Parser

# Functions whose source the page shows, without docstrings.
_CODE = (find_layers, find_shapes, make_dcgan_sym, get_mnist, fill_buf, visual, RandIter.next,
         resize_to, Trainer.step, Probe.saturating, Probe.analytic, Probe.nonsaturating,
         standardize)


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser("walkthrough", "Reproduce the blog post's experiments, section by section, and "
                    "write the results to an HTML page.")
    parser.add("--quick", "train for 40 steps instead of 600: about 2 minutes on two cores "
               "instead of 15", action="store_true")
    parser.add("--out", "folder for index.html, which is replaced", default="walkthrough",
               metavar="DIR")
    parser.add("--data-path", "directory that holds or will hold the downloaded data set (default: "
               "./data if it exists or in a clone, else a cache folder)", metavar="DIR")
    parser.add_shared("--gpu")
    return parser


def main(argv: Sequence[str]) -> int:
    """Train the post's networks, run the experiments and write the page; return the exit code."""
    args = make_parser().parse_args(argv)
    steps, probed, every = (40, 40, 10) if args.quick else (600, 200, 30)
    page = Path(args.out) / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    ctx = make_contexts(args.gpu)[0]
    images = get_mnist(args.data_path or data_folder())[0]
    mx.random.seed(1234)
    trainer = Trainer(*make_dcgan_sym(64, 64, 3), 64, (3, 64, 64), ctx=ctx)
    batch, rbatch = MnistIter(images, 64).next(), RandIter(64, 100).next()
    loss = measure_loss(trainer, batch, rbatch)
    grids: dict[str, list[tuple[str, EmbeddedImage]]] = {"gout": [], "diff": [], "data": []}

    def draw(trainer: Trainer) -> None:
        if trainer.global_step % every == 0:
            shown = trainer.outG.asnumpy(), standardize(trainer.diffD.asnumpy()), \
                trainer.batch.data[0].asnumpy()
            for frames, data in zip(grids.values(), shown):
                frames.append((f"step {trainer.global_step}", embed_image(make_grid(data))))

    probe = Probe(trainer, probed)  # after the grids: it overwrites diffD
    trainer.fit(MnistIter(images, 64, seed=1234), RandIter(64, 100), 1000, max_steps=steps,
                hooks=[LambdaHook(draw), probe, Progress(steps, quiet=False, text="measuring")])
    x, iterations = np.linspace(0.001, 0.999, 999), np.arange(1, probed + 1)
    symG, symD = trainer.modG.symbol, trainer.modD.symbol
    text = render(
        "walkthrough.html", steps=steps, ctx=ctx, loss=loss, probe=probe, grids=grids,
        parameters=[sum(array.size for array in mod.get_params()[0].values())
                    for mod in (trainer.modG, trainer.modD)],
        layers=[len(find_layers(symbol)) for symbol in (symG, symD)],
        rules=check_rules(symG, symD), shapes=find_shapes(symG),
        code={function.__name__: show_source(function) for function in _CODE},
        noise=rbatch.data[0].asnumpy(), batch=batch.data[0].asnumpy(), count=len(images),
        images={name: embed_image(pixels) for name, pixels in show_functions(images).items()},
        losses=plot({"log(1 - x)": (x, np.log(1 - x)), "-log x": (x, -np.log(x))},
                    "x = D(G(z))", "loss of G"),
        slopes=plot({"log(1 - x): x": (x, x), "-log x: 1 - x": (x, 1 - x)},
                    "x = D(G(z))", "size of the gradient before the sigmoid", log_y=True),
        norms=plot({name: (iterations, norms) for name, norms in probe.norms.items()},
                   "iteration", "norm of the gradient", log_y=True))
    write_atomic(page, text.encode())
    print(page)
    return 0


def show_functions(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return images of what the example's functions and iterators produce."""
    batch = MnistIter(images, 64).next().data[0].asnumpy()
    buf = np.zeros((2 * 64, 3 * 64, 3), np.uint8)
    for i, pixels in enumerate(to_pixels(batch[:5])):
        fill_buf(buf, i, pixels, (64, 64))
    discs = make_discs(64, seed=1)
    coloured = np.stack([discs, discs[::-1], np.roll(discs, 9, 0)], 1)
    with tempfile.NamedTemporaryFile(suffix=".rec") as f:
        for i, disc in enumerate(coloured.transpose(0, 2, 3, 1)[..., ::-1]):
            _, png = cv2.imencode(".png", cv2.resize(disc, (256, 256)))
            f.write(encode_record(png.tobytes(), i))
        f.flush()
        photographs = ImagenetIter(f.name, 64).next().data[0].asnumpy()
    return {"get_mnist": make_grid(images[:9, None] / 127.5 - 1), "fill_buf": buf,
            "visual": make_grid(coloured / 127.5 - 1), "MnistIter": make_grid(batch[:16]),
            "ImagenetIter": make_grid(photographs[:16])}


def show_source(function: Callable[..., Any]) -> str:
    """Return the source text of a function without its docstring."""
    text = textwrap.dedent(inspect.getsource(function))
    head, _, body = text.split('"""', 2) if '"""' in text else (text, "", "")
    return (head.rstrip() + "\n" + body.strip("\n")).strip()
