"""Execute the notebook, store its outputs in both languages, and write both as Markdown pages.

With --pages, only write the pages, from the stored outputs.
"""
from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from jupyter_client.manager import AsyncKernelManager

from dcgan_mx.system.files import write_atomic

DOCS = Path(__file__).resolve().parent
ENGLISH, CHINESE = DOCS / "walkthrough.ipynb", DOCS / "walkthrough.zh-CN.ipynb"


def run(source: Path) -> Any:
    """Execute a notebook in a new kernel in docs; raise an error if a cell fails."""
    notebook = nbformat.read(source, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        # Sockets in a folder: another process could take a TCP port before the kernel binds it.
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        client = nbclient.NotebookClient(notebook, manager, timeout=None, record_timing=False,
                                         resources={"metadata": {"path": str(DOCS)}})
        client.execute(cleanup_kc=True)  # ends the kernel
    return notebook


def render(source: Path) -> dict[str, bytes]:
    """Return the Markdown page of a stored notebook and its images, by their names in docs."""
    files, parts = {}, []
    for number, cell in enumerate(nbformat.read(source, as_version=4).cells):
        parts.append(cell.source if cell.cell_type == "markdown"
                     else f"```python\n{cell.source}\n```")
        for output in cell.get("outputs", ()):
            data = output.data
            if "image/png" in data:
                title = data["text/plain"]
                name = f"walkthrough/{number:02}-{title}.png"
                files[name] = base64.b64decode(data["image/png"])
                parts.append(f"![{title}]({name})")
            elif not any("widget" in kind for kind in data):  # a progress bar
                parts.append(f"```\n{data['text/plain']}\n```")
    return {**files, source.with_suffix(".md").name: "\n\n".join(parts).encode() + b"\n"}


def main() -> None:
    """Execute the notebook unless --pages is given, and write the pages."""
    if sys.argv[1:] != ["--pages"]:
        english, chinese = run(ENGLISH), nbformat.read(CHINESE, as_version=4)
        english.metadata["language_info"] = {"name": "python"}  # without a version: it changes
        chinese.metadata = english.metadata
        for ours, theirs in zip(english.cells, chinese.cells):
            if ours.cell_type == "code":
                theirs.update(outputs=ours.outputs, execution_count=ours.execution_count)
        for path, notebook in ((ENGLISH, english), (CHINESE, chinese)):
            write_atomic(path, nbformat.writes(notebook).encode() + b"\n")
    (DOCS / "walkthrough").mkdir(exist_ok=True)
    for name, content in {**render(ENGLISH), **render(CHINESE)}.items():
        write_atomic(DOCS / name, content)


if __name__ == "__main__":
    main()
