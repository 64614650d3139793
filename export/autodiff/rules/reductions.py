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


def cumulative_sum(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y_k = Σ x_j up to k: Σ g_k from j on."""
    return _turned_sum(b, n, g)


def cumulative_product(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y_k = Π x_j up to k: Σ g_k·y_k from j on, over x_j; not a number where x = 0."""
    return b.op("Div", _turned_sum(b, n, b.op("Mul", g, n.output[0])), n.input[0])


def _turned_sum(b: Backward, n: NodeProto, g: str) -> str:
    back = 1 - attribute(n, "reverse", 0)
    exclusive = attribute(n, "exclusive", 0)
    return b.op("CumSum", g, n.input[1], exclusive=exclusive, reverse=back)


def range_start(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y_k = x + k·d: Σ g."""
    return b.op("ReduceSum", g, keepdims=0)


def range_step(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y_k = z + k·x: Σ k·g."""
    zero, one = (b.builder.constant(value, "int64") for value in (0, 1))
    steps = b.cast(b.op("Range", zero, b.op("Size", g), one), n.input[2])
    return b.op("ReduceSum", b.op("Mul", g, steps), keepdims=0)
