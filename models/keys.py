"""What graphs there are: their kinds, and the choices that each is made for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

Kind = Literal[
    "features", "measure", "compare", "pullback", "gradient", "measure_tile", "pullback_tile"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
BLOCKS = (0, 4, 6)
"""0 stands for plain convolutions, the others for Winograd's with blocks of that size."""


@dataclass(frozen=True)
class GraphKey:
    """What a graph is made for.

    Attributes:
        pooling: one of :data:`~ortist.models.layers.POOLINGS`.
        parts: names of the costs that J is the sum of, ``<term>/<layer>``, in order; none for
            features graphs, which have all layers.
        block: one of :data:`BLOCKS`.
        rescaled: whether pooling keeps the size that activations have with max pooling.
    """

    pooling: str
    parts: tuple[str, ...] = ()
    block: int = 0
    rescaled: bool = False

    @classmethod
    def of(
        cls, pooling: str, parts: Iterable[str] = (), block: int = 0, *, rescaled: bool = False
    ) -> GraphKey:
        """Make a key; equal graphs have equal keys."""
        # Max pooling is what others are rescaled to.
        return cls(pooling, tuple(parts), block, rescaled and pooling != "max")

    def of_kind(self, kind: Kind) -> GraphKey:
        """Return what of it a graph of a kind is made for, so that equal graphs have equal keys."""
        if kind == "features":
            return replace(self, parts=(), block=0)
        return replace(self, block=0) if kind == "compare" else self  # it has no convolutions
