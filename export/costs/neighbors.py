"""Content kept by nearest neighbors: the style's features where they match the content's best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ortist.export.costs.term import (
    Comparison,
    Lookup,
    Matched,
    Protected,
    Shape,
    Tensor,
    Term,
)
from ortist.models.errors import CanceledError

if TYPE_CHECKING:
    from ortist.export.builder import GraphBuilder

LAYERS = {"conv1_1": 64, "conv2_1": 128, "conv3_1": 256, "conv4_1": 512}
"""What hypercolumns are made of, and how many channels they have: the first of each block."""
COARSEST = "conv4_1"
PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column in the 2×2 that have the same part of the coarsest layer."""
_TARGETS = (
    *(layer for layer in LAYERS if layer != COARSEST),
    *(f"{COARSEST}:{row}{column}" for row, column in PLACES),
)
DIRECTIONS = 128
"""Directions in which columns are matched, the strongest; they keep 99.5% of a match's cosine."""
TRANSPORTED = 0.25
"""How far columns are moved to the style's distribution before they are matched.

Without it, 50 positions of a style are the match of 36 to 54% of all, seen as repeated dashes.
"""
_RIDGE = 0.01
"""What the variance in each direction gets added before that, relative to the mean."""
CANDIDATES = 2**14
"""Positions of the styles that may be matches; of more, as of a million pixels, one in so many.

Matching takes time in proportion, and what is left out looks like what is near it.
"""
BLOCK = 2**13
"""Positions whose columns are made at once, which bounds memory: 3.8 KB each."""
PAIRS = 2**22
"""Pairs of positions that are compared at once, which bounds memory."""
_LEAST_ROWS = 32
"""Of what is sought, whatever that takes: with fewer, products are slow."""
_EPSILON = 1e-12
"""What squares of lengths get added, so that the root has a derivative where they are 0."""

Matrix = NDArray[np.floating]
Positions: TypeAlias = NDArray[np.intp]
"""Numbers of positions in the grid of columns of a picture, row by row."""
Empty: TypeAlias = Callable[[tuple[int, ...]], NDArray[Any]]
"""Returns an array, float32, of a shape."""
Release: TypeAlias = Callable[[NDArray[Any]], None]
"""Gives back the memory that an array takes, if it is in a file."""


class _Work(NamedTuple):
    """How matches are looked for: see :func:`working`."""

    threads: int = 1
    canceled: Callable[[], bool] = lambda: False
    empty: Empty = lambda shape: np.empty(shape, np.float32)
    release: Release = lambda array: None

    def go_on(self) -> None:
        """Raise CanceledError if it is canceled."""
        if self.canceled():
            raise CanceledError("the run was canceled")


_ALONE = _Work()
_work: ContextVar[_Work] = ContextVar("work", default=_ALONE)


class Neighbors(Term):
    """J = 1 - mean of ⟨h, t⟩/‖h‖ over positions, of hypercolumns h and their targets t.

    After Kolkin et al. 2022 (arXiv:2203.13215), with a match of our own. Hypercolumns (Hariharan et
    al. 2015, arXiv:1411.5752) are here on a grid of a quarter of the picture: the first layer of
    each of four blocks, each divided by its number of channels, finer ones averaged, the coarsest
    one the same for 2×2 positions. A target is the hypercolumn of the style, of length 1, that
    matches best, by cosine, what is to be at that position; columns of the latter are moved part
    of the way to the style's distribution before (see :data:`TRANSPORTED`).

    They are kept by layer, and the target of the coarsest one by place in the 2×2: as one tensor
    all that is computed of them would take a gigabyte at a million pixels.
    """

    name = "neighbors"
    source = "match"
    local = True

    def layers(self, layer: str) -> Sequence[str]:
        """Return those of hypercolumns, whichever layer the term is at."""
        return tuple(LAYERS)

    def stride(self, layer: str, name: str) -> int:
        """Return that of columns, or, in the coarsest layer, of 2×2."""
        return 8 if _layer(name) == COARSEST else 4

    def measure(self, b: GraphBuilder, activation: str) -> Mapping[str, str]:
        """Return the parts of the hypercolumns by layer, whichever layer the term is at.

        They have the shape (1, C, 2·⌊H/8⌋, 2·⌊W/8⌋), half of that in the coarsest layer.
        """

        def halved(tensor: str) -> str:
            return b.op("AveragePool", tensor, kernel_shape=[2, 2], strides=[2, 2])

        pixels, edges, motifs, parts = LAYERS
        finer = [halved(halved(pixels)), halved(edges), motifs]
        # Sides that are no multiple of 8 leave finer layers a row or column more.
        sizes = b.op("Mul", b.op("Shape", parts, start=2), b.integers(2))
        finer = [
            b.op("Slice", tensor, b.integers(0, 0), sizes, b.integers(2, 3)) for tensor in finer
        ]
        return {
            layer: b.op("Mul", tensor, b.constant(1 / channels, "float32"))
            for (layer, channels), tensor in zip(LAYERS.items(), (*finer, parts), strict=True)
        }

    def statistic_shapes(self, channels: int) -> Mapping[str, Shape]:
        """Return those of the parts."""
        return {layer: [1, width, None, None] for layer, width in LAYERS.items()}

    def target_shapes(self, statistics: Mapping[str, Shape]) -> Mapping[str, Shape]:
        """Return those of the parts, of the coarsest one for each place in the 2×2."""
        return {name: [1, LAYERS[_layer(name)], None, None] for name in _TARGETS}

    def match(
        self, query: Mapping[str, Tensor], styles: Sequence[Mapping[str, Tensor]]
    ) -> Mapping[str, Lookup]:
        """Return, for each position of the query, the column of the styles that matches best."""
        everywhere = Matched(None, styles, [None] * len(styles))
        return self.match_areas(query, [everywhere], Protected(query))

    def match_areas(
        self, query: Mapping[str, Tensor], areas: Sequence[Matched], protected: Protected
    ) -> Mapping[str, Lookup]:
        """Return the same with matches for each position in the styles of the area it is most of.

        Where the content is protected its own columns are the targets instead, and targets are
        longer, so that they count more.

        Statistics are read in blocks, best from contiguous arrays, which may be mapped to files.
        What it takes beside them and the lookups is some 200 MB and 25 bytes for each position.

        Raises:
            CanceledError: as :func:`working` says.
        """
        sides = _sides(query)
        owners = _owners(areas, sides)
        shares, weights = _protection(protected, sides)
        for index, area in enumerate(areas):
            if not area.styles:
                shares[owners == index] = 1
        candidates = [
            _candidates(area) if (owners == index).any() else [] for index, area in enumerate(areas)
        ]
        counts = [sum(map(len, positions)) for positions in candidates]
        total = 1 + sum(counts) + int(np.count_nonzero(shares))
        columns = _work.get().empty((sum(LAYERS.values()), total))
        # The first is there where nothing is looked for.
        columns[:, 0], places, end = 0, np.zeros(len(owners), np.int32), 1
        for index, (area, count) in enumerate(zip(areas, counts, strict=True)):
            if count:
                start, end = end, end + count
                _fill(columns[:, start:end], area.styles, candidates[index])
                own = np.flatnonzero(owners == index)
                places[own] = start + _matches(query, own, columns[:, start:end])
        _keep(columns, places, protected.content, shares, end)
        return _lookups(columns, places.reshape(sides), weights)

    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        """Return one less the mean cosine."""
        axis = b.integers(1)

        def over_channels(name: str) -> str:
            product = b.op("Mul", statistics[_layer(name)], targets[name])
            return b.op("ReduceSum", product, axis, keepdims=1)

        def summed(finer: Sequence[str], coarse: Sequence[str]) -> str:
            # The four places of a 2×2 lie one behind the other as channels do.
            total = b.op("DepthToSpace", b.op("Concat", *coarse, axis=1), blocksize=2)
            for values in finer:
                total = b.op("Add", total, values)
            return total

        products = [over_channels(name) for name in _TARGETS]
        squares = [b.op("ReduceSumSquare", statistics[layer], axis, keepdims=1) for layer in LAYERS]
        squared = summed(squares[:-1], [squares[-1]] * len(PLACES))
        lengths = b.op("Sqrt", b.op("Add", squared, b.constant(_EPSILON, "float32")))
        cosine = b.op("Div", summed(products[: -len(PLACES)], products[-len(PLACES) :]), lengths)
        mean = b.op("Reshape", b.op("ReduceMean", cosine, keepdims=0), b.integers(1))
        return Comparison(b.op("Sub", b.constant(1, "float32"), mean))


def _owners(areas: Sequence[Matched], sides: tuple[int, int]) -> NDArray[np.int32]:
    """Return the index of the area, the first if there are several, that each position is most of.

    It is (P,).
    """
    most = _at_columns(areas[0].mask, sides)
    owners = np.zeros(len(most), np.int32)
    for index, area in enumerate(areas[1:], 1):
        shares = _at_columns(area.mask, sides)
        owners[shares > most] = index
        most = np.maximum(most, shares)
    return owners


def _protection(protected: Protected, sides: tuple[int, int]) -> tuple[Matrix, Matrix | None]:
    """Return how much each position is protected, (P,), and how much it counts, None for 1."""
    if protected.mask is None:
        return np.zeros(sides[0] * sides[1], np.float32), None
    shares = _at_columns(protected.mask, sides)
    weights = 1 + np.float32(protected.weight - 1) * shares
    return shares, (weights / weights.mean()).reshape(sides)


def _candidates(area: Matched) -> list[Positions]:
    """Return the positions of each style of an area that may be matches."""
    counted = []
    for style, mask in zip(area.styles, area.style_masks, strict=True):
        shares = _at_columns(mask, _sides(style))
        # Relative to the best: of a faint mask there is something, too.
        counted.append(shares >= shares.max(initial=0) / 2)
    ends = np.cumsum([np.count_nonzero(flags) for flags in counted])
    chosen = spread(ends[-1], CANDIDATES) if len(ends) else np.arange(0)
    found, start = [], 0
    for flags, end in zip(counted, ends, strict=True):
        own = chosen[(start <= chosen) & (chosen < end)] - start
        found.append(np.flatnonzero(flags)[own])
        start = end
    return found


def _fill(
    columns: Tensor, styles: Sequence[Mapping[str, Tensor]], positions: Sequence[Positions]
) -> None:
    """Make columns, (C, Q), those at some positions of each style."""
    start = 0
    for style, chosen in zip(styles, positions, strict=True):
        own = columns[:, start : start + len(chosen)]
        for block in _blocks(len(chosen)):
            own[:, block] = _columns(style, chosen[block])
        start += len(chosen)


def _matches(query: Mapping[str, Tensor], own: Positions, found: Tensor) -> NDArray[np.int32]:
    """Return which of the columns found is the best match of each position of the query.

    Args:
        query: statistics of a picture.
        own: some of its positions, (P,).
        found: columns (C, Q); they are made units.

    Returns:
        Of each position the number of the column, (P,).
    """
    sought, number = len(own), found.shape[1]
    source = _moments(_columns(query, own[block]) for block in _blocks(sought))
    target = _moments(found[:, block] for block in _blocks(number))
    directions, moved = _comparable(source, target)
    others = units(_projected(found, target.mean, directions))
    for block in _blocks(number):
        found[:, block] = units(found[:, block], axis=0)
    best = np.empty(sought, np.int32)
    for block in _blocks(sought):
        rows = _projected(_columns(query, own[block]), source.mean, directions) @ moved
        best[block], _ = _nearest(units(rows), others)
    return best


def _keep(
    columns: Tensor,
    places: NDArray[np.int32],
    content: Mapping[str, Tensor],
    shares: Matrix,
    start: int,
) -> None:
    """Give positions columns of their own, the further to those of the content the more is kept.

    Args:
        columns: units, (C, Q); from ``start`` on they are made.
        places: which of them each position has, (P,); changed where something is kept.
        content: its statistics.
        shares: how much of it is kept at each position, (P,).
        start: number of the first column to make.
    """
    positions = np.flatnonzero(shares)
    for block in _blocks(len(positions)):
        some = positions[block]
        own = columns.take(places[some], axis=1)
        own += shares[some] * (units(_columns(content, some), axis=0) - own)
        columns[:, start + block.start : start + block.stop] = units(own, axis=0)
        places[some] = np.arange(start + block.start, start + block.stop)
        _work.get().release(columns)


def _blocks(count: int) -> Iterator[slice]:
    """Yield slices that make up so many positions; CanceledError as :func:`working` says."""
    for start in range(0, count, BLOCK):
        _work.get().go_on()
        yield slice(start, min(start + BLOCK, count))


def _sides(statistics: Mapping[str, Tensor]) -> tuple[int, int]:
    """Return the height and width of the grid of columns."""
    height, width = statistics[COARSEST].shape[2:]
    return 2 * height, 2 * width


def _at_columns(mask: Matrix | None, sides: tuple[int, int]) -> Matrix:
    """Return the means of a mask (H, W) over what each column is of, (P,); 1 for None."""
    height, width = sides
    if mask is None:
        return np.ones(height * width, np.float32)
    pooled = mask[: 4 * height, : 4 * width].reshape(height, 4, width, 4).mean(axis=(1, 3))
    return np.asarray(pooled).reshape(-1)


def _layer(target: str) -> str:
    """Return the layer of a target."""
    return target.partition(":")[0]


def _columns(picture: Mapping[str, Tensor], positions: Positions) -> Tensor:
    """Return the hypercolumns at some positions, (C, positions); 0 for what is not finite."""
    _, width = _sides(picture)
    halved = positions // (2 * width) * (width // 2) + positions % width // 2
    columns = np.empty((sum(LAYERS.values()), len(positions)), np.float32)
    end = 0
    for layer, channels in LAYERS.items():
        start, end = end, end + channels
        where = halved if layer == COARSEST else positions
        rows = picture[layer].reshape(channels, -1)
        # All are in range; to check that would take another copy.
        rows.take(where, axis=1, out=columns[start:end], mode="clip")
        _work.get().release(rows)
    # What is painted may have run away; the cost will say so.
    return np.nan_to_num(columns, copy=False, posinf=0, neginf=0)


def _lookups(
    columns: Tensor, places: NDArray[np.int32], weights: Tensor | None
) -> dict[str, Lookup]:
    """Return targets by name of hypercolumns (C, Q) and their places and weights, (h, w)."""
    *finer, coarse = np.split(columns, np.cumsum(list(LAYERS.values()))[:-1])
    targets = [Lookup(part, places, weights) for part in finer]
    for row, column in PLACES:
        own = weights if weights is None else weights[row::2, column::2]
        targets.append(Lookup(coarse, places[row::2, column::2], own))
    return dict(zip(_TARGETS, targets, strict=True))


def _comparable(source: _Moments, target: _Moments) -> tuple[NDArray[np.float64], Tensor]:
    """Return directions, (C, K), in which to match, and what to move the source by, (K, K)."""
    together = source.number * source.covariance + target.number * target.covariance
    directions = np.linalg.eigh(together)[1][:, -DIRECTIONS:]
    a, s = (_regular(directions.T @ both.covariance @ directions) for both in (source, target))
    kept = (1 - TRANSPORTED) * np.sqrt(np.trace(s) / np.trace(a)) * np.eye(len(a))
    moved = kept + TRANSPORTED * transport(a, s)
    return directions, moved.astype(np.float32)


def _projected(
    columns: Matrix, mean: NDArray[np.float64], directions: NDArray[np.float64]
) -> Matrix:
    """Return columns (C, P) less their mean, projected on directions (C, K), as rows (P, K)."""
    return columns.T @ directions.astype(np.float32) - (mean @ directions).astype(np.float32)


class _Moments(NamedTuple):
    """Number, mean, float64 (C,), and covariance, float64 (C, C), of columns."""

    number: int
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def _moments(blocks: Iterable[Tensor]) -> _Moments:
    """Return those of the columns of all blocks, (C, positions)."""
    size = sum(LAYERS.values())
    number, total, second = 0, np.zeros(size), np.zeros((size, size))
    for columns in blocks:
        number += columns.shape[1]
        total += columns.sum(axis=1, dtype=np.float64)
        # Not of what is left without the mean, which is known at the end.
        second += columns @ columns.T
    mean = total / number
    return _Moments(number, mean, second / number - np.outer(mean, mean))


def _regular(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a covariance with a ridge that makes it positive definite."""
    ridge = _RIDGE * np.trace(covariance) / len(covariance) + _EPSILON
    regular: NDArray[np.float64] = covariance + np.eye(len(covariance)) * ridge
    return regular


def transport(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return T = A^-½·(A^½·S·A^½)^½·A^-½, the optimal map between Gaussians of covariances A and S.

    See Dowson & Landau 1982. Both, float64 (K, K), must be positive definite.
    """
    root, inverse = power(source, 0.5), power(source, -0.5)
    return inverse @ power(root @ target @ root, 0.5) @ inverse


def power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Return a power of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    powers = np.maximum(values, np.finfo(values.dtype).tiny) ** exponent
    result: NDArray[np.float64] = (vectors * powers) @ vectors.T
    return result


def spread(count: int, most: int) -> NDArray[np.intp]:
    """Return ``most`` numbers below ``count``, evenly spread; all of them if they are no more."""
    return np.arange(min(count, most)) * count // min(count, most)


def units(vectors: Matrix, axis: int = 1) -> Matrix:
    """Return vectors, rows (P, K) unless they lie along the other axis, of length 1 or 0."""
    lengths = np.linalg.norm(vectors, axis=axis, keepdims=True)
    directions: Matrix = vectors / np.maximum(lengths, _EPSILON)
    return directions


@contextmanager
def working(
    threads: int,
    canceled: Callable[[], bool],
    empty: Empty = _ALONE.empty,
    release: Release = _ALONE.release,
) -> Iterator[None]:
    """Have matches looked for in a way.

    Args:
        threads: by how many.
        canceled: asked whether to give up, with a CanceledError.
        empty: makes the arrays of columns that lookups are of.
        release: called with arrays, statistics and those of columns, whenever a block is done.
    """
    token = _work.set(_Work(threads, canceled, empty, release))
    try:
        yield
    finally:
        _work.reset(token)


def best_matches(sought: Matrix, found: Matrix) -> tuple[NDArray[np.intp], Matrix]:
    """Return, for each row of (P, K), which row of (Q, K) has the largest cosine, and that.

    Raises:
        CanceledError: as :func:`working` says.
    """
    return _nearest(units(sought), units(found))


def _nearest(rows: Matrix, others: Matrix) -> tuple[NDArray[np.intp], Matrix]:
    """Return the same of rows that are units."""
    work = _work.get()

    def matched(start: int) -> tuple[NDArray[np.intp], Matrix]:
        work.go_on()
        products = rows[start : start + step] @ others.T
        best = products.argmax(axis=1)
        return best, np.take_along_axis(products, best[:, np.newaxis], axis=1)[:, 0]

    step = max(_LEAST_ROWS, PAIRS // work.threads // len(others))
    with ThreadPoolExecutor(work.threads) as pool:
        parts = list(pool.map(matched, range(0, len(rows), step)))
    best, cosines = zip(*parts, strict=True)
    return np.concatenate(best), np.concatenate(cosines)
