"""The sdist and the wheel that a release uploads."""
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from helpers.common import ROOT

build = pytest.importorskip("build", reason="pip install -e '.[test]'")


def run(*args):
    done = subprocess.run([sys.executable, "-m", *map(str, args)], capture_output=True, text=True,
                          timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_from_the_sdist_has_every_file_of_the_package_and_nothing_else(tmp_path):
    source, dist, site = (tmp_path / name for name in ("source", "dist", "site"))
    for name in ("dcgan_mx", "scripts", "tools"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    files = {str(path.relative_to(source)) for path in (source / "dcgan_mx").rglob("*.*")}
    run("build", "--no-isolation", "--outdir", dist, source)  # offline
    assert run("twine", "check", "--strict", *dist.iterdir()).count("PASSED") == 2
    wheel, = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        commands, = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        assert "dcgan-mx = dcgan_mx.cli.main:main" in archive.read(commands).decode()
        archive.extractall(site)
    assert found == files and "dcgan_mx/pretrained/mnist.params" in files
    code = "import dcgan_mx, dcgan_mx.cli.main as main; print(dcgan_mx.__file__, main.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, check=True,
                          stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(site)})
    assert done.stdout == f"{site}/dcgan_mx/__init__.py {site}/dcgan_mx/cli/main.py\n"
