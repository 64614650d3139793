"""What a graph takes and gives: names, shapes and the costs of its metadata."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ortist.models.keys import GraphKey, Kind
from ortist.models.layers import IMAGE, IMAGE_CHANNELS, LAYER_CHANNELS

COSTS, GRADIENT, WEIGHTS = "costs", "gradient", "weights"
WINDOW = "window"
"""What of a tile counts: int64 (2, 2), top and left, bottom and right, in pixels of the tile."""
TARGET, SLOPE, GUIDE = "target", "slope", "guide"
"""What the names of targets, of derivatives of J by statistics, and of guides begin with.

A guide, (1, 1, H, W), is of positions of a layer: the roots of the weights by which they count.
"""
COSTS_KEY = "ortist.costs"
"""Metadata entry of graphs with costs: their names, in order, between spaces."""

Shape = Sequence[int | str | None]
"""Sizes of a float32 tensor; no numbers are those that follow from the size of the picture."""
Shapes = Mapping[str, Shape]
_PICTURE: Shape = (1, IMAGE_CHANNELS, None, None)


@dataclass(frozen=True)
class Interface:
    """What can be relied on of a graph.

    Attributes:
        inputs: shapes by name.
        outputs: shapes by name.
        more_inputs: what the names of further inputs, of parts that do not state their shapes,
            begin with. Lowered graphs have yet others, which are known by their names: see
            :mod:`ortist.models.blocks` and :mod:`ortist.models.winograd`.
        more_outputs: the same for outputs.
        block: the block size of lowered graphs, 0 of others.
        costs: the names that the metadata entry :data:`COSTS_KEY` lists, in order.
        integers: shapes of inputs that are int64.
    """

    inputs: Shapes
    outputs: Shapes
    more_inputs: tuple[str, ...] = ()
    more_outputs: tuple[str, ...] = ()
    block: int = 0
    costs: tuple[str, ...] = ()
    integers: Shapes = field(default_factory=dict)


def interface(
    kind: Kind,
    key: GraphKey,
    statistics: Mapping[str, Shapes],
    targets: Mapping[str, Shapes],
    guides: Iterable[str] = (),
    local: Collection[str] = (),
) -> Interface:
    """Return the interface of a graph.

    Args:
        kind: of the graph.
        key: what it is made for.
        statistics: the shapes of the statistics of each part that states them, by its name.
        targets: those of its targets.
        guides: names of all guides.
        local: names of the parts whose costs are means over positions.
    """
    image: Shapes = {IMAGE: _PICTURE}
    if kind == "features":
        layers = {name: (1, channels, None, None) for name, channels in LAYER_CHANNELS.items()}
        return Interface(image, layers)
    parts, count = key.parts, len(key.parts)
    measured, compared = _named(statistics), _named(targets, f"{TARGET}/")
    slopes = _named(statistics, f"{SLOPE}/")
    others = [f"{part}/" for part in parts if part not in statistics]
    more, more_targets, more_slopes = (
        tuple(prefix + other for other in others) for prefix in ("", f"{TARGET}/", f"{SLOPE}/")
    )
    weights: Shapes = {WEIGHTS: (count,)}
    costs: Shapes = {COSTS: (count,)}
    gradient: Shapes = {GRADIENT: _PICTURE}
    guided: Shapes = {**image, **dict.fromkeys(guides, (1, 1, None, None))}
    if kind == "measure":
        return Interface(guided, measured, (), more, key.block)
    if kind == "compare":
        taken = {**weights, **measured, **compared}
        return Interface(taken, {**costs, **slopes}, more + more_targets, more_slopes, 0, parts)
    if kind == "pullback":
        return Interface({**guided, **slopes}, gradient, more_slopes, (), key.block)
    if kind == "measure_tile":
        window: Shapes = {WINDOW: (2, 2)}
        return Interface(guided, measured, (), more, key.block, integers=window)
    if kind == "pullback_tile":
        near = {part: shapes for part, shapes in targets.items() if part in local}
        far = {part: shapes for part, shapes in statistics.items() if part not in local}
        taken = {**guided, **_named(far, f"{SLOPE}/"), **_named(near, f"{TARGET}/")}
        if local:
            taken[WEIGHTS] = (len(local),)
        return Interface(taken, gradient, more_targets + more_slopes, (), key.block)
    taken = {**guided, **weights, **compared}
    return Interface(taken, {**costs, **gradient}, more_targets, (), key.block, parts)


def _named(shapes: Mapping[str, Shapes], prefix: str = "") -> dict[str, Shape]:
    """Return shapes by part and name in one mapping, by the names of tensors."""
    return {
        f"{prefix}{part}/{name}": shape
        for part, own in shapes.items()
        for name, shape in own.items()
    }
