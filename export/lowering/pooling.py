"""Poolings over 2×2 in block layout, forward and backward: places reduce over neighbors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import NodeProto, TensorProto

from ortist.export.builder import attribute
from ortist.export.lowering.layouts import Blocks, Lowering, Rule, Value


def _average_pool(low: Lowering, node: NodeProto) -> Value | None:
    blocks = _whole(low, node.input[0])
    if blocks is None or not _is_halving(node):
        return None
    mean = np.kron(np.eye(blocks.count // 4), np.full((1, 4), 0.25))
    name = low.b.op("MatMul", low.b.constant(mean, np.float32), blocks.name)
    return replace(blocks, name=name, places="pooled", clean=False)


def _max_pool(low: Lowering, node: NodeProto) -> Value | None:
    blocks = _whole(low, node.input[0])
    if blocks is None or not _is_halving(node) or len(node.output) > 1:
        return None
    name = low.b.op("ReduceMax", low.quads(blocks), low.b.integers(1), keepdims=0)
    return replace(blocks, name=name, places="pooled", clean=False)


def _sum_pool_grad(low: Lowering, node: NodeProto) -> Value | None:
    """The gradient for each of the four."""
    blocks = _whole(low, node.input[1])
    if blocks is None or list(attribute(node, "kernel_shape")) != [2, 2]:
        return None
    gradient = _coarser(low, node.input[0], blocks)
    return None if gradient is None else _for_quads(low, gradient)


def _max_pool_grad(low: Lowering, node: NodeProto) -> Value | None:
    """The gradient for the first maximum of the four, zero for the others."""
    b, blocks = low.b, _whole(low, node.input[1])
    gradient = _coarser(low, node.input[0], blocks) if blocks is not None else None
    if blocks is None or gradient is None or not _is_halving(node):
        return None
    axis = b.integers(1)
    values, upstream = low.quads(blocks), low.quads(_for_quads(low, gradient))
    largest = b.op("Equal", values, b.op("ReduceMax", values, axis, keepdims=1))
    first = b.op("Split", largest, b.integers(1, 1, 1, 1), outputs=4, axis=1)
    taken, chosen = first, [first]
    for here in (f"{first}:{index}" for index in (1, 2, 3)):
        numbers = [b.op("Cast", mask, to=TensorProto.FLOAT) for mask in (here, taken)]
        chosen.append(b.op("Greater", *numbers))
        taken = b.op("Or", taken, here)
    mask = b.op("Cast", b.op("Concat", *chosen, axis=1), to=TensorProto.FLOAT)
    return replace(low.with_rows(b.op("Mul", upstream, mask), blocks), clean=True)


def _whole(low: Lowering, name: str) -> Blocks | None:
    """Return an image if it is in blocks that hold all four positions of each 2×2."""
    blocks = low.blocks(name)
    fits = blocks is not None and blocks.places == "all" and blocks.form == "image"
    return blocks if fits else None


def _coarser(low: Lowering, name: str, like: Blocks) -> Blocks | None:
    """Return an image of half the size of ``like`` in its blocks, None if it has another size."""
    return low.convert(name, replace(like, places="pooled"))


def _for_quads(low: Lowering, pooled: Blocks) -> Blocks:
    """Return an image of twice the size whose 2×2 have the values of a pooled one."""
    return replace(low.cleaned(pooled), places="quads")


def _is_halving(node: NodeProto) -> bool:
    """Tell whether a pooling, or its backward, is over 2×2 side by side."""
    return (
        list(attribute(node, "kernel_shape")) == [2, 2]
        and list(attribute(node, "strides", [])) == [2, 2]
        and not any(attribute(node, "pads", []))
        and not attribute(node, "ceil_mode", 0)
        and not attribute(node, "storage_order", 0)
        and set(attribute(node, "dilations", [1])) == {1}
        and attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    )


RULES: dict[str, Rule] = {
    "AveragePool": _average_pool,
    "MaxPool": _max_pool,
    "MaxPoolGrad": _max_pool_grad,
    "SumPoolGrad": _sum_pool_grad,
}
