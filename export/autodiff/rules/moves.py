"""Derivative rules of the operators that move elements about."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from ortist.export.autodiff.backward import Backward
from ortist.export.autodiff.expressions import Value
from ortist.export.builder import attribute, attributes


def reshape(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x in another shape: g in the shape of x."""
    if attribute(n, "allowzero", 0):
        return b.op("Reshape", g, b.op("Shape", n.input[0]), allowzero=1)
    return b.reshape_like(g, n.input[0])


def expand(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x broadcast: g summed over the new axes."""
    return b.unbroadcast(g, n.input[0], n.output[0])


def transpose(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x with axes permuted: g permuted back."""
    perm = attribute(n, "perm")
    if perm is None:
        return b.op("Transpose", g)
    return b.op("Transpose", g, perm=[list(perm).index(axis) for axis in range(len(perm))])


def concat(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = [x_0, x_1, ...]: the slice of g that x_i went to."""
    axis = attribute(n, "axis")
    shapes = [b.builder.shape(name) for name in n.input[: i + 1]]
    sizes = [shape[axis] if shape is not None else None for shape in shapes]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) == len(sizes):
        start, end = b.builder.integers(sum(known[:-1])), b.builder.integers(sum(known))
    else:
        start = b.builder.integers(0)
        for before in n.input[:i]:
            start = b.op("Add", start, b.builder.dimension(before, axis))
        end = b.op("Add", start, b.builder.dimension(n.input[i], axis))
    return b.op("Slice", g, start, end, b.builder.integers(axis))


def split(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """[y_0, y_1, ...] = x: the concatenated cotangents."""
    parts = [b.cotangent_or_zeros(name) for name in n.output]
    return b.op("Concat", *parts, axis=attribute(n, "axis", 0))


def pad(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x between constants, or what its mode continues it with: the part of g where x is.

    In other modes than ``constant``, what was continued goes back to where it came from.
    """
    x, pads, _, axes = [*n.input, "", ""][:4]
    mode = attribute(n, "mode", "constant")
    if mode != "constant":
        picked = b.op("Pad", b.positions(x), pads, "", axes, mode=mode)
        return b.scatter(picked, g, x)
    known = b.builder.value_of(pads)
    is_grown = known is not None and (known >= 0).all()
    if known is not None and is_grown and not axes:
        start = b.builder.integers(*known[: known.size // 2].tolist())
        return b.op("Slice", g, start, b.op("Add", start, b.op("Shape", x)))
    # What negative pads cut off gets zeros.
    zero, begin = b.builder.integers(0), b.op("Split", pads, axis=0, num_outputs=2, outputs=2)
    first, last = (b.op("Max", part, zero) for part in (begin, f"{begin}:1"))
    sizes = b.op("Gather", b.op("Shape", g), axes) if axes else b.op("Shape", g)
    inside = b.op("Slice", g, first, b.op("Sub", sizes, last), axes)
    missing = b.op("Max", b.op("Neg", pads), zero)
    return inside if is_grown else b.op("Pad", inside, missing, "", axes)


def pad_value(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x between a constant: the sum of g but where x is."""
    everything, inside = (b.op("ReduceSum", t, keepdims=0) for t in (g, pad(b, n, g, 0)))
    return b.reshape_like(b.op("Sub", everything, inside), n.input[i])


def cut(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x[begin:end:step]: g between zeros."""
    x, start, _, axis, step = [*n.input, "", ""][:5]
    steps = b.builder.value_of(step) if step else np.ones(1)
    if steps is None or (steps != 1).any():
        return picked(b, n, g, i)
    shape, starts = b.builder.shape(x), b.builder.value_of(start)
    axes = b.builder.value_of(axis) if axis else np.arange(len(shape or ()))
    if shape is None or starts is None or axes is None or (starts < 0).any():
        return _between(b, x, g, b.op("Cast", start, to=TensorProto.INT64), axis)
    begin = np.zeros(len(shape), np.int64)
    begin[axes[: starts.size]] = starts
    before = b.op("Min", b.builder.integers(*begin.tolist()), b.op("Shape", x))
    after = b.op("Sub", b.op("Sub", b.op("Shape", x), b.op("Shape", g)), before)
    return b.op("Pad", g, b.op("Concat", before, after, axis=0))


def _between(b: Backward, x: str, g: str, start: str, axes: str) -> str:
    """Return g between zeros along axes (all if ""), from positions that may count from the end."""
    if axes:
        axes = b.op("Cast", axes, to=TensorProto.INT64)
    else:
        axes = b.builder.numbers(b.op("Size", start))
    outer, inner = (b.op("Gather", b.op("Shape", name), axes) for name in (x, g))
    zero = b.builder.integers(0)
    counted = b.op("Where", b.op("Less", start, zero), b.op("Add", start, outer), start)
    before = b.op("Min", b.op("Max", counted, zero), outer)
    after = b.op("Sub", b.op("Sub", outer, inner), before)
    return b.op("Pad", g, b.op("Concat", before, after, axis=0), "", axes)


def picked(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = some elements of x: g added to zeros where its elements were picked.

    The node itself, run on the positions of x, tells where they were.
    """
    places = b.op(n.op_type, b.positions(n.input[0]), *n.input[1:], **attributes(n))
    return b.scatter(places, g, n.input[0])


def gather(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = slices of x along an axis: g added to zeros where its slices were taken."""
    x, indices = n.input
    axis, known = attribute(n, "axis", 0), b.builder.value_of(indices)
    if known is not None and known.ndim < 2 and _is_run(known.ravel()):
        axes = b.builder.integers(axis)
        slices = g if known.ndim else b.op("Unsqueeze", g, axes)
        return _between(b, x, slices, b.builder.integers(int(known.flat[0])), axes)
    if (shape := b.builder.shape(x)) is None:
        return picked(b, n, g, i)
    axis %= len(shape)
    count = b.builder.integers(-1)
    sizes = b.op("Shape", x, end=axis), count, b.op("Shape", x, start=axis + 1)
    slices = b.op("Reshape", g, b.op("Concat", *sizes, axis=0))
    # By elements: what ScatterND adds to one place in ONNX Runtime may get lost between threads.
    column = b.op("Reshape", indices, b.builder.integers(-1, *[1] * (len(shape) - axis - 1)))
    places = b.op("Expand", column, b.op("Shape", slices))
    return b.added(b.op("Shape", x), places, slices, x, axis=axis)


def _is_run(indices: NDArray[Any]) -> bool:
    """Tell whether indices follow one another, without passing from the end to the start."""
    is_run = indices.size > 0 and (np.diff(indices) == 1).all()
    return bool(is_run and (indices[0] >= 0 or indices[-1] < 0))


_GATHERS = {"ScatterElements": "GatherElements", "ScatterND": "GatherND"}


def scattered_into(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x with updates u scattered into it: g where none came, times what it was multiplied by.

    Of a maximum or minimum, the share of x among all that are equal to it.
    """
    x, places, updates = n.input
    mode = attribute(n, "reduction", "none")
    if mode == "add":
        return g
    if mode == "none":
        return b.op(n.op_type, g, places, b.zeros(b.op("Shape", updates), x), **attributes(n))
    if mode == "mul":
        ones = b.op("Expand", b.scalar(1.0, x), b.op("Shape", x))
        return b.op("Mul", g, b.op(n.op_type, ones, places, updates, **attributes(n)))
    return (_share(b, n, g) * b.value(x).equals(n.output[0]).cast(b.kind(x))).name


def updates(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x with updates u scattered into it: g where they went; g·y/u if multiplied.

    Of a maximum or minimum, the share of u among all that are equal to it.
    """
    x = n.input[2]
    mode = attribute(n, "reduction", "none")
    if mode in ("none", "add"):
        return _gathered(b, n, g)
    if mode == "mul":
        product = b.op("Mul", g, n.output[0])
        return b.op("Div", _gathered(b, n, product), x)
    won = b.value(x).equals(_gathered(b, n, n.output[0])).cast(b.kind(x))
    return b.op("Mul", _gathered(b, n, _share(b, n, g).name), won.name)


def _gathered(b: Backward, n: NodeProto, tensor: str) -> str:
    """Return what is in a tensor where a node scatters to."""
    kept = {name: value for name, value in attributes(n).items() if name != "reduction"}
    return b.op(_GATHERS[n.op_type], tensor, n.input[1], **kept)


def _share(b: Backward, n: NodeProto, g: str) -> Value:
    """Return g shared by those of x and u that are equal to the maximum or minimum y."""
    x, _, u = n.input
    won = b.value(u).equals(_gathered(b, n, n.output[0])).cast(b.kind(x))
    own = b.value(x).equals(n.output[0]).cast(b.kind(x))
    count = own + b.scatter(_gathered(b, n, b.positions(x)), won.name, x)
    return b.value_like(g, x) / count


def tile(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x repeated along its axes: g summed over the repetitions."""
    x, repeats = n.input
    column = b.builder.integers(1)
    pairs = [b.op("Unsqueeze", sizes, column) for sizes in (repeats, b.op("Shape", x))]
    apart = b.op("Reshape", b.op("Concat", *pairs, axis=1), b.builder.integers(-1))
    zero, two = (b.builder.constant(value, "int64") for value in (0, 2))
    axes = b.op("Range", zero, b.op("Size", apart), two)
    return b.op("ReduceSum", b.op("Reshape", g, apart), axes, keepdims=0)


def triangle(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = a triangle of x: that of g."""
    return b.op("Trilu", g, *n.input[1:], **attributes(n))


def reversed_sequence(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x with the beginning of each sequence turned around: g turned around again."""
    return b.op("ReverseSequence", g, n.input[1], **attributes(n))


def largest(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = the k largest or smallest of x: g where they were."""
    zeros = b.zeros(b.op("Shape", n.input[0]), n.input[0])
    places = b.further_output(n, 1)
    return b.op("ScatterElements", zeros, places, g, axis=attribute(n, "axis", -1))


def one_hot(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = v_1 at the indices, else v_0: the sums of g there and elsewhere."""
    kind = b.builder.constant([0, 1], helper.tensor_dtype_to_np_dtype(b.kind(n.input[2])))
    hot = b.op("OneHot", *n.input[:2], kind, **attributes(n))
    on = b.op("ReduceSum", b.op("Mul", g, hot), keepdims=0)
    off = b.op("Sub", b.op("ReduceSum", g, keepdims=0), on)
    single = b.builder.integers(0)
    return b.op("Concat", *(b.op("Unsqueeze", part, single) for part in (off, on)), axis=0)


def dropout(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x, when trained with a mask m and ratio r m·x/(1-r): g·m/(1-r)."""
    x, ratio, training = [*n.input, "", ""][:3]
    known = b.builder.value_of(training) if training else np.array(False)
    if known is not None and not known:
        return g
    one, kept = b.scalar(1.0, x), b.op("Cast", b.further_output(n, 1), to=b.kind(x))
    rest = b.op("Sub", one, b.cast(ratio, x) if ratio else b.scalar(0.5, x))
    return b.op("Mul", g, b.op("Div", kept, b.op("Where", training, rest, one)))


def depth_to_space(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = blocks of channels laid out in space: laid back."""
    size = attribute(n, "blocksize")
    blocks = b.op("SpaceToDepth", g, blocksize=size)
    if attribute(n, "mode", "DCR") == "DCR":
        return blocks
    # SpaceToDepth puts the position within a block before the channel, CRD has it behind.
    apart = b.op(
        "Concat", b.builder.integers(0, size * size, -1), b.op("Shape", blocks, start=2), axis=0
    )
    split = b.op("Reshape", blocks, apart)
    return b.reshape_like(b.op("Transpose", split, perm=[0, 2, 1, 3, 4]), n.input[0])


def space_to_depth(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = blocks of space laid out in channels: laid back."""
    mode = attribute(n, "mode", "DCR")
    return b.op("DepthToSpace", g, blocksize=attribute(n, "blocksize"), mode=mode)
