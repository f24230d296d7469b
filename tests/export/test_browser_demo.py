"""The browser demo against MXNet."""
import re

import numpy as np
import pytest
from helpers.browser import check_page
from helpers.networks import BOTH, make_network, run_mxnet
from selenium.webdriver.support.wait import WebDriverWait

from dcgan_mx.export import browser_demo
from dcgan_mx.export.layers import read_network
from dcgan_mx.sampling.latent import make_latents
from dcgan_mx.visual import to_pixels

METADATA = {"step": 5, "weights": "raw", "version": "1.2"}
READ_CANVAS = """
const canvas = arguments[0], {width, height} = canvas;
return [height, width, ...canvas.getContext("2d").getImageData(0, 0, width, height).data];"""


def make_page(path, nc, size, width=4, **options):
    """Write a page; return a function from latent vectors to MXNet's pixels."""
    sym, (nz, _, _), params = make_network("G", width, nc, size, **options)
    network = read_network(sym.tojson(), params)
    path.write_text(browser_demo.render(network, make_latents(6, nz), METADATA), encoding="utf-8")
    weights = sum(stage["weight"].size for stage in browser_demo.fold(network))
    assert path.stat().st_size < 2.7 * weights + 30_000
    return lambda z: to_pixels(run_mxnet(sym, params, np.float32(z).reshape(-1, nz, 1, 1)))


def differ(browser, canvas, pixels):
    """The largest difference between the RGB pixels of a canvas and others."""
    height, width, *values = browser.execute_script(READ_CANVAS, canvas)
    rgba = np.array(values).reshape(height, width, 4)
    return abs(rgba[..., :3] - pixels).max() if rgba.any() else 255


def wait_for(browser, canvas, pixels):
    """Wait until a canvas shows pixels, within one level."""
    WebDriverWait(browser, 60).until(lambda _: differ(browser, canvas, pixels) <= 1)


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    """A page of gray images, and the function for MXNet's pixels."""
    path = tmp_path_factory.mktemp("generator") / "a page.html"
    return path, make_page(path, 1, 32)


def test_page_is_self_contained_in_all_views(browser, gray):
    check_page(browser, gray[0])


@pytest.mark.parametrize("nc, size, options", [(1, 16, 0), (1, 64, 1), (3, 32, 1), (3, 128, 0)])
def test_pixels_match_mxnet(nc, size, options, browser, tmp_path):
    make_pixels = make_page(tmp_path / "g.html", nc, size, **BOTH[options])
    browser.get((tmp_path / "g.html").as_uri())
    z = make_latents(10, 10, 3)
    expected = make_pixels(z).astype(int)
    assert expected.std() > 20  # of 255: not a flat image
    found = browser.execute_script(
        "return arguments[0].map(z => Array.from(generate(z)))", z.tolist())
    assert abs(np.array(found).reshape(expected.shape) - expected).max() <= 1


def test_sliders_mix_latent_vectors(browser, gray):
    path, make_pixels = gray
    browser.get(path.as_uri())
    whole, *thumbs = browser.find_elements("css selector", "canvas")
    sliders = browser.find_elements("css selector", "input")
    z = make_latents(6, 10)
    assert [slider.accessible_name for slider in sliders] == [
        f"weight of image {k}" for k in range(1, 7)]
    for canvas, pixels in zip([whole, *thumbs], make_pixels(z[[0, *range(6)]])):
        wait_for(browser, canvas, pixels)
    sliders[2].send_keys("\ue010")  # End
    wait_for(browser, whole, make_pixels((z[0] + z[2]) / np.sqrt(2))[0])
    assert differ(browser, whole, make_pixels(z[0])[0]) > 20
    browser.find_element("css selector", ".even").click()
    wait_for(browser, whole, make_pixels(z.sum(0) / np.sqrt(6))[0])
    browser.find_element("css selector", ".next").click()
    WebDriverWait(browser, 60).until(
        lambda _: differ(browser, thumbs[0], make_pixels(z[0])[0]) > 20)
    assert re.fullmatch(r"Computed in \d+ ms\.",
                        browser.find_element("css selector", "figcaption").text)


def test_new_latent_vectors_are_normal(browser, gray):
    """First, second and fourth moments of 20,000 numbers, to five sigma."""
    browser.get(gray[0].as_uri())
    numbers = np.array(browser.execute_script("""
        let seed = 1;  // Park and Miller's generator: the same numbers in every run
        Math.random = () => (seed = seed * 16807 % 2147483647) / 2147483647;
        return Array.from({length: 20000}, normal);"""))
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (4, 3, 96)):
        assert abs((numbers ** power).mean() - moment) < 5 * np.sqrt(variance / 20000)


def test_without_javascript_page_says_so(browser, gray, without_scripts):
    browser.get(gray[0].as_uri())
    assert "needs JavaScript, which is disabled" in browser.find_element("tag name", "main").text
    assert not browser.find_element("css selector", ".maker").size["height"]
