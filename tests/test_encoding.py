"""What is in the file of a picture: bits, quality, alpha channel, profile and comment."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from test_images import HEIGHT, WIDTH, assert_close, encoded, picture

from ortist.engine import Encoding, InputError, Result
from ortist.engine.images import (
    OUTPUT_EXTENSIONS,
    check_output,
    read_alpha,
    read_comment,
    read_image,
    read_with_alpha,
    to_tensor,
    write_image,
)
from ortist.engine.images.comment import LONGEST_COMMENT, comment_exif
from ortist.engine.images.profiles import srgb_profile

DEEP = (".png", ".tif", ".tiff")
WITH_ALPHA = (".png", ".webp", ".tif", ".tiff", ".avif")
WITH_QUALITY = (".jpg", ".jpeg", ".webp", ".avif")
LOSSLESS = (".png", ".tif", ".tiff", ".bmp")
KINDS = [*((extension, 8) for extension in OUTPUT_EXTENSIONS), *((each, 16) for each in DEEP)]
COMMENTS = ['{"seed": 7, "beta": [4.0, 1e-3]}', "größer → \N{ARTIST PALETTE}", "a\nb\t", "x" * 5000]


def tensor(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.float32]:
    """A picture on its way: between the levels, and beyond them."""
    noise = np.random.default_rng(3).normal(0, 20, (1, 3, height, width))
    return (to_tensor(picture(height, width)) + noise).astype(np.float32)


def ramp() -> NDArray[np.uint8]:
    """An alpha channel, transparent at the left and opaque at the right."""
    return np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))


def deep_samples(path: Path, channels: int) -> NDArray[np.uint16]:
    """The samples of a file with 16 bits, as another program reads them, (24, 32, channels)."""
    kind = {3: "rgb48le", 4: "rgba64le"}[channels]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path]
    command += ["-f", "rawvideo", "-pix_fmt", kind, "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(data, "<u2").reshape(HEIGHT, WIDTH, channels)


@pytest.mark.parametrize("alpha", [None, ramp()], ids=["opaque", "alpha"])
@pytest.mark.parametrize("extension", DEEP)
def test_16_bits_are_those_of_the_painting(
    tmp_path: Path, extension: str, alpha: NDArray[np.uint8] | None
) -> None:
    path = tmp_path / f"out{extension}"
    pixels = tensor()
    write_image(pixels, path, Encoding(bits=16, alpha=alpha))
    samples = deep_samples(path, 3 if alpha is None else 4)
    expected = np.clip(np.rint(257 * pixels), 0, 65535)[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(samples[..., :3], expected)
    assert len(np.unique(samples % 257)) > 100
    if alpha is not None:
        np.testing.assert_array_equal(samples[..., 3], alpha.astype(int) * 257)
    # Of PNG Pillow gives the upper bytes.
    color = samples[..., :3]
    color = color >> 8 if extension == ".png" else np.rint(color / 257).astype(np.uint16)
    read = read_image(path)  # laid on white, where there is transparency: not in the last column
    np.testing.assert_array_equal(read[:, -1], color[:, -1])
    assert np.array_equal(read, color) == (alpha is None)


def test_16_bits_of_8_bit_pixels(tmp_path: Path) -> None:
    write_image(picture(), tmp_path / "out.png", Encoding(bits=16))
    np.testing.assert_array_equal(
        deep_samples(tmp_path / "out.png", 3), picture().astype(int) * 257
    )
    np.testing.assert_array_equal(read_image(tmp_path / "out.png"), picture())


@pytest.mark.parametrize("extension", LOSSLESS)
def test_8_bits_of_a_painting_are_rounded(tmp_path: Path, extension: str) -> None:
    result = Result(tensor(), (), 0.0)
    result.save(tmp_path / f"out{extension}")
    np.testing.assert_array_equal(read_image(tmp_path / f"out{extension}"), result.image)


@pytest.mark.parametrize("side", [(1, 16), (16, 1), (1, 1), (3, 700)])
@pytest.mark.parametrize("extension", DEEP)
def test_16_bits_of_narrow_pictures(tmp_path: Path, extension: str, side: tuple[int, int]) -> None:
    path = tmp_path / f"out{extension}"
    write_image(picture(*side), path, Encoding(bits=16, comment="narrow"))
    np.testing.assert_array_equal(read_image(path, min_side=1), picture(*side))
    assert read_comment(path) == "narrow"


@pytest.mark.parametrize(("extension", "bits"), KINDS)
def test_files_say_that_they_are_srgb(tmp_path: Path, extension: str, bits: int) -> None:
    path = tmp_path / f"out{extension}"
    write_image(picture(), path, Encoding(bits=bits))
    with Image.open(path) as image:
        expected = None if extension == ".bmp" else srgb_profile()
        assert image.info.get("icc_profile") == expected
        assert not image.getexif().get(0x0131)  # nothing is told that was not asked for


@pytest.mark.parametrize(("extension", "bits"), KINDS)
def test_the_same_picture_is_the_same_file(tmp_path: Path, extension: str, bits: int) -> None:
    alpha = ramp() if extension in WITH_ALPHA else None
    encoding = Encoding(bits=bits, alpha=alpha, comment="c")
    for name in ("one", "two"):
        write_image(tensor(), tmp_path / f"{name}{extension}", encoding)
    files = [(tmp_path / f"{name}{extension}").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux can keep a core from it")
def test_an_avif_is_the_same_whatever_cores_there_are(tmp_path: Path) -> None:
    code = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[1])])
import numpy as np
from ortist.engine.images import write_image
pixels = np.random.default_rng(0).integers(0, 256, (600, 700, 3), np.uint8)
write_image(pixels, f"{sys.argv[1]}.avif")
"""
    for cores in ("1", "99"):
        subprocess.run([sys.executable, "-c", code, cores], cwd=tmp_path, check=True)
    assert (tmp_path / "1.avif").read_bytes() == (tmp_path / "99.avif").read_bytes()


@pytest.mark.parametrize(("extension", "bits"), [kind for kind in KINDS if kind[0] in WITH_ALPHA])
def test_an_alpha_channel_comes_back(tmp_path: Path, extension: str, bits: int) -> None:
    path = tmp_path / f"out{extension}"
    write_image(tensor(), path, Encoding(bits=bits, alpha=ramp()))
    alpha = read_alpha(path)
    assert alpha is not None
    assert_close(alpha, ramp(), 8 if extension == ".avif" else 0)
    with path.open("rb") as stream:
        pixels, again = read_with_alpha(stream)
    assert again is not None
    np.testing.assert_array_equal(again, alpha)
    np.testing.assert_array_equal(pixels, read_image(path))
    assert np.all(pixels[:, 0] == 255)


def test_an_alpha_channel_takes_the_size_of_the_picture(tmp_path: Path) -> None:
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, 30:] = 255
    write_image(picture(), tmp_path / "out.png", Encoding(alpha=alpha))
    read = read_alpha(tmp_path / "out.png")
    assert read is not None
    assert read.shape == (HEIGHT, WIDTH)
    assert np.all(read[:, : WIDTH // 2 - 2] == 0)
    assert np.all(read[:, WIDTH // 2 + 2 :] == 255)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA", "LA"])
def test_what_is_opaque_has_no_alpha_channel(mode: str) -> None:
    stream = encoded(Image.fromarray(picture()).convert(mode), "TIFF")
    assert read_alpha(stream) is None
    assert read_alpha(picture()) is None
    assert read_alpha(Image.new(mode, (20, 20), "white")) is None


def test_the_alpha_channel_of_a_palette_and_of_a_transparent_color() -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.paste(0, (0, 0, 10, 20))
    expected = np.full((20, 20), 255)
    expected[:, :10] = 51
    alpha = read_alpha(encoded(image, "PNG", transparency=bytes([51, 255])))
    np.testing.assert_array_equal(alpha, expected)
    gray = np.full((20, 20), 257, np.uint16)
    gray[:, :10] = 300
    stream = encoded(Image.fromarray(gray), "PNG", transparency=300)
    np.testing.assert_array_equal(read_alpha(stream), np.where(gray == 300, 0, 255))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_alpha_channel_is_turned_as_the_picture(orientation: int) -> None:
    """Its values are those of a channel of the picture."""
    image = Image.fromarray(np.dstack([picture(), picture()[..., 2]]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = encoded(image, "PNG", exif=exif)
    turned = read_image(encoded(image.convert("RGB"), "PNG", exif=exif))
    np.testing.assert_array_equal(read_alpha(stream), turned[..., 2])


def test_inks_with_an_alpha_channel() -> None:
    """It is dropped, and the picture is that of the inks."""
    inks = np.zeros((20, 20, 5), np.uint8)
    inks[..., 1] = 255
    stream = io.BytesIO()
    tifffile.imwrite(stream, inks, photometric="separated", extrasamples=["unspecified"])
    stream.seek(0)
    pixels, alpha = read_with_alpha(stream)
    assert np.all(pixels == [255, 0, 255])
    assert alpha is None


def test_quality_is_that_of_the_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for extension in WITH_QUALITY:
        sizes = []
        for quality in (1, 50, 95, None, 100):
            path = tmp_path / f"{quality}{extension}"
            check_output(path, encoding=Encoding(quality=quality))
            write_image(noise, path, Encoding(quality=quality))
            sizes.append(path.stat().st_size)
        assert sizes[0] < sizes[1] < sizes[2] == sizes[3] < sizes[4]


@pytest.mark.parametrize("comment", COMMENTS)
@pytest.mark.parametrize(("extension", "bits"), KINDS)
def test_a_comment_comes_back(tmp_path: Path, extension: str, bits: int, comment: str) -> None:
    path = tmp_path / f"out{extension}"
    alpha = ramp() if extension in WITH_ALPHA else None
    write_image(picture(), path, Encoding(bits=bits, alpha=alpha, comment=comment))
    assert read_comment(path) == (None if extension == ".bmp" else comment)
    with path.open("rb") as stream:
        assert read_comment(stream) == read_comment(path)
    if extension != ".bmp":
        with Image.open(path) as image:
            assert image.getexif()[0x0131].split()[0] == "ortist"
            assert image.info["icc_profile"] == srgb_profile()


@pytest.mark.parametrize(("extension", "bits"), KINDS)
def test_the_longest_comment(tmp_path: Path, extension: str, bits: int) -> None:
    path = tmp_path / f"out{extension}"
    for comment in ("x" * LONGEST_COMMENT, "→" * (LONGEST_COMMENT // 2 - 1)):
        write_image(picture(), path, Encoding(bits=bits, comment=comment))
        assert read_comment(path) == (None if extension == ".bmp" else comment)


@pytest.mark.parametrize("extension", OUTPUT_EXTENSIONS)
def test_a_file_without_a_comment(tmp_path: Path, extension: str) -> None:
    write_image(picture(), tmp_path / f"out{extension}")
    assert read_comment(tmp_path / f"out{extension}") is None


def test_the_comment_of_a_photograph_is_read() -> None:
    for value, text in (
        (b"ASCII\0\0\0by the sea\0\0", "by the sea"),
        (b"\0" * 8 + b"by the sea", None),
        (b"UNICODE\0\xff\xfe\x00\xd8", None),
        (b"ASCII\0\0\0\xff", None),
        (b"ASCII", None),
        (b"ASCII\0\0\0" + b"x" * 64000, None),
    ):
        exif = Image.Exif()
        exif[0x8769] = {0x9286: value}
        stream = encoded(Image.fromarray(picture()), "JPEG", exif=exif)
        assert read_comment(stream) == text


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_has_no_comment(file_format: str) -> None:
    exif = comment_exif("here")
    found = set()
    for cut, insert in itertools.product(range(10, len(exif)), (b"", b"\xff\xff", b"\0")):
        stream = encoded(Image.fromarray(picture()), file_format, exif=exif[:cut] + insert)
        found.add(read_comment(stream))
    assert None in found
    assert found <= {None, "here", "her", "he", "h", ""}


def test_the_comment_of_no_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not an image in a known format"):
        read_comment(io.BytesIO(b"no picture"))
    with pytest.raises(InputError, match=r"^image '.*none\.png' does not exist$"):
        read_comment(tmp_path / "none.png")


def test_the_comment_of_a_picture_too_large_to_decode() -> None:
    """Its pixels are not looked at."""
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"ASCII\0\0\0large"}
    stream = encoded(Image.new("1", (30_000, 20_000)), "PNG", exif=exif)
    assert read_comment(stream) == "large"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bits": 12}, "bits is 12, accepted are 8 and 16"),
        ({"bits": "16"}, "bits is '16', accepted are 8 and 16"),
        ({"bits": None}, "bits is None, accepted are 8 and 16"),
        ({"quality": 0}, "quality is 0, accepted are whole numbers from 1"),
        ({"quality": 101}, "quality is too large, accepted are whole numbers up to 100"),
        ({"quality": 9.5}, "quality is 9.5, accepted are whole numbers from 1"),
        ({"quality": True}, "quality is True, accepted are whole numbers from 1"),
        ({"alpha": 3}, "alpha is 3, accepted is an array uint8 (height, width)"),
        (
            {"alpha": np.zeros((4, 4, 1), np.uint8)},
            "alpha is an array of uint8 (4, 4, 1); uint8 (height, width) is accepted",
        ),
        (
            {"alpha": np.zeros((4, 4))},
            "alpha is an array of float64 (4, 4); uint8 (height, width) is accepted",
        ),
        (
            {"alpha": np.zeros((0, 4), np.uint8)},
            "alpha is an array of uint8 (0, 4); uint8 (height, width) is accepted",
        ),
        ({"comment": b"bytes"}, "comment is b'bytes', accepted is a text"),
        ({"comment": "x" * 60_001}, "comment has 60001 bytes, accepted are 60000"),
        ({"comment": "→" * 30_000}, "comment has 60002 bytes, accepted are 60000"),
    ],
)
def test_an_encoding_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Encoding(**values)
    assert str(caught.value) == message


REFUSED = {
    "bits": (DEEP, Encoding(bits=16), "16 bits a channel (bits, --bits)"),
    "quality": (WITH_QUALITY, Encoding(quality=95), "quality (quality, --quality)"),
    "alpha": (WITH_ALPHA, Encoding(alpha=ramp()), "alpha channel (alpha, --keep-alpha)"),
}


@pytest.mark.parametrize("extension", OUTPUT_EXTENSIONS)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_format_cannot_hold_is_refused_before_and_when_written(
    tmp_path: Path, kind: str, extension: str
) -> None:
    able, encoding, about = REFUSED[kind]
    path = tmp_path / f"out{extension.upper()}"
    if extension in able:
        check_output(path, encoding=encoding)
        write_image(picture(), path, encoding)
        return
    names = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
    name = names.get(extension, extension[1:].upper())
    message = f"output '{path}': {name} has no {about}; accepted are {', '.join(able)}"
    for refuse in (
        lambda: check_output(path, encoding=encoding),
        lambda: write_image(picture(), path, encoding),
    ):
        with pytest.raises(InputError) as caught:
            refuse()
        assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_a_pillow_without_avif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = encoded(Image.fromarray(picture()), "AVIF")
    monkeypatch.delitem(Image.SAVE, "AVIF")
    monkeypatch.setattr("PIL.AvifImagePlugin.SUPPORTED", False)
    path = tmp_path / "out.avif"
    with pytest.raises(InputError) as caught:
        check_output(path)
    assert str(caught.value) == f"output '{path}': this Pillow was not built for AVIF"
    with pytest.raises(InputError) as caught:
        read_image(stream)
    assert str(caught.value) == "image is an AVIF picture, for which this Pillow was not built"


def test_an_avif_is_no_longer_than_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "out.avif"
    with pytest.raises(InputError, match=r"AVIF holds at most 32768 pixels a side, not 32769x16$"):
        check_output(path, size=(32_769, 16))
    write_image(np.full((16, 32_768, 3), 99, np.uint8), path)
    assert read_image(path).shape == (16, 32_768, 3)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 4, 20, 20), np.float32),
        np.zeros((2, 3, 20, 20), np.float32),
        np.zeros((20, 20)),
    ],
)
def test_arrays_that_are_no_picture(tmp_path: Path, array: NDArray[Any]) -> None:
    with pytest.raises(InputError, match=r"^picture to write is an array of "):
        write_image(array, tmp_path / "out.png", Encoding(bits=16))
