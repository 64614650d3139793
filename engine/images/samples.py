"""The samples that a file is to have, made a band of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ortist.engine.images.tensors import check_array, resample, round_samples, row_bands
from ortist.engine.storage import release


class Samples:
    """Rows of a picture as a file with 8 or 16 bits a channel has them.

    Args:
        picture: uint8 (H, W, 3) or float32 (1, 3, H, W), RGB, 0..255. One in files takes memory
            for a band only.
        bits: of each channel, 8 or 16.
        alpha: uint8 (H', W'), resized to the picture; there is no such channel if it is None.

    Attributes:
        shape: (H, W, 3), or (H, W, 4) with alpha.
        dtype: uint8, or uint16 for 16 bits.

    Raises:
        InputError: if the picture is another array.
    """

    def __init__(self, picture: NDArray[Any], bits: int, alpha: NDArray[np.uint8] | None) -> None:
        self._tensor = picture.dtype == np.float32 and picture.shape[:-2] == (1, 3)
        if not self._tensor:
            check_array(picture, "picture to write")
        self._picture, self._bits = picture, bits
        height, width = picture.shape[2:] if self._tensor else picture.shape[:2]
        self.dtype = np.dtype(np.uint16 if bits == 16 else np.uint8)
        self.shape = (height, width, 3 if alpha is None else 4)
        # Not as the content: where it is opaque or transparent throughout it stays so.
        self._alpha = None if alpha is None else resample(alpha, width, height)

    def rows(self, whole: slice) -> NDArray[Any]:
        """Return some rows, (rows, W, channels)."""
        samples = np.empty((whole.stop - whole.start, *self.shape[1:]), self.dtype)
        scale = self.dtype.type(257 if self._bits == 16 else 1)
        for rows in row_bands(self.shape[1], whole.start, whole.stop):
            band = samples[rows.start - whole.start : rows.stop - whole.start]
            if self._tensor:
                band[..., :3] = round_samples(self._picture[:, :, rows], self._bits)
            else:
                np.multiply(self._picture[rows], scale, out=band[..., :3])
            if self._alpha is not None:
                np.multiply(self._alpha[rows], scale, out=band[..., 3])
            release(self._picture)
        return samples

    def bands(self, height: int | None = None) -> Iterator[NDArray[Any]]:
        """Give all rows from top to bottom, ``height`` or some million pixels at a time."""
        for rows in row_bands(self.shape[1], 0, self.shape[0], height):
            yield self.rows(rows)
