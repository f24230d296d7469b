"""Execute the notebook, and store what it shows in both languages, whose code is the same."""
from __future__ import annotations

import sys
from pathlib import Path

import nbclient
import nbformat

from dcgan_mx.machine.files import write_atomic

DOCS = Path(__file__).resolve().parent


def run(source: Path) -> nbformat.NotebookNode:
    """Execute a notebook in a new kernel, whose folder is docs; raise what a cell raises."""
    notebook = nbformat.read(source, as_version=4)
    nbclient.NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False,
                            resources={"metadata": {"path": str(DOCS)}}).execute()
    return notebook


def write(path: Path, notebook: nbformat.NotebookNode) -> None:
    """Write a notebook, complete or not at all."""
    notebook.metadata["language_info"] = {"name": "python"}  # and no version: any will do
    write_atomic(path, nbformat.writes(notebook).encode() + b"\n")
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    """Execute the one in docs, or, for tests, SOURCE into OUT."""
    if sys.argv[1:]:
        source, out = map(Path, sys.argv[1:])
        write(out, run(source))
        return
    english = run(DOCS / "walkthrough.ipynb")
    chinese = nbformat.read(DOCS / "walkthrough.zh-CN.ipynb", as_version=4)
    chinese.metadata = english.metadata
    for ours, theirs in zip(english.cells, chinese.cells):
        if ours.cell_type == "code":
            theirs.update(outputs=ours.outputs, execution_count=ours.execution_count)
    write(DOCS / "walkthrough.ipynb", english)
    write(DOCS / "walkthrough.zh-CN.ipynb", chinese)


if __name__ == "__main__":
    main()
