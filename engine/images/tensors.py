"""Arrays of pixels to tensors and back, and both in other sizes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ortist.engine.errors import InputError
from ortist.engine.storage import bands, release

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the luma (ITU-R BT.601)."""


def resize_image(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resample uint8 (H, W, 3) to uint8 (height, width, 3) with an antialiased Lanczos filter."""
    if pixels.shape[:2] == (height, width):
        return pixels
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized)


def resize_tensor(
    tensor: NDArray[np.float32],
    width: int,
    height: int,
    linear: bool = False,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Resample float32 (1, C, H, W) to (1, C, height, width), cubic or ``linear``, unclipped.

    The result is written to ``out`` if it is given; else it is the tensor itself in its own size.
    """
    if out is None:
        if tensor.shape[2:] == (height, width):
            return tensor
        out = np.empty((*tensor.shape[:2], height, width), np.float32)
    kind = Image.Resampling.BILINEAR if linear else Image.Resampling.BICUBIC
    for channel, resized in zip(tensor[0], out[0], strict=True):
        if channel.shape == resized.shape:
            resized[:] = channel
        else:
            _copy_plane(Image.fromarray(channel).resize((width, height), kind), resized)
        release(tensor, out)
    return out


def to_tensor(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return uint8 (H, W, 3) as a contiguous float32 (1, 3, H, W) with the same values."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis], dtype=np.float32)


def to_image(tensor: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return float32 (1, 3, H, W) rounded and clipped to 0..255 as uint8 (H, W, 3)."""
    rounded = np.clip(np.rint(tensor[0]), 0.0, 255.0).astype(np.uint8)
    return np.ascontiguousarray(rounded.transpose(1, 2, 0))


def to_deep_image(tensor: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return float32 (1, 3, H, W), 0..255, as uint16 (H, W, 3), 0..65535, rounded and clipped."""
    rounded = np.clip(np.rint(257 * tensor[0]), 0.0, 65535.0).astype(np.uint16)
    return np.ascontiguousarray(rounded.transpose(1, 2, 0))


def check_array(array: NDArray[np.uint8], name: str) -> None:
    """Raise InputError unless an array is uint8 (H, W, 3)."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise InputError(
            f"{name} is an array of {array.dtype} {array.shape}; uint8 (height, width, 3) is"
            " accepted"
        )


def _copy_plane(picture: Image.Image, plane: NDArray[np.float32]) -> None:
    """Copy a picture of one channel, in bands: as an array it would be there twice more."""
    width = plane.shape[1]
    for rows in bands(plane):
        plane[rows] = np.asarray(picture.crop((0, rows.start, width, rows.stop)))
