"""Files that version 0.1.0 wrote, in tests/formats, load to the bit."""
import shutil

import numpy as np
import pytest
from helpers.common import ROOT

from dcgan_mx import ImagenetIter, Trainer, make_dcgan_sym
from dcgan_mx.data import recordio
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.config import FORMAT
from dcgan_mx.runs.params import parse_params
from dcgan_mx.runs.run import Run
from dcgan_mx.system.runtime import mx

FORMATS = ROOT / "tests" / "formats"


@pytest.fixture
def old_run(tmp_path):
    """Copy a run: `gray`, or `two-devices`, which has BatchNorm statistics of each device."""
    def copy(name):
        return Run(shutil.copytree(FORMATS / name, tmp_path / name))
    return copy


@pytest.mark.parametrize("name, nc, devices, step", [("gray", 1, 1, 5), ("two-devices", 3, 2, 3)])
def test_checkpoint_loads_and_is_rewritten_identically(name, nc, devices, step, old_run):
    run = old_run(name)
    trainer = Trainer(*make_dcgan_sym(2, 2, nc, size=16), 8, (nc, 16, 16), nz=5,
                      ctx=[mx.cpu(i) for i in range(devices)])
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
    (run.path / "again").mkdir()
    again = checkpoint.write(run.path / "again", state, seed=1234)
    for path in folder.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_run_without_format_number_is_rejected(old_run, call, one_line_error):
    run = old_run("gray")
    one_line_error(call("train", "--resume", "--run-dir", run.path),
                   f"{run.path}/config.json has format None, expected {FORMAT}")


def test_record_file_loads():
    path = FORMATS / "six.rec"
    offsets, _, digest = recordio.scan(path)
    assert len(offsets) == 6
    assert digest == "963379ef21782f08e2488293557a4045620a7dee5ad5d9decba3f5da43900bba"
    batch = ImagenetIter(path, 6, (3, 16, 16), crop=(16, 16), mirror=False).next()
    means = np.sort(batch.data[0].asnumpy()[:, 0].mean((1, 2)))
    assert (np.diff(means) > 0.03).all()  # six pictures, sorted by brightness
