"""Lowers a differentiated graph for CPUs: 3×3 convolutions become Winograd's, in standard ops."""

from __future__ import annotations

from onnx import ModelProto

from ortist.engine.winograd import POINTS
from ortist.export.builder import prune
from ortist.export.tile_rules import TILE_RULES
from ortist.export.tiled import Lowering


def lower(model: ModelProto, tile: int) -> ModelProto:
    """Return ``model`` with its 3×3 stride-1 convolutions as Winograd's F(tile×tile, 3×3).

    Lowered are convolutions with padding 1, of batches of one, where the size of the picture is
    that of an input (1, C, H, W), or follows from it by 2×2 pooling. The graph gets more inputs:
    the maps that :func:`ortist.engine.tiles.layout` makes for a size, and transformed kernels, see
    :func:`ortist.engine.winograd.transform_kernel`, named after the kernels.

    Args:
        model: a graph made by :func:`ortist.export.differentiate.differentiate`, or any other;
            not changed.
        tile: 4 or 6.

    Raises:
        ValueError: for another tile size.
    """
    if tile not in POINTS:
        raise ValueError(f"tile is {tile}, accepted are {', '.join(map(str, POINTS))}")
    lowering = Lowering(model, tile)
    for node in model.graph.node:
        rule = TILE_RULES.get(node.op_type)
        lowering.visit(node, rule(lowering, node) if rule is not None else None)
    for output in model.graph.output:
        lowering.restore(output.name)
    prune(lowering.b.model)
    return lowering.b.model
