"""Writing TIFF files, with 8 or 16 bits a channel.

Pillow cannot write those of 16 bits, nor comments into compressed ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import IO, Any

from numpy.typing import NDArray

from ortist.engine.images.comment import COMMENT_TAG, comment_bytes, software
from ortist.engine.images.samples import Samples

_UNDEFINED = 7
"""TIFF's type of bytes that mean something else."""

_TILED_FROM = 16_000_000
"""Pixels from which on there are tiles, of which programs read those that they show.

Below there are strips of rows, which all programs can read.
"""
_TILE = 256
_BUFFER = 1 << 24
"""Bytes of samples that are compressed at once, by several threads."""

_BIG_FROM = (1 << 32) - (1 << 25)
"""Bytes of samples from which on places are told in 64 bits, as BigTIFF has them."""


def write_tiff(samples: Samples, stream: IO[bytes], profile: bytes, comment: str) -> None:
    """Write the samples of a picture as TIFF."""
    import tifffile  # takes long, and few pictures are written so

    value = comment_bytes(comment)
    tags = [(COMMENT_TAG, _UNDEFINED, len(value), value, True)] if comment else []
    height, width, channels = samples.shape
    tiled = height * width >= _TILED_FROM
    tifffile.imwrite(
        stream,
        _tiles(samples) if tiled else samples.rows(slice(0, height)),
        shape=samples.shape if tiled else None,
        dtype=samples.dtype if tiled else None,
        tile=(_TILE, _TILE) if tiled else None,
        bigtiff=math.prod(samples.shape) * samples.dtype.itemsize >= _BIG_FROM,
        byteorder="<",
        photometric="rgb",
        extrasamples=["unassalpha"] if channels == 4 else None,
        compression="zlib",
        predictor=True,
        iccprofile=profile,
        software=software() if comment else False,
        metadata=None,
        extratags=tags,
        buffersize=_BUFFER,
    )


def _tiles(samples: Samples) -> Iterator[NDArray[Any]]:
    """Give the tiles row by row; those at the edges are smaller, and tifffile fills them up."""
    for band in samples.bands(_TILE):
        for left in range(0, band.shape[1], _TILE):
            yield band[:, left : left + _TILE]
