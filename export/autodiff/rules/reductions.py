"""Derivative rules of sums, means, norms, softmaxes and other reductions.

Where elements tie for a maximum or a minimum, they share the gradient equally, as in PyTorch's
amax and amin. The norm of zeros has, as in PyTorch, the gradient 0.
"""

from __future__ import annotations

from onnx import NodeProto

from ortist.export.autodiff.backward import Backward
from ortist.export.autodiff.expressions import Value
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
    """y = √Σx²: g·x/y, 0 where y = 0."""
    x, y, g_ = _operands(b, n, g)
    return ((y > 0.0).where(g_ / y, 0.0) * x).name


def reduce_extreme(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = max x or min: g where x is y, shared equally by those that are."""
    x, y, g_ = _operands(b, n, g)
    chosen = x.equals(y).cast(x.kind)
    return (g_ / _sum(n, chosen) * chosen).name


def reduce_prod(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = Πx: g times the product of the others: y/x, and where x = 0 the product of the rest.

    Where another element is 0, it is 0.
    """
    x, _, g_ = _operands(b, n, g)
    is_zero = x.equals(0.0)
    factors = is_zero.where(x.constant(1.0), x)
    product = factors.op("ReduceProd", *n.input[1:], **_kept_attributes(n))
    zeros = is_zero.cast(x.kind)
    no_other = _sum(n, zeros).equals(zeros)
    return no_other.where(g_ * product / factors, 0.0).name


def reduce_log_sum(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = log Σx: g/e^y spread over the summed axes."""
    x, y, g_ = _operands(b, n, g)
    return (g_ / y.exp()).op("Expand", x.shape()).name


def reduce_log_sum_exp(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = log Σe^x: g·e^(x-y)."""
    x, y, g_ = _operands(b, n, g)
    return (g_ * (x - y).exp()).name


def softmax(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = e^x/Σe^x: y·(g - Σg·y)."""
    y, axes = b.value(n.output[0]), b.builder.integers(attribute(n, "axis", -1))
    g_ = b.value_like(g, n.output[0])
    return (y * (g_ - (g_ * y).sum(axes))).name


def log_softmax(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x - log Σe^x: g - e^y·Σg."""
    y, axes = b.value(n.output[0]), b.builder.integers(attribute(n, "axis", -1))
    g_ = b.value_like(g, n.output[0])
    return (g_ - y.exp() * g_.sum(axes)).name


def _operands(b: Backward, n: NodeProto, g: str) -> tuple[Value, Value, Value]:
    """Return x, and y and g with the reduced axes kept as ones."""
    x, y = b.value(n.input[0]), b.value(n.output[0]).name
    kept, g = _kept(b, n, y), _kept(b, n, g)
    return x, b.value_like(kept, n.input[0]), b.value_like(g, n.input[0])


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
    steps = b.cast(b.builder.numbers(b.op("Size", g)), n.input[2])
    return b.op("ReduceSum", b.op("Mul", g, steps), keepdims=0)


def _sum(n: NodeProto, x: Value) -> Value:
    """Return the sum over the axes of a reduction, which are kept as ones."""
    return x.op("ReduceSum", *n.input[1:], **_kept_attributes(n))


def _kept_attributes(n: NodeProto) -> dict[str, int]:
    return {"keepdims": 1, "noop_with_empty_axes": attribute(n, "noop_with_empty_axes", 0)}
