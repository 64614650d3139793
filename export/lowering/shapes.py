"""Shapes, and what takes a tensor from one to another: in blocks no value moves for that."""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto

from ortist.export.builder import attribute
from ortist.export.lowering.layouts import Blocks, Column, Lowering, Product, Rule, ShapeOf, Value


def _shape(low: Lowering, node: NodeProto) -> Value | None:
    blocks = low.blocks(node.input[0])
    if blocks is None:
        return None
    start, end = attribute(node, "start", 0), attribute(node, "end", 2**31)
    if (start, end) == (0, 2**31):
        return ShapeOf(blocks)
    return low.b.op("Slice", low.shape(blocks), low.b.integers(start), low.b.integers(end))


def _size(low: Lowering, node: NodeProto) -> Value | None:
    blocks = low.blocks(node.input[0])
    return None if blocks is None else low.b.op("ReduceProd", low.shape(blocks), keepdims=0)


def _reshape(low: Lowering, node: NodeProto) -> Value | None:
    """An image unrolled to a matrix, or a matrix rolled up to the shape of an image."""
    target = low.value(node.input[1])
    if isinstance(target, ShapeOf):
        return _rolled_up(low, node.input[0], target.blocks)
    blocks, sizes = low.blocks(node.input[0]), low.b.value_of(node.input[1])
    if blocks is None or blocks.form != "image" or sizes is None:
        return None
    if sizes.tolist() != [blocks.channels, -1]:
        return None
    return replace(low.spread(blocks), form="matrix")


def _rolled_up(low: Lowering, name: str, like: Blocks) -> Value | None:
    value = low.value(name)
    blocks = value.blocks if isinstance(value, Product) else value
    if not isinstance(blocks, Blocks) or (blocks.form, like.form) != ("matrix", "image"):
        return None
    if (blocks.picture, blocks.channels) != (like.picture, like.channels):
        return None
    rolled = replace(blocks, form="image")
    return replace(value, blocks=rolled) if isinstance(value, Product) else rolled


def _transpose(low: Lowering, node: NodeProto) -> Value | None:
    blocks = low.blocks(node.input[0])
    swap = list(attribute(node, "perm", [1, 0])) == [1, 0]
    if blocks is None or blocks.form != "matrix" or not swap:
        return None
    return replace(blocks, form="transposed")


def _expand(low: Lowering, node: NodeProto) -> Value | None:
    """A column repeated for each position of a matrix."""
    target = low.value(node.input[1])
    if not isinstance(target, ShapeOf) or target.blocks.form != "matrix":
        return None
    if low.b.shape(node.input[0]) != (target.blocks.channels, 1):
        return None
    return Column(low.plain(node.input[0]), target.blocks)


RULES: dict[str, Rule] = {
    "Expand": _expand,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Transpose": _transpose,
}
