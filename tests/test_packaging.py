"""The sdist and the wheel that a release uploads."""
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from helpers.common import ROOT

build = pytest.importorskip("build", reason="pip install -e '.[test]'")


def run(*args, **kwargs):
    done = subprocess.run([sys.executable, "-m", *map(str, args)], capture_output=True, text=True,
                          timeout=300, check=False, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_and_sdist_are_complete_and_can_be_imported(tmp_path):
    source, dist, site = (tmp_path / name for name in ("source", "dist", "site"))
    source.mkdir()
    for name in ("dcgan_mx", "scripts", "tools", "setup.py", "pyproject.toml", "README.md",
                 "LICENSE"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, source / name)
    run("build", "--no-isolation", "--outdir", dist, source)  # offline
    assert run("twine", "check", "--strict", *dist.iterdir()).count("PASSED") == 2
    sdist, = dist.glob("*.tar.gz")
    wheel, = dist.glob("*.whl")
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/pretrained/mnist.params") for name in archive.getnames())
    with zipfile.ZipFile(wheel) as archive:
        assert {"dcgan_mx/py.typed", "dcgan_mx/pretrained/mnist.json"} <= {*archive.namelist()}
        names = {name.split("/")[0] for name in archive.namelist()}
        assert len(names) == 2 and "dcgan_mx" in names  # neither tools nor tests
    run("pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    code = ("import dcgan_mx; from dcgan_mx.sampling import pretrained; print(dcgan_mx.__file__, "
            "(pretrained.FOLDER / 'mnist.params').exists(), dcgan_mx.make_dcgan_sym.__name__)")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, check=True,
                          stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(site)})
    assert done.stdout == f"{site}/dcgan_mx/__init__.py True make_dcgan_sym\n"
