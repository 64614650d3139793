"""Tile layout: how a picture is cut for Winograd convolutions, and the maps between layouts.

An activation (1, C, H, W) in tile layout is a matrix of rows of C channels, ordered (place within
the tile, tile), with one extra tile of zeros at the end: what lies outside the picture maps to its
last row. Places are ordered by 2×2 window and then within the window, so that pooling reduces over
neighbours. All maps are computed in the graph, from the size of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from ortist.export.builder import GraphBuilder

_HERE = np.zeros(1, np.int64)
_AROUND = np.arange(-1, 2)


@dataclass(frozen=True, eq=False)
class Places:
    """Coordinates in a picture for the places of every tile, as int64 tensors, by name.

    Both have eight axes: (window row, window column, row and column in the window, tile row, tile
    column, tap row, tap column). ``rows`` varies along the even ones, ``columns`` the odd ones.
    """

    rows: str
    columns: str
    count: int
    """Places per tile."""
    taps: int
    """Positions that each place looks at: 9 for all that a 3×3 kernel covers, or 1."""


class Grid:
    """A picture cut into tiles of ``edge``×``edge`` positions.

    Args:
        builder: receives the nodes that compute the maps; each is made once.
        height: rows of the picture, int64 (1,), by name; ``width``: its columns.
        edge: side of a tile, even.
    """

    def __init__(self, builder: GraphBuilder, height: str, width: str, edge: int) -> None:
        self._b = builder
        self.height = height
        self.width = width
        self.edge = edge
        reach = [builder.op("Add", side, builder.integers(edge - 1)) for side in (height, width)]
        self._sides = [builder.op("Div", side, builder.integers(edge)) for side in reach]
        tiles = builder.op("Mul", *self._sides)
        columns = self._sides[1]
        self.order = RowOrder(builder, height, width, edge, tiles, columns, by_window=True)
        self._tiles = tiles

    @cached_property
    def coarser(self) -> Grid:
        """The grid of the picture of half the size, rounded down, that 2×2 pooling makes."""
        two = self._b.integers(2)
        halves = [self._b.op("Div", side, two) for side in (self.height, self.width)]
        return Grid(self._b, halves[0], halves[1], self.edge)

    @cached_property
    def pooled_order(self) -> RowOrder:
        """The order of the coarser picture's values in the tiles of this one."""
        coarse = self.coarser
        return RowOrder(
            self._b, coarse.height, coarse.width, self.edge // 2, self._tiles, self._sides[1]
        )

    @cached_property
    def reading_order(self) -> RowOrder:
        """The order of a picture that is not cut: row by row."""
        area = self._b.op("Mul", self.height, self.width)
        return RowOrder(self._b, self.height, self.width, 1, area, self.width)

    @cached_property
    def positions(self) -> Places:
        """All positions of a tile, in the order of the layout."""
        half = self.edge // 2
        return self._places(np.arange(self.edge).reshape(half, 2), self.edge)

    @cached_property
    def windows(self) -> Places:
        """The 2×2 windows of a tile, as coordinates in the coarser picture."""
        return self._places(np.arange(self.edge // 2), self.edge // 2)

    @cached_property
    def neighbourhoods(self) -> Places:
        """The (edge + 2)² positions that a 3×3 convolution sees from a tile, row by row."""
        return self._places(np.arange(self.edge + 2) - 1, self.edge)

    @cached_property
    def patches(self) -> Places:
        """For each position of a tile, in the order of the layout, the 3×3 around it."""
        half = self.edge // 2
        return self._places(np.arange(self.edge).reshape(half, 2), self.edge, taps=_AROUND)

    @cached_property
    def everywhere(self) -> Places:
        """All positions of the picture, row by row, as if each were a tile."""
        return self._places(np.zeros(1, np.int64), 1, (self.height, self.width))

    @cached_property
    def patches_everywhere(self) -> Places:
        """For each position of the picture, row by row, the 3×3 around it."""
        return self._places(np.zeros(1, np.int64), 1, (self.height, self.width), _AROUND)

    def _places(
        self,
        offsets: NDArray[np.int64],
        stride: int,
        tiles: tuple[str, str] | None = None,
        taps: NDArray[np.int64] = _HERE,
    ) -> Places:
        """Return stride·tile + offset + tap; offsets are (windows,) or (windows, 2)."""
        b = self._b
        zero, one = b.constant(0, np.int64), b.constant(1, np.int64)
        coordinates = []
        for axis, count in enumerate(tiles or self._sides):
            every = b.op("Range", zero, b.op("Squeeze", count), one)
            shape = np.ones(8, np.int64)
            shape[4 + axis] = -1
            corner = b.op("Reshape", b.op("Mul", every, b.integers(stride)), b.integers(*shape))
            within = np.ones(8, np.int64), np.ones(8, np.int64)
            within[0][[axis, 2 + axis][: offsets.ndim]] = offsets.shape
            within[1][6 + axis] = taps.size
            offset = offsets.reshape(within[0]) + taps.reshape(within[1])
            coordinates.append(b.op("Add", corner, b.constant(offset, np.int64)))
        return Places(coordinates[0], coordinates[1], offsets.size**2, taps.size**2)

    @cached_property
    def mask(self) -> str:
        """1 at positions inside the picture, else 0: float32 (positions·(tiles + 1), 1)."""
        return self._mask(self.positions, self)

    @cached_property
    def pooled_mask(self) -> str:
        """1 at windows inside the coarser picture, else 0: float32 (windows·(tiles + 1), 1)."""
        return self._mask(self.windows, self.coarser)

    def _mask(self, places: Places, picture: Grid) -> str:
        b = self._b
        inside = b.op(
            "And",
            b.op("Less", places.rows, picture.height),
            b.op("Less", places.columns, picture.width),
        )
        numbers = b.op("Cast", inside, to=TensorProto.FLOAT)
        by_tile = b.op("Reshape", numbers, b.integers(places.count, -1))
        zeros = b.constant(np.zeros((places.count, 1)), np.float32)
        return b.op("Reshape", b.op("Concat", by_tile, zeros, axis=1), b.integers(-1, 1))

    @cached_property
    def real_tiles(self) -> str:
        """1 for each tile and 0 for the zero tile: float32 (tiles + 1, 1)."""
        b = self._b
        ones = b.op("Expand", b.constant([1.0], np.float32), self._tiles)
        column = b.op("Concat", ones, b.constant([0.0], np.float32), axis=0)
        return b.op("Reshape", column, b.integers(-1, 1))


class RowOrder:
    """Which row of a matrix holds which position of a picture; the last row holds zeros.

    Args:
        builder: receives the nodes.
        height: rows of the picture, int64 (1,), by name; ``width``: its columns.
        edge: side of a tile; 1 for a picture that is not cut, which has no zero tile but one row.
        tiles: number of tiles, int64 (1,), by name; ``tile_columns``: those side by side.
        by_window: whether places within a tile are ordered by 2×2 windows, or row by row.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        height: str,
        width: str,
        edge: int,
        tiles: str,
        tile_columns: str,
        by_window: bool = False,
    ) -> None:
        self._b = builder
        self._size = (height, width)
        self._edge = edge
        self._strides = (tile_columns, builder.integers(1))
        self._slots = builder.op("Add", tiles, builder.integers(1)) if edge > 1 else tiles
        rows = builder.op("Mul", self._slots, builder.integers(edge * edge))
        self._last = builder.op("Sub", rows, builder.integers(1)) if edge > 1 else rows
        place = np.arange(edge)
        self._places_in_tile = (
            (place // 2 * (edge // 2) * 4 + place % 2 * 2, place // 2 * 4 + place % 2)
            if by_window
            else (place * edge, place)
        )
        self._maps: dict[tuple[Places, bool], str] = {}

    def index(self, places: Places, zero_tile: bool = True) -> str:
        """Return the row of each tap of each place of each tile, int64, (places, tiles, taps) flat.

        Places outside the picture get the row of zeros, as do those of one more tile at the end
        if ``zero_tile``.
        """
        key = (places, zero_tile)
        if key not in self._maps:
            self._maps[key] = self._index(places, zero_tile)
        return self._maps[key]

    def _index(self, places: Places, zero_tile: bool) -> str:
        b = self._b
        shares = [
            self._share(axis, name) for axis, name in enumerate((places.rows, places.columns))
        ]
        index = b.op("Min", b.op("Add", *shares), self._last)
        if zero_tile:
            by_tile = b.op("Reshape", index, b.integers(places.count, -1))
            extra = b.op("Expand", self._last, b.integers(places.count, places.taps))
            index = b.op("Concat", by_tile, extra, axis=1)
        return b.op("Reshape", index, b.integers(-1))

    def _share(self, axis: int, coordinates: str) -> str:
        """Return one axis' share of the row, which is the last row where it lies outside."""
        b, edge = self._b, self._edge
        share = b.op("Mul", b.op("Div", coordinates, b.integers(edge)), self._strides[axis])
        if edge > 1:
            within = b.op("Mod", coordinates, b.integers(edge))
            place = b.op("Gather", b.constant(self._places_in_tile[axis], np.int64), within)
            share = b.op("Add", share, b.op("Mul", place, self._slots))
        inside = b.op(
            "And",
            b.op("GreaterOrEqual", coordinates, b.integers(0)),
            b.op("Less", coordinates, self._size[axis]),
        )
        return b.op("Where", inside, share, self._last)
