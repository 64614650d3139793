"""Block layout: how lowered graphs keep pictures in memory, and the maps that they take for that.

In block layout an activation (1, C, H, W) is a matrix of rows of C channels, ordered (place within
the block, block), with one extra block of zeros at the end: what lies outside the picture is read
from its last row. Places are ordered by quad, the 2×2 of which pooling makes one, and then within
the quad, so that pooling reduces over neighbors. Which row holds which position follows from the
size of the picture alone: graphs take it as inputs, named by what they hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Map = NDArray[Any]

Order = Literal["reading", "blocks", "pooled"]
"""The order of the rows of a matrix that holds a picture: row by row, or in block layout.

``"pooled"`` is in the blocks of the picture of twice the size, their quads row by row.
"""
Places = Literal["positions", "neighborhoods", "quads", "everywhere"]
"""What to look up for each block: its positions; the (m + 2)² that a 3×3 convolution sees; the
quads of a block of the picture of twice the size.

``"everywhere"`` takes each position of the picture for a block, and there is no extra one.
"""
_PREFIX = "layout"
_PATTERN = re.compile(
    r"layout:(?:(?:rows|patches)\.ORDER\.PLACES|(?:taps|inside)\.ORDER|real|parts\.[1-9][0-9]?)"
    r":([46]):[0-4]:image".replace("ORDER", f"(?:{'|'.join(get_args(Order))})").replace(
        "PLACES", f"(?:{'|'.join(get_args(Places))})"
    )
)
"""Names of the maps of a :class:`Grid`, and the block size."""


@dataclass(frozen=True)
class MapInput:
    """An input of a lowered graph whose value follows from the size of the image."""

    name: str
    dtype: str
    rank: int


@dataclass(frozen=True)
class Grid:
    """A picture cut into blocks.

    Attributes:
        image: input of the graph, (1, C, H, W), whose size it goes by.
        halvings: how often that size is halved, rounded down, as 2×2 pooling does.
        block: m, positions along the side of a block, even.
    """

    image: str
    halvings: int
    block: int

    @property
    def coarser(self) -> Grid:
        """The grid of the picture of half the size."""
        return Grid(self.image, self.halvings + 1, self.block)

    def rows(self, order: Order, places: Places) -> MapInput:
        """The rows that hold ``places`` in a matrix in that order: int32 (places, blocks + 1).

        Places outside the picture and those of the extra block get the last row, which is zero.
        """
        return self._input("int32", 2, "rows", order, places)

    def patches(self, order: Order, places: Places) -> MapInput:
        """The rows of the 3×3 around each of ``places``: int32 (places, blocks + 1, 9).

        Where the center is outside the picture all nine are the last row.
        """
        return self._input("int32", 3, "patches", order, places)

    def taps(self, order: Order) -> MapInput:
        """The patches everywhere, if each row is nine, one per tap: int32 (positions, 9)."""
        return self._input("int32", 2, "taps", order)

    def inside(self, order: Order) -> MapInput:
        """What tells rows with positions of the picture, 1, from others, 0: float32 (rows, 1).

        In reading order there is one row of zeros at the end.
        """
        return self._input("float32", 2, "inside", order)

    @property
    def real(self) -> MapInput:
        """What tells blocks, 1, from the extra one, 0: float32 (blocks + 1, 1)."""
        return self._input("float32", 2, "real")

    def parts(self, count: int) -> MapInput:
        """The sizes of so many parts of the blocks, the extra one included: int64 (count,)."""
        return self._input("int64", 1, "parts", str(count))

    def _input(self, dtype: str, rank: int, *content: str) -> MapInput:
        where = (str(self.block), str(self.halvings), self.image)
        return MapInput(":".join((_PREFIX, ".".join(content), *where)), dtype, rank)


def is_map(name: str, block: int) -> bool:
    """Tell whether a graph input is one that :func:`layout` makes for ``image`` in such blocks."""
    found = _PATTERN.fullmatch(name)
    return found is not None and int(found[1]) == block


def layout(names: Iterable[str], images: Mapping[str, NDArray[np.float32]]) -> dict[str, Map]:
    """Return those inputs of a graph that a :class:`Grid` defines, for the size of its images.

    Args:
        names: inputs of the graph.
        images: those with an image, (1, C, H, W), by name.
    """
    maps: dict[str, Map] = {}
    for name in names:
        prefix, _, rest = name.partition(":")
        if prefix == _PREFIX:
            content, block, halvings, image = rest.split(":", 3)
            height, width = images[image].shape[2:]
            what, *arguments = content.split(".")
            found = _Layout(height, width, int(halvings), int(block))
            maps[name] = getattr(found, what)(*arguments)
    return maps


class _Layout:
    """The maps of a picture; their names are those of the methods of :class:`Grid`."""

    def __init__(self, height: int, width: int, halvings: int, block: int) -> None:
        self._size = (height >> halvings, width >> halvings)
        self._edge = block
        self._blocks = [-(-side // block) for side in self._size]
        # The same for the picture of twice the size; without halvings nothing asks for it.
        finer = (height >> max(halvings - 1, 0), width >> max(halvings - 1, 0))
        self._finer_blocks = [-(-side // block) for side in finer]

    def rows(self, order: Order, places: Places) -> NDArray[np.int32]:
        return self._look_up(order, places, np.zeros(1, np.int64))[:, :, 0]

    def patches(self, order: Order, places: Places) -> NDArray[np.int32]:
        return self._look_up(order, places, np.arange(-1, 2))

    def taps(self, order: Order) -> NDArray[np.int32]:
        centers = self.patches(order, "everywhere")[0]
        taps: NDArray[np.int32] = centers * np.int32(9) + np.arange(9, dtype=np.int32)
        return taps

    def inside(self, order: Order) -> Map:
        inside: Map = np.zeros((self._row_count(order), 1), np.float32)
        inside[self.rows(order, "everywhere")[0]] = 1
        return inside

    def real(self) -> Map:
        real: Map = np.ones((int(np.prod(self._blocks)) + 1, 1), np.float32)
        real[-1] = 0
        return real

    def parts(self, count: str) -> Map:
        shares = np.arange(int(count) + 1) * (np.prod(self._blocks) + 1)
        sizes: Map = np.diff(shares // int(count))
        return sizes

    def _look_up(self, order: Order, places: Places, taps: NDArray[np.int64]) -> NDArray[np.int32]:
        last = self._row_count(order) - 1
        shares = [self._share(order, axis, self._corners(places, axis), taps) for axis in (0, 1)]
        # Of each axis of the shares, (quad, place in it, block, tap), first the row, then the
        # column. Shares of what is outside are not below `last`, nor are sums with one.
        down = shares[0][:, None, :, None, :, None, :, None]
        across = shares[1][None, :, None, :, None, :, None, :]
        quads, within, blocks, around = np.multiply(shares[0].shape, shares[1].shape)
        rows = np.minimum(down + across, np.int32(last)).reshape(quads * within, blocks, around)
        extra = 0 if places == "everywhere" else 1
        return np.pad(rows, ((0, 0), (0, extra), (0, 0)), constant_values=last)

    def _corners(self, places: Places, axis: int) -> NDArray[np.int64]:
        """Return one axis' coordinates of ``places``: (quads, places in the quad, blocks, 1)."""
        edge = self._edge
        offsets, stride, blocks = {
            "positions": (np.arange(edge).reshape(-1, 2), edge, self._blocks),
            "neighborhoods": (np.arange(edge + 2).reshape(-1, 1) - 1, edge, self._blocks),
            "quads": (np.arange(edge // 2).reshape(-1, 1), edge // 2, self._finer_blocks),
            "everywhere": (np.zeros((1, 1), np.int64), 1, self._size),
        }[places]
        return offsets[:, :, None, None] + stride * np.arange(blocks[axis])[:, None]

    def _share(
        self, order: Order, axis: int, centers: NDArray[np.int64], taps: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """Return one axis' share of the row, that of the last row where it leaves the picture."""
        edge, blocks = self._cut(order)
        place = np.arange(edge)
        if order == "blocks":
            place = place // 2 * (edge * 2, 4)[axis] + place % 2 * (2, 1)[axis]
        else:
            place *= (edge, 1)[axis]
        at = centers + taps
        row = place[at % edge] * (np.prod(blocks) + 1) + at // edge * (blocks[1], 1)[axis]
        inside = (at >= 0) & (at < self._size[axis]) & (centers < self._size[axis])
        return np.where(inside, row, self._row_count(order) - 1).astype(np.int32)

    def _cut(self, order: Order) -> tuple[int, Sequence[int]]:
        """Return the side of a block and the numbers of blocks along the axes."""
        return {
            "reading": (1, self._size),
            "blocks": (self._edge, self._blocks),
            "pooled": (self._edge // 2, self._finer_blocks),
        }[order]

    def _row_count(self, order: Order) -> int:
        edge, blocks = self._cut(order)
        return int(edge**2 * (np.prod(blocks) + 1))
