"""Reading photos: every kind of bad file gives its reason, every good one the pixels that Pillow sees."""

import io
import os
import struct
import zlib

import cv2
import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from storage.reasons import Reason
from tasks.images.perceptual_hash import perceptual_hash
from tasks.images.photo import PhotoConfig, Unusable, laplacian_variance, load_photo
from tasks.images.photo_header import HeaderTooShortError, NotAnImageError, read_header
from tasks.photos.local_folder import LocalFolder

CONFIG = PhotoConfig()
EVERYTHING = PhotoConfig(
    pixel_formats=("rgb8", "rgba8", "grey8", "grey_alpha8", "palette8", "cmyk8", "rgb16", "rgba16", "grey16", "other")
)


def picture(width=96, height=64, seed=0):
    """Smooth, so that JPEG and WebP stay close to it; not symmetrical, so that a turn shows."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 255 // width, y * 255 // height, (x + 2 * y) * 255 // (width + 2 * height)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_header(width, height, bits=8, colour=2):
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + b"\0" * 4
        + b"IDAT"
    )


RGB = picture()
TRANSPARENT = Image.merge("RGBA", (*RGB.split(), Image.new("L", RGB.size, 128)))
OPAQUE = Image.merge("RGBA", (*RGB.split(), Image.new("L", RGB.size, 255)))
FRAMES = [picture(), picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
JPEG, PNG, WEBP = encoded(RGB, "JPEG", quality=95), encoded(RGB, "PNG"), encoded(RGB, "WEBP", quality=95)
GREY16 = cv2.imencode(".png", np.full((64, 96), 40_000, np.uint16))[1].tobytes()
RGB16 = cv2.imencode(".png", np.full((64, 96, 3), 40_000, np.uint16))[1].tobytes()

BAD = {
    "empty": (b"", Reason.EMPTY_FILE),
    "text": (b"<html>not found, but the server said 200</html>", Reason.NOT_AN_IMAGE),
    "short text": (b"no photo", Reason.NOT_AN_IMAGE),
    "one byte": (b"\xff", Reason.TRUNCATED_IMAGE),
    "gif": (encoded(RGB, "GIF"), Reason.NOT_AN_IMAGE),
    "jpeg cut in half": (JPEG[: len(JPEG) // 2], Reason.TRUNCATED_IMAGE),
    "jpeg without its end": (JPEG[:-2], Reason.TRUNCATED_IMAGE),
    "jpeg header only": (JPEG[:40], Reason.TRUNCATED_IMAGE),
    "png cut": (PNG[: len(PNG) * 9 // 10], Reason.TRUNCATED_IMAGE),
    "webp cut": (WEBP[: len(WEBP) * 9 // 10], Reason.TRUNCATED_IMAGE),
    "grey": (encoded(RGB.convert("L"), "JPEG"), Reason.PIXEL_FORMAT),
    "cmyk": (encoded(RGB.convert("CMYK"), "JPEG"), Reason.PIXEL_FORMAT),
    "palette": (encoded(RGB.convert("P"), "PNG"), Reason.PIXEL_FORMAT),
    "16-bit grey": (GREY16, Reason.PIXEL_FORMAT),
    "16-bit colour": (RGB16, Reason.PIXEL_FORMAT),
    "transparent": (encoded(TRANSPARENT, "PNG"), Reason.PIXEL_FORMAT),
    "transparent webp": (encoded(TRANSPARENT, "WEBP"), Reason.PIXEL_FORMAT),
    "animated webp": (encoded(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), Reason.PIXEL_FORMAT),
    "animated png": (encoded(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), Reason.PIXEL_FORMAT),
    "bomb": (png_header(30_000, 30_000), Reason.TOO_MANY_PIXELS),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_gives_its_reason(tmp_path, name):
    data, reason = BAD[name]
    (tmp_path / "photo.jpg").write_bytes(data)
    found = load_photo(LocalFolder(tmp_path).read("photo.jpg"), CONFIG, apply_exif=False)
    assert isinstance(found, Unusable)
    assert found.reason is reason


GOOD = {
    "jpeg": JPEG,
    "progressive": encoded(RGB, "JPEG", quality=95, progressive=True),
    "png": PNG,
    "webp": WEBP,
    "lossless webp": encoded(RGB, "WEBP", lossless=True),
    "opaque alpha": encoded(OPAQUE, "PNG"),
    "grey": encoded(RGB.convert("L"), "PNG"),
    "palette": encoded(RGB.convert("P"), "PNG"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_file_gives_the_pixels_that_pillow_sees(tmp_path, name):
    (tmp_path / "ein Föto .jpg").write_bytes(GOOD[name])
    pixels = load_photo(LocalFolder(tmp_path).read("ein Föto .jpg"), EVERYTHING, apply_exif=False)
    expected = np.asarray(Image.open(io.BytesIO(GOOD[name])).convert("RGB"))
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[..., ::-1].astype(int) - expected).mean() < 1.5  # JPEG decoders differ by a grey level


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied_or_ignored(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if kind == "PNG" else {"quality": 95}
    (tmp_path / "p").write_bytes(encoded(RGB, kind, exif=exif, **options))
    stored = load_photo(LocalFolder(tmp_path).read("p"), CONFIG, apply_exif=False)
    turned = load_photo(LocalFolder(tmp_path).read("p"), CONFIG, apply_exif=True)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "p")).convert("RGB"))
    assert stored.shape == (64, 96, 3)
    assert turned.shape == expected.shape
    assert np.abs(turned[..., ::-1].astype(int) - expected).mean() < 1.5


def test_nothing_outside_of_the_root_is_read(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "inside.jpg").write_bytes(JPEG)
    (root / "alias.jpg").symlink_to(root / "inside.jpg")
    (tmp_path / "photos-of-others").mkdir()
    (tmp_path / "photos-of-others" / "a.jpg").write_bytes(JPEG)
    for path in ("../secret.jpg", str(tmp_path / "secret.jpg"), "link.jpg", "../photos-of-others/a.jpg", "a\0.jpg", ""):
        found = load_photo(LocalFolder(root).read(path), CONFIG, apply_exif=False)
        assert found.reason in (Reason.PATH_OUTSIDE_ROOT,), path
    assert isinstance(load_photo(LocalFolder(root).read("alias.jpg"), CONFIG, apply_exif=False), np.ndarray)


def test_missing_folder_and_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    photos = LocalFolder(tmp_path)
    reasons = {p: photos.read(p).reason for p in ("none.jpg", "pipe.jpg", "folder.jpg", "x" * 300)}
    assert reasons.pop("none.jpg") is Reason.MISSING_FILE
    assert set(reasons.values()) == {Reason.UNREADABLE_FILE}


@given(
    st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff\xe1", PNG[:33], b"RIFF\0\0\0\0WEBPVP8X", JPEG[:200]])
)
def test_no_header_raises_anything_else(tail, head):
    try:
        header = read_header(head + tail)
    except (NotAnImageError, HeaderTooShortError):
        return
    assert header.width_px > 0 < header.height_px


def test_headers_equal_pillow_on_real_photos(shared_data):
    paths = [p for p in shared_data.rglob("*") if p.suffix in (".jpg", ".jpeg", ".png")]
    assert len(paths) > 200
    modes = {"rgb8": "RGB", "grey8": "L", "rgba8": "RGBA", "palette8": "P"}
    for path in paths:
        header = read_header(path.read_bytes())
        with Image.open(path) as image:
            assert (header.width_px, header.height_px) == image.size, path
            assert modes[header.pixel_format] == image.mode, path
            assert header.exif_orientation == image.getexif().get(0x0112, 1), path


def test_laplacian_variance_is_that_of_the_double_computation(shared_data):
    for path in sorted((shared_data / "coco_mini/val2017").glob("*.jpg"))[:10]:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        reference = cv2.Laplacian(grey, cv2.CV_64F).var()
        assert laplacian_variance(grey) == pytest.approx(reference, rel=1e-12)


def test_perceptual_hash_agrees_with_imagehash_and_survives_recompression(shared_data):
    paths = sorted((shared_data / "coco_mini/val2017").glob("*.jpg"))
    hashes = []
    for path in paths:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        mine = perceptual_hash(grey)
        reference = int(str(imagehash.phash(Image.open(path))), 16)
        assert (mine ^ reference).bit_count() <= 6, path  # another filter shrinks the photo first
        small = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        again = cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)
        assert (mine ^ perceptual_hash(again)).bit_count() <= 4, path
        hashes.append(mine)
    distances = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 6  # no two of these photos are alike
