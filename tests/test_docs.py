"""The pages: examples run, links and names exist, both languages agree."""
import importlib
import importlib.util
import re
import runpy
import sys

import pytest
from helpers.common import ROOT

import dcgan_mx
from dcgan_mx.cli.main import run as run_command

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")), ROOT / "data" / "README.md"]
LAYERS = {path.stem for path in (ROOT / "dcgan_mx").iterdir() if path.suffix in ("", ".py")}
HAS_PYTORCH = importlib.util.find_spec("torch") is not None
OUR_FOLDERS = ("dcgan_mx/", "docs/", "scripts/", "tests/", "tools/")


def find_blocks(page, kind=""):
    """Return the fenced blocks of one kind."""
    return [text for found, text in re.findall(r"```(\w*)\n(.*?)```", page.read_text(), re.DOTALL)
            if found == kind]


@pytest.fixture
def workplace(mnist_root, run_dir, tmp_path, monkeypatch):
    """Change to a folder with the digits as `data` and a run as `RUN`, without windows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    (tmp_path / "data").symlink_to(mnist_root)
    (tmp_path / "RUN").symlink_to(run_dir)


# The Chinese README has the code of the English one; the walkthrough is tested as a notebook.
# Blocks marked py instead of python are not run: they download weights.
@pytest.mark.parametrize("page", ["README.md", "docs/evaluate.md", "docs/export.md",
                                  "docs/mxnet-example.md", "docs/pretrained.md",
                                  "docs/python.md"])
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
@pytest.mark.usefixtures("workplace")
def test_python_examples_run(page):
    path, names = ROOT / page, {}
    if path.name == "export.md":
        assert run_command("export", ["RUN", "G.onnx"]) == 0
    blocks = [block for block in find_blocks(path, "python")
              if HAS_PYTORCH or "import torch" not in block]
    assert blocks
    for block in blocks:
        small = block.replace("ngf=64, ndf=64", "ngf=4, ndf=4").replace("max_steps=400",
                                                                        "max_steps=1")
        exec(compile(small, path, "exec"), names)


def test_page_of_flags_is_up_to_date():
    written = runpy.run_path(str(DOCS / "write_flags.py"))["write_page"]()
    assert written == (DOCS / "flags.md").read_text()


def test_api_page_has_every_public_name():
    text = (DOCS / "api.md").read_text()
    for name in {*dcgan_mx.__all__} - {"__version__"}:
        assert f" dcgan_mx.{name}\n" in text


def test_pages_that_the_code_names_exist():
    for path in (ROOT / "dcgan_mx").rglob("*.py"):
        for page in re.findall(r"docs/[\w-]+\.md", path.read_text()):
            assert (ROOT / page).exists(), (path, page)


def slug(title):
    """Return a heading's anchor, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_code_names_exist(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert link.startswith("https://") or target.exists(), link
        if anchor and target.exists():
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in map(slug, titles), link
    for name in re.findall(r"`([^`\n]+)`", text):
        if name.startswith(OUR_FOLDERS) and "*" not in name:
            assert (ROOT / name.split()[0]).exists(), name
        dotted = name[len("dcgan_mx."):] if name.startswith("dcgan_mx.") else name
        # `trainer.modG` and the like belong to a Trainer, not to the module.
        if re.fullmatch(r"\w+(\.\w+)+", dotted) and dotted.split(".")[0] in LAYERS - {"trainer"}:
            assert resolve(f"dcgan_mx.{dotted}") is not None, name


def resolve(name):
    """Return what a dotted name stands for: a module, or something in one."""
    found = dcgan_mx
    for part in name.split(".")[1:]:
        # A function may have the name of its module, such as `visual`.
        if not hasattr(found, part) or found is dcgan_mx and part in LAYERS:
            importlib.import_module(f"{found.__name__}.{part}")
            found = sys.modules[f"{found.__name__}.{part}"]
        else:
            found = getattr(found, part)
    return found


def test_both_languages_agree():
    """Commands, names, numbers and links are the same in the README and its translation."""
    ours, theirs = (take_apart((ROOT / name).read_text())
                    for name in ("README.md", "README.zh-CN.md"))
    for part, found in ours.items():
        assert found == theirs[part], part


def take_apart(text):
    """Return what a translation keeps; of blocks, the text before a comment."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    code = [re.split(r"\s+# |\s{3,}(?=\S)", line.rstrip())[0]
            for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
            for line in block.splitlines()]
    links = sorted(re.findall(r"\]\(([^)#]+)\)", text))
    numbers = re.findall(r"\d+(?:\.\d+)*", prose.replace("August 2, 2016", "2016, 8, 2"))
    return {"code": code,
            "names": sorted(re.findall(r"`[^`]+`", prose)),
            "numbers": sorted(numbers),
            "links": [link.replace(".zh-CN", "") for link in links
                      if not link.startswith("README")]}


def test_first_hour_runs_every_command_of_the_readme():
    hour = runpy.run_path(str(ROOT / "tests" / "helpers" / "first_hour.py"))
    lines = [re.split(r"\s+#", line)[0] for block in find_blocks(README)
             for line in block.splitlines()]
    commands = {re.sub(r"runs/mnist-[0-9-]+", "RUN", line)
                for line in (*lines, *re.findall(r"`([^`\n]+)`", README.read_text()))
                if line.startswith(("make ", "dcgan-mx ", "python scripts", "python3 ", "pip "))}
    assert commands - {*hour["LATER"]} == {command for command, _, _ in hour["HOUR"]}
