"""The page that walks through the blog post: what it says, the code, what was measured."""
from __future__ import annotations

import html
import inspect
import textwrap
from typing import Any, Callable, Sequence

import numpy as np

from ..iterators import MnistIter, RandIter
from ..trainer import Trainer
from ..visual import standardise
from . import claims, page


def _section(n: int, title: str, says: str, *parts: str) -> str:
    """One section: what the blog says, and what follows from it here."""
    return (f"<section><h2>{n}. {html.escape(title)}</h2>"
            f"<p><strong>The blog:</strong> {html.escape(says)}</p>{''.join(parts)}</section>")


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _draw_generator(shapes: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    """Draw the generator's shapes: heights show pixels, widths channels, by their logarithm."""
    boxes: list[str] = []
    x = 10.0
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


def _plot_losses() -> str:
    """Plot both losses over x = D(G(z)), and what of their slopes gets through D's sigmoid."""
    x = np.linspace(0.001, 0.999, 999)
    return (page.plot({"log(1 - x)": (x, np.log(1 - x)), "-log x": (x, -np.log(x))},
                      "x = D(G(z))", "loss of G")
            + page.plot({"log(1 - x): x": (x, x), "-log x: 1 - x": (x, 1 - x)},
                        "x = D(G(z))", "slope below the sigmoid", log_y=True))


def _show_source(function: Callable[..., Any]) -> str:
    """Return the source text of a function without its docstring."""
    text = textwrap.dedent(inspect.getsource(function))
    head, _, body = text.split('"""', 2) if '"""' in text else (text, "", "")
    return (head.rstrip() + "\n" + body.strip("\n")).strip()


def _shown(x: float) -> str:
    """A ratio for people to read."""
    return f"{x:,.0f}" if 10 <= x < 1e6 else f"{x:.2g}"


def render(first: Sequence[str], second: Sequence[str], measured: str) -> str:
    """Put the page together from its halves and a word on what was measured."""
    intro = _paragraph("The blog post of 2016 that explains MXNet's DCGAN example, with every "
                       f"claim measured just now: {measured}.")
    return page.render("A walk through the DCGAN blog post", "".join([intro, *first, *second]))


def write_first_half(trainer: Trainer, images: np.ndarray) -> list[str]:
    """Sections 1 to 5: the model and the code, before any training."""
    batch = MnistIter(images, claims.BATCH_SIZE).next()
    loss = claims.measure_loss(trainer, batch, RandIter(claims.BATCH_SIZE,
                                                             claims.NZ).next())
    numbers = [sum(int(np.prod(array.shape)) for array in mod.get_params()[0].values())
               for mod in (trainer.modG, trainer.modD)]
    symG, symD = trainer.modG.symbol, trainer.modD.symbol
    rules = [(rule, found, "yes" if holds else "NO")
             for rule, found, holds in claims.check_rules(symG, symD)]
    model = _paragraph(
        f"G has {numbers[0]:,} parameters, D {numbers[1]:,}. Before training D knows nothing; a D "
        f"that always said 1/2 would give -2 log 2 = {-2 * np.log(2):.3f}. Ours does not say 1/2, "
        "because its weights are random: its last layer adds 8,192 features, which leaky ReLU has "
        "made positive in the mean, with random weights of deviation 0.02. That sum is nearly the "
        "same for all pictures of a batch, and another one for another seed. Measured on one "
        "batch:")
    loop = _paragraph(
        "The four phases are the blog's; gradients of the fakes stay in place, and those of the "
        "real pictures are added to them. --d-steps k gives the paper's k; 1 is the blog's. One "
        "difference from Algorithm 1 is left: it draws new noise for G, where the blog's loop and "
        "this one use the fakes that D has just seen.")
    return [
        _section(1, "The model and its loss",
                "A generator G turns noise z into pictures, a discriminator D says how real a "
                "picture is; they play log D(x) + log(1 - D(G(z))), which D raises and G lowers.",
                page.code("symG, symD = make_dcgan_sym(ngf=64, ndf=64, nc=3)\n"
                          "trainer = Trainer(symG, symD, batch_size=64, data_shape=(3, 64, 64))"),
                model, page.table(["mean D(x)", "mean D(G(z))", "loss"],
                                  [[f"{loss[name]:.3f}" for name in loss]])),
        _section(2, "Five rules that make it train",
                "GANs hardly converged until the DCGAN paper gave five rules for the two networks.",
                page.code(_show_source(claims.find_layers)),
                page.table(["rule", "in our symbols", "holds"], rules)),
        _section(3, "The generator's picture",
                "From a vector to 64x64 pixels with three channels, by fewer and larger maps.",
                page.code(_show_source(claims.find_shapes)),
                _draw_generator(claims.find_shapes(symG))),
        _section(4, "Four functions, two iterators",
                "The example has make_dcgan_sym, get_mnist, fill_buf and visual, and the iterators "
                "RandIter and ImagenetIter.",
                *(f"<h3>{html.escape(name)}</h3>"
                  + page.code(_show_source(function)) + _paragraph(text)
                  + ("" if picture is None else page.picture(picture, name))
                  for name, function, text, picture in claims.show_functions(images))),
        _section(5, "The training loop",
                "Each iteration updates D once and G once, where the paper's Algorithm 1 gives D k "
                "updates for each of G.",
                page.code(_show_source(Trainer.step)), loop)]


def write_second_half(norms: dict[str, list[float]], error: float,
                      frames: dict[str, list[np.ndarray]], captions: list[str]) -> list[str]:
    """Sections 6 to 8: the two questions, and the grids of the training."""
    steps = np.arange(1, len(norms["-log D(G(z))"]) + 1)
    ratio: np.ndarray = np.divide(norms["-log D(G(z))"], norms["log(1 - D(G(z)))"])
    sign = _paragraph(
        "Both updates lower D's own loss, a cross-entropy; the sign is in the label. At label 0 "
        "D's gradient at G's images is that of -log(1 - D), its negative the minimax loss's. "
        "Measured at G's images after the first step, against MXNet's derivative of the formula "
        f"itself: the largest difference is {error:.1e} of the largest number. --g-loss saturating "
        "trains this way.")
    slopes = _paragraph(
        "At x the slopes are -1/(1 - x) and -1/x. But D ends in a sigmoid, whose slope is "
        "x (1 - x): below it are left x of the first and 1 - x of the second. Where D is sure of "
        "the fakes (x near 0) nothing of the first is left, and all of the second.")
    measured = _paragraph(
        "The norm of the gradient that reaches G's images, for both losses, at the same images and "
        f"the same D, in the first {len(steps)} iterations. That of -log D is "
        f"{_shown(np.median(ratio))} times the other in the median, from {_shown(ratio.min())} to "
        f"{_shown(ratio.max())} times:")
    extremes = page.table(["loss of G", "least norm", "greatest norm"],
                          [[name, f"{min(values):.2g}", f"{max(values):.2g}"]
                           for name, values in norms.items()])
    return [
        _section(6, "First question: where is the negated gradient?",
                "G should descend what D ascends, so why is no sign ever turned?",
                page.code("\n\n".join(_show_source(function) for function in (
                    claims.Probe.saturating, claims.Probe.analytic))), sign),
        _section(7, "Second question: why label 1 for fakes?",
                "G learns next to nothing from log(1 - D(G(z))) while D rejects every fake; -log "
                "D(G(z)) has the same goal and a gradient.",
                _plot_losses(), slopes,
                page.code(_show_source(claims.Probe.nonsaturating)), measured,
                page.plot({name: (steps, values) for name, values in norms.items()},
                          "iteration", "norm of the gradient", log_y=True), extremes),
        _section(8, "gout, diff and data through the training",
                "Every few iterations the example draws what G makes, the gradient that it gets "
                "for it, and the real pictures.",
                page.code(_show_source(standardise)),
                *(f"<h3>{name}</h3>{page.slider(grids, captions, name)}"
                  for name, grids in frames.items()))]
