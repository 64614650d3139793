"""Derivative rules of the operators that sample at other places."""

from __future__ import annotations

import math

import numpy as np
from onnx import NodeProto, TensorProto, helper

from ortist.export.autodiff.backward import Backward
from ortist.export.builder import attribute, attributes

_REPEATING = {
    ("asymmetric", "floor"),
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
}
"""Coordinates and rounding by which a whole scale repeats each element."""


_GRID, _POLICY = "coordinate_transformation_mode", "keep_aspect_ratio_policy"


def resize(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = M_a·x along each axis a that is resized: M_aᵀ·g along these.

    Where each element is repeated k times, g summed over the repetitions.
    """
    kernel = _repetitions(b, n)
    if kernel is not None:
        mean = b.op("AveragePool", g, kernel_shape=kernel, strides=kernel)
        return b.scale(mean, math.prod(kernel), n.input[0])
    rank = b.rank(n.input[0])
    for place, axis in enumerate(attribute(n, "axes", range(rank))):
        if not _is_kept(b, n, place, axis % rank):
            g = _along(b, g, _weights(b, n, place, axis % rank), axis % rank, rank)
    return g


def _repetitions(b: Backward, n: NodeProto) -> list[int] | None:
    """Return how often each element is repeated along axes 2 and on, if nothing else is done."""
    scales = b.builder.value_of(n.input[2]) if len(n.input) > 2 and n.input[2] else None
    grid = attribute(n, _GRID, "half_pixel")
    rounding = attribute(n, "nearest_mode", "round_prefer_floor")
    if (
        attribute(n, "mode", "nearest") != "nearest"
        or (grid, rounding) not in _REPEATING
        or scales is None
        or scales.size < 3
        or (scales != scales.round()).any()
        or (scales < 1).any()
        or (scales[:2] != 1).any()
        or attribute(n, "axes") is not None
    ):
        return None
    return [int(scale) for scale in scales[2:]]


def _is_kept(b: Backward, n: NodeProto, place: int, axis: int) -> bool:
    """Tell whether an axis, at a place among scales or sizes, is known to stay as it is."""
    grid, policy = (attribute(n, key) for key in (_GRID, _POLICY))
    if grid == "tf_crop_and_resize" or policy not in (None, "stretch"):
        return False
    if scales := _given(b, n, 2):
        known = b.builder.value_of(scales)
        return known is not None and bool(known[place] == 1)
    before, after = b.shape(n.input[0])[axis], b.builder.shape(n.output[0])
    return before is not None and after is not None and before == after[axis]


def _weights(b: Backward, n: NodeProto, place: int, axis: int) -> str:
    """Return M_aᵀ (in, out): what the node itself makes of a matrix of ones on the diagonal.

    Along one more axis the ones are repeated, as often as x has elements along that axis whose
    size, by keep_aspect_ratio_policy, all others go by.
    """
    x, kind = n.input[0], b.kind(n.input[0])
    computed = kind if kind == TensorProto.DOUBLE else TensorProto.FLOAT
    size, leading = b.builder.dimension(x, axis), _leading(b, n)
    zero = helper.make_tensor("zero", computed, [1], [0.0])
    square = b.op("ConstantOfShape", b.op("Concat", size, size, axis=0), value=zero)
    ones = b.op("Unsqueeze", b.op("EyeLike", square), b.builder.integers(0, 3))
    if leading:
        repeats = b.op("Concat", b.builder.integers(1, 1, 1), leading[0], axis=0)
        ones = b.op("Expand", ones, repeats)
    kept = {**attributes(n), "extrapolation_value": 0.0, "axes": [2, 3]}
    at, extent = b.builder.integers(place), _extent(b, n, place)
    if scales := _given(b, n, 2):
        pair = b.op("Gather", scales, at), b.builder.constant([1], np.float32)
        matrix = b.op("Resize", ones, extent, b.op("Concat", *pair, axis=0), **kept)
    else:
        last = leading[1] if leading else b.builder.integers(1)
        pair = b.op("Gather", n.input[3], at), last
        matrix = b.op("Resize", ones, extent, "", b.op("Concat", *pair, axis=0), **kept)
    single = b.op("Squeeze", matrix, b.builder.integers(0))
    weights = b.op("Gather", single, b.builder.constant(0, np.int64), axis=2)
    return weights if kind == computed else b.cast(weights, x)


def _leading(b: Backward, n: NodeProto) -> tuple[str, str] | None:
    """Return the sizes, in and out, of the axis whose ratio all axes are to have, if they are."""
    if _given(b, n, 2) or attribute(n, _POLICY, "stretch") == "stretch":
        return None
    before, axes = b.op("Shape", n.input[0]), attribute(n, "axes")
    if axes is not None:
        before = b.op("Gather", before, b.builder.integers(*axes))
    ratios = b.op("Div", b.builder.count(n.input[3]), b.builder.count(before))
    choice = "ArgMin" if attribute(n, _POLICY) == "not_larger" else "ArgMax"
    chosen = b.op(choice, ratios, axis=0)
    return b.op("Gather", before, chosen), b.op("Gather", n.input[3], chosen)


def _extent(b: Backward, n: NodeProto, place: int) -> str:
    """Return the part of an axis that is cropped to, and all of another axis."""
    if attribute(n, _GRID) != "tf_crop_and_resize":
        return ""
    roi, at = n.input[1], b.builder.integers(place)
    halves = b.op("Split", roi, axis=0, num_outputs=2, outputs=2)
    dtype = helper.tensor_dtype_to_np_dtype(b.kind(roi))
    first, last = (b.builder.constant([end], dtype) for end in (0, 1))
    start, end = (b.op("Gather", half, at) for half in (halves, f"{halves}:1"))
    return b.op("Concat", start, first, end, last, axis=0)


def _given(b: Backward, n: NodeProto, position: int) -> str:
    """Return an optional input of a node, "" if it is known to have no elements."""
    name = n.input[position] if len(n.input) > position else ""
    return "" if name and b.builder.shape(name) == (0,) else name


def _along(b: Backward, g: str, weights: str, axis: int, rank: int) -> str:
    """Return weights (in, out) times g along one of its axes."""
    if axis == rank - 2:
        return b.op("MatMul", weights, g)
    turned = b.op("Transpose", weights, perm=[1, 0])
    if axis == rank - 1:
        return b.op("MatMul", g, turned)
    order = [*range(axis), *range(axis + 1, rank), axis]
    product = b.op("MatMul", b.op("Transpose", g, perm=order), turned)
    return b.op("Transpose", product, perm=[order.index(position) for position in range(rank)])
