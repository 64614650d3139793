"""Pictures with a color profile come out in the colors that it says."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import icc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from test_images import encoded, picture, png_chunk

from ortist.engine.errors import InputError
from ortist.engine.images import read_image, write_image
from ortist.engine.images.profiles import LARGEST_PROFILE, srgb_profile

P3 = icc.rgb_profile(icc.DISPLAY_P3, icc.srgb_curve)
ADOBE = icc.rgb_profile(icc.ADOBE, lambda values: values**icc.ADOBE_GAMMA)


def colors() -> NDArray[np.uint8]:
    """Colors of all kinds, (64, 64, 3)."""
    levels = np.linspace(0, 255, 16).astype(np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(64, 64, 3)


def assert_near(pixels: NDArray[np.uint8], expected: NDArray[np.float64], most: float) -> None:
    assert np.abs(pixels - expected).max() <= most


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_a_display_p3_picture(file_format: str) -> None:
    settings = {"lossless": True} if file_format == "WEBP" else {}
    stream = encoded(Image.fromarray(colors()), file_format, icc_profile=P3, **settings)
    expected = icc.in_srgb(colors(), icc.DISPLAY_P3, icc.srgb_curve)
    assert np.abs(expected - colors()).max() > 60
    assert_near(read_image(stream), expected, 1.5)


def test_an_adobe_rgb_picture() -> None:
    stream = encoded(Image.fromarray(colors()), "PNG", icc_profile=ADOBE)
    expected = icc.in_srgb(colors(), icc.ADOBE, lambda values: values**icc.ADOBE_GAMMA)
    assert np.abs(expected - colors()).max() > 60
    assert_near(read_image(stream), expected, 2.5)


def test_a_jpeg_with_a_profile() -> None:
    stream = encoded(Image.new("RGB", (32, 32), (80, 180, 60)), "JPEG", icc_profile=P3)
    expected = icc.in_srgb(np.uint8([80, 180, 60]), icc.DISPLAY_P3, icc.srgb_curve)
    assert_near(read_image(stream), expected, 4)


def test_the_profile_of_a_pillow_image_counts_and_the_image_stays() -> None:
    image = Image.open(encoded(Image.fromarray(colors()), "PNG", icc_profile=P3))
    expected = read_image(encoded(Image.fromarray(colors()), "PNG", icc_profile=P3))
    np.testing.assert_array_equal(read_image(image), expected)
    np.testing.assert_array_equal(np.asarray(image), colors())
    np.testing.assert_array_equal(read_image(image.convert("RGB")), expected)


def test_a_palette_is_in_the_colors_of_the_profile() -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 80, 180, 60])
    expected = icc.in_srgb(np.uint8([80, 180, 60]), icc.DISPLAY_P3, icc.srgb_curve)
    assert_near(read_image(encoded(image, "PNG", icc_profile=P3)), expected, 1.5)


def test_colors_are_converted_before_they_are_laid_on_white() -> None:
    image = Image.new("RGBA", (20, 20), (80, 180, 60, 128))
    color = icc.in_srgb(np.uint8([80, 180, 60]), icc.DISPLAY_P3, icc.srgb_curve)
    expected = 255 + (color - 255) * 128 / 255
    assert_near(read_image(encoded(image, "PNG", icc_profile=P3)), expected, 1.5)


GAMMA = icc.gray_profile(lambda values: values**1.3)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16"])
def test_gray_pictures_with_a_gray_profile(mode: str) -> None:
    levels = np.tile(np.arange(256).astype(np.uint8), (16, 1))
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(levels).convert(mode)
        levels = np.asarray(image.convert("L"))
    gray = np.repeat(levels[..., np.newaxis], 3, axis=-1)
    expected = icc.in_srgb(gray, icc.SRGB, lambda values: values**1.3)
    pixels = read_image(encoded(image, "PNG", icc_profile=GAMMA))
    assert_near(pixels, expected, 2)
    assert mode == "1" or np.abs(pixels - gray.astype(float)).max() > 25


def test_a_gray_picture_with_a_profile_for_rgb() -> None:
    """Some programs write their usual profile into every file."""
    image = Image.fromarray(picture()).convert("L")
    stream = encoded(image, "PNG", icc_profile=ADOBE)
    gray = np.asarray(image.convert("RGB"))
    expected = icc.in_srgb(gray, icc.ADOBE, lambda values: values**icc.ADOBE_GAMMA)
    assert_near(read_image(stream), expected, 2.5)


def press() -> tuple[bytes, NDArray[np.float64]]:
    """A press with pale inks, and its combinations of inks in sRGB, (2, 2, 2, 2, 3)."""
    lab = np.zeros((2, 2, 2, 2, 3))
    for inks in itertools.product((0, 1), repeat=4):
        cyan, magenta, yellow, key = inks
        lightness = 100 - 22 * cyan - 28 * magenta - 8 * yellow - 40 * key
        a, b = 18 * magenta - 16 * cyan, 20 * yellow - 17 * cyan - 6 * magenta
        lab[inks] = 0 if all(inks) else (lightness, a, b) if any(inks) else (100, 0, 0)
    codes = np.rint(lab * [2.55, 1, 1] + [0, 128, 128]).astype(np.uint8)
    return icc.cmyk_profile(codes), icc.lab_in_srgb((codes - [0.0, 128, 128]) / [2.55, 1, 1])


@pytest.mark.parametrize("file_format", ["TIFF", "JPEG"])
def test_a_cmyk_picture_comes_out_as_its_press_prints(file_format: str) -> None:
    printer, expected = press()
    settings = {"quality": 100} if file_format == "JPEG" else {}
    for inks in itertools.product((0, 1), repeat=4):
        image = Image.new("CMYK", (16, 16), tuple(255 * ink for ink in inks))
        pixels = read_image(encoded(image, file_format, icc_profile=printer, **settings))
        assert_near(pixels, expected[inks], 4)


@pytest.mark.parametrize(
    "profile", [srgb_profile(), icc.rgb_profile(icc.SRGB, icc.srgb_curve)], ids=["ours", "theirs"]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_a_profile_of_srgb_changes_nothing(mode: str, profile: bytes) -> None:
    image = Image.fromarray(colors()).convert(mode)
    with_it = read_image(encoded(image, "PNG", icc_profile=profile))
    np.testing.assert_array_equal(with_it, read_image(encoded(image, "PNG")))


def test_our_profile_is_that_of_srgb() -> None:
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    ours = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    transform = ImageCms.ImageCmsTransform(ours, made, "RGB", "RGB")
    assert_near(np.asarray(transform.apply(Image.fromarray(colors()))), colors().astype(float), 0)
    assert len(srgb_profile()) < 600


def test_profiles_are_looked_at_only_where_there_are_some(tmp_path: Path) -> None:
    write_image(picture(), tmp_path / "ours.png")
    Image.fromarray(picture()).save(tmp_path / "none.png")
    code = """
import sys
from ortist.engine.images import read_image
for name in ("none.png", "ours.png"):
    read_image(name)
print(*[name for name in sys.modules if name in ("PIL.ImageCms", "pillow_heif", "tifffile")])
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "\n", "")


NOISE = np.random.default_rng(0).bytes(5000)
UNUSABLE: dict[str, Callable[[], bytes]] = {
    "text": lambda: b"no profile",
    "noise": lambda: NOISE,
    "header only": lambda: P3[:128],
    "truncated": lambda: P3[: len(P3) // 2],
    "no tags": lambda: icc.profile(b"RGB ", {}),
    "tags of noise": lambda: P3[:132] + NOISE,
    "for inks": lambda: press()[0],
    "for gray": lambda: GAMMA,
    "huge": lambda: P3 + bytes(LARGEST_PROFILE),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_profile_is_ignored_with_a_warning(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream = encoded(Image.fromarray(picture()), "TIFF", icc_profile=UNUSABLE[kind]())
    np.testing.assert_array_equal(read_image(stream, name="style image"), picture())
    (message,) = caplog.messages
    assert message.startswith("ignoring the color profile of style image: ")
    assert message.isprintable()


def test_a_profile_of_another_kind_of_picture(caplog: pytest.LogCaptureFixture) -> None:
    image = Image.fromarray(picture()).convert("CMYK")
    with_it = read_image(encoded(image, "TIFF", icc_profile=P3))
    np.testing.assert_array_equal(with_it, read_image(encoded(image, "TIFF")))
    assert caplog.messages == [
        "ignoring the color profile of image: it is for RGB and the picture is CMYK"
    ]


def test_a_pillow_without_profiles(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr("PIL.ImageCms", raising=False)
    monkeypatch.setitem(sys.modules, "PIL.ImageCms", None)
    stream = encoded(Image.fromarray(picture()), "PNG", icc_profile=P3)
    np.testing.assert_array_equal(read_image(stream), picture())
    assert caplog.messages[0].startswith("ignoring the color profile of image: import of PIL.Im")


def test_a_profile_that_explodes_is_one_line() -> None:
    """Pillow refuses to unpack more than a megabyte, and with it the file."""
    data = encoded(Image.fromarray(picture()), "PNG").getvalue()
    bomb = png_chunk(b"iCCP", b"bomb\0\0" + zlib.compress(bytes(10**8)))
    with pytest.raises(InputError, match="or is damaged"):
        read_image(io.BytesIO(data[:33] + bomb + data[33:]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_large_pictures_are_converted_in_strips_and_turned(orientation: int) -> None:
    """The same as pixel by pixel: more than one strip, the last of another height."""
    small = picture(61, 47)
    large = np.tile(small, (20, 24, 1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    whole = read_image(encoded(Image.fromarray(large), "PNG", icc_profile=P3, exif=exif))
    part = read_image(encoded(Image.fromarray(small), "PNG", icc_profile=P3, exif=exif))
    times = [whole.shape[axis] // part.shape[axis] for axis in (0, 1)]
    assert whole.flags.c_contiguous
    np.testing.assert_array_equal(whole, np.tile(part, (*times, 1)))
