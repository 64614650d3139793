"""Derivative rules of the operators that sample at places which are given.

Places and weights are tensors (N, P, K): of each of N images P places are sampled, at each of which
K elements along an axis, or in all of space, are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto, TensorProto, helper

from ortist.export.autodiff.backward import Backward
from ortist.export.autodiff.expressions import Value
from ortist.export.builder import attribute, attributes

_A = -0.75
_KERNELS: dict[str, tuple[int, list[list[float]]]] = {
    "nearest": (0, [[1], [0]]),
    "linear": (0, [[1, 0], [-1, 1]]),
    "cubic": (
        -1,
        [
            [0, 1, 0, 0],
            [_A, 0, -_A, 0],
            [-2 * _A, -_A - 3, 2 * _A + 3, _A],
            [_A, _A + 2, -_A - 2, -_A],
        ],
    ),
}
"""Where the K elements begin, from the floor of a coordinate on, and their weights.

These are polynomials of the coordinate's fraction: a row for each power of it.
"""


@dataclass(frozen=True)
class _Axis:
    """What is sampled along one axis."""

    places: Value
    weights: Value
    slopes: Value
    """The derivatives of the weights by the grid."""


def grid_sample_input(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = Σ w_k·x_k over neighbors k of each place: g·w_k added to zeros where x_k is."""
    x, integers = n.input[0], b.builder.integers
    axes = _axes(b, n)
    weights = _joint(b, [axis.weights for axis in axes]).cast(b.kind(x))
    shares = b.value_like(flat(b, g), x).op("Unsqueeze", integers(3))
    shares = shares * weights.op("Unsqueeze", integers(1))
    values = shares.op("Reshape", integers(0, 0, -1))
    single = _places(b, n, axes).op("Reshape", integers(0, 1, -1))
    places = single.op("Expand", values.shape()).name
    added = b.added(b.op("Shape", flat(b, x)), places, values.name, x, axis=2)
    return b.reshape_like(added, x)


def grid_sample_grid(b: Backward, n: NodeProto, g: str, i: int) -> str | None:
    """Y = Σ w_k(u)·x_k at u, in all channels: Σ g·x_k·w_k'(u), with PyTorch 0 at the border."""
    x, grid, integers = n.input[0], n.input[1], b.builder.integers
    if _mode(n) == "nearest":
        return None
    axes = _axes(b, n)
    pixels = b.op("Transpose", flat(b, x), perm=[0, 2, 1])
    places = _places(b, n, axes).op("Unsqueeze", integers(3))
    taken = b.op("GatherND", pixels, places.name, batch_dims=1)
    channels = b.op("Unsqueeze", b.op("Transpose", flat(b, g), perm=[0, 2, 1]), integers(3))
    effects = b.op("Squeeze", b.op("MatMul", taken, channels), integers(3))
    effect = b.value_like(effects, x).cast(b.kind(grid))
    slopes = [
        (effect * _joint(b, [a.slopes if a is axis else a.weights for a in axes])).sum(integers(2))
        for axis in reversed(axes)
    ]
    return b.reshape_like(b.op("Concat", *(slope.name for slope in slopes), axis=2), grid)


def affine_grid(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = θ·(p, 1) at each place p of a regular grid: Σ g·(p, 1)ᵀ."""
    theta, size = n.input
    axes, integers = b.shape(theta)[1], b.builder.integers
    if not isinstance(axes, int):
        raise NotImplementedError("the number of axes of space is not known")
    # The places are what the node itself makes of θ = (1, 0).
    unit = b.op("EyeLike", b.zeros(integers(axes, axes + 1), theta))
    space = b.op("Slice", size, integers(2), integers(axes + 2))
    single = b.op("Concat", integers(1, 1), space, axis=0)
    regular = b.op("AffineGrid", b.op("Unsqueeze", unit, integers(0)), single, **attributes(n))
    places = b.op("Reshape", regular, integers(-1, axes))
    lines = b.op("Pad", places, integers(0, 0, 0, 1), b.scalar(1.0, theta))
    columns = b.op("Reshape", g, integers(0, -1, axes))
    return b.op("MatMul", b.op("Transpose", columns, perm=[0, 2, 1]), lines)


def flat(b: Backward, tensor: str) -> str:
    """Return (N, C, ...) as (N, C, P)."""
    return b.op("Reshape", tensor, b.builder.integers(0, 0, -1))


def _joint(b: Backward, factors: list[Value]) -> Value:
    """Return the products of one of K factors along each axis, (N, P, K·K·...)."""
    product = factors[0]
    for factor in factors[1:]:
        pairs = product.op("Unsqueeze", b.builder.integers(3))
        pairs = pairs * factor.op("Unsqueeze", b.builder.integers(2))
        product = pairs.op("Reshape", b.builder.integers(0, 0, -1))
    return product


def _places(b: Backward, n: NodeProto, axes: list[_Axis]) -> Value:
    """Return the positions of all neighbors in the flat space of x, (N, P, K·K·...)."""
    position = axes[0].places
    for number, axis in enumerate(axes[1:], 3):
        rows = position.op("Unsqueeze", b.builder.integers(3))
        rows = rows * b.builder.dimension(n.input[0], number)
        pairs = rows + axis.places.op("Unsqueeze", b.builder.integers(2))
        position = pairs.op("Reshape", b.builder.integers(0, 0, -1))
    return position


def _axes(b: Backward, n: NodeProto) -> list[_Axis]:
    """Return what is sampled along each axis of space; the last column of a grid is the first."""
    x, grid = n.input
    last = b.builder.dimension(grid, -1)
    columns = b.op("Concat", b.builder.integers(0, -1), last, axis=0)
    flat = b.value_like(b.op("Reshape", grid, columns), grid)
    count = b.rank(x) - 2
    return [
        _sampled(b, n, flat.op("Gather", b.builder.integers(count - 1 - axis), axis=2), axis + 2)
        for axis in range(count)
    ]


def _sampled(b: Backward, n: NodeProto, column: Value, axis: int) -> _Axis:
    """Return what is sampled along an axis of x, by the coordinates (N, P, 1) for it."""
    size = Value(b.builder, b.builder.dimension(n.input[0], axis), TensorProto.INT64)
    aligned, mode = attribute(n, "align_corners", 0), _mode(n)
    edge = _Edge(attribute(n, "padding_mode", "zeros"), size.cast(column.kind), aligned)
    u, slope = edge.padded(edge.coordinate(column, mode), smooth=mode == "cubic")
    low = u.op("Floor")
    first, rows = _KERNELS[mode]
    derived = [[power * factor for factor in row] for power, row in enumerate(rows)][1:]
    weights, slopes = (_polynomial(u - low, factors) for factors in (rows, derived))
    reached = low + _row(u, range(first, first + len(rows[0])))
    if edge.padding == "zeros":
        inside = ((reached >= 0.0) & (reached <= edge.last)).cast(u.kind)
        weights, slopes = weights * inside, slopes * inside
    elif edge.padding == "reflection":
        reached, _ = edge.folded(reached)
    places = edge.clipped(reached).cast(TensorProto.INT64)
    return _Axis(places, weights, slopes * slope * (edge.length / 2.0))


def _mode(n: NodeProto) -> str:
    """Return the mode, which up to opset 19 was called bilinear, or bicubic."""
    return str(attribute(n, "mode", "linear")).removeprefix("bi")


def _polynomial(t: Value, rows: Sequence[Sequence[float]]) -> Value:
    """Return c_0 + t·(c_1 + t·...), a polynomial for each column of its factors."""
    result = _row(t, rows[-1])
    for row in reversed(rows[:-1]):
        result = t * result + _row(t, row)
    return result


def _row(like: Value, values: Sequence[float]) -> Value:
    """Return constants, a vector of the type of another value."""
    dtype = helper.tensor_dtype_to_np_dtype(like.kind)
    return Value(like.builder, like.builder.constant(values, dtype), like.kind)


@dataclass(frozen=True)
class _Edge:
    """How an axis of x goes on beyond its ends."""

    padding: str
    size: Value
    aligned: int
    """Whether -1 and 1 are the centers of the outermost elements, not their outer borders."""

    @property
    def last(self) -> Value:
        """The coordinate of the last element."""
        return self.size - 1.0

    @property
    def length(self) -> Value:
        """The distance between -1 and 1, in elements."""
        return self.last if self.aligned else self.size

    @property
    def first(self) -> float:
        """The coordinate of -1."""
        return 0.0 if self.aligned else -0.5

    def coordinate(self, column: Value, mode: str) -> Value:
        """Return coordinates counted in elements; rounded, half to even, if the nearest counts."""
        # As runtimes do it: another way might round to another element.
        if self.aligned:
            u = (column + 1.0) / 2.0 * self.last
        else:
            u = ((column + 1.0) * self.size - 1.0) / 2.0
        return u.op("Round") if mode == "nearest" else u

    def padded(self, u: Value, *, smooth: bool) -> tuple[Value, Value | float]:
        """Return coordinates moved to inside, and the derivative of these."""
        if self.padding == "zeros":
            return u, 1.0
        slope: Value | float = 1.0
        if self.padding == "reflection":
            u, slope = self.folded(u)
            if smooth:
                return u, slope
        elif smooth:
            outside = (u < self.first) | (u > self.last - self.first)
            return outside.where(self.clipped(u), u), outside.where(u.constant(0.0), 1.0)
        return self.clipped(u), ((u > 0.0) & (u < self.last)).cast(u.kind) * slope

    def clipped(self, u: Value) -> Value:
        """Return coordinates within the outermost elements."""
        return u.op("Min", self.last).op("Max", 0.0)

    def folded(self, u: Value) -> tuple[Value, Value]:
        """Return coordinates mirrored at both ends, and the derivative of these."""
        beyond, length = u - self.first, self.length.op("Max", 1.0)
        rest = beyond.abs().op("Mod", length * 2.0, fmod=1)
        folded = length - (rest - length).abs() + self.first
        return folded, beyond.sign() * (length - rest).sign()
