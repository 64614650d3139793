"""A picture cut into tiles: what counts of each, and what the network sees beside that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ortist.export.costs.term import Part
from ortist.models.errors import InputError, shown
from ortist.models.layers import reach_of, stride_of

GRID = 64
"""What cores begin at multiples of, in pixels: four positions of the deepest layers."""
_STEP = 16
"""What halos are multiples of: the stride of the deepest layers, so that poolings coincide."""


@dataclass(frozen=True)
class Window:
    """A part of a picture, in pixels of it; ``bottom`` and ``right`` are beyond it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def pixels(self) -> int:
        """Rows times columns."""
        return self.height * self.width

    def grown(self, pixels: int, height: int, width: int) -> Window:
        """Return it with so many pixels on each side, within a picture of that size."""
        return Window(
            max(self.top - pixels, 0),
            max(self.left - pixels, 0),
            min(self.bottom + pixels, height),
            min(self.right + pixels, width),
        )

    def within(self, other: Window) -> Window:
        """Return it in the pixels of a window that it is a part of."""
        top, left = other.top, other.left
        return Window(self.top - top, self.left - left, self.bottom - top, self.right - left)

    def of(self, values: Any, stride: int = 1) -> Any:
        """Return what a map (..., H, W), of which each position is of stride² pixels, has there."""
        return values[self.slices(stride)]

    def slices(self, stride: int = 1) -> Any:
        """Return an index of such maps."""
        rows = slice(self.top // stride, self.bottom // stride)
        return ..., rows, slice(self.left // stride, self.right // stride)

    def share(
        self,
        height: int,
        width: int,
        stride: int,
        overlap: tuple[int, int],
        inside: bool = False,
    ) -> float:
        """Return the share of positions, or pairs of them, of a picture that are there.

        Args:
            height: of the picture in pixels.
            width: likewise.
            stride: pixels a side of a position.
            overlap: rows and columns that the second of a pair is further down and right.
            inside: whether both must be in the window, not the first only.
        """
        down, across = (
            _count(begin // stride, end // stride, side // stride, more, inside)
            for begin, end, side, more in (
                (self.top, self.bottom, height, overlap[0]),
                (self.left, self.right, width, overlap[1]),
            )
        )
        return down * across

    def array(self) -> NDArray[np.int64]:
        """Return it as graphs take it, int64 (2, 2)."""
        return np.array([[self.top, self.left], [self.bottom, self.right]], np.int64)


def _count(begin: int, end: int, side: int, overlap: int, inside: bool) -> float:
    """Return the share of one axis: of pairs where there is an overlap."""
    if side <= overlap:
        return 0.0  # there is no pair, and what is measured is no number
    last = end if inside else min(end + overlap, side)
    return (last - overlap - begin) / (side - overlap)


@dataclass(frozen=True)
class Tile:
    """A piece of a picture.

    Attributes:
        core: what counts of it; cores make up the picture.
        seen: core and halo: all that positions in the core see.
        crop: the same beside what is seen: all that is seen by what sees the core.
    """

    core: Window
    seen: Window
    crop: Window


def cut(height: int, width: int, side: int, halo: int) -> tuple[Tile, ...]:
    """Return the tiles of a picture, of nearly equal size, those with the largest crops first.

    In that order the runtime gets the memory for the largest at once; where crops grow, it would
    get more each time, and have what it had before besides.

    Args:
        height: in pixels.
        width: likewise.
        side: most rows and columns of a core, a multiple of :data:`GRID`; what remains of the
            picture's at its end, less than that, the last cores have more.
        halo: pixels beside a core that positions in it see, where there are so many.
    """
    spans = [list(pairwise(_edges(length, side))) for length in (height, width)]
    cores = (Window(top, left, bottom, right) for (top, bottom), (left, right) in product(*spans))
    tiles = [
        Tile(core, *(core.grown(times * halo, height, width) for times in (1, 2))) for core in cores
    ]
    return tuple(sorted(tiles, key=lambda tile: -tile.crop.pixels))


def _edges(length: int, side: int) -> Sequence[int]:
    units = max(1, length // GRID)
    count = -(-units // (side // GRID))
    return [*(units * index // count * GRID for index in range(count)), length]


def crop_pixels(side: int, halo: int) -> int:
    """Return how many pixels the largest crop of a picture has; see :func:`cut`."""
    return (side + GRID + 4 * halo) ** 2


def checked_side(tile: Any) -> int:
    """Return the side of cores; InputError unless it is 0, for none, or a multiple of GRID."""
    if type(tile) is not int or tile < 0 or tile % GRID:
        raise InputError(f"tile is {shown(tile)}, accepted are 0 and multiples of {GRID}")
    return tile


def halo_of(parts: Iterable[Part]) -> int:
    """Return how many pixels beside a core must be seen to measure parts of J in it."""
    reach = max(map(_reach, parts), default=0)
    return -(-reach // _STEP) * _STEP


def _reach(part: Part) -> int:
    """Return how many pixels beside a core what a part measures of it depends on."""
    seen = max(reach_of(name) for name in part.term.layers(part.layer))
    overlap = max((max(pair) for pair in part.term.overlap.values()), default=0)
    return seen + overlap * stride_of(part.layer)
