import math
import re
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest
from browser import check_page
from hypothesis import given, settings
from hypothesis import strategies as st
from markup import attributes, decode, shown
from skimage import data

from dcgan_mx.pages import page

NASTY = "<script>alert(1)</script> & \"quotes\" 'too'"


def draw(*args, **kwargs):
    """A plot's tree, its lines as (n, 2) arrays, and its dots as (x, y)."""
    tree = ET.fromstring(page.plot(*args, **kwargs))
    lines = [np.array([pair.split(",") for pair in line.get("points").split()], float)
             for line in tree.iter("polyline")]
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in tree.iter("circle")]
    return tree, lines, dots


def ticks(tree):
    """(place, number) of the ticks of x, and of y, as a reader finds them."""
    texts = tree.find("svg").findall("text")[1:]
    return ([(float(t.get("x")), float(t.text)) for t in texts if not t.get("dy")],
            [(float(t.get("y")), float(t.text)) for t in texts if t.get("dy") and t.text])


def box(tree):
    """Left, right, top and bottom of the grid."""
    grid = [{k: float(v) for k, v in line.items()} for line in tree.iter("line")]
    return (min(line["x1"] for line in grid), max(line["x2"] for line in grid),
            min(line["y1"] for line in grid), max(line["y2"] for line in grid))


@pytest.mark.parametrize("xs, ys", [
    (np.arange(10, 130, 10), np.linspace(0.91, 1, 12)),
    (np.arange(9), np.arange(9) ** 2 * 1e-7),
    (np.linspace(-3, 3, 50), np.linspace(-3, 3, 50) ** 3),
    (np.arange(5) * 93700, np.arange(5) * 1e9),
    ([1, 2, 4], [-5, -4, -1])])
def test_points_are_where_the_axes_say(xs, ys):
    """The ticks give the scale, the scale gives every value back to half a unit of the drawing."""
    tree, (line,), _ = draw({"a": (xs, ys)}, "x", "y")
    for values, places, marks in zip((xs, ys), line.T, ticks(tree)):
        assert 3 <= len(marks) <= 9
        at, numbers = np.array(marks).T
        scale, offset = np.polyfit(at, numbers, 1)
        np.testing.assert_allclose(scale * at + offset, numbers, atol=abs(scale))
        np.testing.assert_allclose(scale * places + offset, values, atol=abs(scale) / 2)
    assert 0 in [number for _, number in ticks(tree)[1]]
    assert (np.diff(line[:, 0]) > 0).all()
    assert (np.diff(line[:, 1]) * np.diff(ys) <= 0).all()
    left, right, top, bottom = box(tree)
    assert line[0, 0] == left and line[-1, 0] == right
    assert line[:, 1].min() >= top and line[:, 1].max() <= bottom


def test_logarithmic_axis():
    ys = np.array([2e-4, 0.03, 1, 47, 800])
    tree, (line,), _ = draw({"a": (np.arange(5), ys)}, "x", "y", log_y=True)
    at, numbers = np.array(ticks(tree)[1]).T
    np.testing.assert_allclose(numbers, 10.0 ** np.arange(-4, 4))
    scale, offset = np.polyfit(at, np.log10(numbers), 1)
    np.testing.assert_allclose(scale * line[:, 1] + offset, np.log10(ys), atol=abs(scale) / 2)


def test_many_decades_have_fewer_numbers():
    tree, (line,), _ = draw({"a": ([0, 1], [1e-30, 1e30])}, "x", "y", log_y=True)
    at, numbers = np.array(ticks(tree)[1]).T
    assert 5 <= len(numbers) <= 11
    scale, offset = np.polyfit(at, np.log10(numbers), 1)
    np.testing.assert_allclose(scale * line[:, 1] + offset, [-30, 30], atol=abs(scale) / 2)


@pytest.mark.parametrize("log_y, gap", [
    (False, math.nan), (False, None), (False, math.inf), (False, -math.inf), (False, 1e301),
    (False, "no number"), (False, 10 ** 400), (True, 0.0), (True, -1), (True, None)])
def test_what_is_no_number_breaks_the_line(log_y, gap):
    ys = [1, 2, gap, 3, gap, gap, 4, 5, 6]
    _, lines, dots = draw({"a": (range(9), ys)}, "x", "y", log_y)
    _, (whole,), _ = draw({"a": (range(9), [1, 2, 3, 3, 4, 4, 4, 5, 6])}, "x", "y", log_y)
    np.testing.assert_array_equal(lines[0], whole[:2])
    np.testing.assert_array_equal(lines[1], whole[6:])
    assert dots == [tuple(whole[3])] and len(lines) == 2


@pytest.mark.parametrize("x, y", [(10, 0.5), (0, 0), (-3, -7)])
def test_one_point_shows(x, y):
    tree, lines, (dot,) = draw({"a": ([x], [y])}, "x", "y")
    left, right, top, bottom = box(tree)
    assert not lines and dot[0] == pytest.approx((left + right) / 2, abs=0.1)
    assert top <= dot[1] <= bottom
    assert [number for _, number in ticks(tree)[0]] == [x]


@pytest.mark.parametrize("series", [{}, {"a": ([], [])}, {"a": ([1, 2], [None, None])}])
def test_nothing_to_draw_is_an_empty_grid(series):
    tree, lines, dots = draw(series, "x", "y")
    assert not lines and not dots and len(list(tree.iter("line"))) >= 4


@settings(deadline=None)
@given(st.lists(st.tuples(*2 * [st.one_of(st.none(), st.floats())])), st.booleans())
def test_whatever_the_numbers_all_is_in_the_box(pairs, log_y):
    series = {"a": ([x for x, _ in pairs], [y for _, y in pairs])}
    tree, lines, dots = draw(series, "x", "y", log_y)
    left, right, top, bottom = box(tree)
    for x, y in [*dots, *(place for line in lines for place in line)]:
        assert left - 0.1 <= x <= right + 0.1 and top - 0.1 <= y <= bottom + 0.1
    assert len(list(tree.iter("text"))) <= 20


def test_lines_have_their_own_colours_and_a_legend():
    series = {f"line {i}": ([0, 1], [0, i]) for i in range(3)}
    tree, lines, _ = draw(series, "step", "loss")
    groups = tree.find("svg").findall("g")
    keys = [span for span in tree.iter("span") if span.get("class") == "key"]
    assert [key.text for key in keys] == [group.find("title").text for group in groups]
    assert [key.get("style") for key in keys] == [group.get("style") for group in groups]
    assert len({key.get("style") for key in keys}) == len(lines) == 3
    assert tree.find("svg").get("role") == "img"
    assert tree.find("svg").get("aria-label") == "loss over step: line 0, line 1, line 2"


def test_a_series_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="series 'a' has 2 x and 3 y values"):
        page.plot({"a": ([1, 2], [1, 2, 3])}, "x", "y")


def test_texts_are_escaped_everywhere():
    frame = np.zeros((2, 2, 3), np.uint8)
    body = "".join([page.note(NASTY), page.code(NASTY), page.table([NASTY], [[NASTY]]),
                    page.picture(frame, NASTY), page.plot({NASTY: ([], []), "b": ([], [])}, NASTY,
                                                          NASTY)])
    whole = page.render(NASTY, body + page.slider([frame] * 2, [NASTY] * 2, NASTY), NASTY)
    assert "alert(1)</script>" not in whole and whole.count("<script>") == 1
    tree = ET.fromstring(re.sub("(<img[^>]*)>", r"\1/>", f"<div>{body}</div>"))
    texts = [element.text.strip() for element in tree.iter() if element.text]
    assert texts.count(NASTY) == 8  # note, code, title, cell; both axes, the line in two places
    assert attributes(whole, "alt") == [NASTY] + [f"{NASTY}, {NASTY}"] * 2
    assert attributes(whole, "data-caption") == [NASTY] * 2
    assert NASTY in attributes(whole, "lang")


def test_a_page_names_no_address_and_forbids_all():
    frame = np.zeros((2, 2, 3), np.uint8)
    whole = page.render("A", page.slider([frame] * 3, "abc", "l") + page.plot({}, "x", "y"), "de")
    assert whole.startswith("<!DOCTYPE html>\n<html lang=\"de\">")
    assert not re.search(r"https?:|url\(|@import|//", re.sub(r"base64,[^\"]*", "", whole))
    assert all(value.startswith("data:") for name in ("src", "href")
               for value in attributes(whole, name))
    policy, = (value for value in attributes(whole, "content") if "default-src" in value)
    assert "default-src 'none'" in policy
    assert "width=device-width, initial-scale=1" in attributes(whole, "content")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_has_the_same_pixels(channels):
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 256, (3, 4, channels), np.uint8)
    pixels = squares.repeat(40, axis=0).repeat(30, axis=1)
    tag = page.picture(pixels, "squares")
    decoded, head = decode(attributes(tag, "src")[0])
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(decoded, pixels)
    assert attributes(tag, "width") == ["120"] and attributes(tag, "height") == ["120"]


def test_a_photograph_is_a_jpeg_in_true_colours():
    pixels = data.astronaut()
    decoded, head = decode(attributes(page.picture(pixels, "an astronaut"), "src")[0])
    assert head == "data:image/jpeg;base64"
    assert np.abs(decoded.astype(int) - pixels).mean() < 4
    assert len(page.picture(pixels, "")) < 0.5 * cv2.imencode(".png", pixels)[1].size


def test_width_of_a_picture_keeps_its_shape():
    tag = page.picture(np.zeros((30, 60, 1), np.uint8), "", width=200)
    assert attributes(tag, "width") == ["200"] and attributes(tag, "height") == ["100"]


@pytest.mark.parametrize("pixels", [
    np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 4), np.uint8),
    np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)])
def test_other_pixels_are_refused(pixels):
    with pytest.raises(ValueError, match=r"pixels is .*: give uint8 of shape \(H, W, C\)"):
        page.picture(pixels, "")


def gradients(n):
    """Pictures that a glance tells apart, each of one value."""
    return [np.full((20, 30, 3), 40 * i, np.uint8) for i in range(n)]


def test_a_slider_begins_with_the_last_picture():
    markup = page.slider(gradients(4), ["a", "b", "c", "d"], "letters")
    tags = re.findall('<div class="frame"[^>]*>', markup)
    assert [" hidden" in tag for tag in tags] == [True, True, True, False]
    for i, uri in enumerate(attributes(markup, "src")):
        assert (decode(uri)[0] == 40 * i).all()
    assert attributes(markup, "max") == attributes(markup, "value") == ["3"]
    assert attributes(markup, "aria-label") == ["letters"]
    assert '<strong class="caption">d</strong>' in markup
    assert not attributes(markup, "id")


def test_a_slider_of_one_picture_has_nothing_to_slide():
    markup = page.slider(gradients(1), ["a"], "letters")
    assert "<input" not in markup and "<script" not in markup and "hidden" not in markup


@pytest.mark.parametrize("n, captions", [(0, []), (2, ["a"]), (1, ["a", "b"])])
def test_a_slider_needs_a_caption_for_each_picture(n, captions):
    with pytest.raises(ValueError, match=f"frames has {n} pictures and captions {len(captions)}"):
        page.slider(gradients(n), captions, "letters")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A page with one of everything, too wide for a phone wherever it can be."""
    path = tmp_path_factory.mktemp("pages") / "a #page?.html"
    frames = gradients(4)
    body = [page.note("word" * 200), page.code("blank " * 100),
            page.table(["title" * 10] * 6, [["cell" * 10] * 6, [1.5] * 6]),
            page.columns([page.slider(frames, list("abcd"), "first" * 40),
                          page.slider(frames[:3], list("xyz"), "second")]),
            page.picture(np.zeros((40, 2000, 3), np.uint8), "black"),
            page.plot({"a line" * 20: ([1, 2e6], [0, 1e-9]), "b": ([5], [1e-9])}, "x" * 50, "y")]
    path.write_text(page.render("title" * 50, "\n".join(body)), encoding="utf-8")
    return path


def test_all_views_of_a_page(browser, sample):
    check_page(browser, sample)


@pytest.mark.parametrize("body, what", [
    ('<div style="width: 2000px">wide</div>', "2016"),
    ("<script>console.warn('a word')</script>", "a word"),
    ("<script>nothing.there()</script>", "not defined"),
    ('<img src="http://127.0.0.1:9/a.png" alt="">', "127.0.0.1"),
    ('<img src="other.png" alt="">', "other.png"),
    ("<style>body { background: white !important; }</style>", "light and dark")])
@pytest.mark.parametrize("policy", [True, False])
def test_the_check_of_pages_finds(policy, body, what, browser, tmp_path):
    text = page.render("A", body)
    if not policy:
        text = re.sub(r"<meta http-equiv[^>]*>", "", text)
    (tmp_path / "a.html").write_text(text)
    with pytest.raises(AssertionError, match=what):
        check_page(browser, tmp_path / "a.html")


def test_keys_move_one_slider_and_no_other(browser, sample):
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


def test_without_scripts_the_last_picture_stands(browser, sample):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(sample.resolve().as_uri())
        assert shown(browser) == [("d", 3), ("z", 2)]
        assert not any(i.size["height"] for i in
                       browser.find_elements("css selector", ".slider input"))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
