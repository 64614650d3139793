"""All that a picture is painted of, in one size, and how it is divided."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ortist.engine.canvas import Canvas
from ortist.engine.guides import Mask
from ortist.engine.images import to_tensor
from ortist.engine.optimizer import Tensor

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Division:
    """How a picture is divided, as far as J depends on it.

    Attributes:
        shares: of the picture, of each area that has styles, by its name.
        protected: share of the content that is protected; None if nothing is.
    """

    shares: Mapping[str, float]
    protected: float | None = None

    @property
    def guided(self) -> int:
        """How many areas with styles have masks."""
        return sum(1 for name in self.shares if name)


WHOLE = Division({"": 1.0})
"""One area, the picture as a whole."""


@dataclass(frozen=True)
class Style:
    """A style picture.

    Attributes:
        pixels: float32 (1, 3, H, W), RGB, 0..255, in the size to measure.
        share: of its area's style, which is the mean of those of several pictures.
        mask: how much of it counts; all if None.
    """

    pixels: Tensor
    share: float = 1.0
    mask: Mask | None = None

    @property
    def digest(self) -> bytes:
        """What tells pixels and mask from others."""
        digest = hashlib.blake2b(repr(self.pixels.shape).encode())
        for values in (self.pixels, self.mask):
            digest.update(b"none" if values is None else np.ascontiguousarray(values).tobytes())
        return digest.digest()


@dataclass(frozen=True)
class Area:
    """A part of the picture, with what it is painted in.

    Attributes:
        name: of its costs; empty for the picture as a whole.
        styles: none where the content stays as it is.
        mask: how much each pixel is of it, float32 (H, W); None for the picture as a whole.
    """

    name: str
    styles: Sequence[Style]
    mask: Mask | None = None


@dataclass(frozen=True)
class Scene:
    """All that a picture is painted of, in one size.

    Attributes:
        content: float32 (1, 3, H, W), RGB, 0..255.
        areas: parts of the picture, which add up to it.
        protected: how much each pixel of the content is protected; None for not at all.
        canvas: what becomes of what is painted.
        division: of the picture in its full size.
    """

    content: Tensor
    areas: Sequence[Area]
    protected: Mask | None = None
    canvas: Canvas = field(default_factory=Canvas)
    division: Division = WHOLE

    @classmethod
    def whole(
        cls,
        content: NDArray[np.uint8],
        styles: Sequence[NDArray[np.uint8]],
        weights: Sequence[float] | None = None,
    ) -> Scene:
        """Return a scene of undivided pictures, uint8 (H, W, 3), as large as they are."""
        shares = shares_of(weights or [1.0] * len(styles))
        own = [Style(to_tensor(one), share) for one, share in zip(styles, shares, strict=True)]
        return cls(to_tensor(content), [Area("", own)])

    @property
    def styles(self) -> list[Style]:
        """Those of all areas, in order."""
        return [style for area in self.areas for style in area.styles]

    @property
    def is_plain(self) -> bool:
        """Whether all of content and styles counts the same."""
        masks = [area.mask for area in self.areas] + [style.mask for style in self.styles]
        return self.protected is None and all(mask is None for mask in masks)

    @property
    def pixels(self) -> int:
        """Of the picture to paint."""
        return self.content.size // 3


def shares_of(weights: Sequence[float]) -> list[float]:
    """Return weights scaled to a sum of 1."""
    return [weight / sum(weights) for weight in weights]
