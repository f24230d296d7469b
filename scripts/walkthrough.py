"""Follow the blog post on GANs section by section: python scripts/walkthrough.py."""
import html
import inspect
import textwrap
from pathlib import Path

import numpy as np

from dcgan_mx import MnistIter, RandIter, Trainer, get_mnist
from dcgan_mx.commands import cli
from dcgan_mx.pages import page, walkthrough
from dcgan_mx.machine.device import make_contexts
from dcgan_mx.machine.files import write_atomic
from dcgan_mx.training.hooks import Progress
from dcgan_mx.machine.runtime import mx
from dcgan_mx.visual import standardise


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
    """Plot both losses over x = D(G(z)), and what of their slopes gets through D's sigmoid."""
    x = np.linspace(0.001, 0.999, 999)
    return (page.plot({"log(1 - x)": (x, np.log(1 - x)), "-log x": (x, -np.log(x))},
                      "x = D(G(z))", "loss of G")
            + page.plot({"log(1 - x): x": (x, x), "-log x: 1 - x": (x, 1 - x)},
                        "x = D(G(z))", "slope below the sigmoid", log_y=True))


def show_source(function):
    """Return the source text of a function without its docstring."""
    text = textwrap.dedent(inspect.getsource(function))
    head, _, body = text.split('"""', 2) if '"""' in text else (text, "", "")
    return (head.rstrip() + "\n" + body.strip("\n")).strip()


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
    model = paragraph(
        f"G has {numbers[0]:,} parameters, D {numbers[1]:,}. Before training D knows nothing; a D "
        f"that always said 1/2 would give -2 log 2 = {-2 * np.log(2):.3f}. Measured on one batch:")
    loop = paragraph(
        "The four phases are the blog's; gradients of the fakes stay in place, and those of the "
        "real pictures are added to them. --d-steps k gives the paper's k; 1 is the blog's. One "
        "difference from Algorithm 1 is left: it draws new noise for G, where the blog's loop and "
        "this one use the fakes that D has just seen.")
    return [
        section(1, "The model and its loss",
                "A generator G turns noise z into pictures, a discriminator D says how real a "
                "picture is; they play log D(x) + log(1 - D(G(z))), which D raises and G lowers.",
                page.code("symG, symD = make_dcgan_sym(ngf=64, ndf=64, nc=3)\n"
                          "trainer = Trainer(symG, symD, batch_size=64, data_shape=(3, 64, 64))"),
                model, page.table(["mean D(x)", "mean D(G(z))", "loss"],
                                  [[f"{loss[name]:.3f}" for name in loss]])),
        section(2, "Five rules that make it train",
                "GANs hardly converged until the DCGAN paper gave five rules for the two networks.",
                page.code(show_source(walkthrough.find_layers)),
                page.table(["rule", "in our symbols", "holds"], rules)),
        section(3, "The generator's picture",
                "From a vector to 64x64 pixels with three channels, by fewer and larger maps.",
                page.code(show_source(walkthrough.find_shapes)),
                draw_generator(walkthrough.find_shapes(symG))),
        section(4, "Four functions, two iterators",
                "The example has make_dcgan_sym, get_mnist, fill_buf and visual, and the iterators "
                "RandIter and ImagenetIter.",
                *(f"<h3>{html.escape(name)}</h3>"
                  + page.code(show_source(function)) + paragraph(text)
                  + ("" if picture is None else page.picture(picture, name))
                  for name, function, text, picture in walkthrough.show_functions(images))),
        section(5, "The training loop",
                "Each iteration updates D once and G once, where the paper's Algorithm 1 gives D k "
                "updates for each of G.",
                page.code(show_source(Trainer.step)), loop)]


def write_second_half(norms, error, frames, captions):
    """Sections 6 to 8: the two questions, and the grids of the training."""
    steps = np.arange(1, len(norms["-log D(G(z))"]) + 1)
    ratio = np.divide(*norms.values())
    sign = paragraph(
        "Both updates lower D's own loss, a cross-entropy; the sign is in the label. At label 0 "
        "D's gradient at G's images is that of -log(1 - D), its negative the minimax loss's. "
        "Measured at G's images after the first step, against MXNet's derivative of the formula "
        f"itself: the largest difference is {error:.1e} of the largest number. --g-loss saturating "
        "trains this way.")
    slopes = paragraph(
        "At x the slopes are -1/(1 - x) and -1/x. But D ends in a sigmoid, whose slope is "
        "x (1 - x): below it are left x of the first and 1 - x of the second. Where D is sure of "
        "the fakes (x near 0) nothing of the first is left, and all of the second.")
    measured = paragraph(
        "The norm of the gradient that reaches G's images, for both losses, at the same images and "
        f"the same D, in the first {len(steps)} iterations. That of -log D is "
        f"{shown(np.median(ratio))} times the other in the median, from {shown(ratio.min())} to "
        f"{shown(ratio.max())} times:")
    extremes = page.table(["loss of G", "least norm", "greatest norm"],
                          [[name, f"{min(values):.2g}", f"{max(values):.2g}"]
                           for name, values in norms.items()])
    return [
        section(6, "First question: where is the negated gradient?",
                "G should descend what D ascends, so why is no sign ever turned?",
                page.code("\n\n".join(show_source(function) for function in (
                    walkthrough.Probe.saturating, walkthrough.Probe.analytic))), sign),
        section(7, "Second question: why label 1 for fakes?",
                "G learns next to nothing from log(1 - D(G(z))) while D rejects every fake; -log "
                "D(G(z)) has the same goal and a gradient.",
                plot_losses(), slopes,
                page.code(show_source(walkthrough.Probe.nonsaturating)), measured,
                page.plot({name: (steps, values) for name, values in norms.items()},
                          "iteration", "norm of the gradient", log_y=True), extremes),
        section(8, "gout, diff and data through the training",
                "Every few iterations the example draws what G makes, the gradient that it gets "
                "for it, and the real pictures.",
                page.code(show_source(standardise)),
                *(f"<h3>{name}</h3>{page.slider(grids, captions, name)}"
                  for name, grids in frames.items()))]


def main():
    parser = cli.Parser("Follow the blog post section by section, measure what it claims, and "
                        "write one page that shows it.")
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
    ctx = make_contexts(args.gpu)[0]
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
