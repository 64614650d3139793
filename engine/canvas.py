"""From what is optimized to the picture: what of the content stays."""

from __future__ import annotations

import numpy as np

from ortist.engine.color import gray, gray_slope, with_chroma
from ortist.engine.guides import Mask
from ortist.engine.optimizer import Tensor


class Canvas:
    """An affine map from the point that an optimizer moves to what is seen of it.

    It is in gray if only luma is painted, and the content where nothing is painted. So what is
    painted fits what it borders on, and what stays, stays exactly.

    Args:
        content: float32 (1, 3, H, W) in its own colors; not needed where nothing of it stays.
        color: one of :data:`~ortist.engine.color.COLORS`.
        painted: how much of each pixel is painted; all if None.
    """

    def __init__(
        self,
        content: Tensor | None = None,
        color: str = "style",
        painted: Mask | None = None,
    ) -> None:
        self._content = content if content is not None else np.zeros((1, 3, 1, 1), np.float32)
        self._in_gray = color == "luminance"
        # As it is seen where it stays.
        self._kept = gray(self._content) if self._in_gray else self._content
        self._keeps_chroma = color in ("luminance", "after")
        self._painted = painted

    def seen(self, point: Tensor) -> Tensor:
        """Return what the network sees, (1, 3, H, W), of a point of that shape."""
        if self._in_gray:
            point = gray(point)
        if self._painted is None:
            return point
        return self._kept + self._painted * (point - self._kept)

    def pulled(self, gradient: Tensor) -> Tensor:
        """Return the derivative by the point, given that by what is seen."""
        if self._painted is not None:
            gradient = gradient * self._painted
        if self._in_gray:
            gradient = gray_slope(gradient)
        return gradient

    def picture(self, point: Tensor) -> Tensor:
        """Return the picture that a point stands for, in color, not clipped."""
        seen = self.seen(point)
        if not self._keeps_chroma:
            return seen
        return with_chroma(np.clip(seen, 0, 255), self._content)
