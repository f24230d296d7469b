import dataclasses
from types import SimpleNamespace

from dcgan_mx.cli.run_training import find_preset, record_result
from dcgan_mx.runs.config import PRESETS, TrainConfig
from dcgan_mx.runs.run import Run


def test_long_error_is_recorded_in_one_line(tmp_path):
    for message, detail in (("x" * 200_000, "x" * 2000 + "..."), ("", "RuntimeError"),
                            ("no memory\nStack trace:\n  [bt] (0) f\n", "no memory")):
        record_result(Run(tmp_path), SimpleNamespace(result=RuntimeError(message), global_step=5,
                                                     epoch=0))
        assert Run(tmp_path).read_result() == ("error", 5, 0, detail)


def test_warnings_suggest_a_preset_only_if_it_changes_something():
    digits = TrainConfig(**PRESETS["digits"], batch_size=32)
    assert find_preset(TrainConfig(dataset="mnist")) == "digits"
    assert find_preset(dataclasses.replace(digits, lr_d=2e-4)) == "digits"
    assert find_preset(digits) is None
    assert find_preset(TrainConfig(dataset="folder")) == "images"
    assert find_preset(TrainConfig(**PRESETS["images"], mirror=True)) is None
    assert find_preset(TrainConfig(dataset="imagenet")) is None
