"""PNG files with 16 bits a channel, which Pillow cannot write.

pypng and numpngw, which could, are not kept up, and write no profiles and no EXIF.
"""

from __future__ import annotations

import struct
import zlib
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ortist.engine.images.comment import comment_exif

_SUBTRACT_ROW_ABOVE = 2
"""The number of PNG's filter Up."""


def write_deep_png(
    samples: NDArray[np.uint16], stream: IO[bytes], profile: bytes, comment: str
) -> None:
    """Write uint16 (H, W, 3), RGB, or (H, W, 4) with alpha, as PNG."""
    height, width, channels = samples.shape
    kind = {3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    stream.write(b"\x89PNG\r\n\x1a\n")
    _write_chunk(stream, b"IHDR", header)
    _write_chunk(stream, b"iCCP", b"sRGB\0\0" + zlib.compress(profile))
    if comment:
        _write_chunk(stream, b"eXIf", comment_exif(comment).removeprefix(b"Exif\0\0"))
    _write_chunk(stream, b"IDAT", zlib.compress(_filtered(samples).data))
    _write_chunk(stream, b"IEND", b"")


def _filtered(samples: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the rows, (H, 1 + bytes): each begins with the number of its filter."""
    data = samples.astype(">u2").view(np.uint8).reshape(len(samples), -1)
    rows = np.full((len(data), 1 + data.shape[1]), _SUBTRACT_ROW_ABOVE, np.uint8)
    rows[0, 1:] = data[0]
    np.subtract(data[1:], data[:-1], out=rows[1:, 1:])  # modulo 256, as it is meant
    return rows


def _write_chunk(stream: IO[bytes], kind: bytes, data: bytes) -> None:
    stream.write(struct.pack(">I", len(data)) + kind)
    stream.write(data)
    stream.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
