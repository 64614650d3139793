"""The content cost: squared differences of activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ortist.export.costs.term import Comparison, Shape, Term, mean_square, weighted

if TYPE_CHECKING:
    from ortist.export.builder import GraphBuilder


class Content(Term):
    """J_C = 1/(4·H·W·C)·Σ(a_G - a_C)²; equation 1 of the notebook."""

    name = "content"
    source = "content"
    local = True

    def measure(
        self, b: GraphBuilder, activation: str, roots: str | None = None
    ) -> Mapping[str, str]:
        """Return the activation itself, or what it is with positions weighted."""
        return {"activation": weighted(b, activation, roots) if roots else activation}

    def statistic_shapes(self, channels: int) -> Mapping[str, Shape]:
        """Return that of the activation."""
        return {"activation": [1, channels, None, None]}

    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        """Return a quarter of the mean squared difference."""
        difference = b.op("Sub", statistics["activation"], targets["activation"])
        return Comparison(b.op("Mul", mean_square(b, difference), b.constant(0.25, "float32")))
