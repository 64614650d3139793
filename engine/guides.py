"""Masks: how much each pixel counts for something, and with it each position of a layer."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ortist.engine.errors import InputError
from ortist.engine.images import LUMA, ImageSource, check_size, read_with_alpha, resize_tensor
from ortist.engine.images.source import label_of
from ortist.engine.optimizer import Tensor
from ortist.models.layers import LAYERS, block_of

Mask: TypeAlias = NDArray[np.float32]
"""How much each position counts, float32 (H, W), 0..1."""
REACHES = ("inside", "average")
LEAST_SHARE = 0.25
"""Of what a mask has at a layer by plain averaging that must be left of it inside."""
_LUMA = np.array(LUMA, np.float32) / np.float32(255)


def read_mask(source: ImageSource, name: str, size: tuple[int, int], max_pixels: int) -> Mask:
    """Read a picture as a mask: white is 1, black and what is transparent 0.

    Args:
        source: the picture, or an array (H, W): uint8, 255 for 1, bool, or floats from 0 to 1.
        name: what messages call it.
        size: width and height of what it is of, in the same proportion.
        max_pixels: most pixels accepted.

    Raises:
        InputError: for a picture that cannot be used, of another proportion, or black all over.
    """
    label = label_of(source, name)
    if _is_plane(source):
        mask = _given(source, label)
        check_size(mask.shape[1], mask.shape[0], label, max_pixels, min_side=1)
    else:
        mask = _read(source, name, max_pixels)
    height, width = mask.shape
    stretch = width * size[1] / (height * size[0])
    # A side that was rounded, in a small mask, is no other proportion.
    if max(stretch, 1 / stretch) > 1.05 and abs(width - height * size[0] / size[1]) > 1:
        raise InputError(
            f"{label} has {width}x{height} pixels, which are not the proportions of what it is"
            f" a mask of, {size[0]}x{size[1]}"
        )
    if not mask.any():
        raise InputError(f"{label} is black all over; white is what counts")
    return np.clip(mask, np.float32(0), np.float32(1))


def _is_plane(source: object) -> TypeGuard[NDArray[Any]]:
    return isinstance(source, np.ndarray) and source.ndim == 2


def _given(values: NDArray[Any], label: str) -> Mask:
    """Return an array (H, W) as a mask: uint8, 255 for 1, bool, or numbers from 0 to 1."""
    if values.dtype == np.uint8:
        return np.asarray(values / np.float32(255), np.float32)
    if values.dtype.kind in "bf" and values.size and 0 <= values.min() <= values.max() <= 1:
        return values.astype(np.float32)
    raise InputError(
        f"{label} is an array of {values.dtype} {values.shape}; uint8, bool and 0..1 are accepted"
    )


def _read(source: ImageSource, name: str, max_pixels: int) -> Mask:
    pixels, alpha = read_with_alpha(source, name=name, max_pixels=max_pixels, min_side=1)
    mask: Mask = pixels.astype(np.float32) @ _LUMA
    if alpha is not None:  # what is transparent was laid on white
        mask *= (alpha / np.float32(255)).astype(np.float32)
    return mask


def resize_mask(mask: Mask, width: int, height: int) -> Mask:
    """Return the mask of a picture for it in another size."""
    resized = resize_tensor(mask[np.newaxis, np.newaxis], width, height, linear=True)
    clipped: Mask = np.clip(resized[0, 0], np.float32(0), np.float32(1))
    return clipped


def at_layer(mask: Mask, layer: str, reach: str) -> Mask:
    """Return how much each position of a layer counts, given how much each pixel does.

    With the reach "average" it is the mean of the pixels that are pooled to it. With "inside" it
    is the least of all pixels that the position sees: a position counts for a region as far as it
    sees only that region (Gatys et al. 2017, arXiv:1611.07865, section 4.1). Where that leaves less
    than :data:`LEAST_SHARE`, as of a region narrower than what deep layers see, it is the mean too.
    """
    averaged = _pooled(mask, layer)
    if reach == "average":
        return averaged
    seen = mask
    for name in LAYERS[: LAYERS.index(layer) + 1]:
        if block_of(name) > 1 and name.endswith("_1"):
            seen = _windows(seen).min(axis=(1, 3))
        seen = _least_around(_least_around(seen).T).T
    return seen if seen.sum() >= LEAST_SHARE * averaged.sum() else averaged


def roots(weights: Mask, total: float | None = None) -> Tensor:
    """Return the roots of weights of positions, scaled to a sum of ``total``, (1, 1, H, W).

    The sum is 1 by default; weights that are all 0 stay so.
    """
    scale = (1.0 if total is None else total) / max(float(weights.sum(dtype=np.float64)), 1e-12)
    found: Tensor = np.sqrt(weights * np.float32(scale))
    return found[np.newaxis, np.newaxis]


def _pooled(mask: Mask, layer: str) -> Mask:
    for _ in range(block_of(layer) - 1):
        mask = _windows(mask).mean(axis=(1, 3))
    return mask


def _windows(mask: Mask) -> Mask:
    """Return a mask as 2×2 windows, (H/2, 2, W/2, 2), as poolings have them."""
    height, width = (side // 2 * 2 for side in mask.shape)
    return mask[:height, :width].reshape(height // 2, 2, width // 2, 2)


def _least_around(mask: Mask) -> Mask:
    """Return the least of each value and its neighbors along the first axis.

    What is beyond the border belongs to no region and does not count.
    """
    padded = np.pad(mask, ((1, 1), (0, 0)), mode="edge")
    return np.minimum(np.minimum(padded[:-2], padded[1:-1]), padded[2:])
