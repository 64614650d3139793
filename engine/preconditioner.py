"""What is known beforehand of the curvature of style transfer's costs, by color and frequency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ortist.engine.optimizer import Tensor
from ortist.engine.storage import IN_MEMORY, Storage, blocks, parts

FREQUENCIES = (0.0, 0.03, 0.06, 0.10, 0.14, 0.2, 0.3, 0.4, 0.5, 0.71)
"""Spatial frequencies in cycles per pixel."""
CURVATURES = (
    (0.08, 0.18, 0.39, 0.84, 1.00, 1.00, 0.73, 0.60, 0.30, 0.20),
    (0.40, 0.42, 0.65, 0.56, 0.52, 0.55, 0.20, 0.05, 0.02, 0.015),
)
"""Curvature of J at these frequencies, of gray and of color differences, relative to the largest.

Means of s·y/s·s over the steps s and changes of gradient y of a run of L-BFGS at 200×150.
"""
POWER = 0.75
"""How much of it is made up for; all of it (1) or half (0.5) needs more steps."""
COLORS: NDArray[np.float32] = (
    np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
).astype(np.float32)
"""Orthonormal rows: gray, and two differences of colors."""
_BLOCK = 1 << 17
"""Elements that are transformed at a time."""


class Preconditioner:
    """An approximation of the inverse Hessian, up to a factor: a filter for gray and for color.

    Beside what it is given and keeps it takes the memory of one channel.

    Args:
        height: of the pictures, in pixels; ``width`` likewise.
        storage: where to keep what each frequency is multiplied by.
    """

    def __init__(self, height: int, width: int, storage: Storage = IN_MEMORY) -> None:
        self._height, self._width = height, width
        grays, colors = (self._gains_of(row, storage) for row in CURVATURES)
        self._gains = (grays, colors, colors)

    def apply(self, gradient: Tensor) -> None:
        """Filter a gradient, contiguous float32 (1, 3, H, W), in place."""
        planes = gradient.reshape(3, self._height, self._width)
        spectrum = self._spectrum()
        _mix(COLORS, planes)
        for plane, gains in zip(planes, self._gains, strict=True):
            for rows in self._rows(gradient):
                spectrum[:, rows] = np.fft.rfft(plane[rows], axis=1).T
            for part in self._frequencies(gains):
                down = np.fft.fft(spectrum[part], axis=1)
                down *= gains[part]
                spectrum[part] = np.fft.ifft(down, axis=1)
            for rows in self._rows(gradient):
                across = np.ascontiguousarray(spectrum[:, rows].T)
                plane[rows] = np.fft.irfft(across, n=self._width, axis=1)
        _mix(COLORS.T, planes)

    def square(self, gradient: Tensor) -> float:
        """Return the product of a gradient (1, 3, H, W) with what it would be filtered to.

        By Parseval's theorem it is that of their spectra, which saves the way back.
        """
        planes = gradient.reshape(3, self._height, self._width)
        counts = np.full(self._width // 2 + 1, 2.0)  # the other half is that of -frequency
        counts[0] = 1
        if self._width % 2 == 0:
            counts[-1] = 1
        spectrum = self._spectrum()
        total = 0.0
        for color, gains in zip(COLORS, self._gains, strict=True):
            for rows in self._rows(gradient):
                mixed = np.einsum("j,jhw->hw", color, planes[:, rows])
                spectrum[:, rows] = np.fft.rfft(mixed, axis=1).T
            for part in self._frequencies(gains):
                down = np.fft.fft(spectrum[part], axis=1)
                power = gains[part] * (down.real**2 + down.imag**2)
                total += float((power.sum(axis=1, dtype=np.float64) * counts[part]).sum())
        return total / (self._height * self._width)

    def _gains_of(self, curvatures: Sequence[float], storage: Storage) -> Tensor:
        across, down = np.fft.rfftfreq(self._width), np.fft.fftfreq(self._height)
        gains: Tensor = storage.empty((across.size, down.size))
        for part in self._frequencies(gains):
            frequency = np.hypot(across[part, np.newaxis], down)
            gains[part] = np.interp(frequency, FREQUENCIES, curvatures) ** -POWER
        return gains

    def _spectrum(self) -> NDArray[np.complex64]:
        """Return room for what a plane has at its frequencies, those down in a row."""
        return np.empty((self._width // 2 + 1, self._height), np.complex64)

    def _rows(self, gradient: Tensor) -> Iterator[slice]:
        return parts(self._height, max(1, _BLOCK // self._width), gradient)

    def _frequencies(self, gains: Tensor) -> Iterator[slice]:
        return parts(self._width // 2 + 1, max(1, _BLOCK // self._height), gains)


def _mix(matrix: NDArray[np.float32], planes: NDArray[np.float32]) -> None:
    """Multiply the color of each pixel, (3, H, W), by a matrix, in place."""
    # Unlike a product by BLAS, it does not depend on the number of threads.
    for channels in blocks(*planes):
        mixed = np.einsum("ij,jn->in", matrix, np.stack(channels))
        for channel, values in zip(channels, mixed, strict=True):
            channel[:] = values
