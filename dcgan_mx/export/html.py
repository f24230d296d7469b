"""Self-contained HTML pages from Jinja2 templates, with embedded images and plots."""
from __future__ import annotations

import base64
import io
import math
import re
from pathlib import Path
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

TEMPLATES = Environment(loader=FileSystemLoader(str(Path(__file__).parent.parent / "templates")),
                        autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                        lstrip_blocks=True)
_WIDTH, _HEIGHT = 480, 280  # of a plot, in units of the SVG, which are points
_CHARACTER = 8  # units; the width of a digit in a label
_LARGEST = 1e100  # matplotlib overflows on much larger numbers


class EmbeddedImage(NamedTuple):
    """An image as a data URI, and its size in pixels."""

    src: str
    width: int
    height: int


def render(template: str, **values: object) -> str:
    """Render a template; values that are not Markup are escaped."""
    return TEMPLATES.get_template(template).render(values)


def embed_image(pixels: np.ndarray, max_width: int = 10_000) -> EmbeddedImage:
    """Encode pixels, (H, W, C), uint8, as PNG, or as JPEG of quality 85 if that is smaller."""
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    if image.width > max_width:
        height = max(1, round(image.height * max_width / image.width))
        image = image.resize((max_width, height), Image.Resampling.BOX)
    files = {}
    for kind in ("png", "jpeg"):
        buffer = io.BytesIO()
        image.save(buffer, kind, quality=85)
        files[kind] = buffer.getvalue()
    kind = min(files, key=lambda kind: len(files[kind]))
    data = base64.b64encode(files[kind]).decode()
    return EmbeddedImage(f"data:image/{kind};base64,{data}", *image.size)


def plot(series: Mapping[str, tuple[Iterable[Any], Iterable[Any]]], x_label: str, y_label: str,
         log_y: bool = False) -> Markup:
    """Draw a line for each name in `series`, {name: (x values, y values)}; return a <figure>.

    Values are numbers or None. None, infinity and nan break the line, as does y <= 0 on a
    logarithmic axis; a point between two breaks is a dot. A linear y axis includes 0.
    """
    from matplotlib import style  # here, because the import takes half a second
    from matplotlib.figure import Figure

    lines = [_points(xs, ys, log_y) for xs, ys in series.values()]
    svg = io.StringIO()
    with style.context(["default", {"svg.fonttype": "none", "path.simplify": False}]):
        figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72), frameon=False)
        axes = figure.add_subplot(frame_on=False, xmargin=0)
        for i, (x, y) in enumerate(lines):
            # Colors of the form #00000X become CSS variables in `_to_inline_svg`.
            look: Any = {"color": f"#00000{i % 6}", "solid_capstyle": "round", "clip_on": False}
            axes.plot(x, y, gid=f"line-{i}", linewidth=1.75, **look)
            gaps = np.isnan(np.r_[np.nan, y, np.nan])
            for dot in np.flatnonzero(gaps[:-2] & ~gaps[1:-1] & gaps[2:]):
                axes.plot(x[[dot, dot]], y[[dot, dot]], linewidth=6, **look)  # a round cap
        _scale(axes, np.concatenate([np.empty((2, 0)), *lines], axis=1), log_y)
        axes.grid(color="#00000f", linewidth=1, clip_on=False)
        axes.tick_params(which="both", bottom=False, left=False, pad=6, labelsize=13)
        axes.set_xlabel(x_label, fontsize=13)
        # matplotlib would measure the labels, in as much time as it takes to draw the plot.
        half, most = (max(map(len, map(_format, ticks))) * _CHARACTER / 2
                      for ticks in (axes.get_xticks(), axes.get_yticks()))
        figure.subplots_adjust(left=max(half, 2 * most + 8) / _WIDTH, right=1 - half / _WIDTH,
                               bottom=48 / _HEIGHT, top=1 - 10 / _HEIGHT)
        figure.savefig(svg, format="svg", metadata=dict.fromkeys(
            ("Creator", "Date", "Format", "Type")))
    macros: Any = TEMPLATES.get_template("macros.html").module
    names = [*series]
    return Markup(macros.plot(_to_inline_svg(svg.getvalue(), names), x_label, y_label, names))


def _points(xs: Iterable[Any], ys: Iterable[Any], log_y: bool) -> np.ndarray:
    """Return points as (2, n) numbers; both are nan where one of them cannot be drawn."""
    points = np.array([[*xs], [*ys]], float)  # None becomes nan
    drawable = (np.abs(points) < _LARGEST).all(0)
    if log_y:
        drawable &= points[1] > 1 / _LARGEST
    points[:, ~drawable] = np.nan
    return points


def _scale(axes: Any, points: np.ndarray, log_y: bool) -> None:
    """Give the axes a few round ticks, and y a range that ends at ticks."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator

    known = points[:, ~np.isnan(points[0])]
    (x0, y0), (x1, y1) = (known.min(1), known.max(1)) if known.size else ((0, 1), (1, 1))
    locator = MaxNLocator(6, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_locator(FixedLocator([x0]) if x0 == x1 else locator)
    if log_y:
        low, high = math.floor(math.log10(y0)), math.ceil(math.log10(y1))
        axes.set_yscale("log")
        axes.set_ylim(10.0 ** low, 10.0 ** max(high, low + 1))
        axes.yaxis.set_major_locator(LogLocator(numticks=9))
        axes.minorticks_off()
    else:
        ticks = locator.tick_values(min(y0, 0), max(y1, 0) if y0 or y1 else 1)
        axes.set_ylim(ticks[0], ticks[-1])
        axes.set_yticks(ticks)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_format))


def _format(value: float, _: object = None) -> str:
    """Return the label of a tick; -0 becomes 0."""
    return f"{value + 0.0:.10g}"


def _to_inline_svg(svg: str, names: Sequence[str]) -> Markup:
    """Reduce matplotlib's file to an inline SVG whose colors are CSS variables."""
    svg = re.sub(r"<defs>.*?</defs>", "", svg[svg.index("<svg"):], flags=re.DOTALL)
    for i, name in enumerate(names):
        svg = svg.replace(f'<g id="line-{i}">', f"<g><title>{escape(name)}</title>")
    svg = re.sub(r' (id|xmlns(:xlink)?|width|height|version)="[^"]*"', "", svg)
    svg = re.sub(r'font[-a-z]*: [^;"]*(; )?', "", svg)
    svg = svg.replace("#00000f", "var(--rule)")
    return Markup(re.sub("#00000([0-5])", r"var(--line-\1)", svg))
