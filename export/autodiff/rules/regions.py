"""The derivative rule of RoiAlign, which samples regions of images.

Samples are tensors (R, P, S): of each of R regions, in each of P bins along an axis, S samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from ortist.export.autodiff.backward import Backward
from ortist.export.autodiff.expressions import Value
from ortist.export.builder import GraphBuilder, attribute


@dataclass(frozen=True)
class _Samples:
    """The samples along one axis."""

    places: Value
    """Their coordinates, within the outermost elements."""
    inside: Value
    """0 if they are too far from these, or do not exist, else 1."""
    exist: Value
    """Whether the bins of a region have as many."""
    count: Value
    """How many these have."""
    size: Value
    """The number of elements of the image."""


def roi_align(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = W_v·x·W_hᵀ for each region of an image x: Σ W_vᵀ·g·W_h over the regions of each image.

    In mode ``max``, Y = max w_k·x_k of neighbors k of all samples: g·w_k at the first of these.
    """
    if i:
        raise NotImplementedError("regions are taken as given: hold them")
    vertical, horizontal = _samples(b, n, 0), _samples(b, n, 1)
    if attribute(n, "mode", "avg") == "max":
        return _of_maximum(b, n, g, vertical, horizontal)
    x, integers = n.input[0], b.builder.integers
    images, channels, height, width = (b.builder.dimension(x, axis) for axis in range(4))
    # One product with the rows of all bins: an image for each region would take more memory.
    spread = b.op("MatMul", g, _weights(horizontal).op("Unsqueeze", integers(1)).name)
    lines = b.op("Concat", integers(-1), b.op("Mul", channels, width), axis=0)
    bins = b.op("Reshape", b.op("Transpose", spread, perm=[0, 2, 1, 3]), lines)
    number = _range(b.builder, images).op("Unsqueeze", integers(1))
    own = number.equals(b.op("Unsqueeze", n.input[2], integers(1, 2, 3))).cast(b.kind(x))
    weights = (_weights(vertical).op("Unsqueeze", integers(2)) * own).name
    columns = b.op("Concat", integers(-1), b.op("Mul", images, height), axis=0)
    matrix = b.op("Transpose", b.op("Reshape", weights, columns), perm=[1, 0])
    shape = b.op("Concat", images, height, channels, width, axis=0)
    summed = b.op("Reshape", b.op("MatMul", matrix, bins), shape)
    return b.op("Transpose", summed, perm=[0, 2, 1, 3])


def _weights(samples: _Samples) -> Value:
    """Return W of an axis, (R, P, elements): linear interpolation, and the mean of samples."""
    builder, kind = samples.places.builder, samples.places.kind
    numbers = _range(builder, samples.size.name).cast(kind)
    distance = samples.places.op("Unsqueeze", builder.integers(3)) - numbers
    near = (1.0 - distance.abs()).op("Relu")
    share = (samples.inside / samples.count).op("Unsqueeze", builder.integers(2))
    return share.op("MatMul", near).op("Squeeze", builder.integers(2))


def _of_maximum(b: Backward, n: NodeProto, g: str, vertical: _Samples, horizontal: _Samples) -> str:
    """Return g times the weight of the greatest, added to zeros where that is."""
    x, integers = n.input[0], b.builder.integers
    _, channels, height, width = (b.builder.dimension(x, axis) for axis in range(4))
    rows, columns = _neighbors(vertical), _neighbors(horizontal)
    place = _pairs(rows[0] * width, columns[0], "Add")
    weight, exist = _pairs(rows[1], columns[1], "Mul"), _pairs(rows[2], columns[2], "And")
    image = b.op("Mul", b.op("Unsqueeze", n.input[2], integers(1, 2, 3)), channels)
    plane = (_range(b.builder, channels).op("Unsqueeze", integers(1, 2)) + image) * height * width
    places = plane + place  # (R, C, P·P, 4·S·S)
    taken = b.value_like(b.op("Gather", b.op("Reshape", x, integers(-1)), places.name), x)
    best = exist.where(taken * weight, -math.inf).op("ArgMax", axis=3, keepdims=1)
    share = weight.op("Expand", places.shape()).op("GatherElements", best, axis=3)
    bins = b.value_like(b.reshape_like(g, best.name), x)
    return b.scatter(places.op("GatherElements", best, axis=3).name, (bins * share).name, x)


def _neighbors(samples: _Samples) -> tuple[Value, Value, Value]:
    """Return places, weights and existence of both neighbors of each sample, (R, P, 2·S)."""
    low = samples.places.op("Floor")
    high = (low + 1.0).op("Min", samples.size.cast(low.kind) - 1.0)
    part = samples.places - low
    weights = ((1.0 - part) * samples.inside).op("Concat", part * samples.inside, axis=2)
    exist = samples.exist.op("Expand", part.shape())
    places = low.op("Concat", high, axis=2).cast(TensorProto.INT64)
    return places, weights, exist.op("Concat", exist, axis=2)


def _pairs(rows: Value, columns: Value, op_type: str) -> Value:
    """Return what comes of each row and column, of (R, P, K) each (R, 1, P·P, K·K)."""
    integers, op = rows.builder.integers, rows.builder.op
    sizes = op("Mul", *(op("Shape", value.name, start=1) for value in (rows, columns)))
    wide = rows.op("Unsqueeze", integers(2, 4))
    pairs = wide.op(op_type, columns.op("Unsqueeze", integers(1, 3)))
    return pairs.op("Reshape", op("Concat", integers(0, 1), sizes, axis=0))


def _samples(b: Backward, n: NodeProto, axis: int) -> _Samples:
    """Return the samples along the vertical axis, 0, or the horizontal one."""
    bins = attribute(n, ("output_height", "output_width")[axis], 1)
    start, length = _sides(b, n, axis)
    step = length / float(bins)
    ratio = attribute(n, "sampling_ratio", 0)
    if ratio > 0:
        count, most = step.constant(ratio), b.builder.integers(ratio)
    else:
        count = step.op("Ceil")
        counts = b.op("Reshape", count.cast(TensorProto.INT64).name, b.builder.integers(-1))
        most = b.op("ReduceMax", b.op("Concat", counts, b.builder.integers(1), axis=0))
    number = _range(b.builder, most).cast(step.kind)
    exist, count = number < count, count.op("Max", 1.0)
    bin_ = (
        _range(b.builder, b.builder.integers(bins))
        .cast(step.kind)
        .op("Unsqueeze", b.builder.integers(1))
    )
    place = start + bin_ * step + (number + 0.5) * (step / count)
    size = Value(b.builder, b.builder.dimension(n.input[0], 2 + axis), TensorProto.INT64)
    length = size.cast(step.kind)
    inside = (place >= -1.0) & (place <= length) & exist
    within = place.op("Max", 0.0).op("Min", length - 1.0)
    return _Samples(within, inside.cast(step.kind), exist, count, size)


def _sides(b: Backward, n: NodeProto, axis: int) -> tuple[Value, Value]:
    """Return where regions begin along an axis, and their lengths, (R, 1, 1)."""
    rois, integers = b.value(n.input[1]), b.builder.integers
    scale = attribute(n, "spatial_scale", 1.0)
    start, end = (
        rois.op("Gather", integers(column), axis=1).op("Unsqueeze", integers(2)) * scale
        for column in (1 - axis, 3 - axis)
    )
    if attribute(n, "coordinate_transformation_mode", "half_pixel") == "half_pixel":
        return start - 0.5, end - start
    return start, (end - start).op("Max", 1.0)


def _range(b: GraphBuilder, size: str) -> Value:
    """Return the numbers below a size, an int64 vector of length 1."""
    return Value(b, b.numbers(b.op("Squeeze", size)), TensorProto.INT64)
