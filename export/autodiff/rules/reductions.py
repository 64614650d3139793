"""Derivative rules of sums, means, norms and other reductions."""

from __future__ import annotations

from onnx import NodeProto

from ortist.export.autodiff.backward import Backward
from ortist.export.builder import attribute


def reduce_sum(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = Σx: g spread over the summed axes."""
    return b.op("Expand", _kept(b, n, g), b.op("Shape", n.input[0]))


def reduce_mean(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = Σx/m: g/m spread over the summed axes."""
    x, y = n.input[0], n.output[0]
    count = b.op("Div", b.op("Size", x), b.op("Size", y))
    share = b.op("Div", _kept(b, n, g), b.cast(count, x))
    return b.op("Expand", share, b.op("Shape", x))


def reduce_sum_square(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = Σx²: 2·g·x."""
    return b.op("Mul", b.scale(_kept(b, n, g), 2.0, n.input[0]), n.input[0])


def sum_squares(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = Σx² over all elements: 2·g·x."""
    return b.op("Mul", b.scale(g, 2.0, n.input[0]), n.input[0])


def reduce_l1(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = Σ|x|: g·sign x."""
    return b.op("Mul", _kept(b, n, g), b.op("Sign", n.input[0]))


def reduce_l2(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = √Σx²: g·x/y; not a number where y = 0."""
    return b.op("Mul", b.op("Div", _kept(b, n, g), _kept(b, n, n.output[0])), n.input[0])


def _kept(b: Backward, n: NodeProto, reduced: str) -> str:
    """Return a tensor shaped as the output of a reduction, with the reduced axes kept as ones."""
    if attribute(n, "keepdims", 1):
        return reduced
    if len(n.input) > 1 and n.input[1]:
        constant = b.builder.value_of(n.input[1])
        if constant is None or constant.size:
            return b.op("Unsqueeze", reduced, n.input[1])
    return reduced
