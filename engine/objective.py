"""The function that is minimised: J(image) and its gradient, computed by a gradient graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ortist.engine.optimiser import Tensor
from ortist.engine.options import Options, layer_weights
from ortist.engine.results import Costs
from ortist.engine.sessions import Graph
from ortist.engine.tiles import Map
from ortist.models.interface import COSTS_KEY


@dataclass(frozen=True)
class Evaluation:
    """What is known of an image.

    Attributes:
        costs: its costs.
        value: what is minimised: J, unless costs are normalised.
        gradient: d value/d image, float32 (1, 3, H, W).
    """

    costs: Costs
    value: float
    gradient: Tensor


class Objective:
    """J = alpha·J_content + beta·J_style + tv·J_variation for given targets.

    Args:
        graph: a gradient graph; may be shared with other objectives and threads.
        targets: the graph's inputs but for ``image`` and ``weights``, by name.
        options: the weights.
    """

    def __init__(self, graph: Graph, targets: Mapping[str, Map], options: Options) -> None:
        self._graph = graph
        self._targets = dict(targets)
        self._tv = options.tv
        self._alpha, self._beta = (options.schedule(name).at(0.0) for name in ("alpha", "beta"))
        self._names = graph.metadata[COSTS_KEY].split()
        self._content = layer_weights(options.content_layers)
        self._style = layer_weights(options.style_layers)
        self.factors = np.ones(len(self._names))
        """What the weight of each cost is multiplied by."""

    def evaluate(
        self, pixels: Tensor, alpha: float | None = None, beta: float | None = None
    ) -> Evaluation:
        """Return costs and gradient at ``pixels``, float32 (1, 3, H, W), RGB, 0..255.

        H and W must be those of the content target. Weights are those at the start of a run unless
        given.
        """
        alpha = self._alpha if alpha is None else alpha
        beta = self._beta if beta is None else beta
        weights = self._weights(alpha, beta) * self.factors
        found = self._run(pixels, weights)
        values = found["costs"].astype(float)
        costs = self._named(values.tolist(), alpha, beta)
        normalised = bool((self.factors != 1).any())
        with np.errstate(over="ignore", invalid="ignore"):
            value = float(np.dot(weights, values)) if normalised else costs.total
        return Evaluation(costs, value, found["gradient"])

    def balancing_factors(self, pixels: Tensor) -> NDArray[np.float64]:
        """Return one over the mean absolute derivative of each cost by a pixel, for ``factors``.

        Takes one evaluation per cost. For a cost whose derivative is zero there it is 1.
        """
        factors = np.ones(len(self._names))
        for index in range(len(self._names)):
            gradient = self._run(pixels, np.eye(len(self._names))[index])["gradient"]
            size = float(np.abs(gradient).mean(dtype=np.float64))
            if size > 0 and np.isfinite(size):
                factors[index] = 1 / size
        return factors

    def _weights(self, alpha: float, beta: float) -> NDArray[np.float64]:
        """Return the weight of each cost in J, in the order of the graph."""
        weights = {
            **{f"content/{name}": alpha * weight for name, weight in self._content.items()},
            **{f"style/{name}": beta * weight for name, weight in self._style.items()},
            "total_variation": self._tv,
        }
        return np.array([weights[name] for name in self._names])

    def _run(self, pixels: Tensor, weights: NDArray[np.float64]) -> dict[str, Tensor]:
        with np.errstate(over="ignore"):  # an infinite weight gives a cost that says so
            feeds = {**self._targets, "image": pixels, "weights": weights.astype(np.float32)}
        return self._graph.run(["costs", "gradient"], feeds)

    def _named(self, values: list[float], alpha: float, beta: float) -> Costs:
        costs = dict(zip(self._names, values, strict=True))
        content_layers = {name: costs[f"content/{name}"] for name in self._content}
        style_layers = {name: costs[f"style/{name}"] for name in self._style}
        content = sum(self._content[name] * cost for name, cost in content_layers.items())
        style = sum(self._style[name] * cost for name, cost in style_layers.items())
        variation = costs["total_variation"]
        return Costs(
            total=total_cost(content, style, variation, alpha=alpha, beta=beta, tv=self._tv),
            content=content,
            style=style,
            content_layers=content_layers,
            style_layers=style_layers,
            total_variation=variation,
        )


def total_cost(
    content: float, style: float, variation: float, *, alpha: float, beta: float, tv: float
) -> float:
    """Return J = alpha·content + beta·style + tv·variation."""
    return alpha * content + beta * style + tv * variation
