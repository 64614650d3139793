"""What is known beforehand of the curvature of style transfer's costs, by color and frequency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ortist.engine.optimizer import Tensor

_FREQUENCIES = (0.0, 0.03, 0.06, 0.10, 0.14, 0.2, 0.3, 0.4, 0.5, 0.71)
"""Spatial frequencies in cycles per pixel."""
_CURVATURES = (
    (0.08, 0.18, 0.39, 0.84, 1.00, 1.00, 0.73, 0.60, 0.30, 0.20),
    (0.40, 0.42, 0.65, 0.56, 0.52, 0.55, 0.20, 0.05, 0.02, 0.015),
)
"""Curvature of J at these frequencies, of gray and of color differences, relative to the largest.

Means of s·y/s·s over the steps s and changes of gradient y of a run of L-BFGS at 200×150.
"""
_POWER = 0.75
"""How much of it is made up for; all of it (1) or half (0.5) needs more steps."""
_COLORS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
"""Orthonormal rows: gray, and two differences of colors."""


class Preconditioner:
    """An approximation of the inverse Hessian, up to a factor: a filter for gray and for color.

    Args:
        height: of the pictures, in pixels; ``width`` likewise.
    """

    def __init__(self, height: int, width: int) -> None:
        down, across = np.fft.fftfreq(height), np.fft.rfftfreq(width)
        frequency = np.hypot(down[:, None], across)
        gains = [np.interp(frequency, _FREQUENCIES, row) ** -_POWER for row in _CURVATURES]
        self._gains: NDArray[np.float32] = np.stack([*gains, gains[1]]).astype(np.float32)

    def apply(self, gradient: Tensor) -> Tensor:
        """Return the filtered gradient, float32 (1, 3, H, W)."""
        height, width = gradient.shape[2:]
        colors = _COLORS.astype(np.float32)
        mixed = (colors @ gradient.reshape(3, -1)).reshape(3, height, width)
        filtered = np.fft.irfft2(np.fft.rfft2(mixed) * self._gains, s=(height, width))
        unmixed = colors.T @ filtered.reshape(3, -1).astype(np.float32)
        return unmixed.reshape(gradient.shape)
