import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from skimage import data

from dcgan_mx.data.errors import DatasetError
from dcgan_mx.data.image_files import decode
from dcgan_mx.data.image_sources import Folder, Records, list_files
from dcgan_mx.data.packing import pack
from dcgan_mx.data.recordio import encode_record, scan
from dcgan_mx.system.runtime import mx

PHOTO = data.astronaut()[:300, :400]


def save(path, array=PHOTO, **kwargs):
    Image.fromarray(array).save(path, **kwargs)
    return path


@pytest.fixture(scope="module")
def packed(cut_photographs, tmp_path_factory):
    """A folder of 40 lossless photographs, 256x256, and its record file."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "in").mkdir()
    for n, patch in enumerate(cut_photographs(40, 256)):
        save(folder / "in" / f"{n:02d}.png", patch, compress_level=1)
    assert pack(folder / "in", folder / "out.rec") == (40, [])
    return folder / "in", folder / "out.rec"


@pytest.mark.parametrize("make, words", [
    (lambda p: p.write_text("hello"), "is not an image"),
    (lambda p: p.write_bytes(b""), "is not an image"),
    (lambda p: save(p, PHOTO[:7], format="PNG"), "is too small"),
    (lambda p: p.write_bytes(save(p, format="JPEG").read_bytes()[:5000]), "damaged"),
    (os.mkfifo, "plain file|regular file"),
    (lambda p: p.symlink_to("nowhere"), "No such file"),
    (lambda p: p.symlink_to(".."), "is a folder that was already read")])
def test_other_files_are_skipped_and_listed(make, words, tmp_path):
    folder = tmp_path / "images" / "below"
    folder.mkdir(parents=True)
    save(folder / "good.png")
    make(folder / "bad.jpg")
    n, [(name, reason)] = pack(tmp_path / "images", tmp_path / "out.rec")
    assert (n, name) == (1, "below/bad.jpg") and any(w in reason for w in words.split("|"))
    np.testing.assert_array_equal(scan(tmp_path / "out.rec")[0], [0])


def test_strange_names_and_links_to_folders(tmp_path):
    folder = tmp_path / "in"
    for name in ("a b", "new\nline", "gr\xfc\xdfe", "\u753b", "-rf", "%s", b"\xff".decode(
            "utf-8", "surrogateescape")):
        (folder / name).mkdir(parents=True)
        save(folder / name / f"{name}.png", PHOTO[:32, :32])
    (tmp_path / "elsewhere").mkdir()
    save(tmp_path / "elsewhere" / "a.png")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert pack(folder, tmp_path / "out.rec") == (8, [])


def test_mxnet_reads_every_image_once_by_the_index(packed):
    folder, rec = packed
    reader = mx.recordio.MXIndexedRecordIO(str(rec.with_suffix(".idx")), str(rec), "r")
    images = [mx.recordio.unpack(reader.read_idx(n))[1] for n in reader.keys]
    files = [path.read_bytes() for path in sorted(folder.iterdir())]
    assert sorted(images) == sorted(files) and images != files  # in pseudo-random order


def test_threads_and_other_files_change_no_byte(packed, tmp_path):
    folder, rec = packed
    out = tmp_path / "out.rec"
    (tmp_path / "in").mkdir()
    for path in folder.iterdir():
        os.link(path, tmp_path / "in" / path.name)
    (tmp_path / "in" / ".DS_Store").write_text("hello")
    assert pack(tmp_path / "in", out, threads=7) == (40, [(".DS_Store", "is not an image")])
    assert out.read_bytes() == rec.read_bytes()
    assert out.with_suffix(".idx").read_bytes() == rec.with_suffix(".idx").read_bytes()


def test_errors_leave_existing_files(tmp_path):
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "a.png")
    out = tmp_path / "out.rec"
    out.write_bytes(b"dear")
    with pytest.raises(DatasetError, match="has 1 readable images of 1 files: expected 2 or more"):
        pack(tmp_path / "in", out, min_images=2)
    for name in ("in/out.rec", "o.idx", "in"):
        with pytest.raises(DatasetError, match="is in the folder|invalid record file"):
            pack(tmp_path / "in", tmp_path / name)
    with pytest.raises(DatasetError, match="not a record file"):
        pack(tmp_path / "in" / "a.png", tmp_path / "x.rec")
    with pytest.raises(FileNotFoundError):
        pack(tmp_path / "nothing", out)
    assert sorted(os.listdir(tmp_path)) == ["in", "out.rec"] and out.read_bytes() == b"dear"


def test_a_file_that_vanishes_is_skipped(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png")

    def remove(numbers):
        (tmp_path / "in" / "b.png").unlink()
        return numbers

    assert pack(tmp_path / "in", tmp_path / "o.rec", progress=remove) == (
        1, [("b.png", "No such file or directory")])


def test_links_do_not_multiply_folders(tmp_path):
    """Two links to the next folder in each of 40: 2 ** 40 ways to the last."""
    for i in range(40):
        (tmp_path / f"{i}").mkdir()
        for name in "ab":
            (tmp_path / f"{i}" / name).symlink_to(tmp_path / f"{i + 1}")
    (tmp_path / "40").mkdir()
    save(tmp_path / "40" / "image.png", PHOTO[:32, :32])
    names, skipped = list_files(tmp_path / "0")
    assert len(names) == 1 and len(skipped) == 40


def test_a_record_file_is_packed_in_its_order(packed, tmp_path):
    """Small images of a foreign file are enlarged, damaged ones listed."""
    small, large = (save(tmp_path / f"{n}.png", PHOTO[:n, :n]).read_bytes() for n in (64, 256))
    damaged = bytearray(encode_record(large, 0))
    damaged[40] ^= 4
    foreign = tmp_path / "foreign.rec"
    writer = mx.recordio.MXRecordIO(str(foreign), "w")
    for image in (large, small, b"no image"):
        writer.write(mx.recordio.pack(mx.recordio.IRHeader(0, 7.0, 5, 0), image))
    writer.close()
    foreign.write_bytes(foreign.read_bytes() + damaged + encode_record(large, 4))
    assert pack(foreign, tmp_path / "o.rec", threads=2) == (
        3, [("record 3", "is not an image"), ("record 4", "is damaged: its checksum differs")])
    records = Records(tmp_path / "o.rec")
    images = [records.read(n) for n in range(3)]
    assert images[0] == images[2] == large
    assert decode(images[1]).shape == (256, 256, 3)
    assert pack(packed[1], tmp_path / "again.rec") == (40, [])
    assert (tmp_path / "again.rec").read_bytes() == packed[1].read_bytes()


def test_the_fingerprint_identifies_the_images(tmp_path):
    """Other names in the same order, and other files between them, change nothing."""
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "a.png")
    before = Folder(tmp_path / "in").fingerprint
    (tmp_path / "in" / "a.png").rename(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "a.txt").write_text("hello")
    assert Folder(tmp_path / "in").fingerprint == before
    save(tmp_path / "in" / "b.png", PHOTO[::-1])
    assert Folder(tmp_path / "in").fingerprint != before


# Packs two folders in a process of its own; the peak memory after each, in kB.
MEASURE = """
import resource, sys
from dcgan_mx.data import packing
for folder in sys.argv[1:]:
    n, _ = packing.pack(folder, folder + ".rec", resize=0, threads=2)
    print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """2,000 small images after 300: peak resident memory within 10 %."""
    for n in (300, 2000):
        (tmp_path / str(n)).mkdir()
        first = save(tmp_path / str(n) / "0.png", PHOTO[:16, :16])
        for i in range(1, n):
            os.link(first, tmp_path / str(n) / f"{i}.png")
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path / "300"),
                           str(tmp_path / "2000")], capture_output=True, text=True, check=True)
    few, few_peak, many, many_peak = map(int, done.stdout.split())
    assert (few, many) == (300, 2000) and many_peak < 1.1 * few_peak


def test_a_full_disk_and_a_killed_process_leave_no_files(packed, tmp_path):
    """The file of a killed process is removed by the next packing."""
    folder, out = packed[0], tmp_path / "a[1].rec"
    code = (f"import sys, resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, {10**6}));"
            "from dcgan_mx.data import packing; packing.pack(sys.argv[1], sys.argv[2])")
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(out)],
                          capture_output=True, text=True, check=False)
    assert f"File too large: '{out}'" in done.stderr and os.listdir(tmp_path) == []
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stale, kept = (tmp_path / f".a[1].rec.{pid}.tmp" for pid in (ended.pid, os.getppid()))
    for path in (stale, kept):
        path.touch()
    (tmp_path / "one").mkdir()
    os.link(next(folder.iterdir()), tmp_path / "one" / "a.png")
    pack(tmp_path / "one", out)
    assert not stale.exists() and kept.exists()  # that process is still running
