"""Elementwise operators: they stay in the layout that their operands have.

Outside the picture the operands are zero if clean, else of no meaning: what takes zeros to zeros
keeps them clean, and no operator may make there what is not a number.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import NodeProto, TensorProto

from ortist.export.lowering.layouts import Blocks, Column, Lowering, Product, Rule, Value
from ortist.models.blocks import Order, Places

_PLACES: dict[Order, Places] = {"blocks": "positions", "pooled": "quads"}
"""What is to be looked up for each row of a matrix in that order."""


def _keep_layout(low: Lowering, node: NodeProto) -> Value | None:
    """Operators of one tensor that take 0 to 0."""
    blocks = low.blocks(node.input[0])
    if blocks is None:
        return None
    return replace(blocks, name=low.b.op(node.op_type, blocks.name))


def _relu(low: Lowering, node: NodeProto) -> Value | None:
    blocks = low.blocks(node.input[0])
    if blocks is None:
        return None
    positive = blocks if blocks.rectified else replace(blocks, name=low.b.op("Relu", blocks.name))
    positive = replace(positive, rectified=False)
    # What is summed over positions must be zero outside; convolutions do not look there.
    measured = low.is_read_by(node.output[0], "Reshape", "Sub", "SumSquares")
    return low.cleaned(positive) if measured else positive


def _relu_grad(low: Lowering, node: NodeProto) -> Value | None:
    """A product with a mask, which is bool, a quarter of the size, until it is used."""
    activation = low.blocks(node.input[1])
    gradient = low.convert(node.input[0], activation) if activation is not None else None
    if activation is None or gradient is None:
        return None
    positive = low.b.op("Greater", activation.name, low.b.constant(0, np.float32))
    mask = low.b.op("Cast", positive, to=TensorProto.FLOAT)
    return _combined(low, "Mul", gradient, replace(activation, name=mask))


def _weighted(low: Lowering, node: NodeProto) -> Value | None:
    """A product with a weight for each position, whose map has none outside the picture."""
    blocks = low.blocks(node.input[0])
    if blocks is None or blocks.form != "image":
        return None
    blocks = low.spread(blocks)
    weights = low.reading_rows(node.input[1])
    places = low.map(blocks.picture.rows("reading", _PLACES[blocks.order]))
    placed = low.b.op("Gather", weights, places, axis=0)
    column = low.b.op("Reshape", placed, low.b.integers(-1, 1))
    product = low.b.op("Mul", low.rows(blocks), column)
    return replace(low.with_rows(product, blocks), clean=True)


def _sqrt(low: Lowering, node: NodeProto) -> Value | None:
    """A root, not taken of what lies outside the picture, which may be negative."""
    blocks = low.blocks(node.input[0])
    if blocks is None:
        return None
    blocks = low.cleaned(blocks)
    return replace(blocks, name=low.b.op("Sqrt", blocks.name))


def _add(low: Lowering, node: NodeProto) -> Value | None:
    """A sum; one with a product is computed together with it."""
    for name, other in (node.input, reversed(node.input)):
        value, scalar = low.value(name), low.scalar(name)
        if isinstance(value, Column):
            return _with_column(low, value, other)
        if isinstance(value, Product):
            total = _with_product(low, value, other)
            if total is not None:
                return total
        # Asked for where it is needed only: it would compute a product.
        blocks = low.blocks(other) if scalar is not None else None
        if blocks is not None and scalar is not None:
            return low.shifted(
                blocks, low.b.op("Expand", scalar, low.b.integers(blocks.channels, 1))
            )
    return _binary(low, node)


def _with_column(low: Lowering, column: Column, name: str) -> Value | None:
    """A matrix, perhaps a product that is yet to be computed, and the same for each position."""
    value = low.value(name)
    if isinstance(value, Product) and value.blocks.form == "matrix" and value.column is None:
        return replace(value, column=column.name)
    blocks = low.blocks(name)
    if blocks is None or blocks.form != "matrix":
        return None
    return low.shifted(blocks, column.name)


def _with_product(low: Lowering, product: Product, name: str) -> Value | None:
    blocks = low.blocks(name)
    if blocks is None:
        return None
    if blocks != replace(product.blocks, name=blocks.name, clean=blocks.clean):
        return None
    total = low.b.op("Gemm", product.rows, product.matrix, low.rows(blocks), transB=1)
    both = replace(blocks, clean=blocks.clean and product.blocks.clean)
    return low.shifted(low.with_rows(total, both), product.column)


def _multiply(low: Lowering, node: NodeProto) -> Value | None:
    """A product, perhaps with a scalar."""
    for name, other in (node.input, reversed(node.input)):
        scalar = low.scalar(name)
        blocks = low.blocks(other) if scalar is not None else None
        if blocks is not None and scalar is not None:
            return replace(blocks, name=low.b.op("Mul", blocks.name, scalar))
    return _binary(low, node)


def _divide(low: Lowering, node: NodeProto) -> Value | None:
    """A quotient; outside the picture it is by 1."""
    pair = _alike(low, node)
    if pair is None:
        return None
    first, second = pair[0], low.spread(pair[1])
    # Zeros divided by zeros there would stay: no mask makes 0 of what is not a number.
    inside = low.b.op("Cast", low.map(second.picture.inside(second.order)), to=TensorProto.BOOL)
    rows = low.b.op("Where", inside, low.rows(second), low.b.constant(1, np.float32))
    quotient = _combined(low, "Div", first, low.with_rows(rows, second))
    return replace(quotient, clean=first.clean)


def _binary(low: Lowering, node: NodeProto) -> Value | None:
    """Operators of two tensors of equal shape."""
    pair = _alike(low, node)
    return None if pair is None else _combined(low, node.op_type, *pair)


def _alike(low: Lowering, node: NodeProto) -> tuple[Blocks, Blocks] | None:
    """Return both operands in the same layout, that of the pooled one if there is one."""
    first, second = (low.blocks(name) for name in node.input)
    if second is not None and (first is None or second.places == "pooled"):
        first = low.convert(node.input[0], second)
    elif first is not None:
        second = low.convert(node.input[1], first)
    return None if first is None or second is None else (first, second)


def _combined(low: Lowering, op_type: str, first: Blocks, second: Blocks) -> Blocks:
    both = op_type == "Mul" and (first.clean or second.clean)
    clean = both or (first.clean and second.clean)
    if first.places == second.places:
        name = low.b.op(op_type, first.name, second.name)
        return replace(first, name=name, clean=clean)
    whole = first if first.places == "all" else second
    quads = low.b.op(op_type, low.quads(first), low.quads(second))
    return replace(low.with_rows(quads, whole), clean=clean)


RULES: dict[str, Rule] = {
    "Add": _add,
    "Div": _divide,
    "Identity": _keep_layout,
    "Mul": _multiply,
    "Neg": _keep_layout,
    "Relu": _relu,
    "ReluGrad": _relu_grad,
    "Sqrt": _sqrt,
    "Sub": _binary,
    "Weighted": _weighted,
}
