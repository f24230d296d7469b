import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from skimage import data

from dcgan_mx.data.image_files import MAX_PIXELS, decode, normalize_image

PHOTO = data.astronaut()[:300, :400]


def save(path, array=PHOTO, **kwargs):
    Image.fromarray(array).save(path, **kwargs)
    return path.read_bytes()


def png_header(width, height):
    """A PNG file that promises an image, and has none."""
    chunk = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
            + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT")


def as_mxnet_sees(raw):
    return cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "tiff", "ppm"])
def test_lossless_images_keep_their_pixels(ending, tmp_path):
    raw = save(tmp_path / f"a.{ending}", **({"lossless": True} if ending == "webp" else {}))
    for side in (0, 300):
        np.testing.assert_array_equal(decode(raw, side), PHOTO)
        np.testing.assert_array_equal(as_mxnet_sees(normalize_image(raw, side)), PHOTO)
    np.testing.assert_allclose(decode(raw, grey=True), PHOTO @ [0.299, 0.587, 0.114], atol=1)


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("array", [PHOTO, PHOTO[..., 0]], ids=["RGB", "grey"])
def test_an_image_that_needs_no_change_goes_in_byte_for_byte(ending, array, tmp_path):
    raw = save(tmp_path / f"a.{ending}", array)
    assert normalize_image(raw, 300) == normalize_image(raw, 0) == raw
    assert decode(raw).shape == array.shape and decode(raw, grey=False).shape == (300, 400, 3)


def test_alpha_is_laid_on_white(tmp_path):
    alpha = np.linspace(0, 255, 400).astype(np.uint8)[None].repeat(300, 0)
    seen = decode(save(tmp_path / "a.png", np.dstack([PHOTO, alpha])))
    share = alpha[..., None] / 255
    assert abs(seen - (PHOTO * share + 255 * (1 - share))).max() <= 1
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((3, 4), 0)
    palette.save(tmp_path / "p.png", transparency=1)
    seen = decode((tmp_path / "p.png").read_bytes())
    assert (seen[4, 3] == [255, 0, 0]).all() and (seen[0, 0] == 255).all()


@pytest.mark.parametrize("ending", ["png", "tiff"])
@pytest.mark.parametrize("bits", [12, 16])
def test_16_bits_keep_their_upper_8_and_12_bits_theirs(ending, bits, tmp_path):
    deep = np.arange(1 << bits, dtype=np.uint16).reshape(64, -1)
    seen = decode(save(tmp_path / f"a.{ending}", deep))
    np.testing.assert_array_equal(seen, deep >> (bits - 8))


def test_bits_cmyk_a_gif_and_a_long_text(tmp_path):
    Image.fromarray(PHOTO).convert("1").save(tmp_path / "one.png")
    assert set(np.unique(decode((tmp_path / "one.png").read_bytes()))) == {0, 255}
    Image.new("CMYK", (64, 64), (255, 0, 0, 0)).save(tmp_path / "c.jpg", quality=100)
    seen = decode((tmp_path / "c.jpg").read_bytes()).astype(int)
    assert abs(seen - [0, 255, 255]).max() <= 3
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    frames[0].save(tmp_path / "g.gif", save_all=True, append_images=frames[1:])
    assert (decode((tmp_path / "g.gif").read_bytes()) == [255, 0, 0]).all()
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * 1_500_000, zip=True)
    np.testing.assert_array_equal(decode(save(tmp_path / "text.png", pnginfo=text)), PHOTO)


@pytest.mark.parametrize("kind, options", [("L", {}), ("RGB", {}), ("RGBA", {}), ("LA", {}),
                                           ("P", {}), ("P", {"transparency": 0})])
@pytest.mark.parametrize("orientation, turn", [
    (1, lambda a: a), (2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (4, np.flipud),
    (5, lambda a: a.swapaxes(0, 1)), (6, lambda a: np.rot90(a, -1)),
    (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)), (8, np.rot90)])
def test_exif_rotation_is_honoured(orientation, turn, kind, options, tmp_path):
    """Source of the eight: Exif 2.3, tag 0x0112."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(PHOTO[::4, ::4]).convert(kind)
    image.save(tmp_path / "a.png", exif=exif, **options)
    image.save(tmp_path / "plain.png", **options)
    seen, plain = (decode((tmp_path / name).read_bytes(), grey=False)
                   for name in ("a.png", "plain.png"))
    np.testing.assert_array_equal(seen, turn(plain))
    if kind in ("L", "RGB"):
        image.save(tmp_path / "a.jpg", exif=exif, quality=98)
        jpeg = decode((tmp_path / "a.jpg").read_bytes(), 38, grey=False).astype(int)
        upright = cv2.resize(turn(plain), jpeg.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert min(jpeg.shape[:2]) == 38 and abs(jpeg - upright).mean() < 8


@pytest.mark.parametrize("shape", [(1200, 1600), (1600, 1200), (300, 290), (28, 90), (256, 999)])
def test_the_shorter_side_is_scaled(shape, tmp_path):
    raw = save(tmp_path / "a.jpg", np.asarray(Image.fromarray(PHOTO).resize(shape[::-1])))
    for seen in (decode(raw, 256), as_mxnet_sees(normalize_image(raw, 256))):
        assert min(seen.shape[:2]) == 256
        assert max(seen.shape[:2]) == round(256 / min(shape) * max(shape))
        # Colours stay where they are: the mean of each quarter of the rows.
        for a, b in zip(np.array_split(seen, 4), np.array_split(as_mxnet_sees(raw), 4)):
            np.testing.assert_allclose(a.mean((0, 1)), b.mean((0, 1)), atol=8)


@pytest.mark.parametrize("side", [40, 100, 300])
@pytest.mark.parametrize("grey", [False, True])
def test_a_jpeg_is_scaled_like_what_it_shows(grey, side, tmp_path):
    """The fast way for JPEG files against the way for all others."""
    jpeg = save(tmp_path / "a.jpg", quality=98)
    png = save(tmp_path / "a.png", np.asarray(Image.open(tmp_path / "a.jpg")))
    first, second = (decode(raw, side, grey).astype(int) for raw in (jpeg, png))
    assert first.shape == second.shape and abs(first - second).mean() < 4


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("make, words", [
    (lambda p: b"hello", "is not an image"),
    (lambda p: b"", "is not an image"),
    (lambda p: save(p, PHOTO[:1, :1], format="PNG"), "is too small, .*: 1x1"),
    (lambda p: save(p, PHOTO[:7], format="PNG"), "is too small, .*: 400x7"),
    (lambda p: save(p, PHOTO[:8], format="PNG"), "is too narrow, .*: 400x8"),
    (lambda p: png_header(30000, 30000), "pixels"),
    (lambda p: png_header(12000, 12000), "is too large, .*: 12000x12000"),
    (lambda p: png_header(3000, 3000), "claims too many pixels for a file of 41 .*: 3000x3000"),
    (lambda p: png_header(100, 100), "damaged"),
    (lambda p: save(p, format="PNG")[:20000], "damaged"),
    (lambda p: save(p, format="JPEG")[:5000], "damaged.*truncated"),
    (lambda p: save(p, PHOTO[..., 0].astype(np.float32), format="TIFF"), "floating-point"),
    (lambda p: save(p, np.full((16, 16), 200, np.int32), format="TIFF"), "32-bit")])
def test_what_cannot_be_decoded_is_told(make, words, tmp_path):
    raw = make(tmp_path / "file")
    for function in (decode, normalize_image):
        with pytest.raises(ValueError, match=words):
            function(raw)


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("ending, mode, side, options", [
    ("png", "1", 12000, {}), ("webp", "RGB", 3000, {"lossless": True}),
    ("tiff", "1", 3000, {"compression": "group4"})])
def test_size_is_judged_before_decoding(ending, mode, side, options, tmp_path):
    """Real files of one colour, up to 430 MB decoded, take no memory."""
    Image.new(mode, (side, side)).save(tmp_path / f"a.{ending}", **options)
    raw = (tmp_path / f"a.{ending}").read_bytes()
    with pytest.raises(ValueError, match=f"{side}x{side}"):
        decode(raw)
    assert MAX_PIXELS < 12000 ** 2


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_what_deflate_holds_is_believed(mode, tmp_path):
    Image.new(mode, (3000, 3000)).save(tmp_path / "a.png")
    raw = (tmp_path / "a.png").read_bytes()
    assert len(raw) < 3000 ** 2 * len(mode) / 1000 and np.ptp(decode(raw, 16)) == 0
