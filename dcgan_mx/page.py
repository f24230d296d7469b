"""Building blocks of HTML pages that hold all they show and ask no network for anything."""
import base64
import html
import math

import cv2
import numpy as np

_JPEG_QUALITY = 85
_COLOURS = 6  # of lines; --line-0 to --line-5 in the style
# In units of the SVG's own; margins that hold the larger text of a phone.
_WIDTH, _HEIGHT, _TOP, _RIGHT, _BOTTOM = 480, 280, 12, 12, 48
_MOST = 1e300  # beyond it the ends of an axis are too far apart for a float

_STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfc; --ink: #1f2328; --quiet: #5f6670;
  --rule: #dcdfe3; --box: #f3f4f6; --accent: #1f5fbf; --line-0: #1f5fbf; --line-1: #c4500a;
  --line-2: #1d7a46; --line-3: #8a3fb8; --line-4: #b3261e; --line-5: #0f7585; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e4e6e9;
  --quiet: #9aa2ad; --rule: #333941; --box: #1e2329; --accent: #82b1ff; --line-0: #82b1ff;
  --line-1: #ffab6b; --line-2: #7fd6a0; --line-3: #d0a2f2; --line-4: #ff938a;
  --line-5: #6fd3e0; } }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1, h2, h3 { line-height: 1.25; font-weight: 600; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 1rem; padding-top: 1rem;
  border-top: 1px solid var(--rule); }
p { max-width: 40rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
a { color: var(--accent); }
.quiet, .axis { color: var(--quiet); }
.columns { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr));
  gap: 2rem; align-items: start; }
.columns > * { min-width: 0; }
img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
figure { margin: 0 0 1rem; }
figcaption { font-size: .9rem; margin-bottom: .5rem; overflow-wrap: anywhere; }
pre { margin: 0 0 1rem; padding: .75rem 1rem; overflow-x: auto; background: var(--box);
  border-radius: 4px; font: .875rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
.wide { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0;
  border-bottom: 1px solid var(--rule); }
th { font-weight: 600; }
td + td { overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.plot { max-width: 36rem; }
.plot svg { display: block; width: 100%; height: auto; overflow: visible; }
.plot text { font-size: 13px; fill: var(--quiet); font-variant-numeric: tabular-nums; }
.plot .grid { stroke: var(--rule); stroke-width: 1; vector-effect: non-scaling-stroke; }
.plot polyline { fill: none; stroke: currentColor; stroke-width: 1.75; stroke-linejoin: round;
  vector-effect: non-scaling-stroke; }
.plot circle { fill: currentColor; }
.key { white-space: nowrap; margin-left: 1rem; }
.key i { display: inline-block; width: 1.25em; height: .2em; margin-right: .4em;
  vertical-align: middle; border-radius: .1em; }
.slider input { display: block; width: 100%; height: 2rem; margin: .25rem 0 0;
  accent-color: var(--accent); }
@media (max-width: 40rem) { .plot text { font-size: 16px; } h2 { margin-top: 2rem; } }
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
  caption.textContent = frames[input.valueAsNumber].dataset.caption;
  input.setAttribute("aria-valuetext", caption.textContent);
};
input.addEventListener("input", show);
input.hidden = false;
show();
})();</script>"""


def render(title, body, lang="en"):
    """Put a page together.

    Parameters
    ----------
    title : str
        Plain text: the page's title and its first heading.
    body : str
        HTML, as the other functions return it.
    lang : str
        Language of the text, as in the `lang` attribute.

    Returns
    -------
    str
        A whole HTML document, light or dark as the reader's system is. Its policy lets a browser
        run inline scripts and show data: pictures, and load nothing else.
    """
    title = html.escape(title)
    return f"""<!DOCTYPE html>
<html lang="{html.escape(lang)}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def picture(pixels, alt, width=None):
    """Make an image of pixels: PNG, or JPEG of quality 85 if that is smaller.

    Parameters
    ----------
    pixels : np.ndarray, (H, W, C), uint8
        C is 1 or 3 (RGB).
    alt : str
        What it shows, for those who do not see it.
    width : int, optional
        Shown width in CSS pixels, `W` if left out; never wider than the page.

    Returns
    -------
    str
        An `<img>`.

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
    kind, data = min((("png", cv2.imencode(".png", bgr)[1]),
                      ("jpeg", cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY,
                                                          _JPEG_QUALITY])[1])),
                     key=lambda pair: len(pair[1]))
    width = width or pixels.shape[1]
    height = max(1, round(width * pixels.shape[0] / pixels.shape[1]))
    return (f'<img alt="{html.escape(alt)}" width="{width}" height="{height}" '
            f'src="data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}">')


def slider(frames, captions, label):
    """Make a slider that shows one of several pictures; without JavaScript, the last.

    Parameters
    ----------
    frames : list of np.ndarray, (H, W, C), uint8
        At least one; as `picture` takes them.
    captions : list of str
        One for each frame.
    label : str
        What they show.

    Returns
    -------
    str
        A `<figure>`. The arrow keys, Home and End move the slider.

    Raises
    ------
    ValueError
        If there is no frame, not one caption for each, or a frame that `picture` does not take.
    """
    if not frames or len(frames) != len(captions):
        raise ValueError(f"frames has {len(frames)} pictures and captions {len(captions)}: give "
                         "one or more, and a caption for each")
    last = len(frames) - 1
    parts = [f'<figcaption>{html.escape(label)}: '
             f'<span class="caption">{html.escape(captions[last])}</span></figcaption>']
    for i, (frame, caption) in enumerate(zip(frames, captions)):
        parts.append(f'<div class="frame" data-caption="{html.escape(caption)}"'
                     f'{" hidden" if i < last else ""}>{picture(frame, f"{label}: {caption}")}'
                     '</div>')
    if last:  # hidden until the script runs, autocomplete off: a browser restores no other value
        parts.append(f'<input type="range" min="0" max="{last}" step="1" value="{last}" hidden '
                     f'autocomplete="off" aria-label="{html.escape(label)}">\n{_SLIDER}')
    return '<figure class="slider">\n' + "\n".join(parts) + "\n</figure>"


def plot(series, x_label, y_label, log_y=False):
    """Draw lines over common axes.

    Parameters
    ----------
    series : dict of str to (sequence, sequence)
        Name to x and y values, equally many. A value that is None or no finite number breaks the
        line, as does 0 or less where `log_y`; a point between two breaks is a dot.
    x_label, y_label : str
    log_y : bool
        A logarithmic y axis from a power of ten to another; else a linear one that includes 0.

    Returns
    -------
    str
        A `<figure>` with an `<svg>` as wide as the page lets it be, and a legend where there is
        more than one line.

    Raises
    ------
    ValueError
        If a series has not as many y as x values.
    """
    lines = {name: _points(name, xs, ys, log_y) for name, (xs, ys) in series.items()}
    known = np.concatenate([np.empty((0, 2)), *lines.values()])
    known = known[np.isfinite(known).all(axis=1)]
    if not len(known):
        known = np.array([[0.0, 0.0], [1.0, 1.0]])
    (x_low, y_low), (x_high, y_high) = known.min(axis=0), known.max(axis=0)
    x_ticks = _ticks(x_low, x_high)
    if log_y:
        y_low, y_high = math.floor(y_low), max(math.ceil(y_high), math.floor(y_low) + 1)
        y_ticks = [(k, f"{10.0 ** k:g}") for k in range(y_low, y_high + 1, (y_high - y_low) // 6 + 1)]
    else:
        y_ticks = _ticks(min(y_low, 0), max(y_high, 0) or float(y_low == 0), whole=True)
        y_low, y_high = y_ticks[0][0], y_ticks[-1][0]

    left = 16 + 10 * max(len(text) for _, text in y_ticks)
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for value, text in y_ticks:
        y = _between(value, y_low, y_high, bottom, _TOP)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text x="{left - 8}" y="{y:.1f}" dy=".35em" text-anchor="end">{text}</text>')
    for value, text in x_ticks:
        x = _between(value, x_low, x_high, left, right)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
                     f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>')
    parts.append(f'<text x="{(left + right) / 2:.1f}" y="{bottom + 40}" text-anchor="middle">'
                 f'{html.escape(x_label)}</text>')
    keys = []
    for i, (name, line) in enumerate(lines.items()):
        points = np.column_stack([_between(line[:, 0], x_low, x_high, left, right),
                                  _between(line[:, 1], y_low, y_high, bottom, _TOP)])
        colour = f"var(--line-{i % _COLOURS})"
        parts.append(f'<g style="color: {colour}"><title>{html.escape(name)}</title>'
                     f'{_draw(points)}</g>')
        keys.append(f'<span class="key"><i style="background: {colour}"></i>'
                    f'{html.escape(name)}</span>')
    label = html.escape(f"{y_label} over {x_label}: {', '.join(lines)}")
    return (f'<figure class="plot">\n<figcaption>{html.escape(y_label)} '
            f'{" ".join(keys) if len(keys) > 1 else ""}</figcaption>\n'
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">\n'
            + "\n".join(parts) + "\n</svg>\n</figure>")


def note(text):
    """Make a paragraph of plain text, less conspicuous than others."""
    return f'<p class="quiet">{html.escape(text)}</p>'


def code(text):
    """Show text as it is, every blank and line end of it; long lines scroll."""
    return f'<pre tabindex="0"><code>{html.escape(text)}</code></pre>'


def table(head, rows):
    """Make a table.

    Parameters
    ----------
    head : sequence of str
        Titles of the columns.
    rows : iterable of sequences
        Cells, shown as `str` gives them.

    Returns
    -------
    str
        A `<table>` in a box of its own, which scrolls where it is too wide for the page.
    """
    titles = "".join(f'<th scope="col">{html.escape(str(cell))}</th>' for cell in head)
    lines = "\n".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
                      for row in rows)
    return (f'<div class="wide"><table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{lines}\n'
            '</tbody>\n</table></div>')


def _points(name, xs, ys, log_y):
    """(n, 2) numbers to draw, nan where there is none; the logarithm of y where `log_y`."""
    if len(xs) != len(ys):
        raise ValueError(f"series {name!r} has {len(xs)} x and {len(ys)} y values: give as many")
    points = np.array([[_number(x), _number(y)] for x, y in zip(xs, ys)]).reshape(-1, 2)
    if log_y:
        points[:, 1] = [math.log10(y) if y > 0 else math.nan for y in points[:, 1]]
    return points


def _number(value):
    """A float that can be drawn, or nan."""
    try:
        value = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return value if abs(value) < _MOST else math.nan


def _ticks(low, high, whole=False):
    """(value, text) for multiples of 1, 2 or 5 times a power of ten; `whole`: around both ends."""
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        return [(low, f"{low:g}")]
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= (high - low) / 5 * 0.999)
    ends = (math.floor, math.ceil) if whole else (math.ceil, math.floor)
    slack = 1e-9 if whole else -1e-9  # an end that misses a multiple by a rounding error is there
    first, last = ends[0](low / step + slack), ends[1](high / step - slack)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    plain = digits <= 6 and max(abs(low), abs(high)) < 1e7
    return [(k * step, f"{k * step:,.{digits}f}" if plain else f"{k * step:g}")
            for k in range(first, last + 1)]


def _between(values, low, high, start, end):
    """Where values between low and high are between start and end; in the middle if low is high."""
    return start + (end - start) * ((values - low) / (high - low) if high > low else values * 0 + 0.5)


def _draw(points):
    """Lines through points, (n, 2), that nan breaks; a point by itself is a dot."""
    known = np.isfinite(points).all(axis=1)
    parts = []
    for run in np.split(points, np.flatnonzero(np.diff(known)) + 1):
        if len(run) == 1 and np.isfinite(run).all():
            parts.append(f'<circle cx="{run[0, 0]:.1f}" cy="{run[0, 1]:.1f}" r="3"/>')
        elif len(run) and np.isfinite(run).all():
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
            parts.append(f'<polyline points="{corners}"/>')
    return "".join(parts)
