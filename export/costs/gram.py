"""The style cost of the paper: squared differences of Gram matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ortist.export.costs.term import Comparison, Shape, Term, gram_matrix, mean_square

if TYPE_CHECKING:
    from ortist.export.builder import GraphBuilder


class Gram(Term):
    """J_S = 1/(4·C²)·Σ(G_G - G_S)² (Gatys et al. 2015, arXiv:1508.06576), G divided by H·W.

    For pictures of equal size this is equation 2 of the notebook, which divides by (2·C·H·W)².
    """

    name = "gram"
    source = "style"

    def measure(
        self, b: GraphBuilder, activation: str, roots: str | None = None
    ) -> Mapping[str, str]:
        """Return the Gram matrix, (C, C)."""
        return {"gram": gram_matrix(b, activation, roots)}

    def statistic_shapes(self, channels: int) -> Mapping[str, Shape]:
        """Return that of the matrix."""
        return {"gram": [channels, channels]}

    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        """Return a quarter of the mean squared difference."""
        difference = b.op("Sub", statistics["gram"], targets["gram"])
        return Comparison(b.op("Mul", mean_square(b, difference), b.constant(0.25, "float32")))
