import os
import resource

import numpy as np
import pytest

from dcgan_mx import Trainer, checkpoint, make_dcgan_sym
from dcgan_mx.runtime import mx


@pytest.fixture
def trained(make_batches):
    trainer = Trainer(*make_dcgan_sym(4, 4, 3, size=16), 4, (3, 16, 16), nz=5)
    for pair in make_batches(3, 4, (3, 16, 16), nz=5):
        trainer.step(*pair)
    return trainer


def test_plain_mxnet_loads_it(trained, tmp_path, parameters):
    folder = checkpoint.save(tmp_path, trained)
    assert folder == tmp_path / "checkpoints" / "step-00000003"
    loaded = {}
    for prefix, mod in (("G", trained.modG), ("D", trained.modD)):
        symbol, arg_params, aux_params = mx.model.load_checkpoint(str(folder / prefix), 0)
        assert symbol.tojson() == mod.symbol.tojson()
        loaded.update({k: v.asnumpy() for k, v in {**arg_params, **aux_params}.items()})
    expected = parameters(trained)
    assert loaded.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(loaded[name], value)


def test_moving_statistics_have_their_latest_updates(trained, tmp_path):
    """MXNet's own save gives the initial 0 and 1 here (apache/mxnet#18610)."""
    folder = checkpoint.save(tmp_path, trained)
    _, _, aux = mx.model.load_checkpoint(str(folder / "D"), 0)
    mean, var = aux["dbn2_moving_mean"].asnumpy(), aux["dbn2_moving_var"].asnumpy()
    # Three updates a step, momentum 0.9: what is left of the initial variance of 1.
    assert (var < 0.9 ** 9 + 0.1).all() and (var > 0.9 ** 9).all()
    assert (mean != 0).all()


def test_a_disk_that_is_full_leaves_nothing(trained, tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1]))
    try:
        with pytest.raises(OSError):
            checkpoint.save(tmp_path, trained)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert os.listdir(tmp_path / "checkpoints") == []
    checkpoint.save(tmp_path, trained)
    assert os.listdir(tmp_path / "checkpoints") == ["step-00000003"]
