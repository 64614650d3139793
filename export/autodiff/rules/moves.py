"""Derivative rules of the operators that move elements about."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from ortist.export.autodiff.backward import Backward
from ortist.export.builder import attribute, attributes


def reshape(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x in another shape: g in the shape of x."""
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
    """Y = x between constants: the part of g where x is."""
    pads = b.builder.value_of(n.input[1])
    if attribute(n, "mode", "constant") != "constant":
        raise NotImplementedError(f"mode {attribute(n, 'mode')!r}, only 'constant' has a rule")
    if len(n.input) > 3 or pads is None or (pads < 0).any():
        raise NotImplementedError("pads must be constant, not negative and given for all axes")
    begin = b.builder.integers(*pads[: pads.size // 2].tolist())
    end = b.op("Add", begin, b.op("Shape", n.input[0]))
    return b.op("Slice", g, begin, end)


def cut(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x[begin:end:step]: g between zeros."""
    x, start, _, axis, step = [*n.input, "", ""][:5]
    shape = b.builder.shape(x)
    if shape is None:
        return picked(b, n, g, i)
    rank = len(shape)
    starts = b.builder.value_of(start)
    axes = b.builder.value_of(axis) if axis else np.arange(rank)
    steps = b.builder.value_of(step) if step else np.ones(1)
    if starts is None or axes is None or steps is None or (starts < 0).any() or (steps != 1).any():
        return picked(b, n, g, i)
    begin = np.zeros(rank, np.int64)
    begin[axes[: starts.size]] = starts
    before = b.op("Min", b.builder.integers(*begin.tolist()), b.op("Shape", x))
    after = b.op("Sub", b.op("Sub", b.op("Shape", x), b.op("Shape", g)), before)
    return b.op("Pad", g, b.op("Concat", before, after, axis=0))


def picked(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = some elements of x: g added to zeros where its elements were picked.

    The node itself, run on the positions of x, tells where they were.
    """
    picked = b.op(n.op_type, b.positions(n.input[0]), *n.input[1:], **attributes(n))
    return b.scatter(picked, g, n.input[0])


def depth_to_space(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = blocks of channels laid out in space: laid back."""
    size = attribute(n, "blocksize")
    blocks = b.op("SpaceToDepth", g, blocksize=size)
    if attribute(n, "mode", "DCR") == "DCR":
        return blocks
    channels = (b.builder.shape(n.input[0]) or (None, None))[1]
    if not isinstance(channels, int):
        raise NotImplementedError("mode CRD needs a known number of channels")
    # SpaceToDepth puts the position within a block before the channel, CRD has it behind.
    area = size * size
    split = b.op("Reshape", blocks, b.builder.integers(0, area, channels // area, -1))
    return b.reshape_like(b.op("Transpose", split, perm=[0, 2, 1, 3]), n.input[0])


def space_to_depth(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = blocks of space laid out in channels: laid back."""
    return b.op("DepthToSpace", g, blocksize=attribute(n, "blocksize"), mode="DCR")
