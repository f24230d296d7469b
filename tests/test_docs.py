"""The pages: their examples run, their flags are the parsers', both languages say the same."""
import importlib.util
import re
import runpy

import pytest
from helpers.common import ROOT

import dcgan_mx
from dcgan_mx.cli.main import run as run_command

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted(DOCS.glob("*.md"))]


def find_blocks(page, kind=""):
    """The fenced blocks of a page, of one kind."""
    return [text for found, text in re.findall(r"```(\w*)\n(.*?)```", page.read_text(), re.DOTALL)
            if found == kind]


# The walkthrough is its notebook's, which has a test of its own.
@pytest.mark.parametrize("page", [page for page in PAGES if find_blocks(page, "python")
                                  and not page.name.startswith("walkthrough")],
                         ids=lambda page: page.name)
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_examples_in_python_run(page, mnist_root, run_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    (tmp_path / "data").symlink_to(mnist_root)
    (tmp_path / "RUN").symlink_to(run_dir)
    if page.name == "export.md":
        assert run_command("export", ["RUN", "G.onnx"]) == 0
    names = {}
    for block in find_blocks(page, "python"):
        if "import torch" not in block:  # a test of its own: most have no PyTorch
            exec(compile(block.replace("max_steps=400", "max_steps=1"), page, "exec"), names)
    trains = page.name not in ("quality.md", "export.md", "pretrained.md")
    assert not trains or names["trainer"].global_step >= 1


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not here")
def test_the_example_for_pytorch_runs(run_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RUN").symlink_to(run_dir)
    assert run_command("export", ["RUN", "G.onnx"]) == 0
    names, blocks = {}, find_blocks(DOCS / "export.md", "python")
    for block in blocks[:next(i for i, block in enumerate(blocks) if "import torch" in block) + 1]:
        exec(compile(block, "export.md", "exec"), names)
    assert "ConvTranspose2d" in str(names["netG"])


def test_the_page_of_flags_is_the_parsers():
    assert runpy.run_path(str(DOCS / "write_flags.py"))["write_page"]() == (
        DOCS / "flags.md").read_text()


def test_the_reference_has_every_public_name():
    text = (DOCS / "api.md").read_text()
    for name in {*dcgan_mx.__all__} - {"__version__"}:
        assert f" dcgan_mx.{name}\n" in text


def test_links_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), (page.name, link)


def test_readme_is_read_in_five_minutes():
    text = (ROOT / "README.md").read_text()
    assert len(text) <= 9500
    assert text.index("](docs/pretrained.png)") < 600  # the first screen


def test_both_languages_say_the_same():
    """Commands, names, numbers and links."""
    ours, theirs = (take_apart((ROOT / name).read_text())
                    for name in ("README.md", "README.zh-CN.md"))
    for part, found in ours.items():
        assert found == theirs[part], part


def take_apart(text):
    """What no translation changes; of blocks, what stands before a comment."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    code = [re.split(r"\s+# |\s{4,}\w", line)[0].rstrip()
            for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
            for line in block.splitlines() if re.match(r"[\x21-\x7e]", line.strip())]
    links = sorted(re.findall(r"\]\(([^)]+)\)", text))
    return {"code": [re.sub(r"\s+[^\x00-\x7f].*", "", line) for line in code],
            "names": sorted(re.findall(r"`[^`]+`", prose)),
            "numbers": sorted(re.findall(r"\d+(?:\.\d+)*", prose)),
            "links": [link for link in links if not link.startswith("README")]}


def test_the_first_hour_has_every_command_of_the_readme():
    hour = runpy.run_path(str(ROOT / "tests" / "helpers" / "first_hour.py"))
    page = ROOT / "README.md"
    lines = [re.split(r"\s+#", line)[0] for block in find_blocks(page)
             for line in block.splitlines()]
    said = {re.sub(r"runs/mnist-[0-9-]+", "RUN", line)
            for line in (*lines, *re.findall(r"`([^`\n]+)`", page.read_text()))
            if line.startswith(("make ", "dcgan-mx ", "python scripts", "python3 ", "pip "))}
    assert said - {*hour["LATER"]} == {command for command, _, _ in hour["HOUR"]}
