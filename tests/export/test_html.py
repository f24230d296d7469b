"""The parts of pages: plots against their numbers, markup, behaviour in a browser."""
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from helpers.browser import check_page
from helpers.markup import attributes, decode, polylines, read_path, shown
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage import data

from dcgan_mx.export import html

NASTY = "<script>alert(1)</script> & \"quotes\" 'too'"


def fill_in(source, **values):
    """Render a template inside the base page."""
    macros = '{% from "macros.html" import code, img, row, slider, table %}'
    body = '{% extends "base.html" %}' + macros + "{% block title %}{{ title }}{% endblock %}"
    return html.TEMPLATES.from_string(body + "{% block body %}" + source + "{% endblock %}").render(
        title="a page", **values)


def make_slider(n, captions, label):
    """A slider over images of one gray value each."""
    frames = [(caption, html.embed_image(np.full((20, 30, 3), 40 * i, np.uint8)))
              for i, caption in zip(range(n), captions)]
    text = fill_in("{{ slider(frames, label) }}", frames=frames, label=label)
    return text[text.index("<figure"):text.index("</main>")]


def draw(*args, **kwargs):
    """A plot's lines and dots, (n, 2) each, and the (place, number) of the ticks of x and y."""
    text = str(html.plot(*args, **kwargs))
    svg, (lines,) = text[text.index("<svg"):text.index("</svg>") + 6], polylines(text)
    dots = [read_path(path)[0] for path in re.findall(
        r'd="([^"]*)" style="[^"]*stroke-width: 6', svg)]
    ticks, grid = ([], []), None
    for element in ET.fromstring(svg).iter():
        if element.tag == "path":
            grid = read_path(element.get("d")) if "--rule" in element.get("style") else None
        elif element.tag == "text" and grid is not None:
            upright = grid[0, 0] == grid[1, 0]
            ticks[not upright].append((grid[0, 0 if upright else 1], float(element.text)))
            grid = None
    return lines, dots, ticks


def values_at(places, ticks):
    """The numbers at places on an axis, and the length of a unit."""
    scale, offset = np.polyfit(*np.array(ticks).T, 1)
    return scale * places + offset, abs(scale)


@pytest.mark.parametrize("xs, ys", [
    (np.arange(10, 130, 10), np.linspace(0.91, 1, 12)),
    (np.arange(9), np.arange(9) ** 2 * 1e-7),
    (np.linspace(-3, 3, 50), np.linspace(-3, 3, 50) ** 3),
    (np.arange(5) * 93700, np.arange(5) * 1e9),
    ([1, 2, 4], [-5, -4, -1])])
def test_points_match_the_axes(xs, ys):
    """The scale of the ticks gives every value back, to half a unit of the drawing."""
    (line,), _, ticks = draw({"a": (xs, ys)}, "x", "y")
    for values, places, marks in zip((xs, ys), line.T, ticks):
        assert 3 <= len(marks) <= 9
        found, unit = values_at(places, marks)
        np.testing.assert_allclose(found, values, atol=unit / 2)
    assert 0 in [number for _, number in ticks[1]]
    ends = [place for place, _ in ticks[1]]
    assert min(ends) <= line[:, 1].min() and line[:, 1].max() <= max(ends)


@pytest.mark.parametrize("ys", [[2e-4, 0.03, 1, 47, 800], [1e-30, 1, 5, 7, 1e30], [0.5] * 5])
def test_points_match_a_logarithmic_axis(ys):
    (line,), _, (_, ticks) = draw({"a": (range(5), ys)}, "x", "y", log_y=True)
    places, powers = np.transpose(ticks)[0], np.log10(np.transpose(ticks)[1])
    np.testing.assert_allclose(powers, powers.round())
    assert 2 <= len(ticks) <= 11
    found, unit = values_at(line[:, 1], np.transpose([places, powers]))
    np.testing.assert_allclose(found, np.log10(ys), atol=unit / 2)


@pytest.mark.parametrize("log_y, gap", [
    (False, math.nan), (False, None), (False, 1e301), (True, 0.0), (True, None)])
def test_other_values_break_the_line(log_y, gap):
    (broken,), dots, _ = draw({"a": (range(9), [1, 2, gap, 3, gap, gap, 4, 5, 6])}, "x", "y", log_y)
    (whole,), none, _ = draw({"a": (range(9), [1, 2, 3, 3, 4, 4, 4, 5, 6])}, "x", "y", log_y)
    np.testing.assert_array_equal(broken, whole[[0, 1, 3, 6, 7, 8]])
    np.testing.assert_array_equal(dots, whole[[3]])
    assert not none


@pytest.mark.parametrize("x, y", [(10, 0.5), (0, 0), (-3, -7)])
def test_single_point_is_a_dot(x, y):
    _, (dot,), ticks = draw({"a": ([x], [y])}, "x", "y")
    assert [number for _, number in ticks[0]] == [x] and ticks[0][0][0] == dot[0]
    found, unit = values_at(dot[1], ticks[1])
    assert abs(found - y) < unit


@settings(deadline=None, max_examples=10)
@given(st.lists(st.tuples(*2 * [st.one_of(st.none(), st.floats())])), st.booleans())
@example([], False)
@example([(1, None)], True)
def test_any_numbers_stay_inside_the_plot(pairs, log_y):
    lines, dots, ticks = draw({"a": ([x for x, _ in pairs], [y for _, y in pairs])}, "x", "y",
                                log_y)
    for x, y in [*(place for line in lines for place in line), *dots]:
        assert 0 <= x <= 480 and 0 <= y <= 280
    assert min(map(len, ticks)) >= 1 and sum(map(len, ticks)) <= 20


def test_lines_have_colours_and_a_legend():
    series = {f"line {i}": ([0, 1], [0, i]) for i in range(3)}
    text = html.plot(series, "step", "loss")
    key, lines = text.split("<svg")
    assert re.findall(r"<span[^>]*var\((.*)\)\">(.*)</span>", key) == [
        (f"--line-{i}", f"line {i}") for i in range(3)]
    assert re.findall(r"<title>(.*)</title>[^<]*<path[^>]*stroke: var\((.*?)\)", lines) == [
        (f"line {i}", f"--line-{i}") for i in range(3)]
    assert "#" not in lines  # no fixed colour, which could be invisible in dark mode
    assert attributes(text, "aria-label") == ["loss over step: line 0, line 1, line 2"]
    assert text == html.plot(series, "step", "loss")


def test_texts_are_escaped_and_nothing_is_loaded():
    image = html.embed_image(np.zeros((2, 2, 3), np.uint8))
    nasty = fill_in(
        "{{ t }}{{ code(t) }}{% call table(t) %}{{ row(t) }}{% endcall %}{{ img(image, t) }}"
        "{{ drawn }}{{ slider(frames, t) }}", t=NASTY, image=image,
        frames=[(NASTY, image)] * 2,
        drawn=html.plot({NASTY: ([1, 2], [1, 2]), "b": ([], [])}, NASTY, NASTY))
    assert "alert(1)</script>" not in nasty and nasty.count("<script>") == 1
    assert len(re.findall("&lt;script&gt;alert", nasty)) == 21
    assert attributes(nasty, "alt") == [NASTY] + [f"{NASTY}, {NASTY}"] * 2
    assert attributes(nasty, "data-caption") == [NASTY] * 2
    assert nasty.startswith("<!DOCTYPE html>\n<html lang=\"en\">")
    assert not re.search(r"https?:|url\(|@import|//", re.sub(r"base64,[^\"]*", "", nasty))
    assert all(value.startswith("data:") for name in ("src", "href")
               for value in attributes(nasty, name))
    policy, = (value for value in attributes(nasty, "content") if "default-src" in value)
    assert "default-src 'none'" in policy
    assert "width=device-width, initial-scale=1" in attributes(nasty, "content")
    assert not attributes(nasty, "id")  # two plots would share them


def test_drawings_become_png_and_photographs_jpeg():
    for channels in (1, 3):
        squares = np.random.default_rng(0).integers(0, 256, (3, 4, channels), np.uint8)
        pixels = squares.repeat(40, axis=0).repeat(30, axis=1)
        decoded, head = decode(html.embed_image(pixels).src)
        assert head == "data:image/png;base64"
        np.testing.assert_array_equal(decoded, pixels)
    for scale, width in ((1, 512), (2, 256)):
        image = html.embed_image(data.astronaut(), width)
        decoded, head = decode(image.src)
        assert (head, image.width, image.height) == ("data:image/jpeg;base64", width, width)
        expected = data.astronaut().reshape(width, scale, width, scale, 3).mean((1, 3))
        assert np.abs(decoded - expected).mean() < 4


def test_slider_of_one_image_is_static():
    assert not re.search("<input|<script|hidden", make_slider(1, "a", "letters"))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A page with one of each part, all too wide for a phone."""
    path = tmp_path_factory.mktemp("pages") / "a #page?.html"
    path.write_text(fill_in(
        "<p>{{ 'word' * 200 }}</p>{{ code('blank ' * 100) }}"
        "{% call table('title' * 10, 'title' * 10) %}{{ row('cell' * 10, 1.5) }}{% endcall %}"
        "<div class='columns'>{{ first|safe }}{{ second|safe }}</div>{{ img(black, 'black') }}"
        "{{ drawn }}", first=make_slider(4, "abcd", "first" * 40),
        second=make_slider(3, "xyz", "second"),
        black=html.embed_image(np.zeros((40, 2000, 3), np.uint8)),
        drawn=html.plot({"a line" * 20: ([1, 2e6], [0, 1e-9]), "b": ([5], [1e-9])}, "x" * 50, "y")),
        encoding="utf-8")
    return path


def test_page_is_self_contained_in_all_views(browser, sample):
    check_page(browser, sample)


@pytest.mark.parametrize("body, what", [
    ('<div style="width: 2000px">wide</div>', "2016"),
    ("<script>nothing.there()</script>", "not defined"),
    ('<img src="http://127.0.0.1:9/a.png" alt="">', "127.0.0.1"),
    ("<style>body { background: white !important; }</style>", "light and dark")])
def test_check_page_detects(body, what, browser, tmp_path):
    (tmp_path / "a.html").write_text(fill_in(body))
    with pytest.raises(AssertionError, match=what):
        check_page(browser, tmp_path / "a.html")


def test_keys_move_only_their_slider(browser, sample):
    browser.get(sample.resolve().as_uri())
    assert shown(browser) == [("d", 3), ("z", 2)]
    first, second = browser.find_elements("css selector", ".slider input")
    assert [first.accessible_name, second.accessible_name] == ["first" * 40, "second"]
    for keys, state in (("\ue012", [("c", 2), ("z", 2)]),  # left
                        ("\ue012\ue012\ue012", [("a", 0), ("z", 2)]),
                        ("\ue014", [("b", 1), ("z", 2)])):  # right
        first.send_keys(keys)
        assert shown(browser) == state
    assert first.get_dom_attribute("aria-valuetext") == "b"
    second.send_keys("\ue011")  # Home
    assert shown(browser) == [("b", 1), ("x", 0)]
    browser.refresh()
    assert shown(browser) == [("d", 3), ("z", 2)]


def test_without_javascript_last_image_is_visible(browser, sample, without_scripts):
    browser.get(sample.resolve().as_uri())
    assert shown(browser) == [("d", 3), ("z", 2)]
    assert not any(slider.size["height"] for slider in
                   browser.find_elements("css selector", ".slider input"))
