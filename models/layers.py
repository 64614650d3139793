"""Names and widths of VGG-19's convolution layers (Simonyan & Zisserman 2014, arXiv:1409.1556)."""

from __future__ import annotations

_CONVOLUTIONS_PER_BLOCK = (2, 2, 4, 4, 4)
_CHANNELS_PER_BLOCK = (64, 128, 256, 512, 512)

LAYER_CHANNELS: dict[str, int] = {
    f"conv{block}_{index}": channels
    for block, (count, channels) in enumerate(
        zip(_CONVOLUTIONS_PER_BLOCK, _CHANNELS_PER_BLOCK, strict=True), start=1
    )
    for index in range(1, count + 1)
}
"""Layer name to number of channels, in network order; a layer is the activation after ReLU."""

LAYERS: tuple[str, ...] = tuple(LAYER_CHANNELS)
IMAGE = "image"
"""The layer of terms that look at the pixels: float32 (1, 3, H, W), RGB, 0..255."""
IMAGE_CHANNELS = 3
POOLINGS: tuple[str, ...] = ("average", "max", "l2")


def channels_of(layer: str) -> int:
    """Return the number of channels of ``layer``, which may be :data:`IMAGE`."""
    return IMAGE_CHANNELS if layer == IMAGE else LAYER_CHANNELS[layer]


def block_of(layer: str) -> int:
    """Return the block of ``layer``, 1 to 5; sides there are 2**(block - 1) times smaller."""
    return int(layer[4])


def stride_of(layer: str) -> int:
    """Return how many pixels a side of a position of ``layer`` stands for."""
    return 1 if layer == IMAGE else 2 ** (block_of(layer) - 1)


def reach_of(layer: str) -> int:
    """Return how many pixels beyond those that a position of ``layer`` stands for it sees.

    Each 3×3 convolution on the way sees one position further; 2×2 poolings see none.
    """
    before = () if layer == IMAGE else LAYERS[: LAYERS.index(layer) + 1]
    return sum(stride_of(name) for name in before)
