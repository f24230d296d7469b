import json
import shutil

import cv2
import numpy as np
import pytest

from dcgan_mx.runs import checkpoint


def grid(path):
    return cv2.imread(str(path))[..., ::-1]


@pytest.mark.parametrize("flags, shape", [
    ((), (8 * 16, 8 * 16)), (("--num", 5), (3 * 16, 3 * 16)), (("--num", 1), (16, 16)),
    (("--interpolate", 1, 2, "--steps", 5), (16, 5 * 16)),
    (("--sweep", 3, "--num", 2, "--steps", 4), (2 * 16, 4 * 16)),
    (("--arithmetic", "1,2,3 - 4 + 5,6"), (4 * 16, 4 * 16)),
    (("--bn", "batch", "--num", 3), (2 * 16, 2 * 16))])
def test_sample(flags, shape, run_dir, call, tmp_path):
    out = tmp_path / "o.png"
    done = call("sample", run_dir, "--out", out, *flags)
    assert done.returncode == 0, done.stderr
    assert grid(out).shape == (*shape, 3)
    before = out.read_bytes()
    assert call("sample", checkpoint.list(run_dir)[0], "--out", out, *flags).returncode == 0
    assert out.read_bytes() == before


def test_ends_of_a_walk_and_results_of_sums_are_the_seeds_images(run_dir, call, tmp_path):
    for name, flags in (("a", ("--seed", 7, "--num", 1)), ("b", ("--seed", 8, "--num", 1)),
                        ("walk", ("--interpolate", 7, 8)), ("sum", ("--arithmetic", "7 - 7 + 8"))):
        call("sample", run_dir, "--out", tmp_path / f"{name}.png", *flags)
    a, b, walk, result = (grid(tmp_path / f"{name}.png").astype(int)
                          for name in ("a", "b", "walk", "sum"))
    assert abs(walk[:, :16] - a).max() <= 1 and abs(walk[:, -16:] - b).max() <= 1
    assert abs(result[-16:, -16:] - b).max() <= 1 and abs(a - b).max() > 1


def test_each_image_in_a_file(run_dir, call, tmp_path):
    done = call("sample", run_dir, "--num", 3, "--each", tmp_path / "e", cwd=tmp_path)
    assert done.returncode == 0
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == [
        f"00000{i}.png" for i in range(3)]
    assert [path.name for path in tmp_path.iterdir()] == ["e"]
    call("sample", run_dir, "--num", 3, "--out", tmp_path / "g.png")
    np.testing.assert_array_equal(grid(tmp_path / "e" / "000002.png"),
                                  grid(tmp_path / "g.png")[16:, :16])


@pytest.mark.parametrize("flags, parts", [
    (("--num", 0), ("--num", "0 is out of range")),
    (("--seed", "x"), ("--seed", "'x'")),
    (("--interpolate", 1, "b"), ("--interpolate", "'b'")),
    (("--steps", 1, "--interpolate", 1, 2), ("--steps", "1 is out of range")),
    (("--sweep", 10), ("dimension 10", "0 to 9")),
    (("--arithmetic", "1 +"), ("--arithmetic", "'1 +'", "1,2,3 - 4,5,6")),
    (("--arithmetic", "1", "--sweep", 1), ("--arithmetic: give one",)),
    (("--bn", "none"), ("--bn", "'none'"))])
def test_bad_flags_of_sample(flags, parts, run_dir, call, one_line_error, tmp_path):
    one_line_error(call("sample", run_dir, *flags, cwd=tmp_path), *parts)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_checkpoint(run_dir, call, one_line_error, tmp_path):
    one_line_error(call("sample", tmp_path / "nothing"), "nothing is no folder")
    one_line_error(call("sample", tmp_path), "is no checkpoint, and has none")
    folder = tmp_path / "step-00000005"
    shutil.copytree(checkpoint.list(run_dir)[0], folder)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state))
    one_line_error(call("sample", folder), "state.json is damaged: give another checkpoint")
