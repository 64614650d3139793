"""Arrays of pixels to tensors and back, and both in other sizes.

All of it in bands, so that copies stay small and only what comes out takes memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ortist.engine.errors import InputError
from ortist.engine.storage import IN_MEMORY, Storage, release

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the luma (ITU-R BT.601)."""

BAND_PIXELS = 1 << 20
"""How many are converted at once."""
COLUMN_PIXELS = 4 * BAND_PIXELS
"""How many in columns: each time, all pages of an array in a file are looked at."""


def row_bands(width: int, start: int, stop: int, height: int | None = None) -> Iterator[slice]:
    """Give the rows from ``start`` to ``stop`` in bands.

    Args:
        width: pixels of a row.
        start: the first row.
        stop: the row after the last.
        height: rows of a band; as many as have ``BAND_PIXELS`` if it is None.
    """
    height = height or max(1, BAND_PIXELS // max(1, width))
    for top in range(start, stop, height):
        yield slice(top, min(top + height, stop))


def resize_image(
    pixels: NDArray[np.uint8], width: int, height: int, storage: Storage = IN_MEMORY
) -> NDArray[np.uint8]:
    """Resample uint8 (H, W, 3) to uint8 (height, width, 3) with an antialiased Lanczos filter."""
    return resample(pixels, width, height, Image.Resampling.LANCZOS, storage)


def resize_tensor(
    tensor: NDArray[np.float32],
    width: int,
    height: int,
    linear: bool = False,
    storage: Storage = IN_MEMORY,
) -> NDArray[np.float32]:
    """Resample float32 (1, C, H, W) to (1, C, height, width), cubic or ``linear``, unclipped.

    In its own size it is the tensor itself.
    """
    if tensor.shape[2:] == (height, width):
        return tensor
    kind = Image.Resampling.BILINEAR if linear else Image.Resampling.BICUBIC
    resized = storage.empty((1, tensor.shape[1], height, width))
    for before, after in zip(tensor[0], resized[0], strict=True):
        after[:] = resample(before, width, height, kind, storage)
        release(resized)
    return resized


def resample(
    pixels: NDArray[Any],
    width: int,
    height: int,
    kind: Image.Resampling = Image.Resampling.BILINEAR,
    storage: Storage = IN_MEMORY,
) -> NDArray[Any]:
    """Resample uint8 or float32 (H, W), or uint8 (H, W, 3), to another height and width.

    Pillow resamples all rows, rounds what it has to uint8, and resamples the columns of that, or
    begins with the columns where that is less work. Here the rows are always the first, in bands
    that need nothing of each other; where Pillow begins with them too, the values are the same.
    """
    return _in_columns(_in_rows(pixels, width, kind, storage), height, kind, storage)


def _in_rows(
    pixels: NDArray[Any], width: int, kind: Image.Resampling, storage: Storage
) -> NDArray[Any]:
    height, before, *channels = pixels.shape
    if before == width:
        return pixels
    resized = storage.empty((height, width, *channels), pixels.dtype)
    for rows in row_bands(max(before, width), 0, height):
        part = Image.fromarray(pixels[rows])
        resized[rows] = np.asarray(part.resize((width, part.height), kind))
        release(pixels, resized)
    return resized


def _in_columns(
    pixels: NDArray[Any], height: int, kind: Image.Resampling, storage: Storage
) -> NDArray[Any]:
    before, width, *channels = pixels.shape
    if before == height:
        return pixels
    resized = storage.empty((height, width, *channels), pixels.dtype)
    for columns in row_bands(1, 0, width, max(1, COLUMN_PIXELS // max(before, height))):
        part = np.empty((before, columns.stop - columns.start, *channels), pixels.dtype)
        for rows in row_bands(width, 0, before):
            part[rows] = pixels[rows, columns]
            release(pixels)
        done = np.asarray(Image.fromarray(part).resize((part.shape[1], height), kind))
        for rows in row_bands(width, 0, height):
            resized[rows, columns] = done[rows]
            release(resized)
    return resized


def to_tensor(pixels: NDArray[np.uint8], storage: Storage = IN_MEMORY) -> NDArray[np.float32]:
    """Return uint8 (H, W, 3) as a contiguous float32 (1, 3, H, W) with the same values."""
    height, width = pixels.shape[:2]
    tensor = storage.empty((1, 3, height, width))
    for rows in row_bands(width, 0, height):
        tensor[0, :, rows] = pixels[rows].transpose(2, 0, 1)
        release(pixels, tensor)
    return tensor


def to_image(tensor: NDArray[np.float32], storage: Storage = IN_MEMORY) -> NDArray[np.uint8]:
    """Return float32 (1, 3, H, W) rounded and clipped to 0..255 as uint8 (H, W, 3)."""
    height, width = tensor.shape[2:]
    image = storage.empty((height, width, 3), np.uint8)
    for rows in row_bands(width, 0, height):
        image[rows] = round_samples(tensor[:, :, rows], 8)
        release(tensor, image)
    return image


def round_samples(tensor: NDArray[np.float32], bits: int) -> NDArray[Any]:
    """Return float32 (1, 3, H, W), 0..255, rounded and clipped as (H, W, 3).

    Args:
        tensor: some rows of a picture.
        bits: 8 for uint8, 0..255, or 16 for uint16, 0..65535.
    """
    scaled = tensor[0] if bits == 8 else 257 * tensor[0]
    rounded = np.clip(np.rint(scaled), 0.0, 255.0 if bits == 8 else 65535.0).transpose(1, 2, 0)
    samples: NDArray[Any] = rounded.astype(np.uint8 if bits == 8 else np.uint16, order="C")
    return samples


def check_array(array: NDArray[np.uint8], name: str) -> None:
    """Raise InputError unless an array is uint8 (H, W, 3)."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise InputError(
            f"{name} is an array of {array.dtype} {array.shape}; uint8 (height, width, 3) is"
            " accepted"
        )
