"""The matrices of Winograd convolutions, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ortist.models.winograd import POINTS, transform_kernel, transforms

Array = NDArray[Any]
every_block = pytest.mark.parametrize("block", POINTS)


def correlated(data: Array, kernel: Array) -> Array:
    """3×3 correlation without padding, by definition."""
    windows = np.lib.stride_tricks.sliding_window_view(data, (3, 3))
    return np.asarray(np.einsum("ijkl,kl->ij", windows, kernel))


@every_block
def test_winograd_is_the_correlation(block: int) -> None:
    random = np.random.default_rng(block)
    data, kernel = random.normal(size=(block + 2, block + 2)), random.normal(size=(3, 3))
    m = transforms(block)
    product = (m.kernel @ kernel @ m.kernel.T) * (m.input @ data @ m.input.T)
    np.testing.assert_allclose(
        m.output @ product @ m.output.T, correlated(data, kernel), rtol=0, atol=1e-12
    )


@every_block
def test_mirrored_transforms_share_the_kernel_with_its_mirror_image(block: int) -> None:
    random = np.random.default_rng(block)
    data, kernel = random.normal(size=(block + 2, block + 2)), random.normal(size=(3, 3))
    shared = transforms(block).kernel @ kernel @ transforms(block).kernel.T
    m = transforms(block).mirrored()
    np.testing.assert_allclose(
        m.output @ (shared * (m.input @ data @ m.input.T)) @ m.output.T,
        correlated(data, kernel[::-1, ::-1]),
        rtol=0,
        atol=1e-12,
    )


@every_block
def test_points_are_closed_under_inversion(block: int) -> None:
    finite = np.sort([point for point in POINTS[block] if point])
    np.testing.assert_allclose(np.sort(1 / finite), finite, rtol=1e-15)


@every_block
def test_transformed_kernels_are_one_matrix_per_product(block: int) -> None:
    kernel = np.random.default_rng(0).normal(size=(5, 4, 3, 3)).astype(np.float32)
    transformed = transform_kernel(kernel, block)
    matrix = transforms(block).kernel
    assert transformed.shape == ((block + 2) ** 2, 4, 5)
    assert transformed.dtype == np.float32
    np.testing.assert_allclose(
        transformed[:, 2, 3].reshape(block + 2, block + 2),
        matrix @ kernel[3, 2] @ matrix.T,
        rtol=0,
        atol=1e-6,
    )


def test_transformed_kernels_do_not_depend_on_the_threads_of_numpy() -> None:
    """Runs that go on elsewhere are to end with the same bytes."""
    weights = np.random.default_rng(3).normal(0, 0.1, (256, 128, 3, 3)).astype(np.float32)
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads, user_api="blas"):
            found.append(transform_kernel(weights, 4).tobytes())
    assert found[0] == found[1] == found[2]
