"""What of a style layer is compared, and the form in which a gradient graph takes its target.

A targets graph measures a statistic that is linear in the picture's positions, so that several
styles are blended by their weighted average.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]

NOISE = 1e-4
"""Variance of the white noise that both Gaussians of ``"w2"`` get, relative to E|a|².

It bounds the condition of the matrix whose root the graph computes: without it, covariances of
fewer positions than channels, and of channels that never fire, are singular, and others have
eigenvalues too small for float32. In pictures E|a|² is 1.3 to 2 times the trace of the covariance,
so that the noise of 512 channels adds 7 to 10% to their variance, that of 64 about 1%.
"""
_LEAST_NOISE = 1e-12


def graph_targets(statistic: str, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the inputs of a gradient graph for what targets graphs measured, perhaps blended.

    For ``"gram"``, and of content layers, they are the same. For ``"w2"`` the moments
    ``style/<layer>`` (C, C + 1) become ``style/<layer>/mean`` (C, 1) and ``style/<layer>/root``
    (C, C), the Cholesky root R, R·Rᵀ = S + δI, of the covariance S with noise of variance
    δ = NOISE·E|a|².

    Args:
        statistic: one of :data:`~ortist.models.keys.STATISTICS`.
        targets: outputs of the targets graph by name.
    """
    inputs: dict[str, Tensor] = {}
    for name, value in targets.items():
        if statistic == "w2" and name.startswith("style/"):
            mean, root = _gaussian(value)
            inputs |= {f"{name}/mean": mean, f"{name}/root": root}
        else:
            inputs[name] = value
    return inputs


def _gaussian(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and root of the covariance with noise of moments [E[a·aᵀ], E[a]]."""
    second, mean = np.hsplit(moments.astype(np.float64), [-1])
    # Where nothing fires there is a little noise yet.
    noise = max(NOISE * np.trace(second), _LEAST_NOISE) * np.eye(len(mean))
    root = np.linalg.cholesky(second - mean @ mean.T + noise)
    return mean.astype(np.float32), root.astype(np.float32)
