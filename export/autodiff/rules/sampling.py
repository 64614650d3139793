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


def resize(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = M_a·x along each axis a that is resized: M_aᵀ·g along these.

    Where each element is repeated k times, g summed over the repetitions.
    """
    kernel = _repetitions(b, n)
    if kernel is not None:
        mean = b.op("AveragePool", g, kernel_shape=kernel, strides=kernel)
        return b.scale(mean, math.prod(kernel), n.input[0])
    if attribute(n, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NotImplementedError("keep_aspect_ratio_policy, of which sizes and scales differ")
    rank = b.rank(n.input[0])
    for place, axis in enumerate(attribute(n, "axes", range(rank))):
        if not _is_kept(b, n, place, axis % rank):
            g = _along(b, g, _weights(b, n, place, axis % rank), axis % rank, rank)
    return g


def _repetitions(b: Backward, n: NodeProto) -> list[int] | None:
    """Return how often each element is repeated along axes 2 and on, if nothing else is done."""
    scales = b.builder.value_of(n.input[2]) if len(n.input) > 2 and n.input[2] else None
    grid = attribute(n, "coordinate_transformation_mode", "half_pixel")
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
    if attribute(n, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return False
    scales = n.input[2] if len(n.input) > 2 else ""
    if scales and not _is_empty(b, scales):
        known = b.builder.value_of(scales)
        return known is not None and bool(known[place] == 1)
    before, after = (b.builder.shape(name) for name in (n.input[0], n.output[0]))
    known_sizes = before is not None and after is not None and before[axis] is not None
    return known_sizes and before[axis] == after[axis]


def _weights(b: Backward, n: NodeProto, place: int, axis: int) -> str:
    """Return M_aᵀ (in, out): what the node itself makes of a matrix of ones on the diagonal."""
    _, roi, scales, sizes = [*n.input, "", "", ""][:4]
    kind = TensorProto.DOUBLE if b.kind(n.input[0]) == TensorProto.DOUBLE else TensorProto.FLOAT
    size, at = b.builder.dimension(n.input[0], axis), b.builder.integers(place)
    zero = helper.make_tensor("zero", kind, [1], [0.0])
    square = b.op("ConstantOfShape", b.op("Concat", size, size, axis=0), value=zero)
    ones = b.op("Unsqueeze", b.op("EyeLike", square), b.builder.integers(0, 1))
    kept = {**attributes(n), "extrapolation_value": 0.0}
    kept.pop("axes", None)
    extent = ""
    if roi and attribute(n, "coordinate_transformation_mode") == "tf_crop_and_resize":
        halves = b.op("Split", roi, axis=0, num_outputs=2, outputs=2)
        start, end = (b.op("Gather", half, at) for half in (halves, f"{halves}:1"))
        whole = (b.op("CastLike", b.builder.constant([v] * 3, np.float32), roi) for v in (0, 1))
        extent = b.op("Concat", next(whole), start, next(whole), end, axis=0)
    if scales and not _is_empty(b, scales):
        scale = b.op("Gather", scales, at)
        row = b.op("Concat", b.builder.constant([1] * 3, np.float32), scale, axis=0)
        matrix = b.op("Resize", ones, extent, row, **kept)
    else:
        length = b.builder.dimension(n.output[0], axis)
        row = b.op("Concat", b.builder.integers(1, 1), size, length, axis=0)
        matrix = b.op("Resize", ones, extent, "", row, **kept)
    return b.cast(b.op("Squeeze", matrix, b.builder.integers(0, 1)), n.input[0])


def _is_empty(b: Backward, tensor: str) -> bool:
    """Tell whether a tensor is known to have no elements, as good as absent."""
    return b.builder.shape(tensor) == (0,)


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
