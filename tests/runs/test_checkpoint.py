import json
import os
import shutil

import numpy as np
import pytest
from helpers.small import assert_same_state as assert_same
from helpers.small import rewrite_state
from helpers.small import small_trainer as small

from dcgan_mx import ImagenetIter, MnistIter, RandIter
from dcgan_mx.data import recordio
from dcgan_mx.hooks import loggers
from dcgan_mx.runs import checkpoint, checkpoint_files, json_files
from dcgan_mx.runs.checkpoint import PARAMS, STATE, SYMBOLS, CheckpointError
from dcgan_mx.runs.checkpoint_files import recover
from dcgan_mx.runs.params import parse_params
from dcgan_mx.runs.run import Run
from dcgan_mx.system.runtime import mx
from dcgan_mx.trainer import DivergenceError
from tools.common import read_numbers

FILES = (*SYMBOLS, *PARAMS, STATE)


@pytest.fixture
def trained(make_batches):
    trainer = small()
    for pair in make_batches(3, 4, (3, 16, 16), nz=5):
        trainer.step(*pair)
    return trainer


@pytest.fixture
def folder(trained, tmp_path):
    return checkpoint.save(tmp_path, trained, seed=7)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("dataset, d_steps, stops", [
    ("mnist", 2, (1, 4, 5, 9, 10)), ("mnist", 1, (3, 7)), ("records", 1, (4, 8))])
def test_resume_from_any_step_is_bit_identical(dataset, d_steps, stops, mnist, photo_rec, tmp_path):
    """Two epochs of 5 batches, a log line every 3 steps, G updated every `d_steps`."""
    rec = tmp_path / "23.rec"
    rec.write_bytes(photo_rec.read_bytes()[:recordio.scan(photo_rec)[0][23]])

    def fit(trainer, max_steps, run):
        train_iter = (MnistIter(mnist[:23], 4, (3, 16, 16)) if dataset == "mnist" else
                      ImagenetIter(rec, 4, (3, 16, 16)))
        assert train_iter.num_batches == 5
        trainer.fit(train_iter, RandIter(4, 5), 2, max_steps=max_steps,
                    hooks=[loggers.MetricLogger(3, loggers.JsonlLogger(run))])

    whole = small(d_steps=d_steps)
    (tmp_path / "whole").mkdir()
    fit(whole, None, Run(tmp_path / "whole"))
    assert whole.global_step == 10
    for stop in stops:
        run_dir = tmp_path / f"{stop}"
        run_dir.mkdir()
        first, second = small(d_steps=d_steps), small(d_steps=d_steps, seed=99)
        fit(first, stop, Run(run_dir))
        checkpoint.save(run_dir, first)
        assert checkpoint.load_latest(run_dir, second).name == f"step-{stop:08d}"
        if stop < 10:
            Run(run_dir).rewind(stop)
        fit(second, None, Run(run_dir))
        assert_same(second.get_state(), whole.get_state())
        assert read_numbers(run_dir) == read_numbers(tmp_path / "whole")


def test_checkpoint_contains_no_pickle_and_mxnet_loads_it(trained, folder, parameters):
    assert names(folder) == sorted(FILES)
    for name in FILES:
        content = (folder / name).read_bytes()
        json.loads(content) if name.endswith(".json") else parse_params(content, name)
    state = checkpoint.verify(folder)
    assert (state["step"], state["epoch"], state["nbatch"], state["seed"]) == (3, 0, 0, 7)
    assert state["updates"] == {"G": 3, "D": 3}
    loaded = {}
    for prefix, mod in (("G", trained.modG), ("D", trained.modD)):
        symbol, arg_params, aux_params = mx.model.load_checkpoint(str(folder / prefix), 0)
        assert symbol.tojson() == mod.symbol.tojson()
        loaded.update({k: v.asnumpy() for k, v in {**arg_params, **aux_params}.items()})
    expected = parameters(trained)
    assert loaded.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(loaded[name], value)
    # MXNet's own save gives the initial 0 and 1 here (apache/mxnet#18610). Three updates a step,
    # momentum 0.9: 0.9 ** 9 of the initial variance of 1 remains.
    assert (loaded["dbn2_moving_var"] < 0.9 ** 9 + 0.1).all()
    assert (loaded["dbn2_moving_var"] > 0.9 ** 9).all() and (loaded["dbn2_moving_mean"] != 0).all()


def test_checkpoint_of_other_networks_is_rejected(folder):
    other = small(channels=8)
    before = other.get_state()
    for load, path in ((checkpoint.load, folder), (checkpoint.load_latest, folder.parents[1])):
        with pytest.raises(ValueError, match="to different networks"):
            load(path, other)
    assert checkpoint.list_checkpoints(folder.parents[1]) == [folder]
    assert_same(other.get_state(), before)


def test_old_checkpoints_are_removed_but_not_later_steps(trained, folder, tmp_path, make_batches):
    shutil.copytree(folder, folder.with_name("step-00000009"))
    assert checkpoint.save(tmp_path, trained, keep=1) == folder
    for pair in make_batches(4, 4, (3, 16, 16), nz=5):
        trained.step(*pair)
        checkpoint.save(tmp_path, trained, keep=2)
    kept = ["step-00000006", "step-00000007", "step-00000009"]
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path)] == kept
    assert names(folder.parent) == kept
    assert checkpoint.list_checkpoints(tmp_path / "nowhere") == []


def test_non_finite_numbers_are_neither_saved_nor_loaded(trained, folder, tmp_path):
    state = trained.get_state()
    state["G"]["arg:g1_weight"].flat[0] = np.nan
    (tmp_path / "other").mkdir()
    written = checkpoint.write(tmp_path / "other", state)
    for read in (lambda: checkpoint.load(written, small()),
                 lambda: checkpoint.load_network(written, "G")):
        with pytest.raises(CheckpointError, match="arg:g1_weight is not finite"):
            read()
    arg_params, aux_params = trained.modG.get_params()
    arg_params["g2_weight"][0, 0, 0, 0] = float("inf")
    trained.modG.set_params(arg_params, aux_params)
    trained.global_step = 4
    for act in (trained.check_finite, lambda: checkpoint.save(tmp_path, trained)):
        with pytest.raises(DivergenceError, match="step 4: arg:g2_weight of G"):
            act()
    assert checkpoint.list_checkpoints(tmp_path) == [folder]


@pytest.mark.parametrize("name", FILES)
def test_damage_to_any_byte_is_detected(name, folder):
    """Flipped and missing bytes; every byte of state.json."""
    path, content = folder / name, (folder / name).read_bytes()
    places = np.linspace(0, len(content) - 1, 2000 if name == STATE else 40, dtype=int)
    for i in np.unique(places):
        flipped = content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1:]
        for damaged in (flipped, content[:i]):
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match=name):
                checkpoint.verify(folder)
    for spoil in (lambda: path.write_bytes(content + b" "), path.unlink):
        spoil()
        with pytest.raises(CheckpointError, match=name):
            checkpoint.verify(folder)


def test_load_latest_skips_damaged_checkpoints(trained, folder, tmp_path, make_batches):
    expected = trained.get_state()
    for pair in make_batches(2, 4, (3, 16, 16), nz=5):
        trained.step(*pair)
        checkpoint.save(tmp_path, trained)
    newest = checkpoint.list_checkpoints(tmp_path)
    (newest[2] / "D-0000.params").write_bytes(b"")
    shutil.rmtree(newest[1])
    newest[1].mkdir()
    shutil.copytree(folder, folder.with_name("step-00000009"))  # the run would resume there again
    other = small(seed=1)
    with pytest.warns(RuntimeWarning) as caught:
        assert checkpoint.load_latest(tmp_path, other) == folder
    assert [str(w.message).split(";")[0] for w in caught] == [
        f"{folder.with_name('step-00000009')} has the state of step 3",
        f"{newest[2] / 'D-0000.params'} is damaged",
        f"{newest[1] / STATE}: No such file or directory"]
    assert_same(other.get_state(), expected)
    assert names(folder.parent) == ["step-00000003", *(
        f"step-0000000{step}.damaged" for step in (4, 5, 9))]
    for path in newest[1:]:
        path.with_name(f"{path.name}.damaged").rename(path)
    shutil.rmtree(folder)
    with pytest.warns(RuntimeWarning), pytest.raises(CheckpointError, match="all 2 "):
        checkpoint.load_latest(tmp_path, other)
    assert_same(other.get_state(), expected)
    assert checkpoint.load_latest(tmp_path / "empty", other) is None


@pytest.mark.parametrize("name", [STATE, "D-0000.params"])
def test_a_failed_read_is_no_damage(name, folder, tmp_path, monkeypatch):
    """Reading the first byte of one's own memory fails with EIO, as on a bad disk."""
    def open_bad(path):
        bad = path.name == name and folder.name in path.parent.name
        return open("/proc/self/mem" if bad else path, "rb")

    older, killed = folder.with_name("step-00000002"), f".old-{folder.name}.1.tmp"
    shutil.copytree(folder, older)
    rewrite_state(older, step=2)
    for module in (checkpoint_files, json_files):
        monkeypatch.setattr(module, "open_regular", open_bad)
    with pytest.raises(OSError, match="Input/output error") as caught:
        checkpoint.load_latest(tmp_path, small(seed=1))
    assert caught.value.filename == str(folder / name)
    assert names(folder.parent) == [older.name, folder.name]
    folder.rename(folder.with_name(killed))
    with pytest.raises(OSError, match="Input/output error"):
        recover(tmp_path)
    assert names(folder.parent) == [killed, older.name]


@pytest.mark.parametrize("changes", [
    {"step": -1}, {"step": "3"}, {"step": True}, {"epoch": 2**60}, {"updates": {"G": 1}},
    {"metrics": []}, {"format": 2}, {"more": 1}, {"files": {}},
    {"files": {"../../secret": "0" * 64}}, {"files": {"/etc/passwd": "0" * 64}}])
def test_state_with_valid_checksum_is_still_validated(changes, folder):
    rewrite_state(folder, **changes)
    with pytest.raises(CheckpointError, match=f"{STATE} is of another version"):
        checkpoint.verify(folder)


def test_links_and_pipes_are_rejected(folder, tmp_path):
    path = folder / "G-0000.params"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="G-0000.params"):
        checkpoint.verify(folder)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="not a regular file"):
        checkpoint.verify(folder)


@pytest.mark.parametrize("good, left", [
    ([".step-00000003.7.tmp"], 0), ([".old-step-00000003.7.tmp"], 0),
    # killed between two renames: the new one and the old one are complete
    ([".old-step-00000003.7.tmp", ".step-00000003.7.tmp"], 1),
    ([".old-step-00000003.7.tmp", "step-00000003"], 1)])
def test_recover_restores_complete_checkpoints(good, left, folder, tmp_path):
    parent = folder.parent
    folder.rename(tmp_path / "kept")
    for i, name in enumerate(good):
        shutil.copytree(tmp_path / "kept", parent / name)
        (parent / name / "mark").write_text(str(i))
    shutil.copytree(tmp_path / "kept", parent / ".step-00000004.7.tmp")
    (parent / ".step-00000004.7.tmp" / STATE).unlink()
    recover(tmp_path)
    assert names(parent) == ["step-00000003"]
    assert int((folder / "mark").read_text()) == left
    checkpoint.load(folder, small())
