"""The weights file: where in it each tensor lies, and kernels read from it.

Its layout follows from which layers come as 8-bit codes with a codebook: all tensors in network
order, little-endian, each at a multiple of :data:`ALIGNMENT_BYTES`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ortist.models.layers import IMAGE_CHANNELS, LAYER_CHANNELS, LAYERS

ALIGNMENT_BYTES = 64
CODEBOOK_SIZE = 256

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor in the weights file.

    Attributes:
        dtype: name of a numpy dtype.
        shape: its shape.
        offset: where it starts, in bytes.
    """

    dtype: str
    shape: Shape
    offset: int

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)

    @property
    def end(self) -> int:
        """Where the next tensor starts, in bytes."""
        return self.offset + self.size + -self.size % ALIGNMENT_BYTES

    def read(self, data: bytes) -> NDArray[Any]:
        """Return its values from the whole file."""
        dtype = np.dtype(self.dtype).newbyteorder("<")
        count = math.prod(self.shape)
        return np.frombuffer(data, dtype, count, self.offset).reshape(self.shape)


def lay_out(tensors: Mapping[str, tuple[str, Shape]]) -> dict[str, Tensor]:
    """Return where tensors of these dtypes and shapes lie, by name, in their order."""
    placed: dict[str, Tensor] = {}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        placed[name] = tensor = Tensor(dtype, shape, offset)
        offset = tensor.end
    return placed


def vgg19_tensors(coded: Iterable[str]) -> dict[str, Tensor]:
    """Return the tensors of a VGG-19 in which the layers ``coded`` have codes, others kernels."""
    coded = frozenset(coded)
    return lay_out(
        {
            f"{layer}/{part}": stored
            for layer in LAYERS
            for part, stored in _parts(layer, layer in coded).items()
        }
    )


def kernel(data: bytes, tensors: Mapping[str, Tensor], layer: str) -> NDArray[np.float32]:
    """Return the kernel of a layer, float32 (K, C, 3, 3), decoded if it is stored as codes."""
    if f"{layer}/kernel" in tensors:
        return tensors[f"{layer}/kernel"].read(data)
    codes, codebook = (tensors[f"{layer}/{part}"].read(data) for part in ("codes", "codebook"))
    decoded: NDArray[np.float32] = codebook[codes]
    return decoded


def _parts(layer: str, coded: bool) -> dict[str, tuple[str, Shape]]:
    """Return dtype and shape of what is stored of a layer, in order."""
    index = LAYERS.index(layer)
    inputs = LAYER_CHANNELS[LAYERS[index - 1]] if index else IMAGE_CHANNELS
    outputs = LAYER_CHANNELS[layer]
    weights: Shape = (outputs, inputs, 3, 3)
    stored: dict[str, tuple[str, Shape]] = (
        {"codes": ("uint8", weights), "codebook": ("float32", (CODEBOOK_SIZE,))}
        if coded
        else {"kernel": ("float32", weights)}
    )
    return {**stored, "bias": ("float32", (outputs,))}
