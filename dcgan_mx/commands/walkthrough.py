"""`dcgan-mx walkthrough`: the blog post, section by section, measured anew."""
from __future__ import annotations

from pathlib import Path
from typing import Sequence

from ..data.datasets import get_mnist
from ..iterators import MnistIter
from ..machine.device import make_contexts
from ..machine.files import write_atomic
from ..machine.runtime import mx
from ..machine.typed import typed
from ..pages import claims, walkthrough
from ..training.progress import Progress
from .cli import Parser, number


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(typed("walkthrough"),
                    "Follow the blog post section by section, measure what it claims, and write "
                    "one page that shows it.")
    parser.add("--quick", "40 steps instead of 600: about 2 minutes on two cores instead of 15",
               action="store_true")
    parser.add("--out", "folder of index.html, which is replaced", default="walkthrough",
               metavar="DIR")
    parser.add("--data-path", "folder that has, or will get, the folder mnist", default="data",
               metavar="DIR")
    parser.add("--gpu", "number of the GPU; absent: the CPU", type=number(int, least=0),
               metavar="N")
    return parser


def main(argv: Sequence[str]) -> int:
    """Train, measure and write the page; return the exit status."""
    args = make_parser().parse_args(argv)
    steps, probed, every = (40, 40, 10) if args.quick else (600, 200, 30)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    ctx = make_contexts(args.gpu)[0]
    images = get_mnist(args.data_path)[0]
    mx.random.seed(1234)
    trainer = claims.make_trainer(ctx)
    first = walkthrough.write_first_half(trainer, images)
    train_iter = MnistIter(images, claims.BATCH_SIZE, seed=1234)
    progress = Progress(steps, quiet=False, text="measuring")
    second = walkthrough.write_second_half(*claims.train(
        trainer, claims.Probe(trainer), train_iter, steps, probed, every, progress))
    write_atomic(out / "index.html", walkthrough.render(
        first, second, f"{steps} steps on MNIST, on {ctx}").encode())
    print(out / "index.html")
    return 0
