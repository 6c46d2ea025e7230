"""Reading photos: every kind of bad file gives its reason, every good one the pixels that Pillow sees."""

import io
import os
import runpy
import struct
import tempfile
import zlib
from pathlib import Path
from typing import get_args

import cv2
import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from storage.reasons import Reason
from storage.store import Store
from tasks.images.perceptual_hash import perceptual_hash
from tasks.images.photo import PhotoConfig, Rejection, laplacian_variance, load_photo, open_photo
from tasks.images.photo_header import HeaderTooShortError, NotAnImageError, PixelFormat, read_header
from tasks.images.picture_files import read_bytes
from tasks.images.rgb_profile import ADOBE_RGB, SRGB_CHROMATICITIES, named_colours, rgb_profile
from tasks.photos.local_folder import LocalFolder
from tasks.photos.places import photos_of

CONFIG = PhotoConfig()
EVERYTHING = PhotoConfig(pixel_formats=get_args(PixelFormat))


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


def resized_header(jpeg, width, height):
    """The same JPEG with another size in its frame header."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


def load(data, config=None, apply_exif=False):
    return load_photo(data, config or CONFIG, apply_exif)


RGB = picture()
TRANSPARENT = Image.merge("RGBA", (*RGB.split(), Image.new("L", RGB.size, 128)))
OPAQUE = Image.merge("RGBA", (*RGB.split(), Image.new("L", RGB.size, 255)))
FRAMES = [picture(), picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
JPEG, PNG, WEBP = encoded(RGB, "JPEG", quality=95), encoded(RGB, "PNG"), encoded(RGB, "WEBP", quality=95)
PROGRESSIVE, BMP = encoded(RGB, "JPEG", quality=95, progressive=True), encoded(RGB, "BMP")
FLOATS = np.asarray(RGB)[..., ::-1].astype(np.float32) / 255
GREY16 = cv2.imencode(".png", np.full((64, 96), 40_000, np.uint16))[1].tobytes()
RGB16 = cv2.imencode(".png", np.full((64, 96, 3), 40_000, np.uint16))[1].tobytes()

BAD = {
    "empty": (b"", Reason.EMPTY_FILE),
    "text": (b"<html>not found, but the server said 200</html>", Reason.NOT_AN_IMAGE),
    "short text": (b"no photo", Reason.NOT_AN_IMAGE),
    "one byte": (b"\xff", Reason.TRUNCATED_IMAGE),
    "psd": (b"8BPS\0\1" + bytes(60), Reason.NOT_AN_IMAGE),
    "gif": (encoded(RGB, "GIF"), Reason.PIXEL_FORMAT),
    "animated gif": (encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), Reason.PIXEL_FORMAT),
    "pages": (encoded(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), Reason.PIXEL_FORMAT),
    "jpeg cut in half": (JPEG[: len(JPEG) // 2], Reason.TRUNCATED_IMAGE),
    "jpeg without its last bytes": (JPEG[:-12], Reason.TRUNCATED_IMAGE),
    "jpeg cut between two scans": (PROGRESSIVE[: PROGRESSIVE.rindex(b"\xff\xda")], Reason.TRUNCATED_IMAGE),
    "jpeg header only": (JPEG[:40], Reason.TRUNCATED_IMAGE),
    "jpeg that says it is smaller": (resized_header(JPEG, 96, 32), Reason.DAMAGED_IMAGE),
    "jpeg that says it is larger": (resized_header(JPEG, 96, 128), Reason.DAMAGED_IMAGE),
    "png cut": (PNG[: len(PNG) * 9 // 10], Reason.TRUNCATED_IMAGE),
    "png of which a byte was changed": (flipped(PNG), Reason.DAMAGED_IMAGE),
    "png that says it is larger": (png_header(96, 128)[:33] + PNG[33:], Reason.TRUNCATED_IMAGE),
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
    "jpeg bomb": (resized_header(JPEG, 60_000, 60_000), Reason.TOO_MANY_PIXELS),
    "bmp bomb": (BMP[:18] + struct.pack("<ii", 30_000, 30_000) + BMP[26:], Reason.TOO_MANY_PIXELS),
    "gif bomb": (b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + encoded(RGB, "GIF")[10:], Reason.TOO_MANY_PIXELS),
    "tiff bomb": (encoded(Image.new("1", (20_000, 20_000)), "TIFF", compression="group4"), Reason.TOO_MANY_PIXELS),
}


def lying_in(folder):
    return photos_of((str(folder),), Store(str(folder)))


@pytest.mark.parametrize("name", BAD)
def test_bad_file_gives_its_reason(tmp_path, name, capfd):
    data, reason = BAD[name]
    (tmp_path / "photo.jpg").write_bytes(data)
    found = load_photo(lying_in(tmp_path).read("photo.jpg"), CONFIG, apply_exif=False)
    assert isinstance(found, Rejection)
    assert found.reason is reason
    if name != "png that says it is larger":  # with the right checksum, which only malice has; libpng speaks of it
        assert capfd.readouterr() == ("", "")


GOOD = {
    "jpeg": JPEG,
    "progressive": PROGRESSIVE,
    "grey jpeg": encoded(RGB.convert("L"), "JPEG", quality=95),
    "cmyk": encoded(RGB.convert("CMYK"), "JPEG", quality=95),
    "two pictures in one jpeg": encoded(RGB, "MPO", save_all=True, append_images=FRAMES[1:], quality=95),
    "png": PNG,
    "png without its end": PNG[:-12],
    "webp": WEBP,
    "lossless webp": encoded(RGB, "WEBP", lossless=True),
    "opaque alpha": encoded(OPAQUE, "PNG"),
    "grey": encoded(RGB.convert("L"), "PNG"),
    "palette": encoded(RGB.convert("P"), "PNG"),
    "bmp": BMP,
    "gif": encoded(RGB, "GIF"),
    "tiff": encoded(RGB, "TIFF"),
    "tiff, lzw": encoded(RGB, "TIFF", compression="tiff_lzw"),
    "tiff, cmyk": encoded(RGB.convert("CMYK"), "TIFF"),
    "avif": encoded(RGB, "AVIF", quality=95),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_file_gives_the_pixels_that_pillow_sees(tmp_path, name):
    (tmp_path / "ein Föto .jpg").write_bytes(GOOD[name])
    pixels = load_photo(lying_in(tmp_path).read("ein Föto .jpg"), EVERYTHING, apply_exif=False)
    expected = np.asarray(Image.open(io.BytesIO(GOOD[name])).convert("RGB"))
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[..., ::-1].astype(int) - expected).mean() < 1.5  # JPEG decoders differ by a grey level


def test_sixteen_bits_and_floats_become_eight():
    sixteen = cv2.imencode(".png", np.asarray(RGB)[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    grey = cv2.imencode(".png", np.asarray(RGB)[..., 0].astype(np.uint16) * 257)[1].tobytes()
    assert np.array_equal(load(sixteen, EVERYTHING)[..., ::-1], RGB)
    assert np.array_equal(load(grey, EVERYTHING), np.dstack([np.asarray(RGB)[..., 0]] * 3))
    tiff = cv2.imencode(".tif", FLOATS)[1].tobytes()
    assert load(tiff).detail == "float32"
    assert np.array_equal(load(tiff, EVERYTHING)[..., ::-1], RGB)
    for unclear in (FLOATS * 255, np.where(FLOATS > 0.9, np.float32("nan"), FLOATS)):
        assert load(cv2.imencode(".tif", unclear)[1].tobytes(), EVERYTHING).reason is Reason.PIXEL_FORMAT


DAMAGE = {
    "4 KiB of zeros": lambda d, at: d[:at] + bytes(4096) + d[at + 4096 :],
    "4 KiB gone": lambda d, at: d[:at] + d[at + 4096 :],
    "cut": lambda d, at: d[:at],
    "cut and ended": lambda d, at: d[:at] + b"\xff\xd9",
    "padded instead of complete": lambda d, at: d[:at] + bytes(len(d) - at),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_no_damaged_jpeg_is_read(shared_data, name, capfd):
    rng = np.random.default_rng(0)
    for path in sorted((shared_data / "coco_mini/val2017").glob("*.jpg"))[:40]:
        data = path.read_bytes()
        at = int(rng.integers(len(data) // 4, len(data) - 5000))
        found = load(DAMAGE[name](data, at), EVERYTHING)
        assert isinstance(found, Rejection), path
        assert found.reason in (Reason.DAMAGED_IMAGE, Reason.TRUNCATED_IMAGE) and found.detail
    assert capfd.readouterr() == ("", "")


def segment_before(data, marker, extra):
    at = data.index(marker)
    return data[:at] + extra + data[at:]


HARMLESS = {
    "no end": lambda d: d[:-2],
    "zeros before the end": lambda d: d[:-2] + bytes(100) + d[-2:],
    "zeros instead of the end": lambda d: d[:-2] + bytes(100),
    "bytes between two segments": lambda d: segment_before(d, b"\xff\xdb", b"\1" * 11),
    "a revision of JFIF that there never was": lambda d: d.replace(b"JFIF\0\1", b"JFIF\0\0", 1),
    "all of it": lambda d: segment_before(d, b"\xff\xdb", b"\1").replace(b"JFIF\0\1", b"JFIF\0\0", 1)[:-2] + bytes(9),
    "bytes behind the end": lambda d: d + b"a motion picture",
}


@pytest.mark.parametrize("name", HARMLESS)
@pytest.mark.parametrize("jpeg", [JPEG, PROGRESSIVE])
def test_a_fault_on_which_no_pixel_depends_costs_nothing(name, jpeg, capfd):
    assert np.array_equal(load(HARMLESS[name](jpeg)), load(jpeg))
    assert capfd.readouterr() == ("", "")


def test_an_unusual_proportion_of_components_is_read():
    odd = encoded(RGB.resize((32, 16)), "JPEG", subsampling=0)
    at = odd.index(b"\xff\xc0") + 11
    odd = odd[:at] + b"\x22" + odd[at + 1 : at + 3] + b"\x21" + odd[at + 4 :]  # a lie, but a legal one
    assert isinstance(load(odd), np.ndarray)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied_or_ignored(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if kind in ("PNG", "TIFF") else {"quality": 95}
    data = encoded(RGB, kind, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    for apply_exif, wanted in ((False, np.asarray(RGB)), (True, expected)):
        pixels = load(data, apply_exif=apply_exif)
        assert pixels.shape == wanted.shape
        assert open_photo(data, CONFIG).size_px(apply_exif) == wanted.shape[1::-1]
        assert np.abs(pixels[..., ::-1].astype(int) - wanted).mean() < 2


def test_heic_is_read_upright_with_its_extra():
    heif = pytest.importorskip("pillow_heif", reason="make install EXTRAS=heic")
    heif.register_heif_opener()
    data = encoded(RGB, "HEIF", quality=95)
    assert open_photo(data, CONFIG).header.file_format == "heic"
    assert np.abs(load(data)[..., ::-1].astype(int) - np.asarray(RGB)).mean() < 3


def by_lcms(pixels, icc_profile, mode="RGB"):
    """Pixels in sRGB as lcms computes them, without its shortcuts."""
    profile, no_optimisation = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile)), ImageCms.Flags(0x0100)
    way = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", flags=no_optimisation)
    return np.asarray(way.apply(Image.fromarray(pixels, mode))).astype(int)


def test_profiles_become_srgb_as_lcms_converts_them(shared_data):
    profiles = {Image.open(p).info.get("icc_profile") for p in shared_data.rglob("*.*") if p.suffix in (".jpg", ".png")}
    profiles |= {ADOBE_RGB, named_colours(12, 13), rgb_profile((1.0,), SRGB_CHROMATICITIES)}
    colours = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    num_converted = 0
    for profile in profiles - {None}:
        pixels = load(encoded(Image.fromarray(colours), "PNG", icc_profile=profile))[..., ::-1]
        assert np.abs(pixels - by_lcms(colours, profile)).max() <= 1
        num_converted += not np.array_equal(pixels, colours)
    assert num_converted > 8  # of the others, all are sRGB and leave every pixel as it is


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_profile_is_found_in_every_format(kind):
    options = {"lossless": True} if kind == "WEBP" else {} if kind in ("PNG", "TIFF") else {"quality": 100}
    data = encoded(RGB, kind, icc_profile=ADOBE_RGB, **options)
    plain = load(encoded(RGB, kind, **options))[..., ::-1]
    assert np.abs(load(data)[..., ::-1] - by_lcms(np.ascontiguousarray(plain), ADOBE_RGB)).max() <= 1


def test_photos_of_the_icc_cases_look_like_the_plain_one(shared_cases):
    plain = cv2.imread(str(shared_cases / "icc/plain.png")).astype(int)
    for name in ("icc_p3", "icc_prophoto"):
        pixels = load((shared_cases / f"icc/{name}.png").read_bytes())
        stored = cv2.imread(str(shared_cases / f"icc/{name}.png"))
        differences = np.abs(pixels - plain)
        assert differences.mean() < 0.8 and np.percentile(differences, 90) <= 2
        assert np.abs(stored - plain).mean() > 4 * differences.mean()


def png_with(chunks):
    """PNG with more chunks behind its header."""
    extra = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return PNG[:33] + extra + PNG[33:]


def test_colours_that_are_named_without_a_profile():
    rgb = np.asarray(RGB)

    def distance(data, profile):
        expected = rgb.astype(int) if profile is None else by_lcms(rgb, profile)
        return np.abs(load(data)[..., ::-1] - expected).max()

    adobe = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
    assert distance(png_with([(b"gAMA", struct.pack(">I", 45455))]), None) == 0
    assert distance(png_with([(b"gAMA", struct.pack(">I", 100_000))]), rgb_profile((1.0,), SRGB_CHROMATICITIES)) <= 1
    assert distance(png_with([(b"gAMA", struct.pack(">I", 45470)), (b"cHRM", adobe)]), ADOBE_RGB) <= 1
    assert distance(png_with([(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000))]), None) == 0
    assert distance(png_with([(b"cICP", bytes([12, 13, 0, 1]))]), named_colours(12, 13)) <= 1
    assert load(png_with([(b"cICP", bytes([9, 16, 0, 1]))])).reason is Reason.COLOUR_SPACE  # HDR
    camera = Image.Exif()
    camera.get_ifd(0x8769)[0xA005] = {1: "R03"}
    decoded = np.asarray(Image.open(io.BytesIO(JPEG)))
    adobe_jpeg = encoded(RGB, "JPEG", quality=95, exif=camera)
    assert np.abs(load(adobe_jpeg)[..., ::-1] - by_lcms(decoded, ADOBE_RGB)).max() <= 1


def test_a_profile_that_cannot_be_used_is_a_reason():
    for kind, profile in (("JPEG", b"no profile"), ("PNG", ADOBE_RGB[:200]), ("WEBP", b"x" * 300)):
        assert load(encoded(RGB, kind, icc_profile=profile)).reason is Reason.COLOUR_SPACE
    cmyk = encoded(RGB.convert("CMYK"), "JPEG", icc_profile=ADOBE_RGB)
    assert load(cmyk, EVERYTHING).reason is Reason.COLOUR_SPACE


def test_pixels_of_a_sound_jpeg_are_those_of_opencv(shared_data):
    num_same = 0
    for path in sorted((shared_data / "coco_mini").rglob("*.jpg")):
        data = path.read_bytes()
        if not read_header(data).icc_profile:
            num_same += 1
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            assert np.array_equal(load(data, EVERYTHING), cv2.imdecode(np.frombuffer(data, np.uint8), flags)), path
    assert num_same > 80


SMALL = RGB.resize((24, 16))
KINDS = [encoded(SMALL, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "AVIF")]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6), st.data())
def test_whatever_is_changed_a_file_is_read_or_has_a_reason(kind, changes, draw):
    data = bytearray(kind)
    for at, value in changes:
        data[at % len(data)] = value
    found = load(bytes(data[: draw.draw(st.integers(0, len(data)))]), EVERYTHING)
    assert isinstance(found, np.ndarray | Rejection)


CASES = {
    **{"hole.jpg": Reason.DAMAGED_IMAGE, "rot.jpg": Reason.DAMAGED_IMAGE, "cut-in-half.jpg": Reason.TRUNCATED_IMAGE},
    **{"dangling.jpg": Reason.MISSING_FILE, "Thumbs.db": Reason.NOT_AN_IMAGE, "._whole.jpg": Reason.NOT_AN_IMAGE},
    **dict.fromkeys(["cmyk.jpg", "grey.png", "palette.gif", "16-bit.png", "float.tif"], Reason.PIXEL_FORMAT),
    **dict.fromkeys(["icc_p3.png", "icc_prophoto.png", "plain.png", "progressive.jpg", "no-end-marker.jpg"]),
    **dict.fromkeys(["whole.jpg", "whole.JPEG", "whole.jfif", "whole.bmp", f"{'L' * 251}.jpg"]),
}
"""Name → why the photo is not read with the default configuration, None where it is."""


@pytest.fixture(scope="session")
def picture_cases(shared_cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    make = runpy.run_path(str(shared_cases / "make.py"))
    make["pictures"](folder)
    return folder / "pictures"


def test_pictures_as_people_have_them(picture_cases, capfd):
    data = {name: read_bytes(picture_cases / name) for name in CASES}
    found = {name: load(data[name]) for name in CASES}
    assert {name: pixels.reason if isinstance(pixels, Rejection) else None for name, pixels in found.items()} == CASES
    whole = found["whole.jpg"]
    for name in ("whole.JPEG", "whole.jfif", "whole.bmp", "no-end-marker.jpg", f"{'L' * 251}.jpg"):
        assert np.array_equal(found[name], whole)
    readable = [name for name, reason in CASES.items() if reason is Reason.PIXEL_FORMAT and name != "float.tif"]
    for name in readable:
        expected = np.asarray(Image.open(picture_cases / name).convert("RGB")).astype(int)
        assert np.abs(load(data[name], EVERYTHING)[..., ::-1] - expected).max() <= 1
    assert np.array_equal(load(data["float.tif"], EVERYTHING), whole)
    assert capfd.readouterr() == ("", "")


def test_a_photo_that_becomes_readable_is_another_file():
    with tempfile.TemporaryDirectory() as name:  # where another user may look too, as root may read everything
        Path(name).chmod(0o755)
        Path(name, "a.jpg").write_bytes(JPEG)
        Path(name, "a.jpg").chmod(0)
        photos, user = LocalFolder(Path(name)), os.geteuid()
        try:
            os.seteuid(user or 65534)
            locked = photos.read({"path": "a.jpg"})[0], photos.signature({"path": "a.jpg"})
            os.seteuid(user)
            Path(name, "a.jpg").chmod(0o644)
            os.seteuid(user or 65534)
            mended = photos.read({"path": "a.jpg"})[0], photos.signature({"path": "a.jpg"})
        finally:
            os.seteuid(user)
    assert locked[0].reason is Reason.UNREADABLE_FILE and mended[0] == JPEG
    assert locked[1] != mended[1]


def test_nothing_outside_of_the_root_is_read(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "inside.jpg").write_bytes(JPEG)
    (root / "alias.jpg").symlink_to(root / "inside.jpg")
    (tmp_path / "photos-of-others").mkdir()
    (tmp_path / "photos-of-others" / "a.jpg").write_bytes(JPEG)
    for path in ("../secret.jpg", "link.jpg", "../photos-of-others/a.jpg", "a\0.jpg", ""):
        found = load_photo(lying_in(root).read(path), CONFIG, apply_exif=False)
        assert found.reason in (Reason.PATH_OUTSIDE_ROOT,), path
    assert isinstance(load_photo(lying_in(root).read("alias.jpg"), CONFIG, apply_exif=False), np.ndarray)


def test_missing_folder_and_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    photos = lying_in(tmp_path)
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
