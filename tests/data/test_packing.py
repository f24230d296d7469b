import os
import resource
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from dcgan_mx.data import encoding, records
from dcgan_mx.data.pack_cache import pack_cached
from dcgan_mx.data.packing import PackingError, list_files, pack
from dcgan_mx.machine.runtime import mx

PHOTO = data.astronaut()[:300, :400]


def encode(path, resize=256):
    with open(path, "rb") as f:
        return encoding.encode(f, resize)


def decode(picture):
    """What MXNet's reader will see: OpenCV's pixels, in RGB."""
    return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def save(path, array=PHOTO, **kwargs):
    Image.fromarray(array).save(path, **kwargs)
    return path


def png_header(width, height):
    """A PNG file that promises a picture, and has none."""
    chunk = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
            + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT")


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "tiff", "ppm"])
def test_lossless_pictures_keep_their_pixels(ending, tmp_path):
    path = save(tmp_path / f"a.{ending}", **({"lossless": True} if ending == "webp" else {}))
    np.testing.assert_array_equal(decode(encode(path, resize=0)), PHOTO)
    np.testing.assert_array_equal(decode(encode(path, resize=300)), PHOTO)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_picture_that_needs_no_change_goes_in_byte_for_byte(ending, tmp_path):
    path = save(tmp_path / f"a.{ending}")
    assert encode(path, resize=300) == path.read_bytes()
    grey = save(tmp_path / f"b.{ending}", PHOTO[..., 0])
    assert encode(grey, resize=0) == grey.read_bytes()


def test_alpha_is_laid_on_white(tmp_path):
    alpha = np.linspace(0, 255, 400).astype(np.uint8)[None].repeat(300, 0)
    seen = decode(encode(save(tmp_path / "a.png", np.dstack([PHOTO, alpha])), resize=0))
    share = alpha[..., None] / 255
    assert abs(seen - (PHOTO * share + 255 * (1 - share))).max() <= 1
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((3, 4), 0)
    palette.save(tmp_path / "p.png", transparency=1)
    seen = decode(encode(tmp_path / "p.png", resize=0))
    assert (seen[4, 3] == [255, 0, 0]).all() and (seen[0, 0] == 255).all()


def test_16_bits_keep_their_upper_8(tmp_path):
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for ending in ("png", "tiff"):
        seen = decode(encode(save(tmp_path / f"a.{ending}", deep), resize=0))
        np.testing.assert_array_equal(seen, (deep >> 8)[..., None].repeat(3, 2))


def test_bits_cmyk_and_the_first_frame_of_a_gif(tmp_path):
    Image.fromarray(PHOTO).convert("1").save(tmp_path / "one.png")
    assert set(np.unique(decode(encode(tmp_path / "one.png", 0)))) == {0, 255}
    Image.new("CMYK", (64, 64), (255, 0, 0, 0)).save(tmp_path / "c.jpg", quality=100)
    assert abs(decode(encode(tmp_path / "c.jpg", 0)).astype(int) - [0, 255, 255]).max() <= 3
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    frames[0].save(tmp_path / "g.gif", save_all=True, append_images=frames[1:])
    assert (decode(encode(tmp_path / "g.gif", 0)) == [255, 0, 0]).all()


@pytest.mark.parametrize("orientation, turn", [
    (1, lambda a: a), (2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (4, np.flipud),
    (5, lambda a: a.swapaxes(0, 1)), (6, lambda a: np.rot90(a, -1)),
    (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)), (8, np.rot90)])
def test_exif_rotation_is_honoured(orientation, turn, tmp_path):
    """Source of the eight: Exif 2.3, tag 0x0112."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = decode(encode(save(tmp_path / "a.png", exif=exif), resize=0))
    np.testing.assert_array_equal(seen, turn(PHOTO))
    scaled = decode(encode(save(tmp_path / "a.jpg", exif=exif), resize=75)).astype(int)
    upright = np.asarray(Image.fromarray(turn(PHOTO)).resize(scaled.shape[1::-1]))
    assert min(scaled.shape[:2]) == 75 and abs(scaled - upright).mean() < 10


@pytest.mark.parametrize("shape", [(1200, 1600), (1600, 1200), (300, 290), (28, 90), (256, 999)])
def test_the_shorter_side_is_scaled(shape, tmp_path):
    path = save(tmp_path / "a.jpg", np.asarray(Image.fromarray(PHOTO).resize(shape[::-1])))
    seen = decode(encode(path, resize=256))
    assert min(seen.shape[:2]) == 256
    assert max(seen.shape[:2]) == round(256 / min(shape) * max(shape))
    # Colours stay where they are: the mean of each quarter of the rows.
    expected = decode(path.read_bytes())
    for a, b in zip(np.array_split(seen, 4), np.array_split(expected, 4)):
        np.testing.assert_allclose(a.mean((0, 1)), b.mean((0, 1)), atol=8)


@pytest.mark.parametrize("make, words", [
    (lambda p: p.write_text("hello"), "is no picture"),
    (lambda p: p.write_bytes(b""), "is no picture"),
    (lambda p: save(p, PHOTO[:1, :1], format="PNG"), "is too small: 1x1 pixels"),
    (lambda p: save(p, PHOTO[:7], format="PNG"), "is too small: 400x7 pixels"),
    (lambda p: save(p, PHOTO[:8], format="PNG"), "is too narrow: 400x8 pixels"),
    (lambda p: p.write_bytes(png_header(30000, 30000)), "pixels"),
    (lambda p: p.write_bytes(png_header(12000, 12000)), "is too large: 12000x12000 pixels"),
    (lambda p: p.write_bytes(png_header(100, 100)), "damaged"),
    (lambda p: p.write_bytes(save(p, format="PNG").read_bytes()[:20000]), "damaged"),
    (lambda p: p.write_bytes(save(p, format="JPEG").read_bytes()[:5000]), "damaged"),
    (lambda p: Image.fromarray(PHOTO[..., 0] / 1).convert("F").save(p, "TIFF"), "floating-point"),
    (os.mkfifo, "is no plain file"),
    (lambda p: p.symlink_to("nowhere"), "No such file"),
    (lambda p: p.symlink_to(".."), "is a folder that was read already"),
    (lambda p: Image.fromarray(np.full((16, 16), 200, np.int32)).save(p, "TIFF"), "32-bit")])
def test_what_cannot_be_packed_is_listed(make, words, tmp_path):
    folder = tmp_path / "pictures" / "below"
    folder.mkdir(parents=True)
    save(folder / "good.png")
    make(folder / "bad.jpg")
    n, skipped = pack(tmp_path / "pictures", tmp_path / "out.rec")
    (name, reason), = skipped
    assert (n, name) == (1, "below/bad.jpg") and words in reason
    np.testing.assert_array_equal(records.scan(tmp_path / "out.rec")[0], [0])


def test_strange_names(tmp_path):
    folder = tmp_path / "in"
    for name in ("a b", "new\nline", "gr\xfc\xdfe", "\u753b", "-rf", "%s", b"\xff".decode(
            "utf-8", "surrogateescape")):
        (folder / name).mkdir(parents=True)
        save(folder / name / f"{name}.png", PHOTO[:32, :32])
    assert pack(folder, tmp_path / "out.rec") == (7, [])
    assert pack_cached(folder, tmp_path / "cache")[1] == []


@pytest.mark.parametrize("threads", [2, 7])
def test_same_bytes_for_the_same_folder(threads, photo_folder, photo_rec, tmp_path):
    out = tmp_path / "out.rec"
    assert pack(photo_folder, out, threads=threads)[0] == 280
    assert out.read_bytes() == photo_rec.read_bytes()
    assert out.with_suffix(".idx").read_bytes() == photo_rec.with_suffix(".idx").read_bytes()


def test_every_picture_is_in_it_once_and_the_index_is_mxnets(photo_folder, photo_rec):
    offsets, _, _ = records.scan(photo_rec)
    lines = photo_rec.with_suffix(".idx").read_text().splitlines()
    assert lines == [f"{n}\t{offset}" for n, offset in enumerate(offsets)]
    reader = mx.recordio.MXIndexedRecordIO(str(photo_rec.with_suffix(".idx")), str(photo_rec), "r")
    packed = [mx.recordio.unpack(reader.read_idx(n))[1] for n in range(280)]
    files = [path.read_bytes() for path in sorted(photo_folder.iterdir())]
    assert sorted(packed) == sorted(files) and packed != files


def test_too_few_pictures_leave_what_was_there(tmp_path):
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "a.png")
    out = tmp_path / "out.rec"
    out.write_bytes(b"dear")
    with pytest.raises(PackingError, match="has 1 readable pictures of 1, and at least 2"):
        pack(tmp_path / "in", out, least=2)
    assert sorted(os.listdir(tmp_path)) == ["in", "out.rec"] and out.read_bytes() == b"dear"
    with pytest.raises(PackingError, match="is in the folder"):
        pack(tmp_path / "in", tmp_path / "in" / "out.rec")
    with pytest.raises(FileNotFoundError):
        pack(tmp_path / "nothing", out)


def test_a_folder_that_changes_while_it_is_packed(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abcdefgh":
        save(folder / f"{name}.png", PHOTO[:64, :64])

    def change(names):
        (folder / "a.png").unlink()
        save(folder / "b.png", PHOTO[:32, :32])
        save(folder / "new.png", PHOTO[:64, :64])
        yield from names

    n, skipped = pack(folder, tmp_path / "out.rec", progress=change)
    assert n == 6 and [name for name, _ in skipped] == ["a.png", "b.png", "new.png"]
    assert [reason for _, reason in skipped] == ["No such file or directory",
                                                 "changed while the folder was packed",
                                                 "appeared while the folder was packed"]
    save(folder / "a.png", PHOTO[:64, :64])
    with pytest.raises(PackingError, match="in changed while it was packed"):
        pack_cached(folder, tmp_path / "cache", progress=change)
    assert os.listdir(tmp_path / "cache") == ["lock"]


def test_a_file_that_may_not_be_read_is_listed(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png")
    real = os.open

    def refuse(path, *args):
        if str(path).endswith("b.png"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *args)

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    assert pack(tmp_path / "in", tmp_path / "o.rec") == (1, [("b.png", "Permission denied")])


def test_a_file_that_is_skipped_changes_no_byte(photo_folder, photo_rec, tmp_path):
    (tmp_path / "in").mkdir()
    for path in photo_folder.iterdir():
        os.link(path, tmp_path / "in" / path.name)
    (tmp_path / "in" / ".DS_Store").write_text("hello")
    assert len(pack(tmp_path / "in", tmp_path / "o.rec")[1]) == 1
    assert (tmp_path / "o.rec").read_bytes() == photo_rec.read_bytes()


def test_many_links_and_deep_folders_end(tmp_path):
    """Two links to the next folder in each of 40: 2 ** 40 ways to the last."""
    for i in range(40):
        (tmp_path / f"{i}").mkdir()
        for name in "ab":
            (tmp_path / f"{i}" / name).symlink_to(tmp_path / f"{i + 1}")
    (tmp_path / "40").mkdir()
    save(tmp_path / "40" / "picture.png", PHOTO[:32, :32])
    files, skipped = list_files(tmp_path / "0")
    assert len(files) == 1 and len(skipped) == 40
    deep = tmp_path / "deep"
    deep.mkdir()
    here = os.open(deep, os.O_RDONLY)
    for _ in range(1200):  # longer than a path may be: one folder at a time
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    files, _ = list_files(deep)
    assert files == {}
    subprocess.run(["rm", "-rf", str(deep)], check=True)


@pytest.mark.parametrize("name", ["o.idx", "", "folder"])
def test_names_that_no_record_file_can_have(name, tmp_path):
    (tmp_path / "folder").mkdir()
    out = tmp_path / name if name else ""
    with pytest.raises(PackingError, match="cannot be the record file"):
        pack(tmp_path, out)


def test_transparent_grey_of_16_bits_is_white(tmp_path):
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    save(tmp_path / "a.png", deep, transparency=1000)
    seen = decode(encode(tmp_path / "a.png", resize=0))[..., 0]
    expected = (deep >> 8).astype(np.uint8)
    expected[deep == 1000] = 255
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("resize", [40, 100, 300])
@pytest.mark.parametrize("array", [PHOTO, PHOTO[..., 0]], ids=["RGB", "grey"])
def test_a_jpeg_is_scaled_like_what_it_shows(array, resize, tmp_path):
    """The fast way for JPEG files against the way for all others."""
    jpeg = save(tmp_path / "a.jpg", array, quality=98)
    other = Image.open(jpeg)
    other.save(tmp_path / "a.png")
    first, second = (decode(encode(tmp_path / name, resize)).astype(int)
                     for name in ("a.jpg", "a.png"))
    assert first.shape == second.shape and abs(first - second).mean() < 4


def test_a_record_file_is_packed_anew(photo_rec, tmp_path):
    """Small pictures of a foreign file are enlarged, damaged ones listed, the order stays."""
    small, large = (save(tmp_path / f"{n}.png", PHOTO[:n, :n]).read_bytes() for n in (64, 256))
    foreign = tmp_path / "foreign.rec"
    writer = mx.recordio.MXRecordIO(str(foreign), "w")
    for n, picture in enumerate((large, small, b"no picture", large)):
        writer.write(mx.recordio.pack(mx.recordio.IRHeader(0, 7.0, n, 0), picture))
    writer.close()
    assert pack(foreign, tmp_path / "o.rec", threads=2) == (3, [("record 3", "is no picture")])
    with open(tmp_path / "o.rec", "rb") as f:
        pictures = [records.read_picture(f, offset) for offset in records.scan(f.name)[0]]
    assert pictures[0] == pictures[2] == large
    assert decode(pictures[1]).shape == (256, 256, 3)
    assert pack(photo_rec, tmp_path / "again.rec") == (280, [])
    assert (tmp_path / "again.rec").read_bytes() == photo_rec.read_bytes()
    with pytest.raises(records.RecordError, match="is no record file"):
        pack(tmp_path / "64.png", tmp_path / "x.rec")


def test_links_to_folders_are_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    files, skipped = list_files(tmp_path / "in")
    assert list(files) == ["link/a.png"] and skipped == []


def test_a_full_disk_leaves_nothing(photo_folder, tmp_path):
    code = ("import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6));"
            "from dcgan_mx.data import packing; packing.pack(sys.argv[1], sys.argv[2])")
    done = subprocess.run([sys.executable, "-c", code, str(photo_folder), str(tmp_path / "o.rec")],
                          capture_output=True, text=True, check=False)
    assert f"File too large: '{tmp_path / 'o.rec'}'" in done.stderr
    assert os.listdir(tmp_path) == []


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    """10,000 small ones against 1,000: peak resident memory within 10 %."""
    peaks = []
    for n in (1000, 10000):
        folder = tmp_path / str(n)
        folder.mkdir()
        first = save(folder / "0.png", PHOTO[:16, :16])
        for i in range(1, n):
            os.link(first, folder / f"{i}.png")
        code = ("import resource, sys; from dcgan_mx.data import packing;"
                "print(packing.pack(sys.argv[1], sys.argv[2], resize=0, threads=2)[0],"
                "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)")
        done = subprocess.run([sys.executable, "-c", code, str(folder), str(tmp_path / "o.rec")],
                              capture_output=True, text=True, check=True)
        count, peak = map(int, done.stdout.split())
        assert count == n
        peaks.append(peak)
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_size_is_judged_before_decoding(tmp_path):
    """A real PNG of 12,000 x 12,000 pixels, 430 MB decoded, takes no memory."""
    Image.new("1", (12000, 12000)).save(tmp_path / "bomb.png")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="12000x12000"):
        encode(tmp_path / "bomb.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert encoding.MAX_PIXELS < 12000 ** 2


@pytest.mark.parametrize("ending, mode, options", [
    ("webp", "RGB", {"lossless": True}), ("tiff", "1", {"compression": "group4"})])
def test_too_many_pixels_for_a_file_are_not_believed(ending, mode, options, tmp_path):
    """One colour takes these formats next to nothing, however large the picture."""
    path = tmp_path / f"a.{ending}"
    Image.new(mode, (3000, 3000)).save(path, **options)
    size = path.stat().st_size
    with pytest.raises(ValueError, match=f"claims 3000x3000 .*, too many for .* {size} bytes"):
        encode(path)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_what_deflate_holds_is_believed(mode, tmp_path):
    Image.new(mode, (3000, 3000)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 3000 ** 2 * len(mode) / 1000
    assert np.ptp(decode(encode(tmp_path / "a.png", 16))) == 0


def test_what_a_killed_packing_left_goes_with_the_next(photo_folder, tmp_path):
    """Killed in the middle; what a living process writes, and other files, stay."""
    out = tmp_path / "a[1].rec"
    code = ("import sys, time; from dcgan_mx.data.packing import pack\n"
            "def slow(names):\n"
            "    for i, name in enumerate(names):\n"
            "        yield name\n"
            "        if i == 40: print('in the middle', flush=True); time.sleep(100)\n"
            "pack(*sys.argv[1:], progress=slow)")
    killed = subprocess.Popen([sys.executable, "-c", code, str(photo_folder), str(out)],
                              stdout=subprocess.PIPE)
    with killed:
        killed.stdout.readline()
        left, = tmp_path.iterdir()
        assert left.name == f".a[1].rec.{killed.pid}.tmp"
        others = [tmp_path / name for name in (f".a[1].rec.{os.getppid()}.tmp", ".a[1].rec.x.tmp",
                                               f".b.rec.{killed.pid}.tmp", ".a[1].rec.tmp")]
        for path in others:
            path.touch()
        (tmp_path / "one").mkdir()
        os.link(next(photo_folder.iterdir()), tmp_path / "one" / "a.png")
        pack(tmp_path / "one", out)
        assert left.exists()  # it is still at work
        killed.kill()
    pack(tmp_path / "one", out)
    assert not left.exists() and all(path.exists() for path in others)
