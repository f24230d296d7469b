import os
import sys

import pytest

from dcgan_mx.system import command_line


@pytest.fixture
def start_as(monkeypatch, tmp_path):
    """Pretend that this process was started by a program, in a folder with .venv/bin in it."""
    def start(program, path=""):
        (tmp_path / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
        for name in ("python", "dcgan-mx"):
            (tmp_path / ".venv" / "bin" / name).touch(0o755)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [program.replace("TMP", str(tmp_path))])
        monkeypatch.setattr(sys, "executable", f"{tmp_path}/.venv/bin/python")
        monkeypatch.setenv("PATH", path.replace("TMP", str(tmp_path)) or os.defpath)
    return start


@pytest.mark.parametrize("program, path, line", [
    ("scripts/train.py", "TMP/.venv/bin", "python scripts/train.py"),
    ("scripts/train.py", "", "./.venv/bin/python scripts/train.py"),
    ("/a b/scripts/report.py", "TMP/.venv/bin", "python '/a b/scripts/train.py'"),
    ("TMP/.venv/bin/dcgan-mx", "TMP/.venv/bin", "dcgan-mx train"),
    ("TMP/.venv/bin/dcgan-mx", "", "./.venv/bin/dcgan-mx train"),
    ("/elsewhere/bin/dcgan-mx", "TMP/.venv/bin", "/elsewhere/bin/dcgan-mx train"),
    ("/site-packages/dcgan_mx/__main__.py", "TMP/.venv/bin", "python -m dcgan_mx train"),
    ("a-notebook", "", "dcgan-mx train"), ("", "", "dcgan-mx train")])
def test_commands_are_named_as_the_user_typed_one(program, path, line, start_as):
    start_as(program, path)
    assert command_line.command_line("train") == line


def test_a_script_of_another_name(start_as):
    start_as("scripts/train.py", "TMP/.venv/bin")
    assert command_line.command_line("pack") == "python scripts/make_rec.py"
