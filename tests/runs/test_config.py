import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcgan_mx import symbols
from dcgan_mx.cli import train_args
from dcgan_mx.cli.train_args import HELP, merge_resume_config
from dcgan_mx.runs.config import (
    DEFAULTS,
    OVERRIDABLE,
    check_settings,
    list_fields,
    list_train_config,
    parse_settings,
)
from dcgan_mx.system.command_line import flag_name
from dcgan_mx.system.errors import ArgumentError

SAVED = DEFAULTS.replace({"dataset": "mnist", "max_steps": 12, "show": True, "gpu": "0"})
VALUES = st.one_of(st.text(max_size=12), st.integers().map(str), st.floats().map(str),
                   st.sampled_from(["mnist", "synthetic", "64", "1e400", "nan", "lr,seed", "--"]))


def test_defaults_are_those_of_the_reference_and_immutable():
    flags = DEFAULTS.to_flags()
    for name, value in {"batch_size": 64, "num_epochs": 100, "lr": 2e-4, "beta1": 0.5, "wd": 0,
                        "nz": 100, "ngf": 64, "ndf": 64, "nc": 3, "size": 64, "d_steps": 1}.items():
        assert flags[name] == value
    assert list_fields()["size"].metadata["allowed"] == symbols.SIZES
    assert {*OVERRIDABLE} - {"data_path"} < {*list_train_config()}
    for part in DEFAULTS:
        with pytest.raises(dataclasses.FrozenInstanceError):
            part.lr = part.gpu = 1


def test_settings_survive_config_json():
    assert parse_settings(SAVED.to_flags(), "here") == SAVED
    # JSON from another writer: an integer for a float
    assert parse_settings({**SAVED.to_flags(), "wd": 0}, "here") == SAVED


@pytest.mark.parametrize("name, values", [
    ("lr", ("0.1", 0, float("nan"), float("inf"), True, 10**400)),
    ("batch_size", (1.0, 0, 2**31, None)), ("dataset", (None, "cifar")), ("nc", (True, 2, 3.0)),
    ("show", (1, None)), ("gpu", (0,)), ("max_steps", (0,)), ("keep_checkpoints", (-1,)),
    ("kv_store", ("dist_async",)), ("speed", (1,)), ("ema_rel_std", (1e-160, 0.26, float("nan"))),
    ("real_label", (0.5,)), ("beta1", (1,)), ("translate", (-1, 1.5, 256)),
    ("instance_noise", (-0.1, 1e300))])
def test_invalid_settings_in_config_json_are_rejected(name, values):
    for value in values:
        with pytest.raises(ValueError, match="^here: "):
            parse_settings({**SAVED.to_flags(), name: value}, "here")


def test_bounds_of_ranges_and_error_messages():
    check_settings(ema_rel_std=0, real_label=1, beta1=0, batch_size=1, lr=1e-300, wd=0,
                   keep_checkpoints=0, num_epochs=None, lr_g=None)
    for width in (0.0001, 0.25):
        check_settings(ema_rel_std=width)
    for name, value, expected in (
            ("ema_rel_std", 1e-160, "0 or a number >= 0.0001 and <= 0.25"),
            ("batch_size", 0, "an integer >= 1 and < 2147483648"), ("lr", 0, "a number > 0"),
            ("nc", 2, "one of 1, 3"), ("show", 1, "true or false"),
            ("gpu", "\0", "a string without null characters")):
        with pytest.raises(ArgumentError) as caught:
            check_settings(**{name: value})
        assert caught.value.argument == name
        assert caught.value.problem == f"invalid value {value!r}: expected {expected}"


def test_every_setting_has_a_help_text():
    assert sorted(name for group in HELP.values() for name in group) == sorted(list_fields())


def test_settings_that_an_earlier_version_did_not_have_get_their_defaults():
    flags = SAVED.to_flags()
    del flags["translate"], flags["max_steps"]
    assert parse_settings(flags, "here") == SAVED.replace({"max_steps": None})
    for changes in ({"speed": 1}, {"dataset": None}):
        with pytest.raises(ValueError, match="^here: it has unknown settings, or no data set"):
            parse_settings({**flags, **changes}, "here")
    del flags["dataset"]
    with pytest.raises(ValueError, match="^here: it has unknown settings, or no data set"):
        parse_settings(flags, "here")


@pytest.mark.parametrize("given, expected", [
    ({"dataset": "imagenet"}, ("random", True, None, None)),
    ({"dataset": "folder"}, ("center", False, None, None)),
    ({"dataset": "folder", "crop": "none"}, ("none", False, "pad", "white")),
    ({"dataset": "imagenet", "crop": "none", "fit": "stretch"}, ("none", True, "stretch", None)),
    ({"dataset": "folder", "mirror": True, "crop": "random"}, ("random", True, None, None)),
    ({"dataset": "mnist"}, (None,) * 4)])
def test_image_settings_default_to_those_of_the_data_set(given, expected):
    config = train_args.resolve_image_settings(DEFAULTS.replace(given)).config
    assert (config.crop, config.mirror, config.fit, config.pad_color) == expected


@pytest.mark.parametrize("given, words", [
    ({"dataset": "mnist", "mirror": False}, "mirror: .* only to --dataset imagenet or folder"),
    ({"dataset": "synthetic", "crop": "none"}, "crop: .* only to --dataset imagenet or folder"),
    ({"dataset": "folder", "fit": "pad"}, "fit: applies only to --crop none"),
    ({"dataset": "folder", "crop": "none", "fit": "stretch", "pad_color": "black"},
     "pad_color: applies only to --crop none with --fit pad")])
def test_image_settings_without_effect_are_rejected(given, words):
    with pytest.raises(ArgumentError, match=words):
        train_args.resolve_image_settings(DEFAULTS.replace(given))


@pytest.mark.parametrize("given, changed, note", [
    ({"disp_batches": 3, "show": False, "lr": 2e-4}, {"disp_batches": 3, "show": False}, None),
    ({"num_epochs": 3}, {"num_epochs": 3, "max_steps": None},
     "--num-epochs 3 replaces --max-steps 12"),
    ({"num_epochs": 100}, {"max_steps": None}, "--num-epochs 100 replaces --max-steps 12"),
    ({"max_steps": 20}, {"max_steps": 20, "num_epochs": None},
     "--max-steps 20 replaces --num-epochs 100"),
    ({"max_steps": 12}, {}, None),
    ({"max_steps": 20, "num_epochs": 3}, {"max_steps": 20, "num_epochs": 3}, None),
    ({"cpu_devices": 2}, {"cpu_devices": 2, "gpu": None},
     "--cpu-devices 2 replaces --gpu 0")])
def test_given_settings_replace_saved_ones(given, changed, note):
    """Of two that exclude each other, the given one replaces the saved one."""
    settings, notes = merge_resume_config(SAVED, given, (), "r")
    assert settings == SAVED.replace({**changed, "run_dir": "r"})
    assert notes == ([note] if note else [])


@pytest.mark.parametrize("given, override, words", [
    ({"lr": 0.1}, (),
     "^lr: 0.1 differs from 0.0002 of the run in r: remove --lr, or add --override lr$"),
    ({"ngf": 8}, (), "^ngf: 8 differs from 64 of the run in r: remove --ngf, or start a new run$"),
    ({"seed": 1}, ("lr",), "^override: lr needs its new value: add --lr"),
    ({}, ("batch_size",), "^override: batch_size needs its new value: add --batch-size")])
def test_settings_that_affect_results_need_an_override(given, override, words):
    with pytest.raises(ValueError, match=words):
        merge_resume_config(SAVED, given, override, "r")
    assert merge_resume_config(SAVED, {"lr": 0.1}, ("lr",), "r")[0].config.lr == 0.1


@pytest.mark.parametrize("given, rates, replaced", [
    ({"lr": 0.1}, (0.1, None, None), "gd"), ({"lr": 0.1, "lr_g": 0.2}, (0.1, 0.2, None), "d")])
def test_a_given_learning_rate_replaces_those_of_both_networks(given, rates, replaced):
    saved = SAVED.replace({"lr_g": 0.01, "lr_d": 0.02})
    settings, notes = merge_resume_config(saved, given, tuple(given), "r")
    assert (settings.config.lr, settings.config.lr_g, settings.config.lr_d) == rates
    assert notes == [f"--lr 0.1 replaces --lr-{name} {getattr(saved.config, f'lr_{name}')}"
                     for name in replaced]
    one = SAVED.replace({"lr_g": 0.01})  # lr is D's
    assert merge_resume_config(one, {"lr": 0.1}, ("lr",), "r") == (
        one.replace({"lr": 0.1, "run_dir": "r"}), [])
    for unused, override in (({"lr": saved.config.lr}, ()),
                             ({"lr": 0.1, "lr_g": 0.2, "lr_d": 0.3}, ("lr", "lr_g", "lr_d"))):
        with pytest.raises(ValueError, match="lr: has no effect beside --lr-g 0"):
            merge_resume_config(saved, unused, override, "r")


FLAGS = st.sampled_from(sorted(map(flag_name, list_fields())))


@settings(max_examples=300, deadline=None)
@given(words=st.lists(st.one_of(FLAGS, VALUES, st.tuples(FLAGS, VALUES).map("=".join)),
                      max_size=6))
def test_any_command_line_gives_settings_or_an_error(words, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.getbasetemp())  # where there are no runs
        try:
            (config, _), *_ = train_args.parse(
                [w for w in words if w != "--show" and not w.startswith(("-h", "--help"))])
        except (ValueError, OSError):
            return
    assert config.dataset in ("mnist", "synthetic") and config.batch_size >= 1 and config.lr > 0
