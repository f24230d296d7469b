import os
import subprocess
import sys

import pytest
from helpers.common import run_code
from PIL import Image
from skimage import data

from dcgan_mx.data.errors import DatasetError
from dcgan_mx.data.image_files import decode
from dcgan_mx.data.image_sources import Folder, Records
from dcgan_mx.data.packing import pack
from dcgan_mx.data.recordio import encode_record, scan
from dcgan_mx.system.runtime import mx

PHOTO = data.astronaut()[:300, :400]


def save(path, array=PHOTO, **kwargs):
    Image.fromarray(array).save(path, **kwargs)
    return path


@pytest.fixture
def folder(tmp_path):
    """An empty folder `in` beside the record file that a test makes."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_all_images_are_packed_and_other_files_are_listed(folder, tmp_path):
    """Images under strange names, and behind links to folders, are packed, too."""
    for name in ("a b", "new\nline", "gr\xfc\xdfe", "\u753b", "-rf", "%s", b"\xff".decode(
            "utf-8", "surrogateescape")):
        (folder / name).mkdir()
        save(folder / name / f"{name}.png", PHOTO[:32, :32])
    (tmp_path / "elsewhere").mkdir()
    image = save(tmp_path / "elsewhere" / "a.jpg")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "-rf" / "1 text.jpg").write_text("hello")
    (folder / "-rf" / "2 empty").touch()
    save(folder / "-rf" / "3 small.png", PHOTO[:7])
    (folder / "-rf" / "4 cut.jpg").write_bytes(image.read_bytes()[:5000])
    os.mkfifo(folder / "-rf" / "5 pipe")
    (folder / "-rf" / "6 broken").symlink_to("nowhere")
    (folder / "-rf" / "7 circle").symlink_to("..")
    n, skipped = pack(folder, tmp_path / "out.rec")
    assert n == 8 == len(scan(tmp_path / "out.rec")[0])
    assert [name[:5] for name, _ in skipped] == [f"-rf/{i}" for i in range(1, 8)]
    for (_, reason), words in zip(skipped, (
            "is not an image", "is not an image", "is too small", "is damaged",
            "not a regular file", "No such file", "is a folder that was already read")):
        assert reason.startswith(words)


def test_mxnet_reads_every_image_once_by_the_index(photo_folder, photo_rec):
    index = photo_rec.with_suffix(".idx")
    reader = mx.recordio.MXIndexedRecordIO(str(index), str(photo_rec), "r")
    images = [mx.recordio.unpack(reader.read_idx(n))[1] for n in reader.keys]
    files = [path.read_bytes() for path in sorted(photo_folder.iterdir())]
    assert sorted(images) == sorted(files) and images != files  # in pseudo-random order


def test_threads_and_other_files_change_no_byte(photo_folder, photo_rec, folder, tmp_path):
    out = tmp_path / "out.rec"
    for path in photo_folder.iterdir():
        os.link(path, folder / path.name)
    (folder / ".DS_Store").write_text("hello")
    assert pack(folder, out, threads=7) == (
        280, [("hidden files or folders", "1, such as .DS_Store")])
    for suffix in (".rec", ".idx"):
        assert out.with_suffix(suffix).read_bytes() == photo_rec.with_suffix(suffix).read_bytes()


def test_errors_leave_existing_files(folder, tmp_path):
    image, out = save(folder / "a.png"), tmp_path / "out.rec"
    out.write_bytes(b"dear")
    for source, name, error, words in (
            (folder, "out.rec", DatasetError, "1 readable images of 1 files: expected 2 or more"),
            (folder, "in/out.rec", DatasetError, "is in the folder"),
            (image, "x.rec", DatasetError, "not a record file"),
            (tmp_path / "nothing", "out.rec", FileNotFoundError, "nothing")):
        with pytest.raises(error, match=words):
            pack(source, tmp_path / name, min_images=2)
    assert sorted(os.listdir(tmp_path)) == ["in", "out.rec"] and out.read_bytes() == b"dear"


def test_a_file_that_vanishes_is_skipped(folder, tmp_path):
    for name in "ab":
        save(folder / f"{name}.png")

    def remove(numbers):
        (folder / "b.png").unlink()
        return numbers

    assert pack(folder, tmp_path / "o.rec", progress=remove) == (
        1, [("b.png", "No such file or directory")])


def test_links_do_not_multiply_folders(tmp_path):
    """Two links to the next folder in each of 40: 2 ** 40 ways to the last."""
    for i in range(40):
        (tmp_path / f"{i}").mkdir()
        for name in "ab":
            (tmp_path / f"{i}" / name).symlink_to(tmp_path / f"{i + 1}")
    (tmp_path / "40").mkdir()
    save(tmp_path / "40" / "image.png", PHOTO[:32, :32])
    images = Folder(tmp_path / "0")
    assert len(images) == 1 and len(images.skipped) == 40


def test_a_record_file_is_packed_in_its_order(photo_rec, tmp_path):
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
    assert records.read(0) == records.read(2) == large
    assert decode(records.read(1)).shape == (256, 256, 3)
    assert pack(photo_rec, tmp_path / "again.rec") == (280, [])
    assert (tmp_path / "again.rec").read_bytes() == photo_rec.read_bytes()


def test_the_fingerprint_identifies_the_images(folder):
    """Other names in the same order, and other files between them, change nothing."""
    save(folder / "a.png")
    before = Folder(folder).fingerprint
    (folder / "a.png").rename(folder / "b.png")
    (folder / "a.txt").write_text("hello")
    assert Folder(folder).fingerprint == before
    save(folder / "b.png", PHOTO[::-1])
    assert Folder(folder).fingerprint != before


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
    done = run_code(MEASURE, tmp_path / "300", tmp_path / "2000")
    few, few_peak, many, many_peak = map(int, done.stdout.split())
    assert (few, many) == (300, 2000) and many_peak < 1.1 * few_peak


def test_a_full_disk_and_a_killed_process_leave_no_files(photo_folder, folder, tmp_path):
    """The file of a killed process is removed by the next packing."""
    out = tmp_path / "a[1].rec"
    code = (f"import sys, resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, {10**6}));"
            "from dcgan_mx.data import packing; packing.pack(sys.argv[1], sys.argv[2])")
    done = run_code(code, photo_folder, out, check=False)
    assert f"File too large: '{out}'" in done.stderr and os.listdir(tmp_path) == ["in"]
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stale, kept = (tmp_path / f".a[1].rec.{pid}.tmp" for pid in (ended.pid, os.getppid()))
    for path in (stale, kept):
        path.touch()
    save(folder / "a.png")
    pack(folder, out)
    assert not stale.exists() and kept.exists()  # that process is still running
