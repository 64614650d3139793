"""What is to be in the file of a picture beside its pixels, and how exactly."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ortist.engine.errors import InputError
from ortist.engine.images.comment import CODE_BYTES, LONGEST_COMMENT, comment_bytes
from ortist.engine.images.formats import check_holds
from ortist.engine.values import Whole
from ortist.models.errors import shown


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoding:
    """How a picture becomes a file; checked when made.

    Attributes:
        bits: of each channel: 8, or 16 in PNG and TIFF.
        quality: of JPEG, WebP and AVIF, 1..100; 95 if it is None.
        alpha: what becomes the alpha channel of PNG, WebP, TIFF and AVIF: uint8 (H, W), 0 for
            transparent and 255 for opaque, in any size, since it is resized to the picture's; none
            if it is None. See :func:`~ortist.engine.images.read_alpha`.
        comment: a text for the metadata, which :func:`~ortist.engine.images.read_comment` reads;
            at most 60000 bytes of ASCII, or of UTF-16 if it has other letters. In BMP, which has
            no metadata, it is left out.

    Raises:
        InputError: for anything else.
    """

    bits: int = 8
    quality: int | None = None
    alpha: NDArray[np.uint8] | None = None
    comment: str = ""

    def __post_init__(self) -> None:
        """Check every value."""
        if self.bits not in (8, 16):
            raise InputError(f"bits is {shown(self.bits)}, accepted are 8 and 16")
        object.__setattr__(self, "bits", int(self.bits))
        if self.quality is not None:
            quality = Whole(1, 100).accepted("quality", self.quality)
            object.__setattr__(self, "quality", quality)
        if self.alpha is not None:
            _check_alpha(self.alpha)
        if not isinstance(self.comment, str):
            raise InputError(f"comment is {shown(self.comment)}, accepted is a text")
        length = len(comment_bytes(self.comment)) - CODE_BYTES
        if length > LONGEST_COMMENT:
            raise InputError(f"comment has {length} bytes, accepted are {LONGEST_COMMENT}")

    def check(self, path: str | os.PathLike[str]) -> None:
        """Raise InputError unless the format that the extension of ``path`` names can hold it."""
        if self.bits == 16:
            check_holds(path, "bits")
        if self.quality is not None:
            check_holds(path, "quality")
        if self.alpha is not None:
            check_holds(path, "alpha")


PLAIN = Encoding()
"""8 bits, opaque, no comment."""


def _check_alpha(alpha: NDArray[np.uint8]) -> None:
    if not isinstance(alpha, np.ndarray):
        raise InputError(f"alpha is {shown(alpha)}, accepted is an array uint8 (height, width)")
    if alpha.dtype != np.uint8 or alpha.ndim != 2 or not alpha.size:
        raise InputError(
            f"alpha is an array of {alpha.dtype} {alpha.shape}; uint8 (height, width) is accepted"
        )
