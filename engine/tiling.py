"""J and its gradient at a picture of any size, exactly, in the memory that a tile takes.

Statistics are sums over positions. So each tile is measured, what it adds is summed over all of
them, and the sums are compared with the targets, once, as those of a whole picture are. What
follows, dJ/dstatistics, is pulled back at each tile. What is compared position by position is so
at each tile. Sums are float64 and made in the order of the tiles, so that nothing depends on where
or when each is computed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ortist.engine.optimizer import Tensor
from ortist.engine.sessions import Graph
from ortist.engine.storage import Storage, release
from ortist.engine.targets import as_arrays
from ortist.engine.tiles import Tile, crop_pixels, cut
from ortist.export.costs.term import Part, Target, window_of
from ortist.models.interface import COSTS, GRADIENT, SLOPE, TARGET, WEIGHTS, WINDOW
from ortist.models.layers import IMAGE, stride_of

Sums = Mapping[str, NDArray[np.float64]]


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
            names = list(_own_targets(part, self.targets)) or names
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
        sums: dict[str, NDArray[np.float64]] = {}
        for part in self._far:
            for name, value in part.own(found).items():
                share = piece.share(part, name)
                sums[f"{part.name}/{name}"] = share * value.astype(np.float64)
        return Measured(sums, self._costs(piece, found))

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
        taken = {name: value for name, value in feeds.items() if name in self._pullback.inputs}
        gradient = self._pullback.run([GRADIENT], taken, last)[GRADIENT]
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
            for name, value in _own_targets(part, piece.targets).items():
                stride = part.term.stride(part.layer, name)
                feeds[f"{TARGET}/{part.name}/{name}"] = core.of(value, stride)
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
        for index, crop in enumerate(pixels, start=1):
            yield bench.look(parts, pieces[index - 1], crop, index == len(pieces))

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
        for index, crop in enumerate(pixels, start=1):
            last = index == len(self._pieces)
            yield self._bench.measure(self._pieces[index - 1], crop, last)

    def pull_back(
        self,
        pixels: Iterable[Tensor],
        slopes: Mapping[str, Tensor],
        weights: NDArray[np.float64],
    ) -> Iterator[Tensor]:
        """Yield dJ/dpixels of each core."""
        for index, crop in enumerate(pixels, start=1):
            last = index == len(self._pieces)
            yield self._bench.pull_back(self._pieces[index - 1], crop, slopes, weights, last)


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
            f"{TARGET}/{part.name}/{name}": part.term.stride(part.layer, name)
            for part in parts
            if part.term.local
            for name in _own_targets(part, constants)
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
        taken = {name: value for name, value in constants.items() if name in compare.inputs}
        self._targets = compare.placed(as_arrays(taken))
        self._local = np.array([part.term.local for part in parts], bool)

    def __call__(
        self, pixels: Tensor, weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Return the costs, float32 (n,), and dJ/dpixels."""
        costs = np.zeros(len(self._parts))
        totals: dict[str, NDArray[np.float64]] = {}
        for measured in self._workers.measure(self._crops(pixels)):
            costs[self._local] += measured.costs
            for name, value in measured.sums.items():
                totals[name] = totals[name] + value if name in totals else value
        kind = pixels.dtype
        feeds: dict[str, Any] = {name: value.astype(kind) for name, value in totals.items()}
        feeds |= {**self._targets, WEIGHTS: weights[~self._local]}
        taken = {name: value for name, value in feeds.items() if name in self._compare.inputs}
        compared = self._compare.run(self._compare.outputs, taken)
        costs[~self._local] = compared.pop(COSTS)
        slopes = {name.removeprefix(f"{SLOPE}/"): value for name, value in compared.items()}
        return costs.astype(kind), self._pulled_back(pixels, slopes, weights)

    def _pulled_back(
        self, pixels: Tensor, slopes: Mapping[str, Tensor], weights: NDArray[np.float32]
    ) -> Tensor:
        gradient = self._storage.empty(pixels.shape, pixels.dtype)
        near = weights[self._local].astype(np.float64)
        found = self._workers.pull_back(self._crops(pixels), slopes, near)
        for tile, values in zip(self._tiles, found, strict=True):
            gradient[tile.core.slices()] = values
            release(gradient)
        return gradient

    def _crops(self, pixels: Tensor) -> Iterator[Tensor]:
        for tile in self._tiles:
            yield np.ascontiguousarray(tile.crop.of(pixels))
            release(pixels)


def divided(parts: Sequence[Part]) -> tuple[list[Part], list[Part]]:
    """Return parts that are local, and all others."""
    near = [part for part in parts if part.term.local]
    return near, [part for part in parts if not part.term.local]


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
    prefixes = tuple(f"{part.name}/" for part in parts)
    names = [name for name in graph.outputs if name.startswith(prefixes)]
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
    sums: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(()))
    maps: dict[str, Tensor] = {}
    height, width = picture.shape[2:]
    tiles = tiling.tiles(picture)
    strides_of = {part.roots: stride_of(part.layer) for part in parts if part.guide}
    pieces = [
        Piece(
            tile,
            (height, width),
            {name: tile.crop.of(guides[name], stride) for name, stride in strides_of.items()},
            {},
        )
        for tile in tiles
    ]
    crops = (np.ascontiguousarray(tile.crop.of(picture)) for tile in tiles)
    for piece, found in zip(pieces, look(parts, pieces, crops), strict=True):
        tile = piece.tile
        for part in parts:
            values = part.own(found)
            strides = {name: part.term.stride(part.layer, name) for name in values}
            for name, value in values.items():
                title, stride = f"{part.name}/{name}", strides[name]
                if not part.term.local:
                    share = piece.share(part, name)
                    sums[title] = sums[title] + share * value.astype(np.float64)
                    continue
                if title not in maps:
                    # All maps of a term end where its coarsest one does.
                    coarse = max(strides.values())
                    sides = [side // coarse * (coarse // stride) for side in (height, width)]
                    maps[title] = tiling.storage.empty((*value.shape[:2], *sides))
                maps[title][tile.core.slices(stride)] = value
        release(picture, *maps.values())
    return {**{name: value.astype(np.float32) for name, value in sums.items()}, **maps}


def _own_targets(part: Part, values: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"{TARGET}/{part.name}/"
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }
