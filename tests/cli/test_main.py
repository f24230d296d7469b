import io
import os
import subprocess
import sys
import warnings

import pytest
from helpers.common import ROOT

from dcgan_mx import __version__
from dcgan_mx.cli import main


def test_every_command_is_listed_and_helps(capfd, call):
    assert main.main(["--help"]) == 0
    lines = capfd.readouterr().out.splitlines()
    for name, text in main.COMMANDS.items():
        assert any(line.split(maxsplit=1) == [name, text] for line in lines)
        done = call(name, "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"usage: dcgan-mx {name}")
        script = ROOT / "scripts" / {"pack": "make_rec.py"}.get(name, f"{name}.py")
        assert not script.exists() or f'run_script("{name}")' in script.read_text()


def test_flags_of_train_stand_in_groups(call):
    text = call("train", "--help").stdout
    places = [text.index(f"\n{group}:\n") for group in (
        "data", "networks", "training", "output", "devices")]
    assert places == sorted(places)
    assert "--show, --no-show" in text


@pytest.mark.parametrize("argv, status, words", [
    ([], 2, "usage: dcgan-mx COMMAND"), (["--version"], 0, f"dcgan-mx {__version__}\n"),
    (["trian"], 2, "error: 'trian' is no command: give one of train, ")])
def test_without_a_command(argv, status, words, capsys):
    assert main.main(argv) == status
    assert words in "".join(capsys.readouterr())


def test_the_list_of_commands_waits_for_nothing():
    code = ("import sys; from dcgan_mx.cli.main import main; main(['--help']); "
            "print({'mxnet', 'cv2', 'matplotlib', 'argparse'} & {*sys.modules})")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


@pytest.mark.parametrize("start", [["-m", "dcgan_mx", "train"], [ROOT / "scripts" / "train.py"]])
def test_other_ways_to_start(start, tmp_path):
    done = subprocess.run([sys.executable, *start, "--lr", "0"], capture_output=True, text=True,
                          cwd=tmp_path, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2
    assert done.stderr == ("error: argument --lr: 0.0 is out of range: give a number in (0, inf); "
                           "see --help\n")


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
    assert "reinstall it with pip install " in line  # this system has libgomp
    assert "Traceback" not in line and len(done.stderr.splitlines()) == (status == 2)


@pytest.mark.parametrize("error, status", [(KeyboardInterrupt, 130), (KeyError, None)])
def test_ctrl_c_ends_quietly_and_a_fault_of_our_own_does_not(error, status, monkeypatch):
    def fail(name):
        raise error

    monkeypatch.setattr(main.importlib, "import_module", fail)
    if status is None:
        with pytest.raises(error):
            main.run("train", [])
    else:
        assert main.run("train", []) == status


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
