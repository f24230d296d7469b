import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcgan_mx import symbols
from dcgan_mx.cli import train_args
from dcgan_mx.runs.config import (
    DEFAULTS,
    OVERRIDABLE,
    check_settings,
    flag_name,
    list_fields,
    list_train_config,
    merge_resume_config,
    read_flags,
)

SAVED = DEFAULTS.replace({"dataset": "mnist", "max_steps": 12, "show": True, "gpu": "0"})
VALUES = st.one_of(st.text(max_size=12), st.integers().map(str), st.floats().map(str),
                   st.sampled_from(["mnist", "synthetic", "64", "1e400", "nan", "lr,seed", "--"]))


def test_defaults_are_the_references_and_fixed():
    flags = DEFAULTS.to_flags()
    for name, value in {"batch_size": 64, "num_epochs": 100, "lr": 2e-4, "beta1": 0.5, "wd": 0,
                        "nz": 100, "ngf": 64, "ndf": 64, "nc": 3, "size": 64, "d_steps": 1}.items():
        assert flags[name] == value
    assert list_fields()["size"].metadata["takes"] == symbols.SIZES
    assert {*OVERRIDABLE} - {"data_path"} < {*list_train_config()}
    for part in DEFAULTS:
        with pytest.raises(dataclasses.FrozenInstanceError):
            part.lr = part.gpu = 1


def test_flags_come_back_as_they_were():
    assert read_flags(SAVED.to_flags(), "here") == SAVED
    # JSON by another hand: a whole number for a float
    assert read_flags({**SAVED.to_flags(), "wd": 0}, "here") == SAVED


@pytest.mark.parametrize("name, value", [
    ("lr", "0.1"), ("lr", 0), ("lr", float("nan")), ("lr", float("inf")), ("lr", True),
    ("batch_size", 1.0), ("batch_size", 0), ("batch_size", 2**31), ("batch_size", None),
    ("dataset", None), ("dataset", "cifar"), ("nc", True), ("nc", 2), ("nc", 3.0), ("show", 1),
    ("show", None), ("gpu", 0), ("max_steps", 0), ("keep_checkpoints", -1), ("kv_store", "dist_async"),
    ("speed", 1), ("ema_rel_std", 1e-160), ("ema_rel_std", 0.26), ("ema_rel_std", float("nan")),
    ("real_label", 0.5), ("beta1", 1), pytest.param("lr", 10**400, id="lr-huge")])
def test_what_no_flag_takes_is_refused(name, value):
    with pytest.raises(ValueError, match="^here: "):
        read_flags({**SAVED.to_flags(), name: value}, "here")


def test_the_ends_of_ranges_and_what_errors_say():
    check_settings(ema_rel_std=0, real_label=1, beta1=0, batch_size=1, lr=1e-300, wd=0, keep=0)
    check_settings(ema_rel_std=0.0001)
    check_settings(ema_rel_std=0.25, num_epochs=None, lr_g=None)
    with pytest.raises(ValueError, match=r"^ema_rel_std: 1e-160 is out of range: give 0, or a number "
                       r"in \[0.0001, 0.25\]$"):
        check_settings(ema_rel_std=1e-160)


@pytest.mark.parametrize("name", list_fields())
def test_a_missing_flag_is_refused(name):
    flags = SAVED.to_flags()
    del flags[name]
    with pytest.raises(ValueError, match="^here: flags are missing"):
        read_flags(flags, "here")


@pytest.mark.parametrize("given, changed, note", [
    ({"disp_batches": 3, "show": False, "lr": 2e-4}, {"disp_batches": 3, "show": False}, None),
    ({"num_epochs": 3}, {"num_epochs": 3, "max_steps": None},
     "--num-epochs 3 takes the place of --max-steps 12"),
    ({"max_steps": 20}, {"max_steps": 20, "num_epochs": None},
     "--max-steps 20 takes the place of --num-epochs 100"),
    ({"max_steps": 12}, {}, None),
    ({"max_steps": 20, "num_epochs": 3}, {"max_steps": 20, "num_epochs": 3}, None),
    ({"cpu_devices": 2}, {"cpu_devices": 2, "gpu": None},
     "--cpu-devices 2 takes the place of --gpu 0")])
def test_what_is_given_goes_on_top(given, changed, note):
    """One of two that exclude each other takes the other's place."""
    settings, notes = merge_resume_config(SAVED, given, (), "r")
    assert settings == SAVED.replace({**changed, "run_dir": "r"})
    assert notes == ([note] if note else [])


@pytest.mark.parametrize("given, override, words", [
    ({"lr": 0.1}, (), "--lr is 0.1, but the run in r has 0.0002: .*, or add --override lr$"),
    ({"ngf": 8}, (), "--ngf is 8, but the run in r has 64: leave it out, or start a new run$"),
    ({"seed": 1}, ("lr",), "--override lr changes nothing by itself: add --lr"),
    ({}, ("batch_size",), "--override batch_size changes nothing by itself: add --batch-size")])
def test_what_decides_the_numbers_has_to_be_the_runs(given, override, words):
    with pytest.raises(ValueError, match=words):
        merge_resume_config(SAVED, given, override, "r")
    assert merge_resume_config(SAVED, {"lr": 0.1}, ("lr",), "r")[0].config.lr == 0.1


FLAGS = st.sampled_from(sorted(map(flag_name, list_fields())))


@settings(max_examples=1000, deadline=None)
@given(words=st.lists(st.one_of(FLAGS, VALUES, st.tuples(FLAGS, VALUES).map("=".join)),
                      max_size=6))
def test_any_flags_are_settings_or_one_error(words, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.getbasetemp())  # where there are no runs
        try:
            (config, _), *_ = train_args.parse(
                [w for w in words if w != "--show" and not w.startswith(("-h", "--help"))])
        except (ValueError, OSError):
            return
    assert config.dataset in ("mnist", "synthetic") and config.batch_size >= 1 and config.lr > 0
