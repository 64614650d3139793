"""The maps between layouts, against what they say they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ortist.models.blocks import Grid, Order, Places, layout
from ortist.models.winograd import POINTS

Array = NDArray[Any]
HEIGHT, WIDTH = 13, 18
every_grid = pytest.mark.parametrize(
    "grid", [Grid("a:b", halvings, block) for block in POINTS for halvings in (0, 1, 2)], ids=str
)


def value(grid: Grid, wanted: Any) -> Array:
    """The input of a graph, for an image of 13×18."""
    image = np.zeros((1, 3, HEIGHT, WIDTH), np.float32)
    (name, found), *others = layout([wanted.name, "weights"], {grid.image: image}).items()
    assert (name, others) == (wanted.name, [])
    assert (found.dtype, found.ndim) == (np.dtype(wanted.dtype), wanted.rank)
    return found


def size(grid: Grid) -> tuple[int, int]:
    return HEIGHT >> grid.halvings, WIDTH >> grid.halvings


def cells(grid: Grid, order: Order) -> list[tuple[int, int]]:
    """Which position each row holds, by definition; that of the zero block is (-99, -99)."""
    height, width = size(grid)
    if order == "reading":
        return [(y, x) for y in range(height) for x in range(width)] + [(-99, -99)]
    half = grid.block // 2
    if order == "pooled":
        step, (finer_height, finer_width) = half, size(Grid("", grid.halvings - 1, grid.block))
        places = [(y, x) for y in range(half) for x in range(half)]
    else:
        step, finer_height, finer_width = grid.block, height, width
        quads = [(2 * y, 2 * x) for y in range(half) for x in range(half)]
        places = [(y + dy, x + dx) for y, x in quads for dy in (0, 1) for dx in (0, 1)]
    corners = [
        (y * step, x * step)
        for y in range(-(-finer_height // grid.block))
        for x in range(-(-finer_width // grid.block))
    ]
    rows = []
    for dy, dx in places:
        rows += [(y + dy, x + dx) for y, x in corners] + [(-99, -99)]
    return rows


def picture(grid: Grid, order: Order) -> Array:
    """Rows of 100·y + x + 1, zero outside the picture."""
    height, width = size(grid)
    inside = [0 <= y < height and 0 <= x < width for y, x in cells(grid, order)]
    numbers = [100 * y + x + 1 for y, x in cells(grid, order)]
    return np.where(inside, numbers, 0)


def seen(grid: Grid, order: Order, places: Places) -> Array:
    return picture(grid, order)[value(grid, grid.rows(order, places))]


def orders(grid: Grid) -> list[Order]:
    return ["reading", "blocks", "pooled"] if grid.halvings else ["reading", "blocks"]


@every_grid
def test_rows_that_hold_the_positions_of_each_block(grid: Grid) -> None:
    for order in orders(grid):
        np.testing.assert_array_equal(
            seen(grid, order, "positions").reshape(-1), picture(grid, "blocks")
        )


@every_grid
def test_rows_that_hold_the_quads_of_the_larger_picture(grid: Grid) -> None:
    for order in orders(grid) if grid.halvings else []:
        np.testing.assert_array_equal(
            seen(grid, order, "quads").reshape(-1), picture(grid, "pooled")
        )


@every_grid
def test_rows_that_hold_the_picture(grid: Grid) -> None:
    for order in orders(grid):
        np.testing.assert_array_equal(
            seen(grid, order, "everywhere").reshape(-1), picture(grid, "reading")[:-1]
        )


@every_grid
def test_neighborhoods_overlap_by_the_border_that_a_convolution_sees(grid: Grid) -> None:
    height, width = size(grid)
    edge = grid.block
    padded = np.pad(picture(grid, "reading")[:-1].reshape(height, width), (1, 2 * edge))
    corners = [(y, x) for y in range(0, height, edge) for x in range(0, width, edge)]
    blocks = [padded[y : y + edge + 2, x : x + edge + 2].reshape(-1) for y, x in corners]
    expected = np.stack([*blocks, np.zeros_like(blocks[0])], axis=1)
    for order in orders(grid):
        np.testing.assert_array_equal(seen(grid, order, "neighborhoods"), expected)


@every_grid
def test_patches_are_the_positions_around(grid: Grid) -> None:
    padded = np.pad(picture(grid, "reading")[:-1].reshape(size(grid)), 1)
    expected = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).reshape(-1, 9)
    for order in orders(grid):
        rows = value(grid, grid.patches(order, "everywhere"))[0]
        np.testing.assert_array_equal(picture(grid, order)[rows], expected)
        np.testing.assert_array_equal(value(grid, grid.taps(order)), rows * 9 + np.arange(9))
        # A position outside the picture has no patch, also where it touches the picture.
        patches = picture(grid, order)[value(grid, grid.patches(order, "positions"))]
        centers = picture(grid, "blocks").reshape(patches.shape[:2])
        np.testing.assert_array_equal(patches[:, :, 4], centers)
        assert not patches[centers == 0].any()


@every_grid
def test_what_is_inside(grid: Grid) -> None:
    for order in orders(grid):
        inside = value(grid, grid.inside(order))
        np.testing.assert_array_equal(inside[:, 0], picture(grid, order) > 0)
    real = value(grid, grid.real)
    assert real[-1] == 0
    assert real[:-1].all()
    assert len(real) == len(picture(grid, "blocks")) / grid.block**2


@every_grid
def test_parts_differ_by_one_block_at_most(grid: Grid) -> None:
    for count in (1, 2, 8):
        parts = value(grid, grid.parts(count))
        assert len(parts) == count
        assert parts.sum() == len(value(grid, grid.real))
        assert np.ptp(parts) <= 1
