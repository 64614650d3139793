"""TIFF files, with 8 or 16 bits a channel.

Pillow cannot write those of 16 bits, nor comments into compressed ones.
"""

from __future__ import annotations

from typing import IO, Any

from numpy.typing import NDArray

from ortist.engine.images.comment import COMMENT_TAG, comment_bytes, software

_UNDEFINED = 7
"""TIFF's type of bytes that mean something else."""


def write_tiff(samples: NDArray[Any], stream: IO[bytes], profile: bytes, comment: str) -> None:
    """Write uint8 or uint16 (H, W, 3), RGB, or (H, W, 4) with alpha, as TIFF."""
    import tifffile  # takes long, and few pictures are written so

    value = comment_bytes(comment)
    tags = [(COMMENT_TAG, _UNDEFINED, len(value), value, True)] if comment else []
    tifffile.imwrite(
        stream,
        samples,
        byteorder="<",
        photometric="rgb",
        extrasamples=["unassalpha"] if samples.shape[2] == 4 else None,
        compression="zlib",
        predictor=True,
        iccprofile=profile,
        software=software() if comment else False,
        metadata=None,
        extratags=tags,
    )
