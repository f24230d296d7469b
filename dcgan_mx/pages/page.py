"""Building blocks of HTML pages that hold all they show and ask no network for anything."""
from __future__ import annotations

import base64
import html
import math
from typing import Any, Iterable, Mapping, Optional, Sequence, TypeVar, Union

import cv2
import numpy as np

# In units of the SVG's own; the margins have room for the larger text of a phone.
_WIDTH, _RIGHT, _TOP, _BOTTOM, _HEIGHT = 480, 468, 12, 232, 280
_MOST = 1e300  # beyond it the ends of an axis are too far apart for a float
_Values = Union[Sequence[Optional[float]], np.ndarray]
_Numbers = TypeVar("_Numbers", float, np.ndarray)

_STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfc; --ink: #1f2328; --quiet: #5f6670;
  --rule: #dcdfe3; --box: #f3f4f6; --accent: #1f5fbf; --line-0: #1f5fbf; --line-1: #c4500a;
  --line-2: #1d7a46; --line-3: #8a3fb8; --line-4: #b3261e; --line-5: #0f7585; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e4e6e9;
  --quiet: #9aa2ad; --rule: #333941; --box: #1e2329; --accent: #82b1ff; --line-0: #82b1ff;
  --line-1: #ffab6b; --line-2: #7fd6a0; --line-3: #d0a2f2; --line-4: #ff938a; --line-5: #6fd3e0; } }
* { box-sizing: border-box; } [hidden] { display: none !important; }
body { margin: 0; background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 1rem; padding-top: 1rem;
  border-top: 1px solid var(--rule); }
p { max-width: 40rem; } .quiet { color: var(--quiet); }
.columns { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr));
  gap: 1rem 2rem; align-items: start; } .columns > * { min-width: 0; }
img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
p, figure, pre, .wide { margin: 0 0 1rem; }
figcaption, table { font-size: .9rem; font-variant-numeric: tabular-nums; }
pre { padding: .75rem 1rem; overflow-x: auto; background: var(--box); border-radius: 4px;
  font: .875rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0;
  border-bottom: 1px solid var(--rule); }
th, td:first-child { overflow-wrap: normal; } .plot { max-width: 36rem; }
.plot svg { display: block; width: 100%; height: auto; overflow: visible; margin-top: .5rem; }
.plot text { font-size: 13px; fill: var(--quiet); } .plot circle { fill: var(--colour); }
.plot line, .plot polyline { stroke: var(--rule); vector-effect: non-scaling-stroke; fill: none; }
.plot polyline { stroke: var(--colour); stroke-width: 1.75; stroke-linejoin: round; }
.key, .key::before { display: inline-block; } .key::before { content: ""; width: 1.25em;
  height: 3px; margin: 0 .4em 0 1rem; vertical-align: middle; background: var(--colour); }
.slider input { width: 100%; height: 2rem; margin: .25rem 0 0; accent-color: var(--accent); }
@media (max-width: 40rem) { .plot text { font-size: 16px; } }
"""

# What the browser enforces: nothing is fetched, whatever a page's text holds.
_POLICY = ("default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
           "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'")

# The script sees only the figure it stands in, so that sliders do not know of one another.
_SLIDER = """<script>(() => {
const figure = document.currentScript.parentNode, input = figure.querySelector("input");
const frames = figure.querySelectorAll(".frame"), caption = figure.querySelector(".caption");
const show = () => {
  frames.forEach((frame, i) => { frame.hidden = i !== input.valueAsNumber; });
  input.ariaValueText = caption.textContent = frames[input.valueAsNumber].dataset.caption;
};
input.oninput = show;
input.hidden = false; show(); })();</script>"""


def render(title: str, body: str, lang: str = "en") -> str:
    """Put a page together.

    Parameters
    ----------
    title
        Plain text: the page's title and its first heading.
    body
        HTML, as the other functions return it.
    lang
        Of the text, as HTML names languages.

    Returns
    -------
    A whole HTML document, light or dark as the reader's system is. It has the browser run
    inline scripts, show `data:` pictures, and load nothing else.
    """
    title = html.escape(title)
    return f"""<!DOCTYPE html>
<html lang="{html.escape(lang)}">
<head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style></head>
<body><main><h1>{title}</h1>
{body}
</main></body></html>
"""


def note(text: str) -> str:
    """Make a paragraph of plain text, less conspicuous than others."""
    return f'<p class="quiet">{html.escape(text)}</p>'


def code(text: str) -> str:
    """Show text as it is, every blank and line end of it; long lines scroll."""
    return f'<pre tabindex="0"><code>{html.escape(text)}</code></pre>'


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Make a table of a row of titles and rows of cells, shown as `str` gives them."""
    titles = "".join(f'<th scope="col">{html.escape(str(cell))}</th>' for cell in head)
    lines = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return (f'<div class="wide"><table>\n<thead><tr>{titles}</tr></thead>\n'
            f'<tbody>\n{body}\n</tbody>\n</table></div>')


def columns(parts: Iterable[str]) -> str:
    """Set pieces of HTML side by side, two on a desk, below one another on a phone."""
    return '<div class="columns">\n' + "\n".join(parts) + "\n</div>"


def picture(pixels: np.ndarray, alt: str, width: int | None = None) -> str:
    """Make an image of pixels: PNG, or JPEG of quality 85 if that is smaller.

    Parameters
    ----------
    pixels : (H, W, C), uint8
        C is 1 or 3 (RGB).
    alt
        What it shows, for those who do not see it.
    width
        Shown width in CSS pixels, `W` if left out; never wider than the page.

    Raises
    ------
    ValueError
        If `pixels` has another type or shape, or no pixel.
    """
    if (pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3)
            or not pixels.size):
        raise ValueError(f"pixels is {pixels.dtype} of shape {pixels.shape}: give uint8 of shape "
                         "(H, W, C) with C = 1 or 3")
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.shape[2] == 3 else pixels
    encoded = {"png": cv2.imencode(".png", bgr)[1],
               "jpeg": cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]}
    kind = min(encoded, key=lambda kind: len(encoded[kind]))
    data = base64.b64encode(encoded[kind].tobytes()).decode()
    width = width or pixels.shape[1]
    height = max(1, round(width * pixels.shape[0] / pixels.shape[1]))
    return (f'<img alt="{html.escape(alt)}" width="{width}" height="{height}" '
            f'src="data:image/{kind};base64,{data}">')


def slider(frames: Sequence[np.ndarray], captions: Sequence[str], label: str) -> str:
    """Make a slider that shows one of several pictures; without JavaScript, the last.

    Parameters
    ----------
    frames : (H, W, C), uint8
        At least one; as `picture` takes them.
    captions
        One for each frame.
    label
        What all of them show.

    Returns
    -------
    A `<figure>`; the arrow keys, Home and End move its slider.

    Raises
    ------
    ValueError
        If there is no frame, not one caption for each, or a frame that `picture` does not take.
    """
    if not frames or len(frames) != len(captions):
        raise ValueError(f"frames has {len(frames)} pictures and captions {len(captions)}: give "
                         "one or more, and a caption for each")
    last = len(frames) - 1
    parts = [f'<div class="frame" data-caption="{html.escape(caption)}"'
             f'{" hidden" if i < last else ""}>{picture(frame, f"{label}, {caption}")}</div>'
             for i, (frame, caption) in enumerate(zip(frames, captions))]
    if last:  # hidden until the script runs; autocomplete off: a reload begins with the last, too
        parts.append(f'<input type="range" min="0" max="{last}" step="1" value="{last}" hidden '
                     f'autocomplete="off" aria-label="{html.escape(label)}">')
    parts.append(f'<figcaption><strong class="caption">{html.escape(captions[last])}</strong> · '
                 f'{html.escape(label)}</figcaption>{_SLIDER if last else ""}')
    return '<figure class="slider">\n' + "\n".join(parts) + "\n</figure>"


def plot(series: Mapping[str, tuple[_Values, _Values]], x_label: str, y_label: str,
         log_y: bool = False) -> str:
    """Draw lines over common axes.

    Parameters
    ----------
    series
        Name to x and y values. One that is None or not finite breaks the line, as does y <= 0
        where `log_y`; a point between two breaks is a dot.
    log_y
        A logarithmic y axis, from one power of ten to another; else a linear one that includes 0.

    Returns
    -------
    A `<figure>` with an `<svg>` as wide as the page lets it be, and a legend if there is
    more than one line.

    Raises
    ------
    ValueError
        If a series has not as many y as x values.
    """
    lines = {name: _points(name, xs, ys, log_y) for name, (xs, ys) in series.items()}
    known = np.concatenate([np.empty((0, 2)), *lines.values()])
    known = known[~np.isnan(known[:, 0])]
    (x0, y0), (x1, y1) = (known.min(axis=0), known.max(axis=0)) if len(known) else ((0, 0), (1, 1))
    x_ticks, y_ticks = _ticks(x0, x1), _ticks(min(y0, 0), max(y1, 0), around=True)
    if log_y:
        n = int(y1 - y0) // 8 + 1  # decades from one tick to the next
        low, high = math.floor(y0 / n), math.ceil(y1 / n)
        y_ticks = [(k * n, f"{float(f'1e{k * n}'):g}") for k in range(low, max(high, low + 1) + 1)]
    y0, y1 = y_ticks[0][0], y_ticks[-1][0]
    left = 16 + 10 * max(len(text) for _, text in y_ticks)
    parts = [f'<text x="{(left + _RIGHT) / 2:.1f}" y="{_BOTTOM + 40}" text-anchor="middle">'
             f'{html.escape(x_label)}</text>']
    for value, text in y_ticks:
        y = _between(value, y0, y1, _BOTTOM, _TOP)
        parts.append(f'<line x1="{left}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text x="{left - 8}" y="{y:.1f}" dy=".35em" text-anchor="end">{text}</text>')
    for value, text in x_ticks:
        x = _between(value, x0, x1, left, _RIGHT)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_BOTTOM}"/>'
                     f'<text x="{x:.1f}" y="{_BOTTOM + 18}" text-anchor="middle">{text}</text>')
    keys = []  # of the legend
    for i, (name, line) in enumerate(lines.items()):
        colour, text = f"--colour: var(--line-{i % 6})", html.escape(name)
        places = np.column_stack([_between(line[:, 0], x0, x1, left, _RIGHT),
                                  _between(line[:, 1], y0, y1, _BOTTOM, _TOP)])
        parts.append(f'<g style="{colour}"><title>{text}</title>{_draw(places)}</g>')
        keys.append(f'<span class="key" style="{colour}">{text}</span>')
    label = html.escape(f"{y_label} over {x_label}: {', '.join(lines)}")
    return (f'<figure class="plot">\n<figcaption>{html.escape(y_label)} '
            f'{" ".join(keys) if len(keys) > 1 else ""}</figcaption>\n'
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">\n'
            + "\n".join(parts) + "\n</svg>\n</figure>")


def _points(name: str, xs: _Values, ys: _Values, log_y: bool) -> np.ndarray:
    """(n, 2) numbers to draw, nan where there is none; the logarithm of y where `log_y`."""
    if len(xs) != len(ys):
        raise ValueError(f"series {name!r} has {len(xs)} x and {len(ys)} y values: give as many")
    points = np.array([[_number(x), _number(y, log_y)] for x, y in zip(xs, ys)]).reshape(-1, 2)
    broken: np.ndarray = points + 0 * points[:, ::-1]  # both are nan where one is
    return broken


def _number(value: Any, log: bool = False) -> float:
    """A float that can be drawn, or nan."""
    try:
        number = math.log10(float(value)) if log else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if abs(number) < _MOST else math.nan


def _ticks(low: float, high: float, around: bool = False) -> list[tuple[float, str]]:
    """(value, text) of round numbers between low and high, or `around` both."""
    if high - low <= max(1e-12 * max(abs(low), abs(high)), 1 / _MOST):
        return [(low, f"{low:g}")]
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= 0.7 * (high - low) / 4)
    slack = 1e-9 if around else -1e-9  # an end that misses a tick by a rounding error is on it
    below, above = (math.floor, math.ceil) if around else (math.ceil, math.floor)
    first, last = below(low / step + slack), above(high / step - slack)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    kind = f".{digits}f" if digits <= 6 and max(abs(low), abs(high)) < 1e7 else "g"
    return [(k * step, f"{k * step:{kind}}") for k in range(first, last + 1)]


def _between(values: _Numbers, low: float, high: float, start: float, end: float) -> _Numbers:
    """Values from low to high to where they are from start to end; midway if low is high."""
    return start + (end - start) * ((values - low) / ((high - low) or 1) + (high == low) / 2)


def _draw(places: np.ndarray) -> str:
    """Lines through (n, 2) places, broken at nan; one by itself is a dot."""
    breaks = np.flatnonzero(np.diff(np.isnan(places[:, 0]))) + 1
    parts = []
    for run in np.split(places, breaks):
        corners = [f"{x:.1f},{y:.1f}" for x, y in run if not math.isnan(x)]
        if len(corners) == 1:
            parts.append('<circle r="3" cx="{}" cy="{}"/>'.format(*corners[0].split(",")))
        elif corners:
            parts.append(f'<polyline points="{" ".join(corners)}"/>')
    return "".join(parts)
