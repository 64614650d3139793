"""Reading TIFF files segment by segment, so that only what comes out of it takes memory.

Pillow decodes a file as a whole, at 4 bytes a pixel beside what is in the file, and drops the lower
bytes of 16 bits in color. tifffile unpacks a segment to whatever size it turns out to have, which
in a damaged file may be any.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from ortist.engine.images.tensors import row_bands

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_CHANNELS, _STRIP_ROWS, _PLANAR, _PREDICTOR = 277, 278, 284, 317
_TILE_COLUMNS, _TILE_ROWS, _EXTRA_CHANNELS, _SAMPLE_FORMAT = 322, 323, 338, 339
_STRIPS, _TILES = (273, 279), (324, 325)
"""Tags of where segments begin, and of how many bytes they have."""

_CODINGS = {
    (1, 1): (False, False),
    (8, 1): (True, False),
    (8, 2): (True, True),
    (32946, 1): (True, False),
    (32946, 2): (True, True),
}
"""Compression and predictor to whether segments are deflated, and samples are differences."""
_DTYPES = {8: "u1", 16: "u2"}
_MODES = {
    (1, 1, ()): "L",
    (1, 2, (0,)): "L",
    (1, 2, (1,)): "La",
    (1, 2, (2,)): "LA",
    (2, 3, ()): "RGB",
    (2, 4, ()): "RGBA",
    (2, 4, (0,)): "RGB",
    (2, 4, (1,)): "RGBa",
    (2, 4, (2,)): "RGBA",
}
"""Photometric interpretation, channels and kinds of extra ones to what Pillow calls it."""

_LARGEST_MARGIN = 1 << 24
"""Pixels that a tile may have beyond those of the picture: all of them are unpacked."""
_CHUNK = 1 << 16
"""Bytes read at once."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """A picture in strips or tiles.

    Attributes:
        stream: the file.
        width: of the picture as it is in the file, in pixels.
        height: likewise.
        rows: of a segment.
        columns: of a segment.
        places: where in the file the segments are, and how many bytes they have: row by row, plane
            by plane.
        planes: 1, or the number of channels if each has segments of its own.
        channels: of a segment.
        mode: of the picture, as Pillow calls it.
        dtype: of samples in the file.
        deflated: whether segments are compressed.
        differences: whether samples are differences.
    """

    stream: IO[bytes]
    width: int
    height: int
    rows: int
    columns: int
    places: tuple[tuple[int, int], ...]
    planes: int
    channels: int
    mode: str
    dtype: np.dtype[Any]
    deflated: bool
    differences: bool

    def parts(self) -> Iterator[tuple[slice, slice, Image.Image]]:
        """Give all parts of the picture, with the rows and columns where they are.

        Raises:
            EOFError: if a segment is too short.
            Exception: whatever reading and unpacking raise.
        """
        across = -(-self.width // self.columns)
        each = len(self.places) // self.planes
        for number in range(each):
            top, left = self.rows * (number // across), self.columns * (number % across)
            right = min(left + self.columns, self.width)
            planes = [
                _Unpacker(self.stream, *place, self.deflated) for place in self.places[number::each]
            ]
            for rows in row_bands(self.columns, top, min(top + self.rows, self.height)):
                parts = [self._samples(plane, rows.stop - rows.start) for plane in planes]
                samples = np.concatenate(parts, axis=-1)[:, : right - left]
                yield rows, slice(left, right), self._image(samples)

    def _samples(self, plane: _Unpacker, rows: int) -> NDArray[Any]:
        shape = (rows, self.columns, self.channels)
        data = plane.read(math.prod(shape) * self.dtype.itemsize)
        samples = np.frombuffer(data, self.dtype).reshape(shape)
        samples = samples.astype(self.dtype.newbyteorder("="), copy=False)
        if self.differences:
            return np.cumsum(samples, axis=1, dtype=samples.dtype)
        return samples

    def _image(self, samples: NDArray[Any]) -> Image.Image:
        if samples.dtype == np.uint16:
            samples = to_8_bits(samples)
        known = np.ascontiguousarray(samples[..., : len(self.mode)])
        return Image.frombytes(self.mode, known.shape[1::-1], known.tobytes())


class _Unpacker:
    """Gives what is in a segment, as many bytes at a time as are asked for."""

    def __init__(self, stream: IO[bytes], start: int, size: int, deflated: bool) -> None:
        self._stream, self._at = stream, start
        # Some programs tell wrong sizes of segments that are not compressed.
        self._end = start + size if deflated else math.inf
        self._unpack = zlib.decompressobj() if deflated else None

    def read(self, size: int) -> bytes:
        """Return so many bytes; EOFError if there are fewer."""
        data = self._packed(size) if self._unpack is None else self._unpacked(size)
        if len(data) < size:
            raise EOFError("a segment is too short")
        return data

    def _packed(self, size: int) -> bytes:
        self._stream.seek(self._at)
        data = self._stream.read(int(min(size, self._end - self._at)))
        self._at += len(data)
        return data

    def _unpacked(self, size: int) -> bytes:
        assert self._unpack is not None
        data = bytearray()
        while len(data) < size:
            packed = self._unpack.unconsumed_tail or self._packed(_CHUNK)
            unpacked = self._unpack.decompress(packed, size - len(data))
            if not packed and not unpacked:
                break
            data += unpacked
        return bytes(data)


def to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return values of 16 bits divided by 257, rounded."""
    return np.rint(values / 257.0).astype(np.uint8)


def find_segments(image: Image.Image) -> Segments | None:
    """Return how a picture is read by segments; None if it is Pillow's to read.

    It can be if it is a TIFF that was not decoded yet, gray or RGB with 8 or 16 bits a channel,
    compressed by deflate or not at all.

    Raises:
        Exception: whatever a damaged file makes Pillow raise.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not image.tile or image.fp is None:
        return None
    tags: Any = image.tag_v2
    if _TILES[0] in tags:
        _check_tiles(*(tags[tag] for tag in (_WIDTH, _HEIGHT, _TILE_COLUMNS, _TILE_ROWS)))
    channels = tags.get(_CHANNELS, 1)
    mode = _MODES.get((tags.get(_PHOTOMETRIC), channels, tags.get(_EXTRA_CHANNELS, ())))
    coding = _CODINGS.get((tags.get(_COMPRESSION, 1), tags.get(_PREDICTOR, 1)))
    planes = {1: 1, 2: channels}.get(tags.get(_PLANAR, 1))
    bits = set(tags.get(_BITS, ()))
    usual = tags.get(_FILL_ORDER, 1) == 1 and set(tags.get(_SAMPLE_FORMAT, (1,))) == {1}
    if mode is None or coding is None or planes is None or bits not in ({8}, {16}) or not usual:
        return None
    layout = _find_layout(tags, planes)
    if layout is None:
        return None
    return Segments(
        stream=image.fp,
        **layout,
        planes=planes,
        channels=channels // planes,
        mode=mode,
        dtype=np.dtype((">" if tags.prefix == b"MM" else "<") + _DTYPES[bits.pop()]),
        deflated=coding[0],
        differences=coding[1],
    )


def _check_tiles(width: object, height: object, columns: object, rows: object) -> None:
    """Raise ValueError for tiles that are much larger than the picture, whoever reads them."""
    sizes = [size for size in (width, height, columns, rows) if isinstance(size, int)]
    if len(sizes) < 4 or sizes[2] * sizes[3] > sizes[0] * sizes[1] + _LARGEST_MARGIN:
        raise ValueError(f"it has tiles of {columns}x{rows} pixels")


def _find_layout(tags: Any, planes: int) -> dict[str, Any] | None:
    """Return sizes and places of the segments; None if they do not make up the picture."""
    width, height = tags.get(_WIDTH), tags.get(_HEIGHT)
    tiled = _TILES[0] in tags
    columns = tags.get(_TILE_COLUMNS) if tiled else width
    rows = tags.get(_TILE_ROWS) if tiled else tags.get(_STRIP_ROWS, height)
    sizes = (width, height, columns, rows)
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        return None
    starts, lengths = (tags.get(tag, ()) for tag in (_TILES if tiled else _STRIPS))
    count = planes * math.ceil(width / columns) * math.ceil(height / rows)
    if not len(starts) == len(lengths) == count:
        return None
    places = tuple(zip(starts, lengths, strict=True))
    return {"width": width, "height": height, "columns": columns, "rows": rows, "places": places}
