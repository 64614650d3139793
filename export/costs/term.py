"""What a term of J is, and the quantities that several terms are made of.

J is a weighted sum of costs, each that of a term at a layer. A term is cut in two at its
statistics: it measures of a picture what are means over its positions, or activations themselves,
and compares these with those of a target. Both halves are written forwards only, as ONNX nodes;
:mod:`ortist.export.differentiate` supplies the derivatives. Term files use the builder that they
are given, so that importing them loads no onnx.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ortist.models.interface import GUIDE
from ortist.models.layers import stride_of

if TYPE_CHECKING:
    from types import EllipsisType

    from ortist.export.builder import Dimension, GraphBuilder

Tensor = NDArray[np.float32]
T = TypeVar("T")
Shape: TypeAlias = "Sequence[Dimension]"


@dataclass(frozen=True)
class Comparison:
    """What a term makes of statistics and targets.

    Attributes:
        cost: float32 (1,), by name.
        held: tensors to take as constant when differentiating it, for example a minimizer, whose
            derivative vanishes.
    """

    cost: str
    held: tuple[str, ...] = ()


class Term(ABC):
    """A kind of cost; its instances have no state but what makes it."""

    name: ClassVar[str]
    """What it is called in the names of costs, ``<name>/<layer>``: letters, digits and ``_``."""
    source: ClassVar[Literal["content", "style", "match"] | None]
    """The picture that its target is measured of; of several styles, their weighted mean.

    "match" is both: see :meth:`match`.
    """
    local: ClassVar[bool] = False
    """Whether statistics are maps, (1, C, H, W), and the cost a mean over their positions."""
    overlap: ClassVar[Mapping[str, tuple[int, int]]] = {}
    """Of a statistic of pairs of positions, how many rows and columns one is below and beside the
    other: so many beyond a piece are measured with it, for pieces to add up."""

    @abstractmethod
    def measure(self, b: GraphBuilder, activation: str) -> Mapping[str, str]:
        """Append what is measured of a layer, and return it by what it is called.

        Those of the package that can be guided have a third parameter, ``roots``, None unless
        positions count by weights of their own: their square roots, (1, 1, H, W), by name. Then
        sums are weighted by these, and not divided by the number of positions; activations are
        multiplied by the roots.

        Args:
            b: the graph.
            activation: (1, C, H, W), or the image.

        Returns:
            Tensors that are means over positions, so that those of a picture are those of its
            pieces weighted by their share of the positions; or the activation itself.
        """

    def layers(self, layer: str) -> Sequence[str]:
        """Return the layers that it looks at where it is at ``layer``: by default that one."""
        return (layer,)

    def stride(self, layer: str, name: str) -> int:
        """Return how many pixels a side of a position of a map stands for.

        Args:
            layer: that it is at.
            name: of a statistic or a target of a ``local`` term.
        """
        return stride_of(layer)

    def statistic_shapes(self, channels: int) -> Mapping[str, Shape]:
        """Return the shapes of what :meth:`measure` gives of a layer of so many channels.

        Graphs from files are held to them. Terms from outside need not say: their graphs are made
        anew each time.
        """
        return {}

    def target_shapes(self, statistics: Mapping[str, Shape]) -> Mapping[str, Shape]:
        """Return the shapes of the targets, given those of the statistics; the same by default."""
        return statistics if self.source else {}

    def settle(self, statistics: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the targets, float32, that :meth:`compare` takes, made of a picture's statistics.

        Computed once, in numpy; by default they are the statistics.
        """
        return statistics

    def match(
        self, query: Mapping[str, Tensor], styles: Sequence[Mapping[str, Tensor]]
    ) -> Mapping[str, Target]:
        """Return the targets of a term whose source is "match", in place of :meth:`settle`.

        Args:
            query: statistics of what is to be painted: the content at the first scale, at others
                a mixture with what was painted so far.
            styles: those of each style.

        Returns:
            Arrays, or lookups where these would be large.
        """
        raise NotImplementedError(f"{self.name} has source 'match', but no match()")

    def match_areas(
        self, query: Mapping[str, Tensor], areas: Sequence[Matched], protected: Protected
    ) -> Mapping[str, Target]:
        """Return the targets where not all of the picture has the same styles.

        By default :meth:`match` of all styles there are.
        """
        return self.match(query, [style for area in areas for style in area.styles])

    @abstractmethod
    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        """Append the cost that statistics have with these targets, all by what they are called."""


@dataclass(frozen=True, eq=False)
class Lookup:
    """A map (1, C, h, w), float32, that has one of several columns at each position.

    ``np.asarray`` makes an array of all of it; ``lookup[..., rows, columns]`` of a window, with the
    values that this array has there.

    Attributes:
        columns: what it is made of, float32 (C, Q).
        places: which of them each position has, int32 (h, w), 0..Q-1.
        weights: by what the column is multiplied at each position, float32 (h, w); None for 1.
    """

    columns: Tensor
    places: NDArray[np.int32]
    weights: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """That of the array."""
        return 1, len(self.columns), *self.places.shape

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """That of the array."""
        return np.dtype(np.float32)

    def __getitem__(self, window: tuple[EllipsisType, slice, slice]) -> Tensor:
        """Return a window ``[..., rows, columns]``, an array of its own, float32 (1, C, h', w')."""
        _, *sides = window
        places = self.places[tuple(sides)]
        found = self.columns.take(places.reshape(-1), axis=1)
        found = found.reshape(1, len(self.columns), *places.shape)
        if self.weights is not None:
            found *= self.weights[tuple(sides)]
        return found

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a lookup is no array: it takes a copy to make one of it")
        return self[..., :, :].astype(dtype or self.dtype, copy=False)


Target: TypeAlias = "Tensor | Lookup"


def window_of(target: Target, window: tuple[EllipsisType, slice, slice]) -> Target:
    """Return a window ``[..., rows, columns]`` of a target, of its kind."""
    if not isinstance(target, Lookup):
        return np.ascontiguousarray(target[window])
    _, *sides = window
    weights = None if target.weights is None else target.weights[tuple(sides)].copy()
    return Lookup(target.columns, target.places[tuple(sides)].copy(), weights)


@dataclass(frozen=True)
class Matched:
    """A part of a picture, and what its matches are looked for in.

    Attributes:
        mask: how much each pixel is of it, float32 (H, W), 0..1; None for the whole picture.
        styles: statistics of each style; none where what is sought is the match.
        style_masks: how much of each style counts, likewise.
    """

    mask: Tensor | None
    styles: Sequence[Mapping[str, Tensor]]
    style_masks: Sequence[Tensor | None]


@dataclass(frozen=True)
class Protected:
    """What of the content is kept more than the rest.

    Attributes:
        content: its statistics.
        mask: how much each pixel is protected, float32 (H, W), 0..1; None for not at all.
        weight: how many times it counts where it is.
    """

    content: Mapping[str, Tensor]
    mask: Tensor | None = None
    weight: float = 1.0


class Part(NamedTuple):
    """A cost of J.

    Attributes:
        term: what is compared.
        layer: that it is of, or :data:`~ortist.models.layers.IMAGE`.
        guide: what tells how much each position counts, if they do not count the same.
    """

    term: Term
    layer: str
    guide: str = ""

    @property
    def name(self) -> str:
        """What the cost is called, as in ``gram/conv1_1``, or ``gram/conv1_1@2`` with a guide."""
        plain = f"{self.term.name}/{self.layer}"
        return f"{plain}@{self.guide}" if self.guide else plain

    @property
    def plain(self) -> Part:
        """The same without a guide."""
        return self._replace(guide="")

    @property
    def roots(self) -> str:
        """What the graph's input is called that has the roots of its weights: see ``guide``."""
        return f"{GUIDE}/{self.layer}@{self.guide}"

    def own(self, values: Mapping[str, T], prefix: str = "") -> dict[str, T]:
        """Return what belongs to it of ``<prefix><part>/<name>`` to values, by the names alone."""
        prefix += f"{self.name}/"
        return {
            name.removeprefix(prefix): value
            for name, value in values.items()
            if name.startswith(prefix)
        }


def divided(parts: Sequence[Part]) -> tuple[list[Part], list[Part]]:
    """Return parts that are local, and all others."""
    near = [part for part in parts if part.term.local]
    return near, [part for part in parts if not part.term.local]


def unrolled(b: GraphBuilder, activation: str) -> str:
    """Return an activation (1, C, H, W) as a matrix (C, H·W)."""
    channels = (b.shape(activation) or ())[1]
    if not isinstance(channels, int):
        raise TypeError(f"{activation} has {channels} channels, which must be a known number")
    return b.op("Reshape", activation, b.integers(channels, -1))


def per_position(b: GraphBuilder, sums: str, matrix: str) -> str:
    """Return sums over the positions of a matrix (C, positions) as means.

    Dividing by their number makes pictures of different sizes comparable.
    """
    return b.op("Div", sums, b.count(b.op("Shape", matrix, start=1)))


def weighted(b: GraphBuilder, activation: str, weights: str) -> str:
    """Return an activation (1, C, H, W) times a weight for each position, (1, 1, H, W)."""
    kind, shape = b.element_type(activation), b.shape(activation)
    return b.own("Weighted", activation, weights, shape=shape, element_type=kind)


def gram_matrix(b: GraphBuilder, activation: str, roots: str | None = None) -> str:
    """Return G = A·Aᵀ/(H·W), float32 (C, C), of an activation (1, C, H, W) unrolled to (C, H·W).

    With the ``roots`` of weights w, (1, 1, H, W), it is A·diag(w)·Aᵀ.
    """
    matrix = unrolled(b, weighted(b, activation, roots) if roots else activation)
    products = b.op("MatMul", matrix, b.op("Transpose", matrix, perm=[1, 0]))
    return products if roots else per_position(b, products, matrix)


def mean_vector(b: GraphBuilder, activation: str, roots: str | None = None) -> str:
    """Return E[a], float32 (C, 1), the mean over the positions of an activation (1, C, H, W).

    With the ``roots`` of weights w it is A·w.
    """
    if roots:
        twice = weighted(b, weighted(b, activation, roots), roots)
        return row_sums(b, unrolled(b, twice))
    matrix = unrolled(b, activation)
    return per_position(b, row_sums(b, matrix), matrix)


def row_sums(b: GraphBuilder, matrix: str) -> str:
    """Return the sums of the rows of a matrix (C, n), (C, 1)."""
    return b.op("ReduceSum", matrix, b.integers(1), keepdims=1)


def mean_square(b: GraphBuilder, values: str) -> str:
    """Return the mean of the squares, float32 (1,)."""
    total = b.own("SumSquares", values, shape=())
    return b.op("Reshape", b.op("Div", total, b.count(b.op("Size", values))), b.integers(1))
