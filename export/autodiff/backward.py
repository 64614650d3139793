"""The state of a reverse sweep."""

from __future__ import annotations

from typing import Any

from ortist.export.builder import GraphBuilder
from ortist.export.emitter import Emitter


class Backward(Emitter):
    """Cotangents collected so far; emits backward nodes.

    The cotangent of a tensor t is dy/dt for the differentiated output y, a tensor of the shape
    and element type of t.
    """

    def __init__(
        self, builder: GraphBuilder, cotangents: dict[str, list[str]], wrt: frozenset[str]
    ) -> None:
        super().__init__(builder)
        self.wrt = wrt
        self._cotangents = cotangents

    def own(self, op_type: str, *inputs: str, like: str, **attributes: Any) -> str:
        """Append an operator of our own whose result has the shape and type of ``like``."""
        kind = self.builder.element_type(like)
        shape = self.builder.shape(like)
        return self.builder.own(op_type, *inputs, shape=shape, element_type=kind, **attributes)

    def accumulate(self, tensor: str, contribution: str) -> None:
        """Add a contribution to the cotangent of ``tensor``."""
        self._cotangents.setdefault(tensor, []).append(contribution)

    def has_cotangent(self, tensor: str) -> bool:
        """Tell whether anything has contributed to the cotangent of ``tensor``."""
        return tensor in self._cotangents

    def cotangent(self, tensor: str) -> str | None:
        """Return the cotangent of ``tensor`` (fan-out summed), None if nothing contributed."""
        parts = self._cotangents.get(tensor)
        if parts is None:
            return None
        while len(parts) > 1:
            parts[:2] = [self.op("Add", parts[0], parts[1])]
        return parts[0]

    def cotangent_or_zeros(self, tensor: str) -> str:
        """Return the cotangent of ``tensor``, zeros if nothing contributed."""
        return self.cotangent(tensor) or self.zeros(self.op("Shape", tensor), tensor)
