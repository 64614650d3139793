"""The matrices of Winograd convolutions, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ortist.engine.winograd import POINTS, transform_kernel, transforms

Array = NDArray[Any]
every_tile = pytest.mark.parametrize("tile", POINTS)


def correlated(data: Array, kernel: Array) -> Array:
    """3×3 correlation without padding, by definition."""
    windows = np.lib.stride_tricks.sliding_window_view(data, (3, 3))
    return np.asarray(np.einsum("ijkl,kl->ij", windows, kernel))


@every_tile
def test_winograd_is_the_correlation(tile: int) -> None:
    random = np.random.default_rng(tile)
    data, kernel = random.normal(size=(tile + 2, tile + 2)), random.normal(size=(3, 3))
    m = transforms(tile)
    product = (m.kernel @ kernel @ m.kernel.T) * (m.input @ data @ m.input.T)
    np.testing.assert_allclose(
        m.output @ product @ m.output.T, correlated(data, kernel), rtol=0, atol=1e-12
    )


@every_tile
def test_mirrored_transforms_share_the_kernel_with_its_mirror_image(tile: int) -> None:
    random = np.random.default_rng(tile)
    data, kernel = random.normal(size=(tile + 2, tile + 2)), random.normal(size=(3, 3))
    shared = transforms(tile).kernel @ kernel @ transforms(tile).kernel.T
    m = transforms(tile).mirrored()
    np.testing.assert_allclose(
        m.output @ (shared * (m.input @ data @ m.input.T)) @ m.output.T,
        correlated(data, kernel[::-1, ::-1]),
        rtol=0,
        atol=1e-12,
    )


@every_tile
def test_points_are_closed_under_inversion(tile: int) -> None:
    finite = np.sort([point for point in POINTS[tile] if point])
    np.testing.assert_allclose(np.sort(1 / finite), finite, rtol=1e-15)


@every_tile
def test_transformed_kernels_are_one_matrix_per_product(tile: int) -> None:
    kernel = np.random.default_rng(0).normal(size=(5, 4, 3, 3)).astype(np.float32)
    transformed = transform_kernel(kernel, tile)
    matrix = transforms(tile).kernel
    assert transformed.shape == ((tile + 2) ** 2, 4, 5)
    assert transformed.dtype == np.float32
    np.testing.assert_allclose(
        transformed[:, 2, 3].reshape(tile + 2, tile + 2),
        matrix @ kernel[3, 2] @ matrix.T,
        rtol=0,
        atol=1e-6,
    )
