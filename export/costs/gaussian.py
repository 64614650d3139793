"""Style as mean and covariance, compared by the 2-Wasserstein distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ortist.export.costs.roots import roots
from ortist.export.costs.term import (
    Comparison,
    Shape,
    Tensor,
    Term,
    gram_matrix,
    mean_vector,
    row_sums,
)

if TYPE_CHECKING:
    from ortist.export.builder import GraphBuilder

NOISE = 1e-4
"""Variance of the white noise that both Gaussians get, relative to E|a|².

It bounds the condition of the matrix whose root the graph computes: without it, covariances of
fewer positions than channels, and of channels that never fire, are singular, and others have
eigenvalues too small for float32. In pictures E|a|² is 1.3 to 2 times the trace of the covariance,
so that the noise of 512 channels adds 7 to 10% to their variance, that of 64 about 1%.
"""
_LEAST_NOISE = 1e-12
DIRECTIONS = 384
"""Directions, at most, in which covariances are compared; beyond them only their traces.

What they leave out of 512 channels is 0 to 1.5% of the variance of a style, spread so thin that
the noise has more. A root costs 0.42 of one in 512 directions. In 256 directions, for 0.13, painted
pictures have a distance in conv4_1, measured in all directions, that is an eighth larger.
"""


class Gaussian(Term):
    """W₂²/C: the squared 2-Wasserstein distance (Dowson & Landau 1982) of normal distributions.

    With means μ, ν and covariances S, T, both with white noise of variance δ in them, it is

        W₂² = |μ - ν|² + tr S + tr T - 2·tr M^½,  M = Rᵀ·S·R,  R·Rᵀ = T

    whichever root R is. Taken are roots with orthogonal columns, V·D^½ of the eigenvectors V and
    eigenvalues D of T, since then M has its small eigenvalues in small elements, which float32
    keeps. K columns of C are the strongest K directions. Of S and T in all directions beyond them
    only the variances s and t are compared, as (√s - √t)², the distance of Gaussians of one shape:

        W₂² ≥ |μ - ν|² + Σ(M_ii/D_i + D_i) - 2·tr M^½ + s + t - 2·√(s·t)

    with equality if S has the eigenvectors V and a multiple of the variances of T beyond.

    Roots are computed with tr M^½ = min over Z of ½·tr(M·Z + Z⁻¹), which is at Z = M^-½. As it is
    a minimum, Z need not be differentiated; likewise for √(s·t). Dividing by C makes layers of
    different width comparable.

    Args:
        directions: K, at most.
    """

    name = "w2"
    source = "style"

    def __init__(self, directions: int = DIRECTIONS) -> None:
        self._directions = directions

    def measure(
        self, b: GraphBuilder, activation: str, roots: str | None = None
    ) -> Mapping[str, str]:
        """Return E[a·aᵀ], (C, C), and E[a], (C, 1)."""
        second, mean = (of(b, activation, roots) for of in (gram_matrix, mean_vector))
        return {"second": second, "mean": mean}

    def statistic_shapes(self, channels: int) -> Mapping[str, Shape]:
        """Return those of both moments."""
        return {"second": [channels, channels], "mean": [channels, 1]}

    def target_shapes(self, statistics: Mapping[str, Shape]) -> Mapping[str, Shape]:
        """Return the shapes of ν, (C, 1), R, (C, K), and t, (1, 1)."""
        channels = statistics["second"][0]
        if not isinstance(channels, int):
            raise TypeError(f"w2 is of {channels} channels, which must be a known number")
        columns = min(channels, self._directions)
        return {"mean": [channels, 1], "root": [channels, columns], "rest": [1, 1]}

    def settle(self, statistics: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return ν, R and t = tr T - tr R·Rᵀ, of T with noise of variance δ = NOISE·E|a|²."""
        second, mean = (statistics[name].astype(np.float64) for name in ("second", "mean"))
        # Where nothing fires there is a little noise yet.
        noise = max(NOISE * np.trace(second), _LEAST_NOISE)
        variances, vectors = np.linalg.eigh(second - mean @ mean.T)
        # Ascending; of rounding, some may be negative.
        variances = np.maximum(variances, 0) + noise
        kept = self._directions
        root = vectors[:, -kept:] * np.sqrt(variances[-kept:])
        rest = np.full((1, 1), variances[:-kept].sum())
        parts = {"mean": mean, "root": root, "rest": rest}
        return {name: part.astype(np.float32) for name, part in parts.items()}

    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        """Return the distance; its roots are held."""
        second, mean, root = statistics["second"], statistics["mean"], targets["root"]
        channels = b.count(b.op("Shape", mean, end=1))
        turned = b.op("Transpose", root, perm=[1, 0])
        strengths = row_sums(b, b.op("Mul", turned, turned))
        noise = _noise(b, strengths, targets, channels)

        projected = b.op("MatMul", turned, mean)
        outer = b.op("MatMul", projected, b.op("Transpose", projected, perm=[1, 0]))
        matrix = b.op("MatMul", b.op("MatMul", turned, second), root)
        matrix = b.op("Sub", matrix, outer)
        identity = b.op("EyeLike", matrix)
        matrix = b.op("Add", matrix, b.op("Mul", identity, b.op("Mul", strengths, noise)))
        root_diagonal, inverse_root = roots(b, matrix, identity)
        # By direction, so that large variances cancel before they are summed.
        variances = b.op("Div", row_sums(b, b.op("Mul", matrix, identity)), strengths)
        shared = b.op("Add", row_sums(b, b.op("Mul", matrix, inverse_root)), root_diagonal)
        distances = b.op("Sub", b.op("Add", variances, strengths), shared)

        diagonal = b.op("EyeLike", second)
        squares = row_sums(b, b.op("Mul", second, diagonal))
        all_variances = b.op("Add", b.op("Sub", squares, b.op("Mul", mean, mean)), noise)
        beyond = b.op("Sub", _sum(b, all_variances), _sum(b, variances))
        distance_beyond, held = _of_one_shape(b, beyond, targets["rest"], noise)

        difference = b.op("Sub", mean, targets["mean"])
        shift = _sum(b, b.op("Mul", difference, difference))
        total = b.op("Add", b.op("Add", shift, _sum(b, distances)), distance_beyond)
        cost = b.op("Reshape", b.op("Div", total, channels), b.integers(1))
        return Comparison(cost, (root_diagonal, inverse_root, identity, diagonal, *held))


def _of_one_shape(
    b: GraphBuilder, variance: str, target: str, noise: str
) -> tuple[str, tuple[str, ...]]:
    """Return (√s - √t)², (1, 1), of variances s and t, and what to hold."""
    # No less than the noise, but for rounding, unless no direction is beyond.
    positive = b.op("Max", variance, noise)
    ratio = b.op("Sqrt", b.op("Div", target, positive))
    shared = b.op("Mul", ratio, b.op("Add", variance, positive))
    return b.op("Sub", b.op("Add", variance, target), shared), (positive, ratio)


def _noise(b: GraphBuilder, strengths: str, targets: Mapping[str, str], channels: str) -> str:
    """Return δ = NOISE·E|a|², float32 (1, 1), given the variances of the target, (K, 1)."""
    means = b.op("Mul", targets["mean"], targets["mean"])
    # Noise included, E|a|² + C·δ.
    total = b.op("Add", b.op("Add", _sum(b, strengths), targets["rest"]), _sum(b, means))
    portion = b.constant(NOISE, "float32")
    divisor = b.op("Add", b.op("Mul", channels, portion), b.constant(1, "float32"))
    return b.op("Div", b.op("Mul", total, portion), divisor)


def _sum(b: GraphBuilder, column: str) -> str:
    """Return the sum of a column (n, 1), as (1, 1)."""
    return b.op("ReduceSum", column, b.integers(0), keepdims=1)
