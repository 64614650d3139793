from __future__ import annotations

import io
import os
import socket
import stat
import struct
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from ortist.engine.errors import InputError
from ortist.engine.images import (
    MAX_PIXELS,
    OUTPUT_EXTENSIONS,
    ImageSource,
    check_output,
    check_writable,
    fit_area,
    fit_size,
    read_image,
    resize_image,
    resize_tensor,
    source,
    to_image,
    to_tensor,
    write_image,
)
from ortist.engine.storage import Storage

HEIGHT, WIDTH = 24, 32


def picture(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """A smooth picture whose corners all differ, so that every orientation is told apart."""
    y, x = np.mgrid[0:height, 0:width]
    channels = 255 * x / width, 255 * y / height, 255 * (x + y) / (height + width)
    return np.stack(channels, axis=-1).astype(np.uint8)


def encoded(image: Image.Image, file_format: str, **settings: object) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, file_format, **settings)
    stream.seek(0)
    return stream


def assert_close(actual: NDArray[np.uint8], expected: NDArray[np.uint8], tolerance: int) -> None:
    assert actual.dtype == np.uint8
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected.astype(int)).max() <= tolerance


def png_chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0"))
    )


def test_the_same_picture_comes_from_every_kind_of_source(tmp_path: Path) -> None:
    pixels = picture()
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    with path.open("rb") as stream:
        sources: list[ImageSource] = [path, str(path), stream, Image.fromarray(pixels), pixels]
        for source in sources:
            np.testing.assert_array_equal(read_image(source), pixels)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_come_back_exactly(file_format: str) -> None:
    stream = encoded(Image.fromarray(picture()), file_format)
    np.testing.assert_array_equal(read_image(stream), picture())


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
def test_lossy_formats_come_back_nearly(file_format: str) -> None:
    stream = encoded(Image.fromarray(picture()), file_format, quality=100)
    assert_close(read_image(stream), picture(), 12)


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_few_channel_modes_become_rgb(mode: str) -> None:
    image = Image.fromarray(picture()).convert(mode)
    np.testing.assert_array_equal(
        read_image(encoded(image, "PNG")), np.asarray(image.convert("RGB"))
    )


def test_transparency_is_laid_on_white() -> None:
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:, : WIDTH // 2] = 0
    image = Image.fromarray(np.concatenate([picture(), alpha], axis=-1))
    expected = picture()
    expected[:, : WIDTH // 2] = 255
    np.testing.assert_array_equal(read_image(encoded(image, "PNG")), expected)
    np.testing.assert_array_equal(read_image(image), expected)


def test_half_transparent_gray_is_mixed_with_white() -> None:
    image = Image.merge("LA", [Image.new("L", (20, 20), 55), Image.new("L", (20, 20), 128)])
    assert_close(read_image(encoded(image, "PNG")), np.full((20, 20, 3), 155, np.uint8), 1)


def test_a_transparent_palette_entry_is_laid_on_white() -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.paste(0, (0, 0, 10, 20))
    pixels = read_image(encoded(image, "PNG", transparency=0))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 19].tolist() == [200, 10, 10]


def test_a_palette_with_several_alphas_is_laid_on_white() -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.paste(0, (0, 0, 10, 20))
    pixels = read_image(encoded(image, "PNG", transparency=bytes([51, 255])))
    assert pixels[0, 0].tolist() == [204, 204, 204]
    assert pixels[0, 19].tolist() == [200, 10, 10]


MODES = (
    *("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX"),
    *("RGBa", "La", "I;16", "I;16L", "I;16B", "I;16N"),
)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pillow_is_read_or_refused(mode: str) -> None:
    image = Image.new(mode, (20, 20))
    if mode == "F":
        with pytest.raises(InputError, match="floating-point pixels"):
            read_image(image)
    else:
        assert read_image(image).shape == (20, 20, 3)


def test_a_mode_that_pillow_cannot_convert(monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow may be built without what LAB needs.
    monkeypatch.delattr("PIL.ImageCms", raising=False)
    monkeypatch.setitem(sys.modules, "PIL.ImageCms", None)
    with pytest.raises(InputError, match=r"^image has pixels of mode LAB, which cannot become RGB"):
        read_image(Image.new("LAB", (20, 20)))


def test_premultiplied_gray_is_laid_on_white() -> None:
    straight = Image.merge("LA", [Image.new("L", (20, 20), 55), Image.new("L", (20, 20), 128)])
    assert_close(read_image(straight.convert("La")), np.full((20, 20, 3), 155, np.uint8), 1)


def png_with_transparent_color(samples: NDArray[np.int64], depth: int, color: list[int]) -> bytes:
    """A PNG, grayscale (H, W) or RGB (H, W, 3), with samples of ``depth`` bits."""
    bits = samples[..., np.newaxis] >> np.arange(depth - 1, -1, -1) & 1
    rows = np.packbits(bits.reshape(len(samples), -1).astype(np.uint8), axis=1)
    lines = np.pad(rows, ((0, 0), (1, 0)))  # no filter
    kind = 0 if samples.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", samples.shape[1], len(samples), depth, kind, 0, 0, 0)
    transparent = struct.pack(f">{len(color)}H", *color)
    parts = ((b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(lines.tobytes())))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in (*parts, (b"IEND", b"")))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_color_of_a_gray_png_is_laid_on_white(depth: int) -> None:
    most = 2**depth - 1
    samples = np.arange(32 * 32).reshape(32, 32) * 129 & most
    for color in {0, 1, most // 2, most}:
        pixels = read_image(io.BytesIO(png_with_transparent_color(samples, depth, [color])))
        gray = np.where(samples == color, 255, np.rint(samples * 255 / most)).astype(np.uint8)
        np.testing.assert_array_equal(pixels, np.repeat(gray[..., np.newaxis], 3, axis=-1))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("color", [[0, 0, 0], [0x1234, 0x5678, 0x9ABC], [200, 100, 50]])
def test_the_transparent_color_of_16_bits_is_told_from_its_neighbors(
    color: list[int], lazy: bool
) -> None:
    samples = np.repeat(np.arange(32 * 32).reshape(32, 32, 1), 3, axis=-1) + color
    stream = io.BytesIO(png_with_transparent_color(samples, 16, color))
    pixels = read_image(Image.open(stream) if lazy else stream)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    # Those after it differ in their lower bytes only, all of which Pillow drops.
    np.testing.assert_array_equal(pixels.reshape(-1, 3)[1:], samples.reshape(-1, 3)[1:] >> 8)


def test_the_transparent_color_of_8_bits_may_have_more_that_do_not_count() -> None:
    samples = np.full((20, 20, 3), 5)
    samples[:10] = 6
    pixels = read_image(io.BytesIO(png_with_transparent_color(samples, 8, [0xFF05, 5, 5])))
    assert np.all(pixels[:10] == 6)
    assert np.all(pixels[10:] == 255)


def test_the_transparent_color_of_16_bits_in_an_image_decoded_elsewhere() -> None:
    color = [0x1234, 0x5678, 0x9ABC]
    samples = np.tile([0x3400, 0x7800, 0xBC00], (20, 20, 1))  # its lower bytes as the upper ones
    samples[:10] = color
    image = Image.open(io.BytesIO(png_with_transparent_color(samples, 16, color)))
    image.load()
    pixels = read_image(image)
    assert np.all(pixels[:10] == 255)
    assert np.all(pixels[10:] == [0x34, 0x78, 0xBC])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda image: image.getchannel(1), [0x78] * 3),
        (lambda image: image.convert("CMYK"), [0x34, 0x78, 0xBC]),
        (lambda image: image.convert("YCbCr"), [0x34, 0x78, 0xBC]),
        (lambda image: image.convert("I"), [0, 0, 0]),
        (lambda image: image.quantize(16), [0x34, 0x78, 0xBC]),
        (lambda image: image.crop((0, 0, 16, 16)), [0x34, 0x78, 0xBC]),
    ],
)
def test_what_was_made_of_an_image_with_a_transparent_color_of_16_bits(
    change: Callable[[Image.Image], Image.Image], expected: list[int]
) -> None:
    """It keeps the color, which may be none of its own."""
    samples = np.tile([0x3400, 0x7800, 0xBC00], (20, 20, 1))
    stream = io.BytesIO(png_with_transparent_color(samples, 16, [0x1234, 0x5678, 0x9ABC]))
    pixels = read_image(change(Image.open(stream)))
    assert np.abs(pixels[:16, :16].astype(int) - expected).max() <= 2


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_values_are_scaled_not_clipped(file_format: str) -> None:
    values = np.linspace(0, 65535, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    gray = np.rint(values / 257).astype(np.uint8)
    pixels = read_image(encoded(Image.fromarray(values), file_format))
    np.testing.assert_array_equal(pixels, np.repeat(gray[..., np.newaxis], 3, axis=-1))


def test_32_bit_integers_hold_16_bit_values() -> None:
    image = Image.new("I", (20, 20), 257 * 99)
    np.testing.assert_array_equal(read_image(image), np.full((20, 20, 3), 99, np.uint8))
    with pytest.raises(InputError, match=r"integer pixels from 70000 to 70000; 0\.\.65535 is"):
        read_image(Image.new("I", (20, 20), 70000))


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="floating-point pixels; 8 or 16 bits"):
        read_image(encoded(Image.new("F", (20, 20), 0.5), "TIFF"))


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_the_colors_it_was_made_from(file_format: str) -> None:
    settings = {"quality": 100} if file_format == "JPEG" else {}
    stream = encoded(Image.fromarray(picture()).convert("CMYK"), file_format, **settings)
    assert_close(read_image(stream), picture(), 12)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(file_format: str, orientation: int) -> None:
    upright = picture()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, -1),
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"quality": 100} if file_format in ("JPEG", "WEBP") else {}
    stream = encoded(image, file_format, exif=exif, **settings)
    assert_close(read_image(stream), upright, 12)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_damaged_exif_does_not_hide_the_picture() -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"
    stream = encoded(Image.fromarray(picture()), "JPEG", quality=100, exif=exif)
    assert_close(read_image(stream), picture(), 12)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_read(file_format: str) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    settings = {"lossless": True} if file_format == "WEBP" else {}
    stream = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **settings)
    np.testing.assert_array_equal(read_image(stream), np.asarray(frames[0]))


@pytest.mark.parametrize("buffering", [0, -1])
def test_reading_from_a_pipe(buffering: int) -> None:
    reading, writing = os.pipe()
    data = encoded(Image.fromarray(picture()), "PNG").getvalue()
    os.write(writing, data)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering) as stream:
        np.testing.assert_array_equal(read_image(stream), picture())


class Endless(io.RawIOBase):
    """Zeros without end, and how many were read."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "all of it would be endless"
        self.given += size
        return bytes(size)


def test_an_endless_stream_is_read_up_to_what_a_picture_can_take() -> None:
    stream = Endless()
    with pytest.raises(InputError) as caught:
        read_image(stream, name="style image", max_pixels=1_000_000)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "style image has more than 82000000 bytes, which is more than a picture of 1000000 pixels"
        " takes (raise max_pixels, --max-pixels)"
    )
    assert stream.given == 82_000_001


def test_a_picture_written_as_text_is_not_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_BYTES_BESIDE", 100)
    text = b"P3 40 30 65535\n" + b"65535 32768 00000 " * 1200
    pixels = read_image(io.BytesIO(text), max_pixels=1200)
    assert np.all(pixels == [255, 128, 0])


def test_a_file_larger_than_a_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.write(encoded(Image.fromarray(picture()), "PNG").getvalue())
        file.truncate(64_018_001)  # sparse
    with pytest.raises(InputError, match="has more than 64018000 bytes"):
        read_image(path, max_pixels=1000)
    assert read_image(path, max_pixels=1001).shape == (HEIGHT, WIDTH, 3)


def test_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for a writer
    (tmp_path / "link").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for name in ("pipe", "link", "socket"):
        path = tmp_path / name
        with pytest.raises(InputError) as caught:
            read_image(path)
        assert str(caught.value) == f"image '{path}' cannot be read: it is no regular file"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="it is Linux that has such a file")
def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(InputError, match=r"'/proc/self/mem' cannot be read: Input/output error$"):
        read_image("/proc/self/mem")


def test_an_image_that_was_closed_before_it_was_decoded() -> None:
    with Image.open(encoded(Image.fromarray(picture()), "PNG")) as image:
        pass
    with pytest.raises(InputError, match=r"^image (was|is truncated or damaged: .*) closed"):
        read_image(image)


class Failing:
    """A file object of a library with errors of its own."""

    class Error(Exception):
        pass

    def read(self, size: int) -> bytes:
        raise self.Error("the connection broke")


def test_file_objects_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(picture()).save(path)
    with path.open("rb") as closed:
        pass
    with pytest.raises(InputError, match=r"^image cannot be read: .*closed file"):
        read_image(closed)
    with path.open("ab") as write_only, pytest.raises(InputError, match=r"^image cannot be read: "):
        read_image(write_only)
    with pytest.raises(InputError, match=r"^image cannot be read: the connection broke$") as caught:
        read_image(Failing())  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, Failing.Error)


def test_reading_leaves_the_file_object_open_and_the_image_as_it_was() -> None:
    stream = encoded(Image.fromarray(picture()), "PNG")
    read_image(stream)
    assert not stream.closed
    image = Image.fromarray(picture()).convert("RGBA")
    read_image(image)
    assert image.mode == "RGBA"


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nothing.jpg"
    with pytest.raises(InputError) as caught:
        read_image(path, name="style image")
    assert str(caught.value) == f"style image '{path}' does not exist"


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^image '.*' is a directory$"):
        read_image(tmp_path)


def test_path_with_a_null_byte() -> None:
    with pytest.raises(InputError, match="cannot be read: embedded null byte"):
        read_image("a\0b.png")


@pytest.mark.parametrize("data", [b"", b"GIF", b"just some text, no pixels", b"\xff\xd8\xff\xe0"])
def test_not_an_image(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "text.jpg"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"is not an image in a known format \(JPEG, PNG, "):
        read_image(path)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM"])
def test_truncated_image(file_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    data = encoded(Image.fromarray(noise), file_format).getvalue()
    with pytest.raises(InputError, match=r"is truncated or damaged|or is damaged"):
        read_image(io.BytesIO(data[: len(data) * 2 // 3]))


def test_text_file_object() -> None:
    with pytest.raises(InputError, match="cannot be read: reading gave str in place of bytes"):
        read_image(io.StringIO("text"))  # type: ignore[arg-type]


def test_something_else_altogether() -> None:
    with pytest.raises(InputError, match="image is of type int; accepted are a path, a binary"):
        read_image(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((3, 32, 32), np.uint8),
        np.zeros((32, 32, 3), np.float32),
    ],
)
def test_arrays_of_another_shape_or_type(array: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match=r"uint8 \(height, width, 3\) is accepted"):
        read_image(array)


@pytest.mark.parametrize("side", [(15, 40), (40, 15), (1, 1)])
def test_too_small(side: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"pixels; each side needs at least 16$"):
        read_image(Image.new("RGB", side))
    with pytest.raises(InputError, match=r"pixels; each side needs at least 16$"):
        read_image(np.zeros((*side, 3), np.uint8))


def test_16_pixels_are_enough() -> None:
    assert read_image(Image.new("RGB", (16, 16))).shape == (16, 16, 3)


@pytest.mark.parametrize("side", [8_001, 12_000, 60_000])
def test_too_large_is_refused_before_decoding(side: int) -> None:
    with pytest.raises(InputError) as caught:
        read_image(io.BytesIO(png_header(side, side)), name="content image")
    assert str(caught.value) == (
        f"content image has {side * side} pixels ({side}x{side}); at most {MAX_PIXELS} are"
        " accepted (raise max_pixels, --max-pixels)"
    )


def test_the_pixel_limit_can_be_raised_and_lowered() -> None:
    with pytest.raises(InputError, match="at most 500 are accepted"):
        read_image(picture(), max_pixels=500)
    with pytest.raises(InputError, match="truncated or damaged"):
        read_image(io.BytesIO(png_header(8_001, 8_001)), max_pixels=10**9)


def test_fit_size_keeps_the_aspect_ratio() -> None:
    assert fit_size(1600, 1200, size=512) == (512, 384)
    assert fit_size(1200, 1600, size=512) == (384, 512)
    assert fit_size(100, 75, size=400) == (400, 300)
    assert fit_size(1600, 1200, to_width=400) == (400, 300)
    assert fit_size(1600, 1200, to_height=300) == (400, 300)
    assert fit_size(1600, 1200, to_width=400, to_height=400) == (400, 400)
    assert fit_size(1600, 1200, size=512, to_width=80) == (80, 60)
    assert fit_size(1600, 1201) == (1600, 1201)


def test_fit_size_checks_the_outcome() -> None:
    with pytest.raises(InputError, match="the picture is 512x10 pixels; each side needs"):
        fit_size(1024, 20, size=512)
    with pytest.raises(InputError, match=r"the picture has 100000000 pixels .*--max-pixels"):
        fit_size(100, 100, size=10_000)


def test_fit_area() -> None:
    assert fit_area(1600, 1200, 400 * 300) == (400, 300)
    assert fit_area(4000, 20, 256) == (226, 16)


def test_resizing_to_the_same_size_changes_nothing() -> None:
    pixels = picture()
    assert resize_image(pixels, WIDTH, HEIGHT) is pixels


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize_image(stripes, 16, 8)
    assert small.shape == (8, 16, 3)
    assert_close(small, np.full((8, 16, 3), 128, np.uint8), 20)


def test_tensors_and_back() -> None:
    pixels = picture()
    tensor = to_tensor(pixels)
    assert tensor.shape == (1, 3, HEIGHT, WIDTH)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert tensor[0, :, 5, 7].tolist() == pixels[5, 7].tolist()
    np.testing.assert_array_equal(to_image(tensor), pixels)


def test_images_are_rounded_and_clipped() -> None:
    tensor = np.array([-3.0, 0.4, 0.6, 254.6, 300.0, 7.0], np.float32).reshape(1, 3, 1, 2)
    assert to_image(tensor).reshape(2, 3).T.ravel().tolist() == [0, 0, 1, 255, 255, 7]


@pytest.mark.parametrize("extension", OUTPUT_EXTENSIONS)
def test_what_is_written_can_be_read(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"out{extension.upper()}"
    check_output(path)
    write_image(picture(), path)
    tolerance = 12 if extension in (".jpg", ".jpeg", ".webp", ".avif") else 0
    assert_close(read_image(path), picture(), tolerance)
    assert list(tmp_path.iterdir()) == [path]


def test_jpeg_is_written_without_chroma_subsampling(tmp_path: Path) -> None:
    write_image(picture(), tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4


@pytest.mark.parametrize("name", ["out.xyz", "out", "out.gif", ".png"])
def test_unknown_extension(tmp_path: Path, name: str) -> None:
    message = r"unknown extension '.*'; accepted are \.png, \.jpg,"
    with pytest.raises(InputError, match=message):
        check_output(tmp_path / name)
    with pytest.raises(InputError, match=message):
        write_image(picture(), tmp_path / name)


def test_existing_output_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match=r"out\.png' exists; --force \(force=True\) replaces it$"):
        check_output(path)
    check_output(path, force=True)
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["out.png", "out"])
def test_output_that_is_a_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"^output '.*{name}' is a directory$"):
        check_output(tmp_path / name, force=True)


def test_output_in_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no directory '.*missing'"):
        check_output(tmp_path / "missing" / "out.png")


def test_output_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"there is no directory '.*file'"):
        check_output(tmp_path / "file" / "out.png")


def test_output_in_an_unwritable_directory() -> None:
    with pytest.raises(InputError, match="cannot write to directory '/proc'"):
        check_output("/proc/out.png")
    with pytest.raises(InputError, match=r"output '/proc/out\.png' cannot be written"):
        write_image(picture(), "/proc/out.png")


def looks(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what tells entries of a folder from others; to look at a link changes its atime."""
    found = {entry.name: entry.lstat() for entry in folder.iterdir()}
    return {
        name: (one.st_mode, one.st_ino, one.st_size, one.st_mtime_ns) for name, one in found.items()
    }


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["device", "pipe", "socket", "folder", "loop"])
def test_an_output_that_is_no_file_is_refused_and_stays(
    tmp_path: Path, kind: str, linked: bool, force: bool
) -> None:
    place = tmp_path / "there.png"
    if kind == "device":
        place.symlink_to("/dev/null")  # to make one takes privileges
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("loop.png")
        (tmp_path / "loop.png").symlink_to(place)
    path = tmp_path / "link.png" if linked else place
    if linked:
        path.symlink_to(place)
    before = looks(tmp_path)
    message = {"folder": "a directory", "loop": "Too many levels"}.get(kind, "no regular file")
    with pytest.raises(InputError, match=message):
        check_output(path, force)
    assert looks(tmp_path) == before


def test_check_output_leaves_no_trace(tmp_path: Path) -> None:
    check_output(tmp_path / "out.png")
    check_writable(tmp_path / "log.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_sizes_a_format_cannot_hold(tmp_path: Path) -> None:
    check_output(tmp_path / "out.webp", size=(16_383, 40))
    with pytest.raises(InputError, match="WEBP holds at most 16383 pixels a side, not 16384x40"):
        check_output(tmp_path / "out.webp", size=(16_384, 40))


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "out.webp"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="cannot be written"):
        write_image(np.zeros((2, 16_384, 3), np.uint8), path)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_are_resized_as_pillow_does() -> None:
    tensor = np.random.default_rng(0).uniform(0, 255, (1, 2, 30, 40)).astype(np.float32)
    resized = resize_tensor(tensor, 400, 300)
    for channel, plane in zip(tensor[0], resized[0], strict=True):
        whole = Image.fromarray(channel).resize((400, 300), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(plane, np.asarray(whole))
    mapped = resize_tensor(tensor, 400, 300, storage=Storage(mapped=True))
    np.testing.assert_array_equal(mapped, resized)
    assert resize_tensor(tensor, 40, 30) is tensor


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_image(picture(), tmp_path / "out.png")
    usual = stat.S_IMODE((tmp_path / "usual").stat().st_mode)
    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == usual
    (tmp_path / "out.png").chmod(0o640)
    write_image(picture(), tmp_path / "out.png")
    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == 0o640


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "out.png"
    link.symlink_to(tmp_path / "elsewhere" / "picture.png")
    check_output(link)
    write_image(picture(), link)
    assert link.is_symlink()
    np.testing.assert_array_equal(read_image(tmp_path / "elsewhere" / "picture.png"), picture())


def test_writing_something_that_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"picture to write is an array of float64 \(2, 2\)"):
        write_image(np.zeros((2, 2)), tmp_path / "out.png")  # type: ignore[arg-type]


def test_a_name_with_a_null_character_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a\0.png"
    for write in (check_output, partial(write_image, np.zeros((16, 16, 3), np.uint8))):
        with pytest.raises(InputError, match="cannot be written: embedded null"):
            write(path)
