"""What a graph takes and gives: names, shapes and the costs of its metadata."""

from __future__ import annotations

from dataclasses import dataclass, field

from ortist.models.keys import GraphKey, Kind
from ortist.models.layers import LAYER_CHANNELS

CONTENT, STYLE, TOTAL_VARIATION = "content", "style", "total_variation"
COSTS_KEY = "ortist.costs"
"""Metadata entry of a gradient graph: the names of its costs, in order, between spaces."""

Shape = tuple[int | None, ...]
"""Sizes of a float32 tensor; None for those that follow from the size of the picture."""
_IMAGE: Shape = (1, 3, None, None)


@dataclass(frozen=True)
class Interface:
    """What can be relied on of a graph.

    Attributes:
        inputs: shapes by name. Lowered graphs have more, which are known by their names: see
            :mod:`ortist.engine.tiles` and :mod:`ortist.engine.winograd`.
        outputs: shapes by name.
        tile: the tile size of those further inputs, 0 if there are none.
        costs: the names that the metadata entry :data:`COSTS_KEY` lists, in order.
    """

    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    tile: int = 0
    costs: tuple[str, ...] = field(default=())


def interface(kind: Kind, key: GraphKey) -> Interface:
    """Return the interface of a graph; of features graphs, which have all layers, key is unused."""
    if kind == "features":
        return Interface({"image": _IMAGE}, {name: _activation(name) for name in LAYER_CHANNELS})
    content = {f"{CONTENT}/{name}": _activation(name) for name in key.content_layers}
    if kind == "targets":
        return Interface({"image": _IMAGE}, content | _measured(key), key.tile)
    styles = (f"{STYLE}/{name}" for name in key.style_layers)
    costs = (*content, *styles, TOTAL_VARIATION)
    return Interface(
        {"image": _IMAGE, **content, **_compared(key), "weights": (len(costs),)},
        {"costs": (len(costs),), "gradient": _IMAGE},
        key.tile,
        costs,
    )


def _activation(layer: str) -> Shape:
    return 1, LAYER_CHANNELS[layer], None, None


def _measured(key: GraphKey) -> dict[str, Shape]:
    """Return what a targets graph gives of the style: of ``"w2"`` second moments and mean."""
    more = 1 if key.statistic == "w2" else 0
    channels = {f"{STYLE}/{name}": LAYER_CHANNELS[name] for name in key.style_layers}
    return {name: (count, count + more) for name, count in channels.items()}


def _compared(key: GraphKey) -> dict[str, Shape]:
    """Return what a gradient graph takes of the style, see :mod:`ortist.engine.statistics`."""
    if key.statistic != "w2":
        return _measured(key)
    shapes: dict[str, Shape] = {}
    for name, (channels, _) in _measured(key).items():
        shapes |= {f"{name}/mean": (channels, 1), f"{name}/root": (channels, channels)}
    return shapes
