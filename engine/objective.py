"""The function that is minimised: J(image) and its gradient, computed by a gradient graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ortist.engine.artifacts import COSTS_KEY
from ortist.engine.options import Options, layer_weights
from ortist.engine.results import Costs
from ortist.engine.sessions import Graph, Tensor


@dataclass(frozen=True)
class Evaluation:
    """Costs of an image and the gradient dJ/dimage, float32 (1, 3, H, W)."""

    costs: Costs
    gradient: Tensor


class Objective:
    """J = alpha·J_content + beta·J_style + tv·J_variation for given targets.

    Args:
        graph: a gradient graph; may be shared with other objectives and threads.
        targets: the graph's target inputs by name, float32.
        options: the weights.
    """

    def __init__(
        self,
        graph: Graph,
        targets: Mapping[str, Tensor],
        options: Options,
    ) -> None:
        self._graph = graph
        self._options = options
        self._names = graph.metadata[COSTS_KEY].split()
        self._content = layer_weights(options.content_layers)
        self._style = layer_weights(options.style_layers)
        weights = {
            **{f"content/{name}": options.alpha * w for name, w in self._content.items()},
            **{f"style/{name}": options.beta * w for name, w in self._style.items()},
            "total_variation": options.tv,
        }
        with np.errstate(over="ignore"):  # an infinite weight gives a cost that says so
            vector = np.array([weights[name] for name in self._names], np.float32)
        self._feeds = {**targets, "weights": vector}

    def evaluate(self, pixels: Tensor) -> Evaluation:
        """Return costs and gradient at ``pixels``, float32 (1, 3, H, W), RGB, 0..255.

        H and W must be those of the content target.
        """
        feeds = {**self._feeds, "image": pixels}
        found = self._graph.run(["costs", "gradient"], feeds)
        return Evaluation(self._named(found["costs"].astype(float).tolist()), found["gradient"])

    def _named(self, values: list[float]) -> Costs:
        costs = dict(zip(self._names, values, strict=True))
        content_layers = {name: costs[f"content/{name}"] for name in self._content}
        style_layers = {name: costs[f"style/{name}"] for name in self._style}
        content = sum(self._content[name] * cost for name, cost in content_layers.items())
        style = sum(self._style[name] * cost for name, cost in style_layers.items())
        variation = costs["total_variation"]
        return Costs(
            total=total_cost(content, style, variation, self._options),
            content=content,
            style=style,
            content_layers=content_layers,
            style_layers=style_layers,
            total_variation=variation,
        )


def total_cost(content: float, style: float, variation: float, options: Options) -> float:
    """Return J = alpha·content + beta·style + tv·variation."""
    return options.alpha * content + options.beta * style + options.tv * variation
