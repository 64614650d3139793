"""J and its gradient at a picture of any size, exactly, in the memory that a tile takes.

Statistics are sums over positions. So each tile is measured, what it adds is summed over all of
them, and the sums are compared with the targets, once, as those of a whole picture are. What
follows, dJ/dstatistics, is pulled back at each tile. What is compared position by position is so
at each tile. Sums are float64 and made in the order of the tiles, so that nothing depends on where
or when each is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ortist.engine.evaluators import taken
from ortist.engine.optimizer import Tensor
from ortist.engine.sessions import Graph
from ortist.engine.storage import Storage, release
from ortist.engine.targets import as_arrays, statistics_of
from ortist.engine.tiles import Tile, crop_pixels, cut
from ortist.export.costs.term import Part, Target, divided, window_of
from ortist.models.interface import COSTS, GRADIENT, SLOPE, TARGET, WEIGHTS, WINDOW
from ortist.models.layers import IMAGE, stride_of

Sums = Mapping[str, NDArray[np.float64]]
_TARGET = f"{TARGET}/"


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut, and where what is of its size is kept.

    Attributes:
        side: most rows and columns of a core in pixels, a multiple of
            :data:`~ortist.engine.tiles.GRID`.
        halo: pixels that are seen beside it.
        storage: makes arrays of the picture's size.
    """

    side: int
    halo: int
    storage: Storage

    @property
    def crop_pixels(self) -> int:
        """Pixels of the largest crop."""
        return crop_pixels(self.side, self.halo)

    def tiles(self, picture: Tensor) -> tuple[Tile, ...]:
        """Return the tiles of a picture (1, 3, H, W)."""
        return cut(picture.shape[2], picture.shape[3], self.side, self.halo)


@dataclass(frozen=True)
class Piece:
    """A tile with all that does not change over a run.

    Attributes:
        tile: where it is.
        size: height and width of the picture.
        guides: of the crop, by name.
        targets: of the crop, of parts that are local, by name.
    """

    tile: Tile
    size: tuple[int, int]
    guides: Mapping[str, Tensor]
    targets: Mapping[str, Target]

    def share(self, part: Part, statistic: str = "", crop: bool = False) -> float:
        """Return what counts of the picture in the core, or, of a picture of its own, in the crop.

        Args:
            part: that is measured.
            statistic: by its name, for parts that are not local.
            crop: whether of the crop.
        """
        if part.guide and not part.term.local:
            return 1.0  # its weights are those of the picture
        names = [statistic]
        if part.term.local:
            names = list(part.own(self.targets, _TARGET)) or names
        stride = max(part.term.stride(part.layer, name) for name in names)
        overlap = part.term.overlap.get(statistic, (0, 0))
        window = self.tile.crop if crop else self.tile.core
        return window.share(*self.size, stride, overlap, inside=crop)


@dataclass(frozen=True)
class Measured:
    """What a tile adds to the sums of the picture, and to the costs of parts that are local."""

    sums: Sums
    costs: NDArray[np.float64]


class Bench:
    """Evaluates tiles, one at a time.

    Args:
        measure: graph that measures tiles.
        pullback: graph that carries derivatives on to them; None if that is not asked for.
        compare: graph that compares what is local; None if nothing is.
        parts: what J is the sum of.
    """

    def __init__(
        self, measure: Graph, pullback: Graph | None, compare: Graph | None, parts: Sequence[Part]
    ) -> None:
        self._measure, self._pullback, self._compare = measure, pullback, compare
        self._near, self._far = divided(parts)

    def look(
        self, parts: Sequence[Part], piece: Piece, pixels: Tensor, last: bool = False
    ) -> dict[str, Tensor]:
        """Return what some parts measure of a tile's core.

        Args:
            parts: to measure.
            piece: the tile.
            pixels: of its crop.
            last: whether something else is to be computed next, so that memory is freed for that.
        """
        seen = piece.tile.seen.within(piece.tile.crop)
        guides = {
            part.roots: seen.of(piece.guides[part.roots], stride_of(part.layer))
            for part in parts
            if part.guide
        }
        return measured_tile(self._measure, parts, piece.tile, seen.of(pixels), guides, last)

    def measure(self, piece: Piece, pixels: Tensor, last: bool = False) -> Measured:
        """Return what a tile adds; arguments are those of :meth:`look`."""
        found = self.look((*self._far, *self._near), piece, pixels, last)
        return Measured(_added(piece, self._far, found), self._costs(piece, found))

    def pull_back(
        self,
        piece: Piece,
        pixels: Tensor,
        slopes: Mapping[str, Tensor],
        weights: NDArray[np.float64],
        last: bool = False,
    ) -> Tensor:
        """Return dJ/dpixels of a tile's core.

        Args:
            piece: the tile.
            pixels: of its crop.
            slopes: dJ/dstatistics by the names of the statistics.
            weights: of the costs of parts that are local, in order.
            last: whether something else is to be computed next.
        """
        assert self._pullback is not None
        crop = piece.tile.crop
        feeds: dict[str, Any] = {IMAGE: pixels, **piece.guides, **as_arrays(piece.targets)}
        for part in self._far:
            for name, slope in part.own(slopes).items():
                share = pixels.dtype.type(piece.share(part, name, crop=True))
                feeds[f"{SLOPE}/{part.name}/{name}"] = slope * share
        shares = [piece.share(part, crop=True) for part in self._near]
        feeds[WEIGHTS] = (weights * shares).astype(pixels.dtype)
        feeds |= self._pullback.layout({IMAGE: pixels})
        gradient = self._pullback.run([GRADIENT], taken(self._pullback, feeds), last)[GRADIENT]
        found: Tensor = piece.tile.core.within(crop).of(gradient)
        return found

    def _costs(self, piece: Piece, found: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """Return what the core adds to the costs that are local."""
        if self._compare is None:
            return np.zeros(0)
        core = piece.tile.core.within(piece.tile.crop)
        feeds: dict[str, Tensor] = {}
        for part in self._near:
            for name, value in part.own(found).items():
                feeds[f"{part.name}/{name}"] = value
            for name, target in part.own(piece.targets, _TARGET).items():
                stride = part.term.stride(part.layer, name)
                feeds[f"{_TARGET}{part.name}/{name}"] = core.of(target, stride)
        kind = next(iter(feeds.values())).dtype
        feeds[WEIGHTS] = np.ones(len(self._near), kind)
        costs = self._compare.run([COSTS], feeds)[COSTS]
        shares = [piece.share(part) for part in self._near]
        total: NDArray[np.float64] = costs.astype(np.float64) * shares
        return total


Look: TypeAlias = Callable[
    [Sequence[Part], Sequence[Piece], Iterable[Tensor]], Iterator[dict[str, Tensor]]
]
"""Yields what some parts measure of each tile's core, in order, given the pixels of all crops."""


def look_alone(bench: Bench) -> Look:
    """Return what measures tiles here, one after the other."""

    def look(
        parts: Sequence[Part], pieces: Sequence[Piece], pixels: Iterable[Tensor]
    ) -> Iterator[dict[str, Tensor]]:
        for piece, crop, last in _in_turn(pieces, pixels):
            yield bench.look(parts, piece, crop, last)

    return look


class Workers(Protocol):
    """Evaluate many tiles, wherever that is; results come in the order of the tiles."""

    def measure(self, pixels: Iterable[Tensor]) -> Iterator[Measured]:
        """Yield what each tile adds, given the pixels of all crops."""

    def pull_back(
        self,
        pixels: Iterable[Tensor],
        slopes: Mapping[str, Tensor],
        weights: NDArray[np.float64],
    ) -> Iterator[Tensor]:
        """Yield dJ/dpixels of each core."""


class Alone:
    """Evaluates all tiles here, one after the other.

    Args:
        bench: evaluates a tile.
        pieces: all of them; made anew at each use.
    """

    def __init__(self, bench: Bench, pieces: Sequence[Piece]) -> None:
        self._bench, self._pieces = bench, pieces

    def measure(self, pixels: Iterable[Tensor]) -> Iterator[Measured]:
        """Yield what each tile adds, given the pixels of all crops."""
        for piece, crop, last in _in_turn(self._pieces, pixels):
            yield self._bench.measure(piece, crop, last)

    def pull_back(
        self,
        pixels: Iterable[Tensor],
        slopes: Mapping[str, Tensor],
        weights: NDArray[np.float64],
    ) -> Iterator[Tensor]:
        """Yield dJ/dpixels of each core."""
        for piece, crop, last in _in_turn(self._pieces, pixels):
            yield self._bench.pull_back(piece, crop, slopes, weights, last)


def _in_turn(
    pieces: Sequence[Piece], pixels: Iterable[Tensor]
) -> Iterator[tuple[Piece, Tensor, bool]]:
    """Yield each tile, the pixels of its crop, and whether it is the last."""
    for index, crop in enumerate(pixels, start=1):
        yield pieces[index - 1], crop, index == len(pieces)


class TilePieces(Sequence[Piece]):
    """The tiles of a picture, each made of the whole's targets and guides when it is asked for.

    Args:
        tiles: all of them.
        size: height and width of the picture.
        parts: what J is the sum of.
        constants: targets and guides of the whole picture, by name.
    """

    def __init__(
        self,
        tiles: Sequence[Tile],
        size: tuple[int, int],
        parts: Sequence[Part],
        constants: Mapping[str, Any],
    ) -> None:
        self._tiles, self._size, self._constants = tiles, size, constants
        self._strides = {
            f"{_TARGET}{part.name}/{name}": part.term.stride(part.layer, name)
            for part in parts
            if part.term.local
            for name in part.own(constants, _TARGET)
        }
        self._guides = {part.roots: stride_of(part.layer) for part in parts if part.guide}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._tiles)

    def __getitem__(self, index: Any) -> Any:
        """Return one of them."""
        tile = self._tiles[index]
        guides, targets = (
            {
                name: window_of(self._constants[name], tile.crop.slices(stride))
                for name, stride in strides.items()
            }
            for strides in (self._guides, self._strides)
        )
        return Piece(tile, self._size, as_arrays(guides), targets)


class Tiled:
    """Evaluates J in tiles.

    Args:
        workers: evaluate the tiles.
        compare: graph that compares the statistics that are sums.
        parts: what J is the sum of.
        constants: targets, by name.
        tiles: of the picture.
        storage: makes the gradient.
    """

    def __init__(
        self,
        workers: Workers,
        compare: Graph,
        parts: Sequence[Part],
        constants: Mapping[str, Target],
        tiles: Sequence[Tile],
        storage: Storage,
    ) -> None:
        self._workers, self._compare = workers, compare
        self._parts, self._tiles, self._storage = parts, tiles, storage
        self._targets = compare.placed(as_arrays(taken(compare, constants)))
        self._local = np.array([part.term.local for part in parts], bool)

    def __call__(
        self, pixels: Tensor, weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Return the costs, float32 (n,), and dJ/dpixels."""
        costs = np.zeros(len(self._parts))
        totals: dict[str, NDArray[np.float64]] = {}
        for measured in self._workers.measure(_crops(pixels, self._tiles)):
            costs[self._local] += measured.costs
            _add(totals, measured.sums)
        kind = pixels.dtype
        feeds: dict[str, Any] = {name: value.astype(kind) for name, value in totals.items()}
        feeds |= {**self._targets, WEIGHTS: weights[~self._local]}
        compared = self._compare.run(self._compare.outputs, taken(self._compare, feeds))
        costs[~self._local] = compared.pop(COSTS)
        slopes = {name.removeprefix(f"{SLOPE}/"): value for name, value in compared.items()}
        return costs.astype(kind), self._pulled_back(pixels, slopes, weights)

    def _pulled_back(
        self, pixels: Tensor, slopes: Mapping[str, Tensor], weights: NDArray[np.float32]
    ) -> Tensor:
        gradient = self._storage.empty(pixels.shape, pixels.dtype)
        near = weights[self._local].astype(np.float64)
        found = self._workers.pull_back(_crops(pixels, self._tiles), slopes, near)
        for tile, values in zip(self._tiles, found, strict=True):
            gradient[tile.core.slices()] = values
            release(gradient)
        return gradient


def measured_tile(
    graph: Graph,
    parts: Sequence[Part],
    tile: Tile,
    pixels: Tensor,
    guides: Mapping[str, Tensor],
    last: bool = False,
) -> dict[str, Tensor]:
    """Return what parts measure of a tile's core, given pixels and guides of what it sees."""
    core = tile.core.within(tile.seen)
    names = statistics_of(graph, parts)
    pixels = np.ascontiguousarray(pixels)
    feeds: dict[str, Any] = {IMAGE: pixels, WINDOW: core.array()}
    for part in parts:
        if part.guide and part.term.local:
            feeds[part.roots] = guides[part.roots]
        elif part.guide:
            feeds[part.roots] = core.of(guides[part.roots], stride_of(part.layer))
    return graph.run(names, {**feeds, **graph.layout({IMAGE: pixels})}, last) if names else {}


def measured_in_tiles(
    look: Look,
    parts: Sequence[Part],
    picture: Tensor,
    guides: Mapping[str, Tensor],
    tiling: Tiling,
) -> dict[str, Tensor]:
    """Return what parts measure of a picture (1, 3, H, W), given its guides."""
    if not parts:
        return {}
    near, far = divided(parts)
    sums: dict[str, NDArray[np.float64]] = {}
    maps: dict[str, Tensor] = {}
    tiles = tiling.tiles(picture)
    pieces = TilePieces(tiles, picture.shape[2:], parts, guides)
    looked = look(parts, pieces, _crops(picture, tiles))
    for piece, found in zip(pieces, looked, strict=True):
        _add(sums, _added(piece, far, found))
        for part in near:
            _place(maps, part, piece, part.own(found), tiling.storage)
        release(*maps.values())
    return {**{name: value.astype(np.float32) for name, value in sums.items()}, **maps}


def _crops(pixels: Tensor, tiles: Iterable[Tile]) -> Iterator[Tensor]:
    for tile in tiles:
        yield np.ascontiguousarray(tile.crop.of(pixels))
        release(pixels)


def _added(
    piece: Piece, parts: Sequence[Part], found: Mapping[str, Tensor]
) -> dict[str, NDArray[np.float64]]:
    """Return what a tile's core, of which that was found, adds to the sums of the picture."""
    return {
        f"{part.name}/{name}": piece.share(part, name) * value.astype(np.float64)
        for part in parts
        for name, value in part.own(found).items()
    }


def _add(totals: dict[str, NDArray[np.float64]], sums: Sums) -> None:
    for name, value in sums.items():
        totals[name] = totals[name] + value if name in totals else value


def _place(
    maps: dict[str, Tensor],
    part: Part,
    piece: Piece,
    values: Mapping[str, Tensor],
    storage: Storage,
) -> None:
    """Put what a part measures of a tile's core into the maps of the picture."""
    strides = {name: part.term.stride(part.layer, name) for name in values}
    # All maps of a term end where its coarsest one does.
    coarse = max(strides.values(), default=1)
    for name, value in values.items():
        title, stride = f"{part.name}/{name}", strides[name]
        if title not in maps:
            sides = [side // coarse * (coarse // stride) for side in piece.size]
            maps[title] = storage.empty((*value.shape[:2], *sides))
        maps[title][piece.tile.core.slices(stride)] = value
