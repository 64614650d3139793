"""Content kept by nearest neighbors: the style's features where they match the content's best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ortist.export.costs.term import (
    Comparison,
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
PAIRS = 2**22
"""Pairs of positions that are compared at once, which bounds memory."""
_LEAST_ROWS = 32
"""Of what is sought, whatever that takes: with fewer, products are slow."""
_work: ContextVar[tuple[int, Callable[[], bool]]] = ContextVar("work", default=(1, lambda: False))
"""By how many threads matches are looked for, and whether to stop; see :func:`working`."""
_EPSILON = 1e-12
"""What squares of lengths get added, so that the root has a derivative where they are 0."""

Matrix = NDArray[np.floating]


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
    ) -> Mapping[str, Tensor]:
        """Return, for each position of the query, the column of the styles that matches best."""
        targets = _matches(_columns([query]), _columns(styles))
        return _parts(targets.reshape(1, -1, *_sides(query)))

    def match_areas(
        self, query: Mapping[str, Tensor], areas: Sequence[Matched], protected: Protected
    ) -> Mapping[str, Tensor]:
        """Return the same with matches for each position in the styles of the area it is most of.

        Where the content is protected its own columns are the targets instead, and targets are
        longer, so that they count more.
        """
        sides = _sides(query)
        targets = np.empty((sum(LAYERS.values()), sides[0] * sides[1]), np.float32)
        sought = _columns([query])
        owners = np.argmax([_at_columns(area.mask, sides) for area in areas], axis=0)
        kept = np.zeros(len(owners), np.float32)
        if protected.mask is not None:
            kept += _at_columns(protected.mask, sides)
        weights = 1 + np.float32(protected.weight - 1) * kept
        for index, area in enumerate(areas):
            own = owners == index
            if area.styles and own.any():
                targets[:, own] = _matches(sought[:, own], _candidates(area))
            elif own.any():
                targets[:, own], kept[own] = 0, 1
        del sought
        _keep(targets, _columns([protected.content]), kept)
        targets *= weights / weights.mean()
        return _parts(targets.reshape(1, -1, *sides))

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


def _keep(targets: Matrix, content: Matrix, shares: Matrix) -> None:
    """Bring columns (C, P), units, as far to those of the content as the shares, (P,), say."""
    some = np.flatnonzero(shares)
    columns = targets[:, some]
    columns += shares[some] * (units(content[:, some], axis=0) - columns)
    targets[:, some] = units(columns, axis=0)


def _matches(sought: Matrix, found: Matrix) -> Matrix:
    """Return, for each column (C, P) that is sought, the best match, as a unit, of those found."""
    found = found[:, spread(found.shape[1], CANDIDATES)]
    best, _ = best_matches(*_comparable(sought, found))
    return units(found, axis=0)[:, best]


def _candidates(area: Matched) -> Matrix:
    """Return the columns of the styles of an area, (C, Q), that may be matches."""
    counted = []
    for style, mask in zip(area.styles, area.style_masks, strict=True):
        shares = _at_columns(mask, _sides(style))
        # Relative to the best: of a faint mask there is something, too.
        counted.append(_columns([style])[:, shares >= shares.max() / 2])
    return np.concatenate(counted, axis=1)


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


def _columns(pictures: Sequence[Mapping[str, Tensor]]) -> Matrix:
    """Return the hypercolumns of pictures as a matrix (C, positions); 0 for what is not finite."""
    rows = []
    for layer in LAYERS:
        parts = [picture[layer] for picture in pictures]
        if layer == COARSEST:
            parts = [part.repeat(2, axis=2).repeat(2, axis=3) for part in parts]
        rows.append(np.concatenate([part.reshape(part.shape[1], -1) for part in parts], axis=1))
    # What is painted may have run away; the cost will say so.
    columns: Matrix = np.concatenate(rows)
    return np.nan_to_num(columns, copy=False, posinf=0, neginf=0)


def _parts(columns: Tensor) -> dict[str, Tensor]:
    """Return hypercolumns (1, C, H, W) as targets by name."""
    *finer, coarse = np.split(columns, np.cumsum(list(LAYERS.values()))[:-1], axis=1)
    places = [coarse[:, :, row::2, column::2] for row, column in PLACES]
    return dict(zip(_TARGETS, map(np.ascontiguousarray, (*finer, *places)), strict=True))


def _comparable(sought: Matrix, found: Matrix) -> tuple[Matrix, Matrix]:
    """Return columns, (C, P) and (C, Q), as what to match by cosine, (P, K) and (Q, K)."""
    source, target = _moments(sought), _moments(found)
    together = sought.shape[1] * source.covariance + found.shape[1] * target.covariance
    directions = np.linalg.eigh(together)[1][:, -DIRECTIONS:]
    a, s = (_regular(directions.T @ both.covariance @ directions) for both in (source, target))
    kept = (1 - TRANSPORTED) * np.sqrt(np.trace(s) / np.trace(a)) * np.eye(len(a))
    moved = kept + TRANSPORTED * transport(a, s)
    rows = _projected(sought, source.mean, directions), _projected(found, target.mean, directions)
    return rows[0] @ moved.astype(np.float32), rows[1]


def _projected(
    columns: Matrix, mean: NDArray[np.float64], directions: NDArray[np.float64]
) -> Matrix:
    """Return columns (C, P) less their mean, projected on directions (C, K), as rows (P, K)."""
    return columns.T @ directions.astype(np.float32) - (mean @ directions).astype(np.float32)


class _Moments(NamedTuple):
    """Mean, float64 (C,), and covariance, float64 (C, C), of columns."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def _moments(columns: Matrix) -> _Moments:
    mean = columns.mean(axis=1, dtype=np.float64)
    # Not of what is left without the mean: that would be another copy of something large.
    second = (columns @ columns.T).astype(np.float64) / columns.shape[1]
    return _Moments(mean, second - np.outer(mean, mean))


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
def working(threads: int, canceled: Callable[[], bool]) -> Iterator[None]:
    """Have matches looked for by so many threads, until that is canceled."""
    token = _work.set((threads, canceled))
    try:
        yield
    finally:
        _work.reset(token)


def best_matches(sought: Matrix, found: Matrix) -> tuple[NDArray[np.intp], Matrix]:
    """Return, for each row of (P, K), which row of (Q, K) has the largest cosine, and that.

    Raises:
        CanceledError: as :func:`working` says.
    """
    rows, others, (threads, canceled) = units(sought), units(found), _work.get()

    def matched(start: int) -> tuple[NDArray[np.intp], Matrix]:
        if canceled():
            raise CanceledError("the run was canceled")
        products = rows[start : start + step] @ others.T
        best = products.argmax(axis=1)
        return best, np.take_along_axis(products, best[:, np.newaxis], axis=1)[:, 0]

    step = max(_LEAST_ROWS, PAIRS // threads // len(others))
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(matched, range(0, len(rows), step)))
    best, cosines = zip(*parts, strict=True)
    return np.concatenate(best), np.concatenate(cosines)
