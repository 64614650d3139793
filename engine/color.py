"""Colors: luma and chroma, and a style's colors matched to those of the content.

Tensors are float32 (1, 3, H, W), RGB, 0..255.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ortist.engine.guides import Mask
from ortist.engine.images import LUMA
from ortist.engine.optimizer import Tensor

COLORS = ("style", "luminance", "match", "after")
_LUMA = np.array(LUMA, np.float32).reshape(1, 3, 1, 1)
LEAST_VARIANCE = 1.0
"""In a direction of colors that there is: what is less is rounding and noise, as in a gray JPEG."""


def luma(picture: Tensor) -> Tensor:
    """Return the luma of a picture, (1, 1, H, W)."""
    total: Tensor = (picture * _LUMA).sum(axis=1, keepdims=True)
    return total


def gray(picture: Tensor) -> Tensor:
    """Return a picture with its luma in all three channels."""
    return np.repeat(luma(picture), 3, axis=1)


def gray_slope(gradient: Tensor) -> Tensor:
    """Return the derivative by a picture, given that by :func:`gray` of it."""
    slope: Tensor = _LUMA * gradient.sum(axis=1, keepdims=True)
    return slope


def with_chroma(picture: Tensor, colored: Tensor) -> Tensor:
    """Return a picture's luma with the chroma of another one of its size.

    Chroma are the differences of a color from its luma: they stay if the same is added to red,
    green and blue. Luma goes only as far as this leads out of 0..255.
    """
    added = luma(picture) - luma(colored)
    lowest = -colored.min(axis=1, keepdims=True)
    highest = 255 - colored.max(axis=1, keepdims=True)
    shifted: Tensor = colored + np.clip(added, lowest, highest)
    return shifted


def matched_luma(style: Tensor, content: Tensor, masks: tuple[Mask | None, Mask | None]) -> Tensor:
    """Return a gray style with mean and deviation of the content's luma.

    Gatys et al. 2016, arXiv:1606.05897, section 5.1. Masks are those of :func:`recolored`.
    """
    own, wanted = _moments(style, masks[0]), _moments(content, masks[1])
    deviations = np.sqrt([wanted.covariance[0, 0], max(own.covariance[0, 0], 1e-12)])
    factor = np.float32(deviations[0] / deviations[1])
    matched: Tensor = (style - np.float32(own.mean[0])) * factor + np.float32(wanted.mean[0])
    return matched


def recolored(style: Tensor, content: Tensor, masks: tuple[Mask | None, Mask | None]) -> Tensor:
    """Return a style whose colors have the mean and covariance of the content's, not clipped.

    Each color x becomes A·(x - μ_s) + μ_c, A = S_c^½·S_s^-½ with symmetric roots of the
    covariances (Gatys et al. 2016, arXiv:1606.05897, section 5.2). Directions that the style's
    colors do not have, as of a gray one, stay without color.

    Args:
        style: the picture to change.
        content: the picture with the colors.
        masks: how much each of their pixels counts, all the same if None.
    """
    own, wanted = _moments(style, masks[0]), _moments(content, masks[1])
    matrix = _power(wanted.covariance, 0.5) @ _power(own.covariance, -0.5)
    centered = style.astype(np.float64) - own.mean.reshape(1, 3, 1, 1)
    changed = np.einsum("ij,njhw->nihw", matrix, centered)
    moved: Tensor = (changed + wanted.mean.reshape(1, 3, 1, 1)).astype(np.float32)
    return moved


class _Moments(NamedTuple):
    """Mean, float64 (3,), and covariance, float64 (3, 3), of colors."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def _moments(picture: Tensor, mask: Mask | None) -> _Moments:
    colors = picture.reshape(3, -1).astype(np.float64)
    weights = np.ones(colors.shape[1]) if mask is None else mask.reshape(-1).astype(np.float64)
    weights = weights / weights.sum()
    mean = colors @ weights
    centered = colors - mean[:, np.newaxis]
    return _Moments(mean, (centered * weights) @ centered.T)


def _power(covariance: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Return a power of a covariance, 0 in directions without variance."""
    values, vectors = np.linalg.eigh(covariance)
    real = values > LEAST_VARIANCE
    powers = np.where(real, np.where(real, values, 1.0) ** exponent, 0.0)
    result: NDArray[np.float64] = (vectors * powers) @ vectors.T
    return result
