import io
import os
import re
import resource
import struct
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.common import run_code
from PIL import Image

from dcgan_mx import FolderIter
from dcgan_mx.data import file_stores
from dcgan_mx.data.errors import DatasetError
from dcgan_mx.data.image_sources import Folder
from dcgan_mx.data.packing import pack


def encode(n, side=24):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(n).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


IMAGES = {"a.png": encode(0), "b/c d.png": encode(1), "b/\xfc.png": encode(2), "e": encode(3)}


def make_zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("b/", b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path, files, mode="w", **options):
    with tarfile.open(path, mode, **options) as archive:
        archive.addfile(make_member("b", tarfile.DIRTYPE))
        for name, content in files.items():
            archive.addfile(make_member(name, size=len(content)), io.BytesIO(content))
    return path


def make_member(name, kind=tarfile.REGTYPE, **fields):
    member = tarfile.TarInfo(name)
    member.type = kind
    for field, value in fields.items():
        setattr(member, field, value)
    return member


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "b").mkdir(parents=True)
    for name, content in IMAGES.items():
        (tmp_path / "in" / name).write_bytes(content)
    return tmp_path / "in"


ARCHIVES = {
    "stored.zip": lambda path: make_zip(path, IMAGES, zipfile.ZIP_STORED),
    "deflated.zip": lambda path: make_zip(path, IMAGES),
    "zip, whatever its name": lambda path: make_zip(path, IMAGES),
    "pax.tar": lambda path: make_tar(path, IMAGES, format=tarfile.PAX_FORMAT),
    "gnu.tar": lambda path: make_tar(path, IMAGES, format=tarfile.GNU_FORMAT),
    "a.tar.gz": lambda path: make_tar(path, {f"./{name}": IMAGES[name] for name in IMAGES}, "w:gz"),
    "a.tgz": lambda path: make_tar(path, IMAGES, "w:gz"),
    "a.tar.bz2": lambda path: make_tar(path, IMAGES, "w:bz2"),
    "a.tar.xz": lambda path: make_tar(path, IMAGES, "w:xz"),
    "with its folder.zip": lambda path: make_zip(path, {
        f"in/{name}": content for name, content in IMAGES.items()})}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_equals_its_folder(name, folder, tmp_path):
    """The same batches, the same fingerprint and the same record file; nothing is unpacked."""
    path = ARCHIVES[name](tmp_path / name)
    ours, expected = (FolderIter(source, 2, (3, 16, 16), threads=3) for source in (path, folder))
    assert ours.fingerprint == expected.fingerprint and ours.skipped == []
    for first, second in zip(ours, expected):
        np.testing.assert_array_equal(first.data[0].asnumpy(), second.data[0].asnumpy())
    assert ours.num_batches == 2
    for source, out in ((path, "a.rec"), (folder, "b.rec")):
        assert pack(source, tmp_path / out, threads=2) == (4, [])
    assert (tmp_path / "a.rec").read_bytes() == (tmp_path / "b.rec").read_bytes()
    assert sorted(os.listdir(tmp_path)) == sorted(
        [name, "a.idx", "a.rec", "b.idx", "b.rec", "in"])


HIDDEN = (".a.png", ".ipynb_checkpoints/a.png", "x/@eaDir/a.png", "__MACOSX/x/._a.png")


@pytest.mark.parametrize("make", [make_zip, make_tar, None])
def test_hidden_files_are_counted_in_one_line(make, folder, tmp_path):
    """Names that begin with ./ are not hidden, nor is a folder that is named by the user."""
    path = tmp_path / ".archive"
    if make:
        make(path, {**IMAGES, **dict.fromkeys(HIDDEN, IMAGES["e"]), "./.../f.png": b"",
                    "./f.png": IMAGES["e"]})
    else:
        folder.rename(path)
        for name in (*HIDDEN, ".../f.png"):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(IMAGES["e"])
        (path / "f.png").write_bytes(IMAGES["e"])
    images = Folder(path)
    assert len(images) == 5
    (name, reason), = images.skipped
    assert name == "hidden files or folders" and reason.startswith("5, such as .")


def test_members_of_a_tar_archive_that_are_not_files(tmp_path):
    """Names outside of the archive are only names; a hard link is its file."""
    make_tar(tmp_path / "a.tar", {"/etc/a.png": encode(0), "../../b.png": encode(1), "c": b"text",
                                  "twice.png": b"older"})
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        for member in (make_member("pipe", tarfile.FIFOTYPE), make_member("disk", tarfile.BLKTYPE),
                       make_member("link.png", tarfile.SYMTYPE, linkname="/etc/passwd"),
                       make_member("hard.png", tarfile.LNKTYPE, linkname="/etc/a.png"),
                       make_member("lost.png", tarfile.LNKTYPE, linkname="nowhere")):
            archive.addfile(member)
        archive.addfile(make_member("twice.png", size=len(encode(2))), io.BytesIO(encode(2)))
    images = Folder(tmp_path / "a.tar")
    assert {images.name(n): images.read(n) for n in range(len(images))} == {
        "/etc/a.png": encode(0), "hard.png": encode(0), "../../b.png": encode(1),
        "twice.png": encode(2)}
    assert sorted(images.skipped) == [
        ("c", "is not an image"), *((name, "is not a regular file") for name in (
            "disk", "link.png", "lost.png", "pipe"))]


def test_members_of_a_zip_archive_that_cannot_be_read(tmp_path):
    path = make_zip(tmp_path / "a.zip", {name: encode(0, n) for n, name in enumerate(
        ("../good.png", "secret.png", "strange.png", "wrong.png"), 60)}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    secret, strange = (raw.rindex(b"PK\1\2", 0, raw.rindex(name)) for name in (
        b"secret", b"strange"))
    raw[secret + 8] |= 1  # the flag of an encrypted file
    raw[strange + 10] = 99  # the number of the compression
    raw[raw.index(encode(0, 63)) + 5000] ^= 1  # not in the head, which is read first
    path.write_bytes(raw)
    images = Folder(path)
    assert len(images) == 2
    assert [(name, reason.split(":")[0]) for name, reason in sorted(images.skipped)] == [
        ("secret.png", "is encrypted"),
        ("strange.png", "is compressed by another method than deflate")]
    assert pack(path, tmp_path / "a.rec") == (1, sorted([
        *images.skipped, ("wrong.png", "is damaged: Bad CRC-32 for file 'wrong.png'")]))


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_names_of_archives_do_not_depend_on_the_locale(name, tmp_path):
    make = {"a.zip": make_zip, "a.tar": make_tar}[name]
    path = make(tmp_path / name, {**IMAGES, "日本.png": encode(4)})
    code = ("import sys; from dcgan_mx.data.image_sources import Folder\n"
            "source = Folder(sys.argv[1])\n"
            "print(ascii([source.name(n) for n in range(len(source))]), source.fingerprint)")
    results = [run_code(code, path, env={**os.environ, **locale}).stdout for locale in (
        {"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})]
    assert results[0] == results[1] and "u65e5" in results[0]


def test_threads_read_the_same_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for n in range(2000):
            archive.writestr(str(n), str(n) * 100)
    files = file_stores.ZipFiles(tmp_path / "a.zip")
    with ThreadPoolExecutor(16) as pool:
        for n, (content, size) in enumerate(pool.map(lambda name: files.read(name, 1000),
                                                     map(str, range(2000)))):
            assert content.decode() == str(n) * 100 and size == len(content)


def test_bombs_in_archives_are_refused(tmp_path, monkeypatch):
    """8 MiB of zeros that pretend to be an image; the size in a ZIP archive's header may lie."""
    for name in ("_MAX_GROWTH", "_MAX_MEMBER_GROWTH"):
        monkeypatch.setattr(file_stores, name, 1 << 20)
    bomb = encode(0)[:8] + bytes(8 << 20)
    path = make_zip(tmp_path / "a.zip", {"bomb.png": bomb, "good.png": encode(1), "lie.png": bomb})
    raw = bytearray(path.read_bytes())
    lie = raw.rindex(b"PK\1\2", 0, raw.rindex(b"lie.png"))
    raw[lie + 20:lie + 24] = struct.pack("<I", 8 << 20)  # the compressed size
    path.write_bytes(raw)
    count, ((bomb_name, reason), (lie_name, lie_reason)) = pack(path, tmp_path / "a.rec")
    assert (count, bomb_name, lie_name) == (1, "bomb.png", "lie.png")
    assert reason == "is 7 MiB larger than its compressed form: unpack it"
    assert lie_reason == reason or "Overlapped entries" in lie_reason  # newer Pythons notice it
    for kind in ("gz", "bz2", "xz"):
        make_tar(tmp_path / "a", {"a.png": bomb}, f"w:{kind}")
        with pytest.raises(DatasetError, match="a: its content is more than 1 MiB larger than the "
                           "archive: decompress it"):
            Folder(tmp_path / "a")
    monkeypatch.setattr(file_stores, "_MAX_UNPACKED", 1 << 20)
    with pytest.raises(DatasetError, match="a: its content is larger than 1 GiB: decompress it"):
        Folder(tmp_path / "a")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_of_zip_archives_without_a_limit_are_refused(method, tmp_path):
    """Python decompresses each 4 kB of them at once, whatever comes out."""
    path = make_zip(tmp_path / "a.zip", {"bomb.png": encode(0) + bytes(1 << 25)}, method)
    make_zip(tmp_path / "b.zip", IMAGES, method)
    assert path.stat().st_size < 1 << 14
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for archive, name in (("a.zip", "bomb.png"), ("b.zip", "a.png")):
        with pytest.raises(ValueError, match="another method than deflate: use deflate"):
            file_stores.open_files(tmp_path / archive).read(name, 4096)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 14  # KiB


def test_a_negative_size_in_a_tar_archive(tmp_path):
    """Python before 3.11.14 reads the header before it again, forever."""
    header = bytearray(make_member("a.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" + (256**11 - 512).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(make_member("b.png").tobuf() + header + bytes(10_240))
    with pytest.raises(DatasetError, match="a.tar is not an archive, or damaged"):
        Folder(tmp_path / "a.tar")


@pytest.mark.parametrize("name", ["deflated.zip", "pax.tar", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_damaged_archives_are_data_errors(name, tmp_path):
    path = ARCHIVES[name](tmp_path / name)
    raw = path.read_bytes()
    for cut in (4, len(raw) // 2):
        path.write_bytes(raw[:cut])
        with pytest.raises(DatasetError, match=name):
            FolderIter(path, 4)


def test_deeply_chained_headers_of_a_tar_archive(tmp_path):
    chain = b"".join(make_member("x", b"L", size=2).tobuf() + b"y".ljust(512, b"\0")
                     for _ in range(3000))
    (tmp_path / "a.tar").write_bytes(chain)
    with pytest.raises(DatasetError, match="a.tar is not an archive, or damaged"):
        Folder(tmp_path / "a.tar")


def test_archives_that_are_cut_off_while_they_are_read(tmp_path):
    """Each image is larger than a buffer of Python, which could still have the rest."""
    size = len(encode(0, 300))
    for make, expected in ((make_tar, "is cut off"), (make_zip, r"is damaged: \S+")):
        path = make(tmp_path / "a", {f"{n}.png": encode(n, 300) for n in range(3)})

        def cut(numbers, path=path):
            os.truncate(path, size + 1700)
            return numbers
        n, skipped = pack(path, tmp_path / "a.rec", progress=cut)
        assert n == 1 and len(skipped) == 2
        assert all(re.match(expected, reason) for _, reason in skipped)


def test_a_name_without_a_character_and_a_size_beyond_the_file(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"x.png": encode(0)})
    path.write_bytes(path.read_bytes().replace(b"x.png", b"\0.png"))  # it ends at the zero byte
    assert len(Folder(path)) == 1
    header = make_member("a.png", size=1 << 62).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(header + encode(0))
    with pytest.raises(DatasetError, match="a.tar is not an archive, or damaged"):
        Folder(tmp_path / "a.tar")
