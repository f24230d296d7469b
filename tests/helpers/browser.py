"""Chromium for tests of pages: the fixture `browser`, and the checks that every page must pass."""
import json
import shutil
from pathlib import Path

import pytest
from helpers.common import require
from selenium import webdriver


@pytest.fixture(name="browser", scope="session")
def start_browser():
    """Headless Chromium that logs console messages and requests."""
    require("chromium chromium-driver", "chromium", "chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


@pytest.fixture(name="without_scripts")
def switch_scripts_off(browser):
    """Disable JavaScript."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    yield
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def views(browser, path):
    """Open a page on a phone and on a desktop, light and dark; yield (width, scheme)."""
    for width, height, mobile in ((390, 844, True), (1200, 900, False)):
        for scheme in ("light", "dark"):
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile})
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
                "features": [{"name": "prefers-color-scheme", "value": scheme}]})
            browser.get(Path(path).resolve().as_uri())
            yield width, scheme


def check_page(browser, path):
    """Assert that a page logs nothing, requests only itself, and fits, in all views."""
    address = Path(path).resolve().as_uri()
    backgrounds = set()
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # discard earlier messages
    for view in views(browser, path):
        scroll, client, inner = browser.execute_script(
            "const e = document.documentElement;"
            "return [e.scrollWidth, e.clientWidth, innerWidth]")
        assert scroll <= client, f"{view}: content is {scroll} pixels wide, view {client}"
        assert inner == view[0], f"{view}: the page widens the view to {inner} pixels"
        requested = [url for url in requests(browser) if not url.startswith("data:")]
        assert requested == [address], f"{view}: requests {requested}"
        logged = [entry["message"] for entry in browser.get_log("browser")
                if entry["level"] in ("SEVERE", "WARNING")]
        assert not logged, f"{view}: logs {logged}"
        backgrounds.add(browser.execute_script("return getComputedStyle(document.body)"
                                               ".backgroundColor"))
    assert len(backgrounds) == 2, f"light and dark have the same background: {backgrounds}"


def requests(browser):
    """The URLs requested since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [message["params"]["request"]["url"] for message in messages
            if message["method"] == "Network.requestWillBeSent"]
