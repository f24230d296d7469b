"""What version 0.1.0 wrote on its way, in the folder `formats`: it loads, to the bit."""
import json
import shutil

import numpy as np
import pytest
from common import ROOT, read_numbers

from dcgan_mx import ImagenetIter, Trainer, make_dcgan_sym
from dcgan_mx.data import records
from dcgan_mx.images.latent import make_latents
from dcgan_mx.images.sample import load_generator
from dcgan_mx.machine.runtime import mx
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.params import parse_params
from dcgan_mx.runs.run import Run
from dcgan_mx.visual import read_png

FORMATS = ROOT / "tests" / "formats"


@pytest.fixture
def old_run(tmp_path):
    """Copy a run: `grey`, or the one of two devices, which has statistics of each."""
    def copy(name):
        return Run(shutil.copytree(FORMATS / name, tmp_path / name))
    return copy


def make_trainer(recipe, devices):
    return Trainer(*make_dcgan_sym(recipe.ngf, recipe.ndf, recipe.nc, size=recipe.size),
                   recipe.batch_size, (recipe.nc, recipe.size, recipe.size), nz=recipe.nz,
                   ctx=[mx.cpu(i) for i in range(devices)])


@pytest.mark.parametrize("name, devices, step", [("grey", 1, 5), ("two-devices", 2, 3)])
def test_a_checkpoint(name, devices, step, old_run):
    run = old_run(name)
    recipe, conduct = run.read_settings()
    assert (recipe.dataset, recipe.batch_size, recipe.lr, conduct.disp_batches) == (
        "synthetic", 8, 2e-4, 2)
    trainer = make_trainer(recipe, devices)
    folder = checkpoint.load_latest(run.path, trainer)
    assert folder.name == f"step-{step:08d}" and trainer.global_step == step
    state = trainer.get_state()
    for part, file in (("G", "G-0000"), ("D", "D-0000"), ("G-optimizer", "G-optimizer"),
                       ("D-optimizer", "D-optimizer"), ("replicas", "replicas")):
        path = folder / f"{file}.params"
        content = parse_params(path.read_bytes(), path) if path.exists() else {}
        assert content.keys() == state[part].keys()
        for key, array in content.items():
            np.testing.assert_array_equal(array, state[part][key])
    # and written again, it is the same to the last byte
    (run.path / "again").mkdir()
    again = checkpoint.write(run.path / "again", state, seed=recipe.seed)
    for path in folder.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_run_goes_on(old_run, call):
    run = old_run("grey")
    before = read_numbers(run.path)
    assert [line["step"] for line in before] == [2, 4]
    assert [*run.list_grids("fixed")] == [2, 4] and read_png(
        run.list_grids("gout")[4]).shape == (48, 48, 1)
    done = call("train", "--resume", "--run-dir", run.path, "--max-steps", 6)
    assert done.returncode == 0, done.stderr
    assert read_numbers(run.path)[:2] == before
    assert [*run.list_grids("fixed")] == [2, 4, 6]
    assert json.loads((run.path / "config.json").read_text())["flags"]["max_steps"] == 6


def test_a_generator(old_run):
    generator, step = load_generator(old_run("grey").path)
    assert (step, generator.generate(make_latents(2, generator.nz)).shape) == (5, (2, 1, 16, 16))


def test_a_record_file():
    path = FORMATS / "six.rec"
    offsets, _, digest = records.scan(path)
    assert len(offsets) == 6
    assert digest == "963379ef21782f08e2488293557a4045620a7dee5ad5d9decba3f5da43900bba"
    batch = ImagenetIter(path, 6, (3, 16, 16), crop=(16, 16), mirror=False).next()
    means = np.sort(batch.data[0].asnumpy()[:, 0].mean((1, 2)))
    assert (np.diff(means) > 0.03).all()  # six pictures, each redder than the one before
