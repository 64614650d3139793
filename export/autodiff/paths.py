"""Which nodes stand between the tensors of a derivative."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from ortist.export.builder import GraphBuilder, reads

FLOATS = frozenset(
    {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
)
QUANTIZERS = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
_CODES = frozenset(
    {
        *(TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16),
        *(TensorProto.INT4, TensorProto.UINT4, TensorProto.INT32, TensorProto.FLOAT8E4M3FN),
        *(TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E5M2FNUZ),
    }
)
"""What a quantizer and an integer product return."""


@dataclass(frozen=True)
class Ends:
    """Where dependence ends, beside tensors that are not floating point: shapes, indices, bools."""

    held: Collection[str] = ()
    """Tensors taken as constant."""
    straight_through: bool = False
    """Whether not at the codes of quantizers."""


def nodes_between(
    builder: GraphBuilder,
    nodes: Sequence[NodeProto],
    sources: Iterable[str],
    outputs: Iterable[str],
    ends: Ends,
) -> list[NodeProto]:
    """Return the nodes through which ``outputs`` depend on ``sources``, in graph order."""
    reached, codes = set(sources), set[str]()
    downstream: list[NodeProto] = []
    for node in nodes:
        read = reached.intersection(reads(node))
        if not read:
            continue
        names = {name for name in node.output if name and name not in ends.held}
        differentiable = {name for name in names if may_be_float(builder, name)}
        if ends.straight_through and (node.op_type in QUANTIZERS or codes & read):
            coded = {name for name in names if builder.element_type(name) in _CODES}
            codes |= coded
            differentiable |= coded
        if differentiable:
            reached |= differentiable
            downstream.append(node)
    needed = set(outputs)
    path: list[NodeProto] = []
    for node in reversed(downstream):
        if needed.intersection(node.output):
            needed.update(filter(None, reads(node)))
            path.append(node)
    return path[::-1]


def may_be_float(builder: GraphBuilder, name: str) -> bool:
    """Tell whether a tensor is of floating point, or of a type that was not inferred."""
    return builder.element_type(name) in FLOATS | {TensorProto.UNDEFINED}
