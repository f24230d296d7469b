import numpy as np
import pytest

from dcgan_mx.runs import checkpoint
from dcgan_mx.sampling.generator import Generator, load_generator
from dcgan_mx.sampling.latent import make_latents
from dcgan_mx.visual import read_png, to_pixels


@pytest.mark.parametrize("flags, name, shape", [
    ((), "samples", (8 * 16, 8 * 16)), (("--num-images", 5), "samples", (2 * 16, 3 * 16)),
    (("--num-images", 1), "samples", (16, 16)),
    (("--interpolate", 1, 2, "--steps", 5), "interpolation", (16, 5 * 16)),
    (("--traverse", 3, "--num-images", 2, "--steps", 4), "traverse", (2 * 16, 4 * 16)),
    # rows of 20 pixels, a border of 4, 16 for the signs, 8 before the last image
    (("--arithmetic", "1,2,3 - 4 + 5,6"), "arithmetic", (4 + 4 * 20, 20 + 4 * 20 + 8)),
    (("--captions", "--num-images", 5), "samples", (4 + 2 * 34, 4 + 3 * 20)),
    (("--bn-stats", "batch", "--num-images", 3), "samples", (2 * 16, 2 * 16))])
def test_each_mode_writes_its_default_file(flags, name, shape, run_dir, succeed, tmp_path):
    succeed("sample", run_dir, *flags, cwd=tmp_path)
    out, = tmp_path.iterdir()
    assert out.name == f"{name}.png" and read_png(out).shape == (*shape, 3)
    before = out.read_bytes()
    folder = checkpoint.list_checkpoints(run_dir)[0]
    succeed("sample", folder, "--out", out, *flags)
    assert out.read_bytes() == before


def test_interpolation_and_arithmetic_match_the_images_of_seeds(run_dir, succeed, tmp_path):
    for name, flags in (("a", ("--seed", 7, "--num-images", 1)),
                        ("b", ("--seed", 8, "--num-images", 1)),
                        ("walk", ("--interpolate", 7, 8)), ("sum", ("--arithmetic", "7 - 7 + 8"))):
        succeed("sample", run_dir, "--out", tmp_path / f"{name}.png", *flags)
    a, b, walk, result = (read_png(tmp_path / f"{name}.png").astype(int)
                          for name in ("a", "b", "walk", "sum"))
    assert abs(walk[:, :16] - a).max() <= 1 and abs(walk[:, -16:] - b).max() <= 1
    assert abs(result[-20:-4, -20:-4] - b).max() <= 1 and abs(a - b).max() > 1


def test_arithmetic_has_signs_captions_and_a_white_background(run_dir, call, tmp_path):
    for name, flags in (("signs", ("--arithmetic", "1,2,3 - 4")),
                        ("plain", ("--interpolate", 7, 8, "--steps", 3)),
                        ("captions", ("--interpolate", 7, 8, "--steps", 3, "--captions"))):
        call("sample", run_dir, *flags, "--out", tmp_path / f"{name}.png")
    figure, plain, written = (read_png(tmp_path / f"{name}.png")
                              for name in ("signs", "plain", "captions"))
    assert (figure[24:40, 40:80] == 255).all()  # the second and third place of the second row
    signs = figure[:, 4:16]
    assert [bool((signs[4 + 20 * r:20 + 20 * r] < 128).any()) for r in range(3)] == [
        False, True, True]
    for i in range(3):
        np.testing.assert_array_equal(written[4:20, 4 + 20 * i:20 + 20 * i],
                                      plain[:, 16 * i:16 * (i + 1)])
    assert (written[21:] < 128).any(axis=(0, 2)).sum() > 20


def test_out_dir_contains_one_file_per_image(run_dir, call, succeed, one_line_error, tmp_path):
    succeed("sample", run_dir, "--num-images", 3, "--out-dir", tmp_path / "e", cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == [
        f"00000{i}.png" for i in range(3)]
    assert [path.name for path in tmp_path.iterdir()] == ["e"]
    succeed("sample", run_dir, "--num-images", 3, "--out", tmp_path / "g.png")
    np.testing.assert_array_equal(read_png(tmp_path / "e" / "000002.png"),
                                  read_png(tmp_path / "g.png")[16:, :16])
    again = ("sample", run_dir, "--num-images", 2, "--out-dir", tmp_path / "e")
    one_line_error(call(*again), "--out-dir: ", "contains 3 images", "--force")
    (tmp_path / "e" / "mine.png").touch()
    succeed(*again, "--force")
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == [
        "000000.png", "000001.png", "mine.png"]


def test_out_dir_is_written_batch_by_batch(run_dir, succeed, tmp_path, monkeypatch):
    expected = to_pixels(load_generator(run_dir, bn_stats="batch")[0].generate(
        make_latents(130, 10)))
    generate, written = Generator.generate, []

    def count(self, z):
        written.append(len([*tmp_path.iterdir()]))
        return generate(self, z)

    monkeypatch.setattr(Generator, "generate", count)
    done = succeed("sample", run_dir, "--num-images", 130, "--out-dir", tmp_path,
                   "--bn-stats", "batch")
    assert len(written) == 3 and "130/130" in done.stderr
    images = [read_png(tmp_path / f"{i:06d}.png") for i in range(130)]
    np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("flags, parts", [
    (("--num-images", 0), ("--num-images: invalid value '0'",)),
    (("--interpolate", 1, "b"), ("--interpolate", "'b'")),
    (("--steps", 1, "--interpolate", 1, 2), ("--steps: invalid value '1'",)),
    (("--traverse", 10), ("10", "9")),
    (("--arithmetic", "1 +"), ("--arithmetic", "'1 +'", "1,2,3 - 4,5,6")),
    (("--arithmetic", "1", "--traverse", 1), ("--traverse: not allowed with", "--arithmetic")),
    (("--interpolate", 1, 2, "--num-images", 3),
     ("--num-images: has no effect with --interpolate",)),
    (("--arithmetic", "1", "--steps", 3), ("--steps: has no effect with --arithmetic",)),
    (("--steps", 3), ("--steps: has no effect without --interpolate or --traverse",)),
    (("--out-dir", "e", "--out", "o.png"), ("--out: conflicts with --out-dir",)),
    (("--out-dir", "e", "--captions"), ("--captions: conflicts with --out-dir",)),
    (("--out-dir", ""), ("--out-dir: empty path",)), (("--out", ""), ("--out: empty path",)),
    (("--force",), ("--force: has no effect without --out-dir",)),
    (("--out", "o.gif"), ("o.gif", ".png, .jpg, .jpeg, .webp"))])
def test_invalid_flags_of_sample(flags, parts, run_dir, call, one_line_error, tmp_path):
    one_line_error(call("sample", run_dir, *flags, cwd=tmp_path), *parts)
    assert list(tmp_path.iterdir()) == []


def test_invalid_checkpoint(call, one_line_error, tmp_path):
    one_line_error(call("sample", tmp_path / "nothing"), "nothing does not exist: give a run ")
    one_line_error(call("sample", __file__), f"{__file__} is not a directory or a model: give ")
    one_line_error(call("sample", tmp_path), "has no checkpoint")
