"""Pictures larger than others: TIFF in tiles, and memory for no more than what comes out."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import icc
import numpy as np
import pytest
import tifffile
from numpy.typing import DTypeLike, NDArray
from PIL import Image
from test_encoding import COMMENTS, KINDS, WITH_ALPHA, deep_samples, ramp, tensor
from test_images import HEIGHT, WIDTH, encoded, picture

from ortist.engine import Encoding, InputError
from ortist.engine.images import (
    read_comment,
    read_image,
    read_with_alpha,
    resize_image,
    resize_tensor,
    tensors,
    tiff,
    to_image,
    to_tensor,
    write_image,
)
from ortist.engine.images.profiles import srgb_profile
from ortist.engine.images.segments import find_segments
from ortist.engine.storage import Storage

P3 = icc.rgb_profile(icc.DISPLAY_P3, lambda values: values**2.2)
CHANNELS = {"gray": 1, "gray and alpha": 2, "color": 3, "color and alpha": 4}
LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (16, 16), "compression": "zlib", "predictor": True},
    "large tiles": {"tile": (64, 48), "compression": "zlib"},
    "plain tiles": {"tile": (32, 16)},
    "strips": {"rowsperstrip": 5, "compression": "zlib", "predictor": True},
    "one strip": {"compression": "zlib"},
    "plain strips": {"rowsperstrip": 7},
    "classic": {"bigtiff": False, "rowsperstrip": 5, "byteorder": ">", "compression": "zlib"},
}


def large_tiff(samples: NDArray[Any], **settings: Any) -> io.BytesIO:
    """A BigTIFF, unless the settings say otherwise."""
    channels = samples.shape[2] if samples.ndim == 3 else 1
    if settings.get("planarconfig") == "separate":
        samples = np.moveaxis(samples, -1, 0)
    known: dict[str, Any] = {"bigtiff": True, "metadata": None, "byteorder": "<"}
    known["photometric"] = "rgb" if channels > 2 else "minisblack"
    if channels in (2, 4):
        known["extrasamples"] = ["unassalpha"]
    stream = io.BytesIO()
    tifffile.imwrite(stream, samples, **known | settings)
    stream.seek(0)
    assert find_segments(Image.open(stream)) is not None
    stream.seek(0)
    return stream


def noise(channels: int, dtype: DTypeLike = np.uint8) -> NDArray[Any]:
    shape = (45, 70, channels) if channels > 1 else (45, 70)
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


@pytest.mark.parametrize("band", [tensors.BAND_PIXELS, 100])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_8_bits_are_read_as_pillow_reads_them(
    monkeypatch: pytest.MonkeyPatch, channels: str, layout: str, band: int
) -> None:
    samples = noise(CHANNELS[channels])
    expected, opacity = read_with_alpha(Image.fromarray(samples))
    monkeypatch.setattr(tensors, "BAND_PIXELS", band)
    pixels, alpha = read_with_alpha(large_tiff(samples, **LAYOUTS[layout]))
    np.testing.assert_array_equal(pixels, expected)
    assert (alpha is None) == (opacity is None)
    if opacity is not None:
        np.testing.assert_array_equal(alpha, opacity)


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_16_bits_are_rounded_in_color_too(layout: str, planes: str) -> None:
    for channels in (3, 4):
        samples = noise(channels, np.uint16)
        expected, opacity = read_with_alpha(Image.fromarray(np.rint(samples / 257).astype("u1")))
        stream = large_tiff(samples, planarconfig=planes, **LAYOUTS[layout])
        pixels, alpha = read_with_alpha(stream)
        np.testing.assert_array_equal(pixels, expected)
        assert (alpha is None) == (opacity is None)
        if opacity is not None:
            np.testing.assert_array_equal(alpha, opacity)


@pytest.mark.parametrize("kind", ["unspecified", "assocalpha"])
@pytest.mark.parametrize("channels", [2, 4])
def test_other_kinds_of_alpha_are_read_as_pillow_reads_them(channels: int, kind: str) -> None:
    stream = large_tiff(noise(channels), extrasamples=[kind], tile=(16, 16), compression="zlib")
    image = Image.open(io.BytesIO(stream.getvalue()))
    image.load()
    for actual, expected in zip(read_with_alpha(stream), read_with_alpha(image), strict=True):
        assert (actual is None) == (expected is None)
        if actual is not None:
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_profile_and_alpha_of_tiles(orientation: int) -> None:
    samples = noise(4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    png = encoded(Image.fromarray(samples), "PNG", exif=exif, icc_profile=P3)
    tags = [(0x0112, 3, 1, orientation, True)]
    stream = large_tiff(samples, tile=(16, 32), compression="zlib", iccprofile=P3, extratags=tags)
    for actual, expected in zip(read_with_alpha(stream), read_with_alpha(png), strict=True):
        assert actual is not None
        assert actual.flags.c_contiguous
        np.testing.assert_array_equal(actual, expected)


def test_compressions_of_pillow_in_tiles() -> None:
    """It is Pillow that unpacks them."""
    samples = noise(3)
    stream = io.BytesIO()
    Image.fromarray(samples).save(stream, "TIFF", compression="tiff_lzw")
    stream.seek(0)
    assert find_segments(Image.open(stream)) is None
    stream.seek(0)
    np.testing.assert_array_equal(read_image(stream), samples)


@pytest.mark.parametrize("comment", COMMENTS)
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("alpha", [None, ramp()], ids=["opaque", "alpha"])
@pytest.mark.parametrize("bits", [8, 16])
def test_large_pictures_are_written_in_tiles(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bits: int,
    alpha: NDArray[np.uint8] | None,
    big: bool,
    comment: str,
) -> None:
    paths = [tmp_path / "strips.tif", tmp_path / "tiles.tif"]
    encoding = Encoding(bits=bits, alpha=alpha, comment=comment)
    write_image(tensor(), paths[0], encoding)
    monkeypatch.setattr(tiff, "_TILED_FROM", 1)
    monkeypatch.setattr(tiff, "_TILE", 16)
    if big:
        monkeypatch.setattr(tiff, "_BIG_FROM", 1)
    write_image(tensor(), paths[1], encoding)
    strips, tiles = (tifffile.TiffFile(path) for path in paths)
    with strips, tiles:
        assert tiles.is_bigtiff == big
        assert tiles.pages[0].is_tiled
        assert not strips.pages[0].is_tiled
        np.testing.assert_array_equal(tiles.asarray(), strips.asarray())
    with Image.open(paths[1]) as image:
        assert image.info["icc_profile"] == srgb_profile()
    assert read_comment(paths[1]) == comment
    for actual, expected in zip(*map(read_with_alpha, paths), strict=True):
        assert (actual is None) == (alpha is None or expected is None) or actual is not None
        if expected is not None:
            np.testing.assert_array_equal(actual, expected)


def _unpacked(path: Path) -> bytes:
    """A file, and of a PNG what is packed in it, however it is divided into chunks."""
    data = path.read_bytes()
    if path.suffix != ".png":
        return data
    at, packed = 8, b""
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + size]
        at += 12 + size
    return packed + zlib.decompress(packed)


@pytest.mark.parametrize(("extension", "bits"), KINDS)
def test_files_are_the_same_in_bands_as_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str, bits: int
) -> None:
    alpha = ramp()[:10] if extension in WITH_ALPHA else None
    for band, pixels in itertools.product((tensors.BAND_PIXELS, 70), (tensor(), picture())):
        monkeypatch.setattr(tensors, "BAND_PIXELS", band)
        path = tmp_path / f"{band}-{pixels.dtype}{extension}"
        write_image(pixels, path, Encoding(bits=bits, alpha=alpha, comment="c"))
    for kind in ("float32", "uint8"):
        once, bands = sorted(tmp_path.glob(f"*-{kind}{extension}"))
        assert _unpacked(once) == _unpacked(bands)
    if extension == ".png" and bits == 16:
        samples = deep_samples(tmp_path / "70-float32.png", 4)
        expected = np.clip(np.rint(257 * tensor()), 0, 65535)[0].transpose(1, 2, 0)
        np.testing.assert_array_equal(samples[..., :3], expected)


SIZES = [(40, 60, 13, 20), (40, 60, 80, 120), (60, 40, 40, 27), (31, 17, 31, 50), (31, 17, 50, 17)]


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("band", [tensors.BAND_PIXELS, 200])
@pytest.mark.parametrize(("height", "width", "rows", "columns"), SIZES)
def test_pictures_are_resized_in_bands_as_pillow_does_at_once(
    monkeypatch: pytest.MonkeyPatch,
    height: int,
    width: int,
    rows: int,
    columns: int,
    band: int,
    mapped: bool,
) -> None:
    monkeypatch.setattr(tensors, "BAND_PIXELS", band)
    monkeypatch.setattr(tensors, "COLUMN_PIXELS", band)
    storage = Storage(mapped)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    expected = Image.fromarray(pixels).resize((columns, rows), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(resize_image(pixels, columns, rows, storage), expected)
    values = rng.normal(0, 50, (1, 2, height, width)).astype(np.float32)
    for linear, kind in ((True, Image.Resampling.BILINEAR), (False, Image.Resampling.BICUBIC)):
        resized = resize_tensor(values, columns, rows, linear, storage)
        for before, after in zip(values[0], resized[0], strict=True):
            expected = Image.fromarray(before).resize((columns, rows), kind)
            np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize(("rows", "columns"), [(9, 90), (90, 9), (59, 31), (61, 30)])
def test_pictures_are_resized_in_rows_before_columns(rows: int, columns: int) -> None:
    """Also where Pillow does it the other way round, as some versions do."""
    pixels = np.random.default_rng(0).integers(0, 2, (60, 30, 3), np.uint8) * np.uint8(255)
    kind = Image.Resampling.LANCZOS
    expected = Image.fromarray(pixels).resize((columns, 60), kind).resize((columns, rows), kind)
    np.testing.assert_array_equal(resize_image(pixels, columns, rows), expected)


class Counting(Storage):
    """Keeps what was asked of it."""

    def __init__(self) -> None:
        super().__init__(mapped=True)
        self.asked: list[tuple[tuple[int, ...], DTypeLike]] = []

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        self.asked.append((shape, dtype))
        return super().empty(shape, dtype)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG"])
def test_pictures_are_read_into_what_storage_gives(file_format: str) -> None:
    image = Image.fromarray(picture())
    storage = Counting()
    pixels = read_image(encoded(image, file_format), storage=storage)
    np.testing.assert_array_equal(pixels, read_image(encoded(image, file_format)))
    in_files = to_tensor(pixels, storage)
    np.testing.assert_array_equal(in_files, to_tensor(pixels))
    np.testing.assert_array_equal(to_image(in_files, storage), pixels)
    shape = (HEIGHT, WIDTH, 3)
    tensor_shape = (1, 3, HEIGHT, WIDTH)
    assert storage.asked == [(shape, np.uint8), (tensor_shape, np.float32), (shape, np.uint8)]


def edited(stream: io.BytesIO, tag: int, value: int) -> io.BytesIO:
    """A BigTIFF in which the first value of a tag is another."""
    with tifffile.TiffFile(stream) as file:
        found = file.pages[0].tags[tag]
        size = found.valuebytecount // found.count
    data = bytearray(stream.getvalue())
    data[found.valueoffset : found.valueoffset + size] = value.to_bytes(size, "little")
    return io.BytesIO(data)


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        (256, 10**6, r"has 45000000 pixels \(1000000x45\); at most 1000000 are accepted"),
        (257, 10**9, r"has 70000000000 pixels \(70x1000000000\); at most 1000000 are accepted"),
        (322, 2**31, r"is truncated or damaged.*it has tiles of 2147483648x16 pixels$"),
        (323, 2**20 + 2**10, r"is truncated or damaged.*tiles of 16x1049600 pixels$"),
        (324, 10**12, r"is truncated or damaged.*: a segment is too short$"),
        (324, 3, r"is truncated or damaged.*: Error -3 while decompressing data"),
        (325, 9, r"is truncated or damaged.*: a segment is too short$"),
        (
            259,
            50001,
            r"is truncated or damaged, or this Pillow was not built for its compression, webp",
        ),
        (259, 50002, r"^image is a TIFF picture compressed by JPEG XL; accepted are none, "),
        (259, 4711, r"^image is a TIFF picture compressed by 4711; accepted are none, "),
    ],
)
def test_damaged_tiles(tag: int, value: int, message: str) -> None:
    stream = large_tiff(noise(3), tile=(16, 16), compression="zlib", predictor=True)
    with pytest.raises(InputError, match=message):
        read_image(edited(stream, tag, value), max_pixels=10**6)


def test_a_tile_is_unpacked_no_further_than_it_may_be() -> None:
    tiles = [zlib.compress(bytes(3 * 10**7))] * 15
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        iter(tiles),
        shape=(45, 70, 3),
        dtype=np.uint8,
        tile=(16, 16),
        photometric="rgb",
        compression="zlib",
        metadata=None,
    )
    stream.seek(0)
    assert not read_image(stream).any()


def test_files_of_the_system_have_content_but_no_size() -> None:
    if Path("/proc/self/status").exists():
        with pytest.raises(InputError, match="is not an image in a known format"):
            read_image("/proc/self/status")


MEASURED = """
import sys
from pathlib import Path
import numpy as np
import tifffile
from ortist.engine.images import Encoding, read_image, resize_image, write_image
from ortist.engine.storage import Storage, release

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

def told(what, action):
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    action()
    print(what, (peak() - before) / 20e6)

storage = Storage(mapped=True)
picture = storage.empty((1, 3, 4000, 5000))
for channel in range(3):
    picture[0, channel] = np.linspace(0, 255, 5000, dtype=np.float32)
    release(picture)
for name, bits in (("a.tif", 8), ("b.tif", 16), ("c.png", 16), ("d.png", 8)):
    told(f"write-{name}", lambda: write_image(picture, name, Encoding(bits=bits)))
for name in ("a.tif", "b.tif", "d.png"):
    told(f"read-{name}", lambda: read_image(name))
    told(f"map-{name}", lambda: read_image(name, storage=storage))
pixels = read_image("a.tif", storage=storage)
told("resize", lambda: resize_image(pixels, 4000, 3200, storage))
"""
MOST = {
    # All of them have some 60 MB, 3 bytes a pixel here, whatever the size.
    "write-a.tif": 4.0,
    "write-b.tif": 6.0,
    "write-c.png": 6.0,
    "write-d.png": 4 + 3.5,
    "read-a.tif": 3 + 3.0,
    "read-b.tif": 3 + 3.0,
    "read-d.png": 4 + 3 + 3.0,
    "map-a.tif": 3.0,
    "map-b.tif": 3.0,
    "map-d.png": 4 + 3.0,
    "resize": 4.0,
}
"""Bytes of memory for each of 20 million pixels."""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by /proc")
def test_memory_of_20_megapixels(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", MEASURED]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    used = {name: float(value) for name, value in map(str.split, run.stdout.splitlines())}
    assert used.keys() == MOST.keys()
    assert {name: value for name, value in used.items() if value > MOST[name]} == {}, used
