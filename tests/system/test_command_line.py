import os
import sys

import pytest

from dcgan_mx.system.command_line import command_line, flag_name, quote_path


@pytest.fixture
def start_as(monkeypatch, tmp_path):
    """Pretend that a program in .venv of the current folder started this process."""
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
    ("/a b/scripts/train.py", "TMP/.venv/bin", "python '/a b/scripts/train.py'"),
    ("TMP/.venv/bin/dcgan-mx", "TMP/.venv/bin", "dcgan-mx train"),
    ("TMP/.venv/bin/dcgan-mx", "", "./.venv/bin/python -m dcgan_mx train"),
    ("/site-packages/dcgan_mx/__main__.py", "", "./.venv/bin/python -m dcgan_mx train"),
    ("a-notebook", "TMP/.venv/bin", "dcgan-mx train"),
    ("a-notebook", "", "./.venv/bin/python -m dcgan_mx train")])
def test_commands_are_spelled_as_the_user_can_type_them(program, path, line, start_as):
    start_as(program, path)
    assert command_line("train") == line


def test_only_train_has_a_script(start_as):
    start_as("scripts/train.py", "TMP/.venv/bin")
    assert (command_line("pack"), flag_name("batch_size")) == ("dcgan-mx pack", "--batch-size")


def test_paths_are_one_word_and_no_flag():
    assert [quote_path(path) for path in ("a/-b", "a b", "-a", "-a b")] == [
        "a/-b", "'a b'", "./-a", "'./-a b'"]
