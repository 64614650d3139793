"""What a graph takes and gives: names, shapes and the costs of its metadata."""

from __future__ import annotations

from dataclasses import dataclass

from ortist.models.keys import GraphKey, Kind
from ortist.models.layers import IMAGE, LAYER_CHANNELS

COSTS, GRADIENT, WEIGHTS = "costs", "gradient", "weights"
TARGET, SLOPE = "target", "slope"
"""What the names of targets, and of derivatives of J by statistics, begin with."""
COSTS_KEY = "ortist.costs"
"""Metadata entry of graphs with costs: their names, in order, between spaces."""

Shape = tuple[int | None, ...]
"""Sizes of a float32 tensor; None for those that follow from the size of the picture."""
_PICTURE: Shape = (1, 3, None, None)


@dataclass(frozen=True)
class Interface:
    """What can be relied on of a graph.

    Attributes:
        inputs: shapes by name.
        outputs: shapes by name.
        more_inputs: what the names of further inputs, which terms define, begin with. Lowered
            graphs have yet others, which are known by their names: see :mod:`ortist.models.blocks`
            and :mod:`ortist.models.winograd`.
        more_outputs: the same for outputs.
        block: the block size of lowered graphs, 0 of others.
        costs: the names that the metadata entry :data:`COSTS_KEY` lists, in order.
    """

    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    more_inputs: tuple[str, ...] = ()
    more_outputs: tuple[str, ...] = ()
    block: int = 0
    costs: tuple[str, ...] = ()


def interface(kind: Kind, key: GraphKey) -> Interface:
    """Return the interface of a graph."""
    parts, count = key.parts, len(key.parts)
    statistics = tuple(f"{part}/" for part in parts)
    targets, slopes = (tuple(f"{what}/{part}/" for part in parts) for what in (TARGET, SLOPE))
    image: dict[str, Shape] = {IMAGE: _PICTURE}
    weights: dict[str, Shape] = {WEIGHTS: (count,)}
    costs: dict[str, Shape] = {COSTS: (count,)}
    gradient: dict[str, Shape] = {GRADIENT: _PICTURE}
    if kind == "features":
        layers: dict[str, Shape] = {
            name: (1, channels, None, None) for name, channels in LAYER_CHANNELS.items()
        }
        return Interface(image, layers)
    if kind == "measure":
        return Interface(image, {}, (), statistics, key.block)
    if kind == "compare":
        return Interface(weights, costs, (*statistics, *targets), slopes, 0, parts)
    if kind == "pullback":
        return Interface(image, gradient, slopes, (), key.block)
    return Interface(image | weights, costs | gradient, targets, (), key.block, parts)
