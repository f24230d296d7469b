import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from skimage import data

from dcgan_mx.data import decoding, image_files
from dcgan_mx.data.image_files import (
    decode,
    find_optional_formats,
    find_problem,
    normalize_image,
)
from tools.common import read_status

PHOTO = data.astronaut()[:300, :400]


def encode(image=PHOTO, kind="PNG", **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        buffer, kind, **options)
    return buffer.getvalue()


def png_header(width, height):
    """A PNG file that has a header and no image."""
    chunk = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
            + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT")


def decode_as_mxnet(raw):
    return cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "TIFF", "PPM"])
def test_lossless_images_keep_their_pixels(kind):
    raw = encode(kind=kind, **({"lossless": True} if kind == "WEBP" else {}))
    for side in (0, 300):
        np.testing.assert_array_equal(decode(raw, side), PHOTO)
        np.testing.assert_array_equal(decode_as_mxnet(normalize_image(raw, side)), PHOTO)
    np.testing.assert_allclose(decode(raw, gray=True), PHOTO @ [0.299, 0.587, 0.114], atol=1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("array", [PHOTO, PHOTO[..., 0]], ids=["RGB", "gray"])
def test_an_image_that_needs_no_change_is_kept_byte_for_byte(kind, array):
    raw = encode(array, kind)
    assert normalize_image(raw, 300) == normalize_image(raw, 0) == raw
    assert decode(raw).shape == array.shape and decode(raw, gray=False).shape == (300, 400, 3)


def test_alpha_is_blended_with_white():
    alpha = np.linspace(0, 255, 400).astype(np.uint8)[None].repeat(300, 0)
    share = alpha[..., None] / 255
    found = decode(encode(np.dstack([PHOTO, alpha])))
    assert abs(found - (PHOTO * share + 255 * (1 - share))).max() <= 1
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((3, 4), 0)
    found = decode(encode(palette, transparency=1))
    assert (found[4, 3] == [255, 0, 0]).all() and (found[0, 0] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [12, 16])
def test_the_upper_8_of_12_or_16_bits_are_kept(kind, bits):
    deep = np.arange(1 << bits, dtype=np.uint16).reshape(64, -1)
    np.testing.assert_array_equal(decode(encode(deep, kind)), deep >> (bits - 8))


def test_bilevel_cmyk_animations_and_long_texts():
    assert set(np.unique(decode(encode(Image.fromarray(PHOTO).convert("1"))))) == {0, 255}
    cyan = decode(encode(Image.new("CMYK", (64, 64), (255, 0, 0, 0)), "JPEG", quality=100))
    assert abs(cyan.astype(int) - [0, 255, 255]).max() <= 3
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    gif = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode(gif) == [255, 0, 0]).all()
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * 1_500_000, zip=True)
    np.testing.assert_array_equal(decode(encode(pnginfo=text)), PHOTO)
    text.add_text("bomb", "a" * (17 << 20), zip=True)
    with pytest.raises(ValueError, match="has more than 16 MiB of texts"):
        decode(encode(pnginfo=text))


@pytest.mark.parametrize("mode, options", [("L", {}), ("RGB", {}), ("RGBA", {}), ("LA", {}),
                                           ("P", {}), ("P", {"transparency": 0})])
@pytest.mark.parametrize("orientation, turn", [
    (1, lambda a: a), (2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (4, np.flipud),
    (5, lambda a: a.swapaxes(0, 1)), (6, lambda a: np.rot90(a, -1)),
    (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)), (8, np.rot90)])
def test_exif_orientation_is_applied(orientation, turn, mode, options):
    """Source of the eight: Exif 2.3, tag 0x0112."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(PHOTO[::4, ::4]).convert(mode)
    plain = decode(encode(image, **options), gray=False)
    np.testing.assert_array_equal(decode(encode(image, exif=exif, **options), gray=False),
                                  turn(plain))
    if mode in ("L", "RGB"):
        raw = encode(image, "JPEG", exif=exif, quality=98)
        jpeg = decode(raw, 38, gray=False).astype(int)
        upright = cv2.resize(turn(plain), jpeg.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert min(jpeg.shape[:2]) == 38 and abs(jpeg - upright).mean() < 8


@pytest.mark.parametrize("shape", [(1200, 1600), (1600, 1200), (300, 290), (28, 90), (256, 999)])
def test_the_shorter_side_is_scaled(shape):
    raw = encode(Image.fromarray(PHOTO).resize(shape[::-1]), "JPEG")
    for found in (decode(raw, 256), decode_as_mxnet(normalize_image(raw, 256))):
        assert min(found.shape[:2]) == 256
        assert max(found.shape[:2]) == round(256 / min(shape) * max(shape))
        # Colours stay where they are: the mean of each quarter of the rows.
        for a, b in zip(np.array_split(found, 4), np.array_split(decode_as_mxnet(raw), 4)):
            np.testing.assert_allclose(a.mean((0, 1)), b.mean((0, 1)), atol=8)


@pytest.mark.parametrize("side", [40, 100, 300])
@pytest.mark.parametrize("gray", [False, True])
def test_the_fast_path_of_jpeg_equals_that_of_other_formats(gray, side):
    jpeg = encode(kind="JPEG", quality=98)
    png = encode(Image.open(io.BytesIO(jpeg)))
    first, second = (decode(raw, side, gray).astype(int) for raw in (jpeg, png))
    assert first.shape == second.shape and abs(first - second).mean() < 4


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"progressive": True}])
def test_odd_jpeg_files_are_read_as_by_libjpeg_and_reported(options, capfd):
    """Nothing is printed. Progressive files are not checked; phones append further images."""
    raw = encode(kind="JPEG", **options)
    end = len(raw) - 2
    for odd, changed in ((False, raw), (False, raw + bytes(9)), (False, raw + encode(kind="JPEG")),
                         (True, raw[:end] + 16 * b"\x12" + raw[end:]),
                         (True, raw[:end - 9] + raw[end:]), (True, raw[:end // 2] + raw[end:]),
                         (True, raw + b"<html>")):
        calls = []
        for side in (0, 40):
            pixels = decode(changed, side, on_odd=lambda: calls.append(side))  # noqa: B023
            np.testing.assert_array_equal(pixels, reference(changed, side))
        assert calls == [0, 40] * (odd and "progressive" not in options)
    assert capfd.readouterr().err == ""


def reference(raw, side):
    image = Image.open(io.BytesIO(raw))
    image.draft(None, (side, side) if side else None)
    pixels = np.asarray(image)
    return image_files.scale(pixels, side) if side else pixels


@pytest.mark.parametrize("brand, format_name, fix", [
    (b"heic", "HEIC", "pillow-heif"), (b"mif1", "HEIC", "pillow-heif"),
    (b"avif", "AVIF", "'pillow>=11.3'")])
def test_unreadable_formats_of_phones_are_named_with_the_fix(brand, format_name, fix, monkeypatch):
    monkeypatch.setattr(image_files, "find_optional_formats", lambda: ())
    raw = b"\0\0\0\x20ftyp" + brand + bytes(64)
    with pytest.raises(ValueError) as caught:
        decode(raw)
    reason = f"is in the format {format_name}: convert it, or pip install {fix}"
    assert str(caught.value) == find_problem(raw) == reason


def test_avif_is_read_by_a_pillow_that_supports_it():
    if "AVIF" in find_optional_formats():
        raw = encode(kind="AVIF", quality=95)
        assert find_problem(raw) == "" and abs(decode(raw).astype(int) - PHOTO).mean() < 4
    else:
        assert find_problem(b"\0\0\0\x20ftypavif") != ""


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("raw, words", [
    (b"hello", "is not an image"),
    (b"", "is not an image"),
    (encode(PHOTO[:1, :1]), "is too small, .*: 1x1"),
    (encode(PHOTO[:7]), "is too small, .*: 400x7"),
    (encode(PHOTO[:8]), "is too narrow, .*: 400x8"),
    (png_header(30000, 30000), "pixels"),
    (png_header(12000, 12000), "is too large, .*: 12000x12000"),
    (png_header(3000, 3000), "is damaged"),
    (png_header(5900, 5900) + bytes(10**6), "is too large, more than 288 MiB .*: 5900x5900"),
    (png_header(100, 100), "is damaged"),
    (png_header(0, 100), "is not an image, or its header is damaged"),
    (encode()[:20000], "damaged"),
    (encode(kind="JPEG")[:5000], "damaged.*truncated"),
    (encode(PHOTO[..., 0].astype(np.float32), "TIFF"), "32-bit"),
    (encode(np.full((16, 16), 200, np.int32), "TIFF"), "32-bit")], ids=range(15))
def test_undecodable_files_are_rejected_with_a_reason(raw, words):
    for function in (decode, normalize_image):
        with pytest.raises(ValueError, match=words):
            function(raw)


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind, mode, side, options", [
    ("PNG", "1", 12000, {}), ("TIFF", "1", 12000, {"compression": "group4"}),
    ("PNG", "P", 6000, {}), ("PNG", "P", 6000, {"transparency": 0}), ("GIF", "P", 6000, {})])
def test_small_files_of_huge_images_are_rejected_before_decoding(kind, mode, side, options):
    """Valid files of one colour. Palettes count as the RGB or RGBA that they decode to."""
    raw = encode(Image.new(mode, (side, side)), kind, **options)
    with pytest.raises(ValueError, match=f"is too large, more than 288 MiB .*: {side}x{side}"):
        decode(raw)


def test_a_tile_larger_than_its_tiff_image_counts():
    """Libtiff decodes it as a whole: here 488 MiB, from 8 kB."""
    rows = b"\xff" * 8008  # white, compressed
    tags = [(256, 64), (257, 64), (258, 1), (259, 4), (262, 0), (277, 1), (322, 64_000),
            (323, 64_000), (324, 8), (325, len(rows))]
    directory = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags)
    raw = (b"II*\0" + struct.pack("<L", 8 + len(rows)) + rows + struct.pack("<H", len(tags))
           + directory + bytes(4))
    with pytest.raises(ValueError, match="is too large, more than 288 MiB to decode: 64x64"):
        decode(raw)


def test_small_files_that_would_take_minutes_are_rejected():
    raw = encode(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    last = raw.rindex(b"\xff\xda")
    with pytest.raises(ValueError, match="has more than 200 scans"):
        decode(raw[:-2] + raw[last:last + 14] * 200 + raw[-2:])
    with pytest.raises(ValueError, match="has more than 1000 comments"):
        decode(b"P2 64 64 255\n" + b"#\n" * 1001 + b"0 " * 4096)
    decode(b"P2 64 64 255\n" + b"#\n" * 9 + b"0 " * 4096)


def test_an_odd_exif_tag_beside_the_orientation_is_ignored():
    """A number that does not fit into its tag: Pillow can read it, but not write it."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0128] = 6, 1
    block = exif.tobytes()
    wrong = block.replace(struct.pack(">HHIHH", 0x0128, 3, 1, 1, 0),
                          struct.pack(">HHII", 0x0128, 4, 1, 70000))
    assert wrong != block
    np.testing.assert_array_equal(decode(encode(exif=wrong)), decode(encode(exif=block)))


def test_images_that_would_become_too_long_for_jpeg_are_rejected():
    with pytest.raises(ValueError, match="^is too narrow to be scaled to 4095 pixels: 8x128"):
        normalize_image(encode(np.zeros((128, 8), np.uint8)), 4095)


def test_threads_share_the_memory_for_decoding(monkeypatch):
    """32 images that need nearly all of 19 MB, or 77 MB in four threads without the limit."""
    monkeypatch.setattr(decoding, "_MAX_MEMORY", 9 << 21)
    turned = Image.Exif()
    turned[0x0112] = 6
    image = Image.fromarray(np.kron(PHOTO[:120, :120], np.ones((12, 12, 1), np.uint8)))
    images = [encode(image.convert("RGBA"), exif=turned), encode(image, "TIFF"),
              encode(image, "JPEG", exif=turned), encode(image.convert("CMYK"), "JPEG"),
              encode(image.convert("P"), "GIF"), encode(image.crop((0, 0, 1000, 1000)), "WEBP"),
              encode(image.crop((0, 0, 1000, 1000)), "JPEG", progressive=True, subsampling=0)]
    large = image.resize((2000, 2000))
    assert decode(encode(large, "JPEG"), 100).shape == (100, 100, 3)
    for raw, side in ((encode(large, "JPEG"), 0), (encode(large, "JPEG", progressive=True), 100),
                      (encode(large), 100), (encode(large, "WEBP"), 100)):
        with pytest.raises(ValueError, match="is too large, more than 18 MiB to .*: 2000x2000"):
            decode(raw, side)
    before = read_status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    with ThreadPoolExecutor(4) as pool:
        shapes = {pixels.shape for pixels in pool.map(partial(decode, side=99), images * 4)}
    assert shapes == {(99, 99, 3)} and read_status("VmHWM") - before < 45


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize("mode, side, options", [
    ("L", 5000, {}), ("RGB", 2900, {}), ("P", 2900, {}), ("P", 2900, {"transparency": 0})])
def test_images_of_one_colour_are_accepted_up_to_8_megapixels(mode, side, options):
    assert np.ptp(decode(encode(Image.new(mode, (side, side)), **options), 16)) == 0
