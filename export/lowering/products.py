"""Matrix products and sums over positions, in which zeros outside the picture do not count."""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto

from ortist.export.builder import attribute
from ortist.export.lowering.layouts import Lowering, Product, Rule, Value


def _matmul(low: Lowering, node: NodeProto) -> Value | None:
    """Products over positions, as Gram matrices, or over the channels of a matrix."""
    left, right = (low.blocks(name) for name in node.input)
    if left is not None and right is not None:
        if (left.form, right.form) != ("matrix", "transposed") or left.grid != right.grid:
            return None
        rows = low.rows(left if right.clean else low.cleaned(left))
        return low.b.op("Gemm", rows, low.rows(right), transA=1)
    shape = low.b.shape(node.input[0])
    if right is None or right.form != "matrix" or shape is None or len(shape) != 2:
        return None
    if not isinstance(shape[0], int):
        return None
    result = replace(right, name="", channels=shape[0])
    return Product(low.rows(right), low.plain(node.input[0]), result)


def _reduce_sum(low: Lowering, node: NodeProto) -> Value | None:
    """Sums over the positions of a matrix, (C, 1)."""
    blocks = low.blocks(node.input[0])
    axes = low.b.value_of(node.input[1]) if len(node.input) > 1 else None
    if blocks is None or blocks.form != "matrix" or not attribute(node, "keepdims", 1):
        return None
    if axes is None or axes.tolist() != [1]:
        return None
    rows = low.rows(low.cleaned(low.spread(blocks)))
    sums = low.b.op("ReduceSum", rows, low.b.integers(0), keepdims=0)
    return low.b.op("Reshape", sums, low.b.integers(-1, 1))


def _sum_squares(low: Lowering, node: NodeProto) -> Value | None:
    """By channels first."""
    blocks = low.blocks(node.input[0])
    if blocks is None:
        return None
    rows = low.rows(low.cleaned(low.spread(blocks)))
    sums = low.b.op("ReduceSumSquare", rows, low.b.integers(1), keepdims=0)
    return low.b.op("ReduceSum", sums, keepdims=0)


RULES: dict[str, Rule] = {
    "MatMul": _matmul,
    "ReduceSum": _reduce_sum,
    "SumSquares": _sum_squares,
}
