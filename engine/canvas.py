"""From what is optimized to the picture: what of the content stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ortist.engine.color import gray, gray_slope, with_chroma
from ortist.engine.guides import Mask
from ortist.engine.optimizer import Tensor
from ortist.engine.storage import IN_MEMORY, Storage, bands


class Canvas:
    """An affine map from the point that an optimizer moves to what is seen of it.

    It is in gray if only luma is painted, and the content where nothing is painted. So what is
    painted fits what it borders on, and what stays, stays exactly.

    What it returns is the array that it was given where nothing changes, else a new one.

    Args:
        content: float32 (1, 3, H, W) in its own colors; not needed where nothing of it stays.
        color: one of :data:`~ortist.engine.color.COLORS`.
        painted: how much of each pixel is painted; all if None.
        storage: makes new arrays.
    """

    def __init__(
        self,
        content: Tensor | None = None,
        color: str = "style",
        painted: Mask | None = None,
        storage: Storage = IN_MEMORY,
    ) -> None:
        self._content = content
        self._in_gray = color == "luminance"
        self._keeps_chroma = color in ("luminance", "after")
        self._painted = painted
        self._storage = storage

    def seen(self, point: Tensor) -> Tensor:
        """Return what the network sees, (1, 3, H, W), of a point of that shape."""
        if self._in_gray or self._painted is not None:
            return self._changed(point, self._seen)
        return point

    def pulled(self, gradient: Tensor) -> Tensor:
        """Return the derivative by the point, given that by what is seen."""
        if self._in_gray or self._painted is not None:
            return self._changed(gradient, self._pulled)
        return gradient

    def picture(self, point: Tensor) -> Tensor:
        """Return the picture that a point stands for, in color, not clipped."""
        if self._keeps_chroma:
            return self._changed(point, self._in_color)
        return self.seen(point)

    def _changed(self, array: Tensor, change: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """Return an array changed band by band, by what takes a band and its rows."""
        changed: Tensor = self._storage.empty(array.shape)
        content = () if self._content is None else (self._content,)
        for rows in bands(array, changed, *content):
            changed[:, :, rows] = change(array[:, :, rows], rows)
        return changed

    def _kept(self, rows: slice) -> Tensor:
        """Return rows of the content in its own colors."""
        assert self._content is not None
        return self._content[:, :, rows]

    def _seen(self, point: Tensor, rows: slice) -> Tensor:
        if self._in_gray:
            point = gray(point)
        if self._painted is None:
            return point
        kept = gray(self._kept(rows)) if self._in_gray else self._kept(rows)
        return kept + self._painted[rows] * (point - kept)

    def _pulled(self, gradient: Tensor, rows: slice) -> Tensor:
        if self._painted is not None:
            gradient = gradient * self._painted[rows]
        return gray_slope(gradient) if self._in_gray else gradient

    def _in_color(self, point: Tensor, rows: slice) -> Tensor:
        return with_chroma(np.clip(self._seen(point, rows), 0, 255), self._kept(rows))
