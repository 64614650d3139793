"""PNG files with 16 bits a channel, which Pillow cannot write.

pypng and numpngw, which could, are not kept up, and write no profiles and no EXIF.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ortist.engine.images.comment import comment_exif
from ortist.engine.images.samples import Samples

_SUBTRACT_ROW_ABOVE = 2
"""The number of PNG's filter Up."""


def write_deep_png(samples: Samples, stream: IO[bytes], profile: bytes, comment: str) -> None:
    """Write the samples of a picture, of 16 bits, as PNG."""
    height, width, channels = samples.shape
    kind = {3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    stream.write(b"\x89PNG\r\n\x1a\n")
    _write_chunk(stream, b"IHDR", header)
    _write_chunk(stream, b"iCCP", b"sRGB\0\0" + zlib.compress(profile))
    if comment:
        _write_chunk(stream, b"eXIf", comment_exif(comment).removeprefix(b"Exif\0\0"))
    packer = zlib.compressobj()
    for rows in _filtered(samples):
        _write_chunk(stream, b"IDAT", packer.compress(rows.data))
    _write_chunk(stream, b"IDAT", packer.flush())
    _write_chunk(stream, b"IEND", b"")


def _filtered(samples: Samples) -> Iterator[NDArray[np.uint8]]:
    """Give the rows in bands, (rows, 1 + bytes): each begins with the number of its filter."""
    above: NDArray[Any] = np.zeros(1, np.uint8)  # the first row stays as it is
    for band in samples.bands():
        data = band.astype(">u2").view(np.uint8).reshape(len(band), -1)
        rows = np.full((len(data), 1 + data.shape[1]), _SUBTRACT_ROW_ABOVE, np.uint8)
        np.subtract(data[0], above, out=rows[0, 1:])
        np.subtract(data[1:], data[:-1], out=rows[1:, 1:])  # modulo 256, as it is meant
        above = data[-1]
        yield rows


def _write_chunk(stream: IO[bytes], kind: bytes, data: bytes) -> None:
    stream.write(struct.pack(">I", len(data)) + kind)
    stream.write(data)
    stream.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
