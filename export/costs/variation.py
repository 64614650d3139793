"""The total variation cost: squared differences of neighboring pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from ortist.export.costs.term import Comparison, Shape, Term, mean_square

if TYPE_CHECKING:
    from ortist.export.builder import GraphBuilder


class Variation(Term):
    """The mean squared difference of neighbors, in units of squared pixel values.

    The sum over both directions of their means; the β = 2 norm of Mahendran & Vedaldi 2014
    (arXiv:1412.0035), divided by the number of pixels.
    """

    name = "variation"
    source = None
    overlap: ClassVar[Mapping[str, tuple[int, int]]] = {"vertical": (1, 0), "horizontal": (0, 1)}

    def measure(self, b: GraphBuilder, activation: str) -> Mapping[str, str]:
        """Return the mean squares of the differences along each axis, (1,) each."""
        return {
            "vertical": mean_square(b, _differences(b, activation, 2)),
            "horizontal": mean_square(b, _differences(b, activation, 3)),
        }

    def statistic_shapes(self, channels: int) -> Mapping[str, Shape]:
        """Return those of both sums."""
        return {"vertical": [1], "horizontal": [1]}

    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        """Return their sum."""
        return Comparison(b.op("Add", statistics["vertical"], statistics["horizontal"]))


def _differences(b: GraphBuilder, image: str, axis: int) -> str:
    """Return what (1, C, H, W) changes by along an axis."""
    after = b.op("Slice", image, b.integers(1), b.integers(2**31), b.integers(axis))
    before = b.op("Slice", image, b.integers(0), b.integers(-1), b.integers(axis))
    # Known to be equal, the two shapes need no test for broadcasting in the backward pass.
    shape = list(b.shape(image) or ())
    shape[axis] = f"{shape[axis]}-1"
    for part in (after, before):
        b.state_shape(part, shape)
    return b.op("Sub", after, before)
