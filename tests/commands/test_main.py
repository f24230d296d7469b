import io
import os
import subprocess
import sys
import warnings

import pytest
from common import ROOT

from dcgan_mx import __version__
from dcgan_mx.commands import main


def test_every_command_is_listed_with_a_line(capsys):
    assert main.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, text in main.COMMANDS.items():
        assert any(line.split(maxsplit=1) == [name, text] for line in lines)
    modules = {path.stem for path in (ROOT / "dcgan_mx" / "commands").glob("*.py")}
    helpers = {"__init__", "main", "cli", "examination", "request", "source"}
    assert modules - helpers == {*main.COMMANDS}


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_helps(name, call):
    done = call(name, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: dcgan-mx {name}")


def test_flags_of_train_stand_in_groups(call):
    text = call("train", "--help").stdout
    places = [text.index(f"\n{group}:\n") for group in (
        "data", "networks", "training", "output", "devices")]
    assert places == sorted(places)
    assert "--show, --no-show" in text


@pytest.mark.parametrize("argv, status, words", [
    ([], 2, "usage: dcgan-mx COMMAND"), (["--version"], 0, f"dcgan-mx {__version__}\n")])
def test_without_a_command(argv, status, words, capsys):
    assert main.main(argv) == status
    assert words in capsys.readouterr().out


def test_what_is_no_command(capsys):
    assert main.main(["trian"]) == 2
    assert capsys.readouterr().err == ("error: 'trian' is no command: give one of "
                                       f"{', '.join(main.COMMANDS)}\n")


def test_the_list_of_commands_waits_for_nothing():
    code = ("import sys; from dcgan_mx.commands.main import main; main(['--help']); "
            "print({'mxnet', 'cv2', 'matplotlib', 'argparse'} & {*sys.modules})")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


@pytest.mark.parametrize("program", ["module", "script"])
def test_other_ways_to_start(program, tmp_path):
    start = ["-m", "dcgan_mx", "train"] if program == "module" else [ROOT / "scripts" / "train.py"]
    done = subprocess.run([sys.executable, *start, "--lr", "0"], capture_output=True, text=True,
                          cwd=tmp_path, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2
    assert done.stderr == ("error: argument --lr: 0.0 is out of range: give a number above 0; see "
                           "--help\n")


@pytest.mark.parametrize("command, status", [("train", 2), ("sample", 2), ("doctor", 1)])
def test_a_library_that_mxnet_lacks_is_one_line(command, status, tmp_path):
    (tmp_path / "mxnet").mkdir()
    (tmp_path / "mxnet" / "__init__.py").write_text(
        "raise OSError('libgomp.so.1: cannot open shared object file: No such file or directory')")
    done = subprocess.run([sys.executable, "-m", "dcgan_mx", command], cwd=tmp_path, check=False,
                          env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
                          capture_output=True, text=True)
    assert done.returncode == status
    line = " ".join((done.stdout + done.stderr).split())
    assert "MXNet's library cannot be loaded (libgomp.so.1: cannot open shared" in line
    assert "apt install libgomp1 libquadmath0 on Debian" in line
    assert "Traceback" not in line and len(done.stderr.splitlines()) == (status == 2)


def test_ctrl_c_while_a_command_is_imported(monkeypatch):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(main.importlib, "import_module", interrupt)
    assert main.run("train", []) == 130


def test_a_terminal_that_is_gone_is_no_reason_to_stop(monkeypatch):
    """What cannot be said changes neither what is done nor the status."""
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, os.strerror(5))

    class Command:
        def main(self, argv):
            warnings.warn("beware", RuntimeWarning, stacklevel=1)
            done.append(argv)
            if argv:
                raise ValueError("bad")
            return 129

    done = []
    monkeypatch.setattr(main.importlib, "import_module", lambda name: Command())
    monkeypatch.setattr(sys, "stderr", Gone())
    assert (main.run("train", []), main.run("train", ["x"])) == (129, 2)
    assert done == [[], ["x"]]


def test_a_fault_of_our_own_is_not_hidden(monkeypatch):
    monkeypatch.setattr(main.importlib, "import_module", lambda name: {}["fault"])
    with pytest.raises(KeyError):
        main.run("train", [])


def test_scripts_are_the_commands():
    for path in (ROOT / "scripts").glob("*.py"):
        text = path.read_text()
        if "run_script" in text:
            name = text.split('run_script("')[1].split('"')[0]
            assert name == {"make_rec": "pack"}.get(path.stem, path.stem)
            assert len(text.splitlines()) <= 6
