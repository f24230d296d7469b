"""The notebooks in both languages, their stored outputs and pages, and display in a kernel."""
import base64
import re
import runpy

import cv2
import nbformat
import numpy as np
import pytest
from helpers.common import ROOT

from dcgan_mx.visual import make_grid

DOCS = ROOT / "docs"
ENGLISH, CHINESE = DOCS / "walkthrough.ipynb", DOCS / "walkthrough.zh-CN.ipynb"
RUN = DOCS / "run_notebooks.py"


def read(path):
    return nbformat.read(path, as_version=4)


def list_code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def list_kinds(cell):
    """The types of a cell's outputs, each with its media types."""
    return [(output.output_type, *sorted(output.get("data", ()))) for output in cell.outputs]


def read_images(cell):
    """The images of a cell, by title."""
    return {output.data["text/plain"]: cv2.imdecode(np.frombuffer(base64.b64decode(
        output.data["image/png"]), np.uint8), cv2.IMREAD_UNCHANGED)
        for output in cell.outputs if "image/png" in output.get("data", ())}


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """A function that executes a notebook in a kernel of its own."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    return runpy.run_path(str(RUN))["run"]


def test_images_are_shown_after_the_output_was_cleared(execute, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(
        "import numpy as np\nfrom IPython.display import clear_output\n"
        "from dcgan_mx import visual\n"
        "for n in range(3):\n    clear_output()\n"
        "    visual('gout', np.zeros((4, 1, 4, 4), np.float32))")])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    cell, = execute(tmp_path / "a.ipynb").cells
    assert list_kinds(cell) == [("display_data", "image/png", "text/plain")]


def test_both_languages_have_equal_cells():
    assert list_code(read(ENGLISH)) == list_code(read(CHINESE))
    ours, theirs = read(ENGLISH).cells, read(CHINESE).cells
    assert [(cell.cell_type, cell.id) for cell in ours] == [
        (cell.cell_type, cell.id) for cell in theirs]
    for one, other in zip(ours, theirs):
        if one.cell_type == "markdown":
            names, numbers, links = (
                [sorted(re.findall(pattern, cell.source)) for cell in (one, other)]
                for pattern in (r"`[^`]+`", r"\d+(?:\.\d+)?", r"\]\(([^)]+)\)"))
            assert names[0] == names[1] and links[0] == links[1]
            assert {*numbers[0]} <= {*numbers[1]} | {"2016"}
            assert not re.search("[\u4e00-\u9fff]", one.source.replace("简体中文", ""))
            assert re.search("[\u4e00-\u9fff]", other.source)


def test_stored_outputs_are_of_a_complete_run_and_confirm_the_blog():
    cells = list_code(read(ENGLISH))
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    assert all(output.output_type in ("display_data", "execute_result")
               for cell in cells for output in cell.outputs)
    images = [read_images(cell) for cell in cells]
    assert [[*found] for found in images if found] == [
        ["data"], ["gout", "diff"], ["gout"], ["samples"], ["walk"], ["traverse"], ["arithmetic"]]
    assert all(image.std() > 10 for found in images for image in found.values())
    assert ENGLISH.stat().st_size < 300_000
    text = re.sub('"image/png": "[^"]*"', "", ENGLISH.read_text())
    assert not re.search(r"/(home|root|tmp|work|usr|opt|Users)/|[A-Z]:\\\\", text)
    shown = {cell.source: cell.outputs[0].data["text/plain"] for cell in cells if cell.outputs}
    assert shown["blog_experiments.check_rules(symG, symD)"].count("(True,") == 5
    assert 0 < float(shown["probe.error"]) < 1e-6
    least, = (float(re.search(r"'least': ([\d.]+)", text).group(1))
              for source, text in shown.items() if "compare" in source)
    assert least > 1  # with label 1, G's gradient is larger at every step


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_pages_are_up_to_date(path):
    for name, content in runpy.run_path(str(RUN))["render"](path).items():
        assert (DOCS / name).read_bytes() == content, f"{name} is out of date: make notebooks"


def test_kernel_updates_images_and_progress_bar_in_place(execute, tmp_path):
    cells = ["import numpy as np\nfrom dcgan_mx import visual\n"
             "for i in (0, 1, 0.5):\n"
             "    visual('a', np.full((4, 1, 8, 8), i, np.float32))\n"
             "    visual('b', np.full((5, 3, 8, 8), -i, np.float32))",
             "visual('a', np.full((1, 1, 8, 8), -1, np.float32))",
             "from types import SimpleNamespace\n"
             "from dcgan_mx.engine.progress import ProgressBar\n"
             "bar, metrics = ProgressBar(3), SimpleNamespace(wait=lambda ahead: None)\n"
             "for step in (1, 2, 3):\n"
             "    bar.on_step(SimpleNamespace(global_step=step, metrics=metrics))\n"
             "bar.on_end(None)"]
    path = tmp_path / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, cells)]), path)
    notebook = execute(path)
    first, second, third = list_code(notebook)
    found = read_images(first)
    assert len(first.outputs) == len(found) == 2
    np.testing.assert_array_equal(found["a"], make_grid(np.full((4, 1, 8, 8), 0.5))[..., 0])
    np.testing.assert_array_equal(found["b"], make_grid(np.full((5, 3, 8, 8), -0.5)))
    np.testing.assert_array_equal(read_images(second)["a"], np.zeros((8, 8)))
    widget = "application/vnd.jupyter.widget-view+json"
    assert list_kinds(third) == [("display_data", widget, "text/plain")]
    state = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    values = [model["state"].get("value") for model in state.values()]
    assert 3.0 in values and any("3/3" in str(value) for value in values)


@pytest.mark.slow
def test_notebook_runs(execute, mnist_root):
    """One language is enough, because both have the same code."""
    assert mnist_root == ROOT / "data"  # the notebook reads this directory
    before, after = list_code(read(ENGLISH)), list_code(execute(ENGLISH))
    assert [list_kinds(cell) for cell in after] == [list_kinds(cell) for cell in before]
    data = [read_images(cells[2])["data"] for cells in (before, after)]
    np.testing.assert_array_equal(*data)
