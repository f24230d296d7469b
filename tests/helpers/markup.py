"""The content of a page, from its markup or from a browser."""
import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np


def attributes(markup, name):
    """The values of an attribute, in document order."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.extend(v for k, v in attrs if k == name)
    parser.feed(markup)
    return found


def decode(uri):
    """The pixels of a data URI, RGB or gray, and its media type."""
    head, text = uri.split(",")
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(text, validate=True), np.uint8),
                          cv2.IMREAD_UNCHANGED)
    return (pixels[..., None] if pixels.ndim == 2 else pixels[..., ::-1]), head


def captions(text):
    """The captions of each slider."""
    return [attributes(part, "data-caption") for part in text.split("<figure")
            if part.startswith(' class="slider"')]


def polylines(text):
    """The points of each line of each plot, (n, 2)."""
    return [[read_path(path) for path in
             re.findall(r'</title>\s*(?:<path d="([^"]*)"|</g>)', part)]
            for part in text.split("<svg")[1:]]


def count_points(text):
    """The number of points of each line of each plot."""
    return [[len(line) for line in lines] for lines in polylines(text)]


def read_path(text):
    """The points of a path of straight lines, (n, 2)."""
    return np.array([pair.split() for pair in re.findall(r"[ML] (\S+ \S+)", text)],
                    float).reshape(-1, 2)


def shown(browser):
    """For each slider, its caption and its one visible image."""
    state = []
    for figure in browser.find_elements("css selector", ".slider"):
        images = [image for image in figure.find_elements("css selector", "img")
                  if image.size["height"]]
        assert len(images) == 1
        value = decode(images[0].get_dom_attribute("src"))[0].reshape(-1)[0] // 40
        state.append((figure.find_element("css selector", ".caption").text, int(value)))
    return state
