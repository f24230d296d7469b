"""Follow the blog post on GANs section by section: python scripts/walkthrough.py."""
import html
from pathlib import Path

import numpy as np

from dcgan_mx import MnistIter, RandIter, cli, get_mnist, page, walkthrough
from dcgan_mx.device import make_context
from dcgan_mx.files import write_atomic
from dcgan_mx.hooks import Progress
from dcgan_mx.runtime import mx


def section(n, title, says, *parts):
    """One section: what the blog says, and what follows from it here."""
    return (f"<section><h2>{n}. {html.escape(title)}</h2>"
            f"<p><strong>The blog:</strong> {html.escape(says)}</p>{''.join(parts)}</section>")


def paragraph(text):
    return f"<p>{html.escape(text)}</p>"


def draw_generator(shapes):
    """Draw the generator's shapes: heights show pixels, widths channels, by their logarithm."""
    boxes, x = [], 10.0
    for name, (channels, height, _) in shapes:
        h, w = 18 + 24 * np.log2(height), 10 + 9 * np.log2(channels)
        boxes.append(f'<rect x="{x:.0f}" y="{(190 - h) / 2:.0f}" width="{w:.0f}" height="{h:.0f}" '
                     'rx="3" fill="currentColor" fill-opacity=".18" stroke="currentColor"/>'
                     f'<text x="{x + w / 2:.0f}" y="205">{name}</text>'
                     f'<text x="{x + w / 2:.0f}" y="222">{channels}x{height}x{height}</text>')
        x += max(w, 80) + 30
    return (f'<svg viewBox="0 0 {x:.0f} 230" role="img" aria-label="shapes of the generator" '
            'style="width:100%;height:auto" text-anchor="middle" font-size="13" '
            f'fill="currentColor">{"".join(boxes)}</svg>')


def plot_losses():
    """Plot both losses, and their slopes, over D(G(z))."""
    x = np.linspace(0.01, 0.99, 99)
    return (page.plot({"log(1 - x)": (x, np.log(1 - x)), "-log x": (x, -np.log(x))},
                      "x = D(G(z))", "loss of G"),
            page.plot({"log(1 - x): 1/(1 - x)": (x, 1 / (1 - x)), "-log x: 1/x": (x, 1 / x)},
                      "x = D(G(z))", "slope, absolute", log_y=True))


def shown(x):
    """A ratio for people to read."""
    return f"{x:,.0f}" if 10 <= x < 1e6 else f"{x:.2g}"


def write_first_half(trainer, images):
    """Sections 1 to 5: the model and the code, before any training."""
    batch = MnistIter(images, walkthrough.BATCH_SIZE).next()
    loss = walkthrough.measure_loss(trainer, batch, RandIter(walkthrough.BATCH_SIZE,
                                                             walkthrough.NZ).next())
    numbers = [sum(int(np.prod(array.shape)) for array in mod.get_params()[0].values())
               for mod in (trainer.modG, trainer.modD)]
    symG, symD = trainer.modG.symbol, trainer.modD.symbol
    rules = [(rule, found, "yes" if holds else "NO")
             for rule, found, holds in walkthrough.check_rules(symG, symD)]
    shapes = walkthrough.find_shapes(symG)
    return [
        section(1, "The model and its loss",
                "A generator G turns noise z into pictures, a discriminator D says how real a "
                "picture "
                "is; they play log D(x) + log(1 - D(G(z))), which D raises and G lowers.",
                page.code("symG, symD = make_dcgan_sym(ngf=64, ndf=64, nc=3)\n"
                          "trainer = Trainer(symG, symD, batch_size=64, data_shape=(3, 64, 64))"),
                paragraph(f"G has {numbers[0]:,} numbers to learn, D {numbers[1]:,}. Before "
                          f"training "
                          "D knows nothing; a D that always said 1/2 would give "
                          f"-2 log 2 = {-2 * np.log(2):.3f}. Measured on one batch of digits:"),
                page.table(["mean D(x)", "mean D(G(z))", "loss"],
                           [[f"{loss[name]:.3f}" for name in ("D(x)", "D(G(z))", "loss")]])),
        section(2, "Five rules that make it train",
                "GANs hardly converged until the DCGAN paper gave five rules for the two networks.",
                page.code("walkthrough.check_rules(symG, symD)"),
                page.table(["rule", "in our symbols", "holds"], rules)),
        section(3, "The generator's picture",
                "G is a classifier turned round: from 1x1 with many channels to 64x64 with three.",
                page.code("symG.get_internals().infer_shape(rand=(1, 100, 1, 1))"),
                draw_generator(shapes)),
        section(4, "Four functions, two iterators",
                "The example has make_dcgan_sym, get_mnist, fill_buf and visual, and the iterators "
                "RandIter and ImagenetIter.",
                *(f"<h3>{html.escape(name)}</h3>{paragraph(text)}"
                  + ("" if picture is None else page.picture(picture, name))
                  for name, text, picture in walkthrough.show_functions(images))),
        section(5, "The training loop",
                "Each iteration updates D once and G once, where the paper's Algorithm 1 gives D k "
                "updates for each of G.",
                page.code(walkthrough.show_step()),
                paragraph("The four phases are the blog's, line for line; gradients of the fakes "
                          "stay "
                          "in place and those of the real pictures are added to them. "
                          "--d-steps k gives the paper's k; 1 is the blog's."))]


def write_second_half(norms, error, frames, captions):
    """Sections 6 to 8: the two questions, and the grids of the training."""
    steps = np.arange(1, len(norms["-log D(G(z))"]) + 1)
    ratio = np.divide(*norms.values())
    return [
        section(6, "First question: where is the negated gradient?",
                "G should descend what D ascends, so why is no sign ever turned?",
                page.code("-D's input gradient at label 0  ==  gradient of log(1 - D(G(z)))"),
                paragraph("Because D's own loss is a cross-entropy, to be lowered by both. The "
                          "sign "
                          "turns where the label is 0: then D's input gradient is that of "
                          "-log(1 - D), and its negative is the minimax loss's. Measured at G's "
                          "images "
                          "after the first step, against MXNet's derivative of the formula itself: "
                          f"the largest difference is {error:.1e} of the largest number. "
                          "--g-loss saturating trains this way.")),
        section(7, "Second question: why label 1 for fakes?",
                "log(1 - x) is flat where D is sure of the fakes, -log x is steep there.",
                "".join(plot_losses()),
                paragraph("The norm of the gradient that reaches G's images, for both losses, at "
                          "the "
                          f"same images and the same D, in the first {len(steps)} iterations. "
                          f"-log D "
                          f"gives {shown(np.median(ratio))} times the gradient in the median, from "
                          f"{shown(ratio.min())} to {shown(ratio.max())} times:"),
                page.plot({name: (steps, values) for name, values in norms.items()},
                          "iteration", "norm of the gradient", log_y=True)),
        section(8, "gout, diff and data through the training",
                "Every few iterations the example draws what G makes, the gradient that it gets "
                "for "
                "it, and the real pictures.",
                *(f"<h3>{name}</h3>{page.slider(grids, captions, name)}"
                  for name, grids in frames.items()))]


def main():
    parser = cli.Parser("Follow the blog post section by section, measure what it claims, and "
                        "write "
                        "one page that shows it.")
    parser.add("--quick", "40 steps instead of 600: about 2 minutes on two cores instead of 15",
               action="store_true")
    parser.add("--out", "folder of index.html, which is replaced", default="walkthrough",
               metavar="DIR")
    parser.add("--data-path", "folder that has, or will get, the folder mnist", default="data",
               metavar="DIR")
    parser.add("--gpu", "number of the GPU; absent: the CPU", type=cli.number(int, least=0),
               metavar="N")
    args = parser.parse_args()
    steps, probed, every = (40, 40, 10) if args.quick else (600, 200, 30)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    ctx = make_context(args.gpu)
    images = get_mnist(args.data_path)[0]
    mx.random.seed(1234)
    trainer = walkthrough.make_trainer(ctx)
    sections = write_first_half(trainer, images)
    progress = Progress(steps)
    try:
        sections += write_second_half(*walkthrough.train(
            trainer, walkthrough.Probe(trainer),
            MnistIter(images, walkthrough.BATCH_SIZE, seed=1234), steps, probed, every, progress))
    finally:
        progress.close()
    intro = paragraph("The blog post of 2016 that explains MXNet's DCGAN example, with every claim "
                      f"measured just now: {steps} steps on MNIST, on {ctx}.")
    write_atomic(out / "index.html", page.render(
        "A walk through the DCGAN blog post", intro + "".join(sections)).encode())
    print(out / "index.html")


if __name__ == "__main__":
    cli.run(main)
