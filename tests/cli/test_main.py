import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
from helpers.common import run_code

from dcgan_mx import __version__
from dcgan_mx.cli import main
from dcgan_mx.system.errors import ArgumentError


def test_every_command_is_listed_and_has_help(capfd, call):
    assert main.main(["--help"]) == 0
    lines = capfd.readouterr().out.splitlines()
    for name, text in main.COMMANDS.items():
        assert any(line.split(maxsplit=1) == [name, text] for line in lines)
        done = call(name, "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"usage: dcgan-mx {name}")
    text = call("train", "--help").stdout
    places = [text.index(f"\n{group}:\n") for group in (
        "data", "networks", "training", "output", "devices")]
    assert places == sorted(places)
    assert "--show, --no-show" in text


@pytest.mark.parametrize("argv, status, words", [
    ([], 2, "usage: dcgan-mx COMMAND"), (["--version"], 0, f"dcgan-mx {__version__}\n"),
    (["trian"], 2, "error: unknown command 'trian': expected one of train, ")])
def test_missing_or_unknown_command(argv, status, words, capsys):
    assert main.main(argv) == status
    assert words in "".join(capsys.readouterr())


def test_help_imports_nothing_heavy():
    code = ("import sys; from dcgan_mx.cli.main import main; main(['--help']); "
            "print({'mxnet', 'cv2', 'matplotlib', 'argparse'} & {*sys.modules})")
    assert run_code(code).stdout.endswith("set()\n")


@pytest.mark.parametrize("code, message", [
    ("raise OSError('libgomp.so.1: cannot open shared object file: No such file or directory')",
     "MXNet's library cannot be loaded (libgomp.so.1: cannot open shared"),
    ("raise ModuleNotFoundError('No module named mxnet', name='mxnet')",
     "MXNet is not installed: pip install --no-deps mxnet==1.9.1")])
def test_mxnet_that_cannot_be_loaded_is_one_line(code, message, script, one_line_error, tmp_path):
    (tmp_path / "mxnet").mkdir()
    (tmp_path / "mxnet" / "__init__.py").write_text(code)
    one_line_error(script("dcgan_mx", "sample", cwd=tmp_path), message)


@pytest.mark.parametrize("error, status, line", [
    (KeyboardInterrupt(), 130, ""), (ValueError("a\nb"), 2, "error: a b\n"),
    (ArgumentError("batch_size", "too small"), 2, "error: --batch-size: too small\n"),
    (ArgumentError("show", "no display"), 2, "error: --show: no display\n"),
    (ArgumentError("symG", "too small"), 2, "error: symG: too small\n"),
    (FileNotFoundError(2, "No such file", "x"), 2,
     "error: x: No such file; give another path\n"),
    (PermissionError(13, "Permission denied", "x"), 2,
     "error: x: Permission denied; fix that, or give another path\n"), (KeyError("bug"), None, "")])
def test_errors_become_one_line_and_an_exit_code(error, status, line, monkeypatch, capsys):
    """ArgumentError names the flag, if the command has one; bugs are raised."""
    from dcgan_mx.cli import train

    def fail(argv):
        raise error

    monkeypatch.setattr(train, "main", fail)
    if status is None:
        with pytest.raises(KeyError):
            main.run("train", [])
    else:
        assert main.run("train", []) == status
    assert capsys.readouterr().err == line


def test_closed_terminal_does_not_stop_a_command(monkeypatch):
    def write(text):
        raise OSError(5, os.strerror(5))

    def run_command(argv):
        warnings.warn("beware", RuntimeWarning, stacklevel=1)
        done.append(argv)
        if argv:
            raise ValueError("bad")
        return 129

    done = []
    monkeypatch.setattr(main.importlib, "import_module",
                        lambda name: SimpleNamespace(main=run_command))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=write, flush=lambda: None))
    assert (main.run("train", []), main.run("train", ["x"])) == (129, 2)
    assert done == [[], ["x"]]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_without_reader_ends_the_command_quietly(unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "dcgan_mx", "--help"], stdout=writer,
                          stderr=subprocess.PIPE, check=False,
                          env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "dcgan_mx", "--help"], stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: No space left on device\n")


@pytest.mark.parametrize("encoding", ["ascii", "ascii:surrogateescape"])
def test_closed_streams_are_replaced_and_unknown_characters_escaped(encoding):
    code = ("import os, sys; from dcgan_mx.cli import main; main.prepare_streams(); "
            "print('seed, \\xe9'); print('lost', file=sys.stderr); "
            "assert os.open(os.devnull, os.O_RDONLY) > 2")
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" <&- 2>&-', sys.executable, code],
                          stdout=subprocess.PIPE, check=False,
                          env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stdout) == (0, b"seed, \\xe9\n")
