"""What the blog post on GANs says, section by section, measured again."""
from __future__ import annotations

import json
import tempfile
from typing import Any, Callable

import cv2
import numpy as np

from ..data.datasets import get_mnist, make_discs
from ..data.records import frame
from ..iterators import ImagenetIter, MnistIter, RandIter
from ..machine.runtime import mx, set_parameters
from ..symbols import make_dcgan_sym
from ..trainer import Trainer
from ..training.module_state import get_parameters
from ..visual import draw_figure, fill_buf, make_grid, standardise, to_pixels, visual

BATCH_SIZE, NZ, SHAPE = 64, 100, (3, 64, 64)


def find_layers(symbol: Any) -> list[tuple[str, str, dict[str, str]]]:
    """List a network's layers.

    Parameters
    ----------
    symbol : mx.sym.Symbol

    Returns
    -------
    Name, operator and attributes, from input to output.
    """
    return [(node["name"], node["op"], node.get("attrs", {}))
            for node in json.loads(symbol.tojson())["nodes"] if node["op"] != "null"]


def check_rules(symG: Any, symD: Any) -> list[tuple[str, str, bool]]:
    """Check the five rules of the DCGAN paper against two networks.

    Parameters
    ----------
    symG, symD : mx.sym.Symbol

    Returns
    -------
    The rule, what was found, whether it holds.

    Notes
    -----
    Source: Radford et al., arXiv:1511.06434, section 3, "Architecture guidelines".
    """
    layers = {"G": find_layers(symG), "D": find_layers(symD)}

    def names(network: str, op: str, **attributes: str) -> list[str]:
        return [name for name, found, attrs in layers[network] if found == op
                and all(attrs.get(key) == value for key, value in attributes.items())]

    def count(op: str) -> int:
        return len(names("G", op)) + len(names("D", op))

    up, down = names("G", "Deconvolution", stride="(2, 2)"), names("D", "Convolution",
                                                                   stride="(2, 2)")
    relu, tanh = names("G", "Activation", act_type="relu"), names("G", "Activation",
                                                                  act_type="tanh")
    leaky = names("D", "LeakyReLU", act_type="leaky")
    return [
        ("No pooling: strided convolutions halve the picture in D, transposed ones double it in G",
         f"{count('Pooling')} pooling layers; stride 2 in {', '.join(down)} and {', '.join(up)}",
         count("Pooling") == 0 and len(up) == len(down) == 4),
        ("Batch normalisation in both networks",
         f"{', '.join(names('G', 'BatchNorm'))}; {', '.join(names('D', 'BatchNorm'))}",
         bool(names("G", "BatchNorm") and names("D", "BatchNorm"))),
        ("No fully connected layers", f"{count('FullyConnected')} found",
         count("FullyConnected") == 0),
        ("G: ReLU in every layer, tanh at the output",
         f"ReLU: {', '.join(relu)}; tanh: {', '.join(tanh)}",
         len(relu) == 4 and tanh == [layers["G"][-1][0]]),
        ("D: leaky ReLU in every layer", f"{', '.join(leaky)}; other activations: "
         f"{len(names('D', 'Activation'))}",
         len(leaky) == 4 and not names("D", "Activation"))]


def find_shapes(symG: Any) -> list[tuple[str, tuple[int, ...]]]:
    """List the generator's shapes.

    Parameters
    ----------
    symG : mx.sym.Symbol
        Of nz = 100.

    Returns
    -------
    Name of each activation, the noise first, and its shape (C, H, W).
    """
    internals = symG.get_internals()
    chosen = [name for name in internals.list_outputs() if "gact" in name]
    _, shapes, _ = mx.sym.Group([internals[name] for name in chosen]).infer_shape(
        rand=(1, NZ, 1, 1))
    return [("rand", (NZ, 1, 1)), *((name.replace("_output", ""), shape[1:])
                                    for name, shape in zip(chosen, shapes))]


def measure_loss(trainer: Trainer, batch: Any, rbatch: Any) -> dict[str, float]:
    """Evaluate the minimax loss on one batch, without training.

    Parameters
    ----------
    batch, rbatch : mx.io.DataBatch
        As `Trainer.step` takes them.

    Returns
    -------
    Means of `D(x)` and `D(G(z))`, and `loss`: log D(x) + log(1 - D(G(z))).

    Notes
    -----
    Source: Goodfellow et al., NIPS 2014, equation 1.
    """
    trainer.modG.forward(rbatch, is_train=True)
    outG = trainer.modG.get_outputs()
    label = [mx.nd.zeros((BATCH_SIZE,))]
    outputs = []
    for data in (batch.data, outG):
        trainer.modD.forward(mx.io.DataBatch(data, label), is_train=True)
        outputs.append(trainer.modD.get_outputs()[0].asnumpy().astype(np.float64))
    real, fake = outputs
    return {"D(x)": real.mean(), "D(G(z))": fake.mean(),
            "loss": (np.log(real) + np.log(1 - fake)).mean()}


class Probe:
    """Looks at the gradients that reach G's images, beside the training.

    Parameters
    ----------
    trainer
        Its D is shared: what the probe computes changes the moving statistics, and overwrites
        the trainer's `diffD`.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        symD, self._shapes = trainer.modD.symbol, [("data", (BATCH_SIZE, *SHAPE))]
        none = dict.fromkeys(symD.list_arguments(), "null")
        self._mod = mx.mod.Module(symD, label_names=("label",), context=trainer.contexts[0])
        self._mod.bind(self._shapes, [("label", (BATCH_SIZE,))], shared_module=trainer.modD,
                       inputs_need_grad=True, grad_req={**none, "data": "write"})
        # D without its loss, to which MXNet's own differentiation is applied instead
        logit = symD.get_internals()[find_layers(symD)[-2][0] + "_output"]
        self._minimax = mx.mod.Module(
            mx.sym.MakeLoss(mx.sym.log(1 - mx.sym.sigmoid(logit))), label_names=None,
            context=trainer.contexts[0])
        self._minimax.bind(self._shapes, inputs_need_grad=True)

    def _get(self, mod: Any, images: Any, label: float | None = None) -> np.ndarray:
        labels = [] if label is None else [mx.nd.full((BATCH_SIZE,), label)]
        mod.forward(mx.io.DataBatch([images], labels), is_train=True)
        mod.backward()
        gradient: np.ndarray = mod.get_input_grads()[0].asnumpy()
        return gradient

    def nonsaturating(self, images: Any) -> np.ndarray:
        """Gradient of -log D at images, (N, C, H, W): D's own, at label 1."""
        return self._get(self._mod, images, 1)

    def saturating(self, images: Any) -> np.ndarray:
        """Gradient of log(1 - D) at images, (N, C, H, W): D's own at label 0, negated."""
        return -self._get(self._mod, images, 0)

    def analytic(self, images: Any) -> np.ndarray:
        """The same gradient, of the formula itself, by MXNet's differentiation."""
        set_parameters(self._minimax, get_parameters(self._trainer.modD))
        return self._get(self._minimax, images)


def train(trainer: Trainer, probe: Probe, train_iter: MnistIter, steps: int, probed: int,
          every: int, hook: Callable[[Trainer], None],
          ) -> tuple[dict[str, list[float]], float, dict[str, list[np.ndarray]], list[str]]:
    """Train, and measure what the two questions ask.

    Parameters
    ----------
    steps, probed, every
        Steps in all, steps whose gradients are measured, steps between frames.
    hook
        Called with the trainer after every step.

    Returns
    -------
    norms
        Norms of both losses' gradients at G's images, one a step.
    error
        Of the negated gradient against the analytic one, after the first step, relative to its
        largest number.
    frames
        Grids of `gout`, `diff` and `data`.
    captions
    """
    norms: dict[str, list[float]] = {"-log D(G(z))": [], "log(1 - D(G(z)))": []}
    frames: dict[str, list[np.ndarray]] = {"gout": [], "diff": [], "data": []}
    captions: list[str] = []
    errors: list[float] = []

    def measure(trainer: Trainer) -> None:
        if trainer.global_step % every == 0:
            captions.append(f"step {trainer.global_step}")
            for name, images in (("gout", trainer.outG.asnumpy()),
                                 ("diff", standardise(trainer.diffD.asnumpy())),
                                 ("data", trainer.batch.data[0].asnumpy())):
                frames[name].append(make_grid(images))
        # Only now: the probe works in the memory that holds diffD.
        if trainer.global_step == 1:
            exact = probe.analytic(trainer.outG)
            errors.append(abs(probe.saturating(trainer.outG) - exact).max() / abs(exact).max())
        if trainer.global_step <= probed:
            for name, gradient in zip(norms, (probe.nonsaturating, probe.saturating)):
                norms[name].append(float(np.linalg.norm(gradient(trainer.outG))))

    trainer.fit(train_iter, RandIter(BATCH_SIZE, NZ), 1000, max_steps=steps, hooks=[measure, hook])
    return norms, errors[0], frames, captions


def show_functions(images: np.ndarray,
                   ) -> list[tuple[str, Callable[..., Any], str, np.ndarray | None]]:
    """Show the four functions and the iterators of the blog's fourth section at work.

    Parameters
    ----------
    images : (N, 28, 28), uint8

    Returns
    -------
    Name, the code, what was measured, and a picture (H, W, 3), uint8.
    """
    symG, symD = make_dcgan_sym(64, 64, 3)
    batch = MnistIter(images, BATCH_SIZE).next().data[0].asnumpy()
    noise = RandIter(BATCH_SIZE, NZ).next().data[0].asnumpy()
    pixels = to_pixels(batch[:6])
    buf = np.zeros((2 * 64, 3 * 64, 3), np.uint8)
    for i in range(5):
        fill_buf(buf, i, pixels[i], (64, 64))
    discs = make_discs(BATCH_SIZE, seed=1)
    coloured = np.stack([discs, discs[::-1], np.roll(discs, 9, 0)], 1)
    with tempfile.NamedTemporaryFile(suffix=".rec") as f:
        for i, disc in enumerate(coloured):
            large = cv2.resize(disc.transpose(1, 2, 0)[..., ::-1], (256, 256))
            f.write(frame(cv2.imencode(".png", large)[1].tobytes(), i))
        f.flush()
        photographs = ImagenetIter(f.name, BATCH_SIZE).next().data[0].asnumpy()
    return [
        ("make_dcgan_sym", make_dcgan_sym, f"two symbols, {len(find_layers(symG))} and "
         f"{len(find_layers(symD))} layers", None),
        ("get_mnist", get_mnist, f"{len(images)} digits of 28x28 bytes; the first nine",
         make_grid(images[:9, None] / 127.5 - 1).repeat(3, 2)),
        ("fill_buf", fill_buf,
         "five digits put into a buffer of two rows; the sixth place is empty", buf),
        ("visual", visual, "tiles a batch, here of coloured discs, and shows it in a window",
         _photograph_window(coloured / 127.5 - 1)),
        ("RandIter", RandIter.next, f"a batch of shape {noise.shape}, mean {noise.mean():.3f}, "
         f"deviation {noise.std():.3f}: N(0, 1)", None),
        ("MnistIter", MnistIter._make, f"a batch of shape {batch.shape}, from {batch.min():g} to "
         f"{batch.max():g}", make_grid(batch[:16])),
        ("ImagenetIter", ImagenetIter._make, "the same discs from a record file, as squares of "
         f"192 to 256 pixels, cut out and mirrored at random: {photographs.shape}",
         make_grid(photographs[:16]))]


def _photograph_window(images: np.ndarray) -> np.ndarray:
    """Draw what `visual` draws, where windows are pictures in memory."""
    import matplotlib
    import matplotlib.pyplot as plt
    matplotlib.use("Agg")
    figure = draw_figure("visual", make_grid(images))
    canvas: Any = figure.canvas
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return pixels


def make_trainer(ctx: Any = None) -> Trainer:
    """Return the reference's trainer."""
    return Trainer(*make_dcgan_sym(64, 64, 3), BATCH_SIZE, SHAPE, nz=NZ, ctx=ctx)
