"""Masks: how they are read, and which positions of a layer count for a region."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ortist.engine.errors import InputError
from ortist.engine.guides import LEAST_SHARE, at_layer, read_mask, resize_mask, roots

HALF = np.zeros((64, 96), np.float32)
HALF[:, 48:] = 1


def test_white_is_1_and_black_0() -> None:
    pixels = np.zeros((3, 4, 3), np.uint8)
    pixels[0] = 255
    pixels[1] = 51
    mask = read_mask(pixels, "mask", (4, 3), 1000)
    np.testing.assert_allclose(mask, np.repeat([[1], [0.2], [0]], 4, axis=1), atol=1e-6)
    assert mask.dtype == np.float32
    assert mask.max() <= 1


@pytest.mark.parametrize(
    ("pixels", "size", "message"),
    [
        (np.zeros((30, 40, 3), np.uint8), (40, 30), "mask is black all over"),
        (np.full((40, 30, 3), 255, np.uint8), (40, 30), "mask has 30x40 pixels, .* 40x30"),
        (np.full((30, 50, 3), 255, np.uint8), (40, 30), "mask has 50x30 pixels, .* 40x30"),
    ],
)
def test_masks_that_cannot_be_meant_are_refused(
    pixels: np.ndarray, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_mask(pixels, "mask", size, 10_000)


def test_what_is_transparent_does_not_count() -> None:
    """As cut-out tools write it: white on nothing."""
    pixels = np.full((6, 8, 4), 255, np.uint8)
    pixels[:, :4, 3] = 0
    pixels[:, 4, 3] = 51
    mask = read_mask(Image.fromarray(pixels), "mask", (8, 6), 1000)
    np.testing.assert_allclose(mask[0], [0, 0, 0, 0, 0.2, 1, 1, 1], atol=1e-6)


@pytest.mark.parametrize("kind", [np.uint8, np.bool_, np.float32, np.float64])
def test_masks_may_be_planes(kind: type) -> None:
    plane = np.zeros((6, 8), kind)
    plane[:, 4:] = 255 if kind is np.uint8 else 1
    mask = read_mask(plane, "mask", (8, 6), 1000)
    assert (mask.dtype, mask[0].tolist()) == (np.float32, [0, 0, 0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize(
    "plane",
    [np.full((6, 8), 2.0), np.full((6, 8), np.nan), np.ones((6, 8), np.int64), np.ones((0, 0))],
)
def test_other_planes_are_refused(plane: np.ndarray) -> None:
    with pytest.raises(InputError, match="mask is an array of"):
        read_mask(plane, "mask", (8, 6), 1000)


@pytest.mark.parametrize("shape", [(3, 4), (61, 82), (1, 1), (2, 2)])
def test_masks_may_have_other_sizes(shape: tuple[int, int]) -> None:
    """Sides may be rounded."""
    mask = read_mask(np.full((*shape, 3), 255, np.uint8), "mask", (979, 734), 10_000)
    assert (resize_mask(mask, 64, 48) == 1).all()


@pytest.mark.parametrize(("layer", "side"), [("conv1_2", 1), ("conv3_1", 4), ("conv5_1", 16)])
def test_averages_are_of_what_is_pooled(layer: str, side: int) -> None:
    mask = np.random.default_rng(0).uniform(0, 1, (67, 83)).astype(np.float32)
    found = at_layer(mask, layer, "average")
    height, width = 67 // side, 83 // side
    pooled = mask[: height * side, : width * side].reshape(height, side, width, side)
    np.testing.assert_allclose(found, pooled.mean(axis=(1, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    # What a position sees: 3, 5, 10, 24 and 68 pixels; so far beyond itself, in positions.
    ("layer", "reach"),
    [("conv1_1", 1), ("conv1_2", 2), ("conv2_1", 2), ("conv3_1", 3)],
)
def test_inside_are_positions_that_see_nothing_else(layer: str, reach: int) -> None:
    scale = 2 ** (int(layer[4]) - 1)
    found = at_layer(HALF, layer, "inside")
    edge = 48 // scale + reach
    assert (found[:, :edge] == 0).all()
    assert (found[:, edge:] == 1).all()
    # What is beyond the border of the picture is no other region.
    assert found[0, -1] == found[-1, -1] == 1


def test_where_too_few_see_nothing_else_all_count() -> None:
    narrow = np.zeros_like(HALF)
    narrow[:, 40:56] = 1
    inside = at_layer(narrow, "conv2_1", "inside")
    assert inside.sum() >= LEAST_SHARE * at_layer(narrow, "conv2_1", "average").sum()
    averaged = at_layer(narrow, "conv4_1", "average")
    np.testing.assert_array_equal(at_layer(narrow, "conv4_1", "inside"), averaged)


def test_soft_edges_count_by_their_least() -> None:
    soft = np.linspace(0, 1, 96, dtype=np.float32) * np.ones((64, 1), np.float32)
    found = at_layer(soft, "conv1_1", "inside")
    np.testing.assert_allclose(found[:, 1:], soft[:, :-1])


def test_roots_are_of_weights_of_sum_1() -> None:
    mask = np.random.default_rng(1).uniform(0, 1, (50, 60)).astype(np.float32)
    found = roots(mask)
    assert found.shape == (1, 1, 50, 60)
    assert np.sum(found.astype(np.float64) ** 2) == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(found[0, 0] ** 2 * mask.sum(), mask, rtol=1e-5)
    assert np.mean(roots(mask, mask.size).astype(np.float64) ** 2) == pytest.approx(1, rel=1e-6)
    assert (roots(np.zeros_like(mask)) == 0).all()
