"""`pack`, and training on folders and record files."""
import os
import shutil

import cv2
import numpy as np
import pytest
from helpers.small import PHOTOS, assert_same_arrays, final
from PIL import Image

from dcgan_mx import FolderIter
from dcgan_mx.data import recordio
from dcgan_mx.iterators import RANDOM_CROP
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.config import DEFAULTS
from dcgan_mx.runs.run import Run
from dcgan_mx.visual import make_grid, read_png
from tools.common import read_numbers


def test_folder_training_skips_other_files_and_resumes(photo_folder, succeed, train, tmp_path):
    """Skipped files are listed, the resumed run is bit-identical, and colours are right."""
    folder = tmp_path / "my pictures"
    folder.mkdir()
    for path in photo_folder.iterdir():
        os.link(path, folder / path.name)
    (folder / "no\nimage.jpg").write_text("hello")
    (folder / ".\x1b[2J").touch()
    command = ("--dataset", "folder", "--data-path", folder, *PHOTOS)
    done = succeed("train", *command, "--max-steps", 4, "--run-dir", tmp_path / "a")
    assert done.stderr.count("skipped: no\\nimage.jpg: ") == 1
    assert "skipped: hidden files or folders: 1, such as .\\x1b[2J\n" in done.stderr
    train(*command, "--max-steps", 2, "--run-dir", tmp_path / "b")
    train("--resume", "--run-dir", tmp_path / "b", "--max-steps", 4)
    assert_same_arrays(final(tmp_path / "a"), final(tmp_path / "b"))
    assert read_numbers(tmp_path / "a") == read_numbers(tmp_path / "b")
    grid = cv2.imread(str(tmp_path / "a" / "grids" / "data-00000002.png"))[..., ::-1]
    means = grid.reshape(-1, 3).mean(0)
    sources = [cv2.imread(str(path))[..., ::-1].reshape(-1, 3).mean(0)
               for path in photo_folder.iterdir()]
    np.testing.assert_allclose(means, np.mean(sources, 0), atol=20)
    assert means[0] > means[1] + 10 > means[2] + 12  # the photographs are more red than blue


@pytest.mark.parametrize("flags, options", [
    ((), {}), (("--crop", "random", "--mirror"), {"crop": RANDOM_CROP, "mirror": True}),
    (("--crop", "none", "--pad-color", "black", "--batch-size", 99, "--nc", 1),
     {"crop": "none", "pad_color": "black"})])
def test_preview_shows_the_first_images_of_the_training(flags, options, cut_photographs,
                                                        succeed, tmp_path):
    (tmp_path / "in").mkdir()
    for i, patch in enumerate(cut_photographs(100, 64)):
        Image.fromarray(patch[:48]).save(tmp_path / "in" / f"{i}.png")
    done = succeed("train", "--dataset", "folder", "--data-path", "in", *PHOTOS, *flags,
                   "--preview", "p.png", cwd=tmp_path)
    assert done.stdout == "p.png: 64 of 100 training images\n"
    assert sorted(os.listdir(tmp_path)) == ["in", "p.png"]  # no run
    size, nc = (99, 1) if "--nc" in flags else (64, 3)
    batches = FolderIter(tmp_path / "in", size, (nc, 32, 32), DEFAULTS.config.seed, **options)
    expected = batches.next().data[0].asnumpy()[:64]
    np.testing.assert_array_equal(read_png(tmp_path / "p.png"), make_grid(expected))


def test_small_sets_are_previewed_whole_and_need_a_fitting_batch_size(
        photo_folder, call, succeed, one_line_error, tmp_path):
    (tmp_path / "few").mkdir()
    for path in sorted(photo_folder.iterdir())[:5]:
        os.link(path, tmp_path / "few" / path.name)
    command = ("train", "--dataset", "folder", "--data-path", tmp_path / "few", "--preview")
    done = succeed(*command, tmp_path / "p.png")
    assert done.stdout.endswith(": 5 training images\n")
    one_line_error(call(*command[:-1]), "few has 5 images, but a batch needs 64: use --batch-size "
                   "5, or add images")
    one_line_error(call(*command, tmp_path / "p.pdf"), "p.pdf: invalid extension: expected .png")


def test_resume_rejects_changed_images(photo_rec, call, succeed, one_line_error, tmp_path):
    rec = tmp_path / "a.rec"
    rec.write_bytes(photo_rec.read_bytes())
    command = ("--dataset", "imagenet", "--data-path", rec, *PHOTOS, "--batch-size", 16,
               "--run-dir", tmp_path / "run")
    succeed("train", *command, "--max-steps", 1)
    offsets, *_ = recordio.scan(rec)
    rec.write_bytes(photo_rec.read_bytes()[:offsets[200]])
    one_line_error(call("train", *command, "--resume"), rec, "200", "280", "data-path")
    done = succeed("train", *command, "--resume", "--override", "data-path", "--max-steps", 3)
    assert "warning: --override data_path: " in done.stderr
    assert "finished: step 3 of 3" in done.stdout
    # as if killed before it was written
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000003")
    done = succeed("train", "--resume", "--run-dir", tmp_path / "run", "--max-steps", 4)
    assert "data_path" not in done.stderr
    assert checkpoint.verify(tmp_path / "run" / "checkpoints" / "step-00000004")["nbatch"] == 3


def test_damaged_images_are_skipped_but_not_a_hundred_in_a_row(photo_rec, call, succeed, tmp_path):
    """The run that ends is saved, and resumes once the images are readable."""
    rec, run_dir = tmp_path / "a.rec", tmp_path / "run"
    bad = [recordio.encode_record(b"\xff\xd8\xff damaged", n) for n in range(101)]
    rec.write_bytes(photo_rec.read_bytes() + b"".join(bad[:1]))
    command = ("train", "--dataset", "imagenet", "--data-path", rec, *PHOTOS, "--batch-size", 16)
    done = succeed(*command, "--num-epochs", 2, "--run-dir", tmp_path / "one")
    assert done.stderr.count("record 281") == 1
    rec.write_bytes(photo_rec.read_bytes() + b"".join(bad))
    done = call(*command, "--run-dir", run_dir, "--seed", 1)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert last.startswith(f"error: {rec}: 100 images in a row")
    folder, = (run_dir / "checkpoints").glob("step-*")
    step = int(folder.name[5:])
    assert step == Run(run_dir).read_log()[-1]["step"] > 1
    assert f"; saved in {folder}\n" in done.stdout
    rec.write_bytes(photo_rec.read_bytes())
    succeed("train", "--resume", "--run-dir", run_dir, "--data-path", rec, "--override",
            "data-path", "--max-steps", step + 2)


def test_pack_writes_the_file_and_replaces_it_with_force(photo_rec, succeed, tmp_path):
    """Images that need no scaling are copied byte for byte."""
    out = tmp_path / "o ut.rec"
    for flags in ((), ("--force", "--threads", 3)):
        done = succeed("pack", photo_rec, out, *flags)
        assert done.stdout == f"{out}: 280 images; skipped: 0\n"
        assert out.read_bytes() == photo_rec.read_bytes()


@pytest.mark.parametrize("flags, parts", [
    (("--dataset", "folder"), ("--data-path: missing: --dataset folder needs a folder or an",)),
    (("--dataset", "imagenet"), ("--data-path: missing", "record file")),
    (("--dataset", "imagenet", "--data-path", "nothing.rec"), ("nothing.rec", "No such file")),
    (("--dataset", "imagenet", "--data-path", "cut.rec"), ("cut.rec", "record 5")),
    (("--dataset", "imagenet", "--data-path", "few.rec"), ("few.rec", "5 images", "64")),
    (("--dataset", "folder", "--data-path", "nothing"), ("nothing", "No such file")),
    (("--dataset", "synthetic", "--data-path", "photos"),
     ("--data-path: has no effect with --dataset synthetic",)),
    (("--dataset", "folder", "--data-path", "few.rec"),
     ("--dataset: invalid value 'folder': few.rec is a record file: use imagenet",)),
    (("--dataset", "mnist", "--data-path", "few.rec"), ("few.rec is a record file: use imagenet",)),
    (("--dataset", "mnist", "--data-path", "photos"), ("photos is a folder: use folder",)),
    (("--dataset", "imagenet", "--data-path", "empty"), ("empty is a folder: use folder",)),
    (("--dataset", "imagenet", "--data-path", "a.zip"), ("a.zip is a ZIP archive: use folder",)),
    (("--dataset", "folder", "--data-path", "a.txt"),
     ("a.txt is not a folder or an archive: expected a folder, .zip, .tar, .tar.gz, .tar.bz2",)),
    (("--dataset", "folder", "--data-path", "empty"), ("empty", "0 images", "64"))])
def test_invalid_images_are_one_line(flags, parts, photo_rec, call, one_line_error, tmp_path):
    offsets, *_ = recordio.scan(photo_rec)
    (tmp_path / "few.rec").write_bytes(photo_rec.read_bytes()[:offsets[5]])
    (tmp_path / "cut.rec").write_bytes(photo_rec.read_bytes()[:offsets[5] - 4])
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    (tmp_path / "photos" / "cats" / "1.JPG").touch()
    (tmp_path / "a.zip").write_bytes(b"PK\5\6".ljust(22, b"\0"))
    (tmp_path / "a.txt").write_text("hello")
    one_line_error(call("train", *flags, cwd=tmp_path), *parts)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("flags, name", [
    ((), "--run-dir: runs/new is"), (("--run-dir", "b/run"), "--run-dir: b/run is"),
    (("--preview", "p.png"), "--preview: p.png is")])
def test_no_image_is_written_into_the_folder_of_the_images(flags, name, call, one_line_error,
                                                           tmp_path):
    (tmp_path / "b").mkdir()
    one_line_error(call("train", "--dataset", "folder", "--data-path", ".", *flags, cwd=tmp_path),
                   f"{name} in the folder of the training images, ., and would add images")
    assert os.listdir(tmp_path) == ["b"] and os.listdir(tmp_path / "b") == []


@pytest.mark.parametrize("args, parts", [
    (("empty", "o.rec"), ("empty", "0 readable images")),
    (("empty", "o.zip"), ("OUT.rec: invalid name 'o.zip'", "NAME.rec")),
    (("empty", "there.rec"), ("error: there.rec exists: choose another name", "--force")),
    (("empty", "index.rec"), ("index.idx exists", "--force")),
    (("empty", "o.rec", "--quality", 101), ("--quality: invalid value '101'", "<= 100")),
    (("empty",), ("OUT.rec",))])
def test_invalid_arguments_of_pack(args, parts, call, one_line_error, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("there.rec", "index.idx"):
        (tmp_path / name).write_text("dear")
    one_line_error(call("pack", *args, cwd=tmp_path), *parts)
    assert sorted(os.listdir(tmp_path)) == ["empty", "index.idx", "there.rec"]
    assert os.listdir(tmp_path / "empty") == []
    assert {(tmp_path / name).read_text() for name in ("there.rec", "index.idx")} == {"dear"}
