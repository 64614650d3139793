"""What graphs there are: their kinds, and the choices that each is made for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from ortist.models.layers import LAYERS

Kind = Literal["features", "targets", "gradient"]
KINDS: tuple[Kind, ...] = get_args(Kind)
STATISTICS = ("gram", "w2")
"""``"gram"``: the Gram matrix. ``"w2"``: mean and covariance, as a Gaussian distribution."""
TILES = (0, 4, 6)
"""0 stands for plain convolutions, the others for Winograd's of that tile size."""


@dataclass(frozen=True)
class GraphKey:
    """What a targets or gradient graph is made for.

    Attributes:
        pooling: one of :data:`~ortist.models.layers.POOLINGS`.
        content_layers: in network order.
        style_layers: in network order.
        tile: one of :data:`TILES`.
        statistic: what of a style layer is compared, one of :data:`STATISTICS`.
        rescaled: whether pooling keeps the size that activations have with max pooling.
    """

    pooling: str
    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    tile: int = 0
    statistic: str = "gram"
    rescaled: bool = False

    @classmethod
    def of(
        cls,
        pooling: str,
        content: Iterable[str],
        style: Iterable[str],
        tile: int = 0,
        *,
        statistic: str = "gram",
        rescaled: bool = False,
    ) -> GraphKey:
        """Make a key of layer names in any order; equal graphs have equal keys."""
        ordered = [tuple(sorted(set(names), key=LAYERS.index)) for names in (content, style)]
        # Max pooling is what others are rescaled to.
        rescaled = rescaled and pooling != "max"
        return cls(pooling, ordered[0], ordered[1], tile, statistic, rescaled)
