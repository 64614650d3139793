"""How J and its gradient are computed: by one graph, or in pieces that meet at the statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ortist.engine.optimizer import Tensor
from ortist.engine.sessions import Graph
from ortist.models.interface import COSTS, GRADIENT, WEIGHTS
from ortist.models.layers import IMAGE

T = TypeVar("T")


class Fused:
    """Evaluates with the gradient graph, which computes activations once.

    Args:
        graph: the gradient graph; may be shared with others and by threads.
        constants: its targets and guides, by name.
        like: a picture, (1, 3, H, W), of the size of those to come.
    """

    def __init__(self, graph: Graph, constants: Mapping[str, Tensor], like: Tensor) -> None:
        self._graph = graph
        # Placed once, so that on a GPU just the picture and its gradient travel.
        self._given = graph.placed({**taken(graph, constants), **graph.layout({IMAGE: like})})

    def __call__(
        self, pixels: Tensor, weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Return the costs, float32 (n,), and dJ/dpixels."""
        feeds = {**self._given, IMAGE: pixels, WEIGHTS: weights}
        found = self._graph.run([COSTS, GRADIENT], feeds)
        return found[COSTS], found[GRADIENT]


class Pieces:
    """Evaluates by measuring, comparing and pulling back; activations are computed twice.

    Args:
        measure: graph of the picture's statistics.
        compare: graph of costs and dJ/dstatistics.
        pullback: graph of dJ/dpicture, given dJ/dstatistics.
        constants: targets of the compare graph, and the guides of the others, by name.
        like: a picture, (1, 3, H, W), of the size of those to come.
    """

    def __init__(
        self,
        measure: Graph,
        compare: Graph,
        pullback: Graph,
        constants: Mapping[str, Tensor],
        like: Tensor,
    ) -> None:
        self._measure, self._compare, self._pullback = measure, compare, pullback
        self._statistics = [name for name in measure.outputs if name in compare.inputs]
        self._targets = compare.placed(taken(compare, constants))
        self._given = [
            graph.placed({**taken(graph, constants), **graph.layout({IMAGE: like})})
            for graph in (measure, pullback)
        ]

    def __call__(
        self, pixels: Tensor, weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Return the costs, float32 (n,), and dJ/dpixels."""
        to_measure, to_pull_back = ({**given, IMAGE: pixels} for given in self._given)
        statistics = self._measure.run(self._statistics, to_measure)
        feeds = {**statistics, **self._targets, WEIGHTS: weights}
        compared = self._compare.run(self._compare.outputs, feeds)
        costs = compared.pop(COSTS)
        slopes = taken(self._pullback, compared)
        return costs, self._pullback.run([GRADIENT], {**to_pull_back, **slopes})[GRADIENT]


def taken(graph: Graph, values: Mapping[str, T]) -> dict[str, T]:
    """Return what of it the graph takes: terms need not compare all that they measure."""
    return {name: value for name, value in values.items() if name in graph.inputs}
