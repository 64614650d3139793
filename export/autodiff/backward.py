"""A reverse sweep and its state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from onnx import NodeProto, TensorProto

from ortist.export.autodiff.errors import Obstacle
from ortist.export.autodiff.expressions import Value
from ortist.export.autodiff.paths import FLOATS, Ends, nodes_between
from ortist.export.builder import Dimension, GraphBuilder, is_known, reads
from ortist.export.emitter import Emitter

Rule = Callable[["Backward", NodeProto, str, int], str | None]
"""``rule(backward, node, g, i)`` returns the cotangent contribution to input i, or None for none.

g is the cotangent of the first output, "" where the node has none. A rule raises
NotImplementedError, with the reason, for a use of the operator that it does not cover.
"""

Rules = Mapping[str, tuple[Rule | None, ...]]
"""Operator to the rules of its inputs; the last one serves all further inputs.

None marks an input without derivative, such as a shape or axes.
"""


class Backward(Emitter):
    """Cotangents collected so far; emits backward nodes.

    The cotangent of a tensor t is dy/dt for the differentiated output y, a tensor of the shape
    and element type of t.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        rules: Rules,
        cotangents: Mapping[str, str],
        wrt: Collection[str],
        ends: Ends,
    ) -> None:
        super().__init__(builder)
        self.rules = rules
        self.wrt = frozenset(wrt)
        self.ends = ends
        self.active: set[str] = set()
        self.obstacles: list[Obstacle] = []
        self._cotangents = {tensor: [given] for tensor, given in cotangents.items()}

    def sweep(self, nodes: Sequence[NodeProto]) -> None:
        """Visit the nodes on the way to ``wrt``, last to first, each once.

        Args:
            nodes: those of the graph or of a subgraph, in topological order. What stands in the
                way is collected in :attr:`obstacles`: all of it, not the first only.
        """
        path = nodes_between(self.builder, nodes, self.wrt, self._cotangents, self.ends)
        outputs = {name for node in path for name in node.output if name}
        self.active = outputs.difference(self.ends.held).union(self.wrt)
        for node in reversed(path):
            if any(self.has_cotangent(name) for name in node.output):
                self._propagate(node)

    def _propagate(self, node: NodeProto) -> None:
        """Add the contributions of ``node`` to the cotangents of its active inputs."""
        first = node.output[0]
        for position, tensor in enumerate(reads(node)):
            if tensor not in self.active:
                continue
            try:
                cotangent = self.cotangent_or_zeros(first) if first else ""
                contribution = self._rule(node, position)(self, node, cotangent, position)
            except NotImplementedError as error:
                domain = f"{node.domain}." if node.domain else ""
                self.obstacles.append(
                    Obstacle(f"{domain}{node.op_type}", node.name or first, tensor, str(error))
                )
                # What comes before this node may stand in the way too: any cotangent will do.
                contribution = tensor
            if contribution is not None:
                self.accumulate(tensor, contribution)

    def _rule(self, node: NodeProto, position: int) -> Rule:
        rules = self.rules.get(node.op_type) if is_known(node) else None
        if rules is None:
            raise NotImplementedError("no derivative rule")
        rule = rules[min(position, len(rules) - 1)]
        if rule is None:
            raise NotImplementedError("not differentiable")
        return rule

    def value(self, tensor: str) -> Value:
        """Return a tensor to write formulas with, in the element type of its cotangent."""
        return Value(self.builder, self.real(tensor), self.kind(tensor))

    def real(self, tensor: str) -> str:
        """Return ``tensor``, cast to the element type of its cotangent if it holds codes."""
        kind = self.kind(tensor)
        return tensor if kind == self.builder.element_type(tensor) else self.cast(tensor, tensor)

    def value_like(self, tensor: str, like: str) -> Value:
        """Return a tensor that was appended, of the type of another."""
        return Value(self.builder, tensor, self.kind(like))

    def kind(self, tensor: str) -> int:
        """Return the element type of the cotangent of ``tensor``: its own, FLOAT for codes."""
        own = super().kind(tensor)
        if own == TensorProto.UNDEFINED:
            raise NotImplementedError(f"the element type of {tensor!r} is not known")
        return own if own in FLOATS else TensorProto.FLOAT

    def shape(self, tensor: str) -> tuple[Dimension, ...]:
        """Return the dimensions of ``tensor``, whose rank must be known."""
        shape = self.builder.shape(tensor)
        if shape is None:
            raise NotImplementedError(f"the rank of {tensor!r} is not known")
        return shape

    def rank(self, tensor: str) -> int:
        """Return the rank of ``tensor``, which must be known."""
        return len(self.shape(tensor))

    def own(self, op_type: str, *inputs: str, like: str, **attributes: Any) -> str:
        """Append an operator of our own whose result is a cotangent of ``like``."""
        kind, shape = self.kind(like), self.builder.shape(like)
        return self.builder.own(op_type, *inputs, shape=shape, element_type=kind, **attributes)

    def further_output(self, node: NodeProto, position: int) -> str:
        """Return an output of a node, which is given a name if it has none yet."""
        while len(node.output) <= position:
            node.output.append("")
        if not node.output[position]:
            node.output[position] = self.builder.unused(f"{node.op_type.lower()}:{position}")
        return str(node.output[position])

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
