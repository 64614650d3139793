"""Lowers a differentiated graph for CPUs: 3×3 convolutions become Winograd's, in standard ops."""

from __future__ import annotations

from onnx import ModelProto

from ortist.export.builder import prune
from ortist.export.lowering import convolutions, elementwise, pooling, products, shapes
from ortist.export.lowering.layouts import Lowering, Rule
from ortist.export.operators import expand
from ortist.models.winograd import POINTS

RULES: dict[str, Rule] = {
    **convolutions.RULES,
    **elementwise.RULES,
    **pooling.RULES,
    **products.RULES,
    **shapes.RULES,
}
"""Operator, standard or of our own, to what emits it in block layout."""


def lower(model: ModelProto, block: int) -> ModelProto:
    """Return ``model`` with its 3×3 stride-1 convolutions as Winograd's F(block×block, 3×3).

    Lowered are convolutions with padding 1, of batches of one, where the size of the picture is
    that of an input (1, C, H, W), or follows from it by 2×2 pooling. The graph gets more inputs:
    the maps that :func:`ortist.models.blocks.layout` makes for a size, and transformed kernels, see
    :func:`ortist.models.winograd.transform_kernel`, named after the kernels.

    Args:
        model: a graph, not changed. Of derivatives only those are lowered that have names, so it
            is one that :func:`ortist.export.differentiate.differentiate` has not expanded.
        block: 4 or 6.

    Raises:
        ValueError: for another block size.
    """
    if block not in POINTS:
        raise ValueError(f"block is {block}, accepted are {', '.join(map(str, POINTS))}")
    lowering = Lowering(model, block)
    for node in model.graph.node:
        rule = RULES.get(node.op_type)
        value = rule(lowering, node) if rule is not None else None
        if value is not None:
            lowering.represent(node.output[0], value)
        else:
            lowering.keep(node)
    for output in model.graph.output:
        lowering.restore(output.name)
    prune(lowering.b.model)
    return expand(lowering.b.model)
