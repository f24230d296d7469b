import re

import pytest
from helpers.browser import check_page


@pytest.mark.slow
def test_walkthrough_measures_every_section(call, mnist_root, browser, tmp_path):
    done = call("walkthrough", "--quick", "--data-path", mnist_root, "--out", tmp_path / "w")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "w" / "index.html"
    assert done.stdout.strip() == str(path)
    text = path.read_text()
    assert re.findall(r"<h2[^>]*>(\d)\. ", text) == list("12345678")
    assert text.count("<td>yes</td>") == 5
    assert "modG.forward(rbatch, is_train=True)" in text and "modG.backward(diffD)" in text
    error = float(re.search(r"largest\s+difference is ([0-9.e-]+) of", text).group(1))
    assert error <= 1e-6
    assert text.count('type="range"') == 3 and text.count("<svg") == 4
    check_page(browser, path)


def test_invalid_folder_of_walkthrough(call, one_line_error, tmp_path):
    (tmp_path / "file").write_text("")
    one_line_error(call("walkthrough", "--out", tmp_path / "file"), "file", "File exists")
