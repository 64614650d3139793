"""Derivative rules of the elementwise operators, with broadcasting.

Those of one input x are a table of formulas for g·(dy/dx), those of several inputs one formula for
each. Where dy/dx jumps, PyTorch's choice is taken: 0 for Relu and Abs at 0, for HardSigmoid, Shrink
and ThresholdedRelu where they begin or end to rise, for HardSwish what it has beyond its bounds; g
for x at the bounds of Clip, halves for both of a tie in Max and Min.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from onnx import NodeProto

from ortist.export.autodiff.backward import Backward, Rule
from ortist.export.autodiff.expressions import Value
from ortist.export.builder import attributes

UNARY: dict[str, Callable[..., Value]] = {
    "Abs": lambda g, x, y: g * x.sign(),
    "Acos": lambda g, x, y: -(g / (1.0 - x * x).sqrt()),
    "Acosh": lambda g, x, y: g / (x * x - 1.0).sqrt(),
    "Asin": lambda g, x, y: g / (1.0 - x * x).sqrt(),
    "Asinh": lambda g, x, y: g / (x * x + 1.0).sqrt(),
    "Atan": lambda g, x, y: g / (x * x + 1.0),
    "Atanh": lambda g, x, y: g / (1.0 - x * x),
    "Celu": lambda g, x, y, alpha=1.0: (x > 0.0).where(g, g * (y / alpha + 1.0)),
    "Cos": lambda g, x, y: -(g * x.op("Sin")),
    "Cosh": lambda g, x, y: g * x.op("Sinh"),
    "Elu": lambda g, x, y, alpha=1.0: g * (x > 0.0).where(x.constant(1.0), y + alpha),
    "Erf": lambda g, x, y: g * ((-(x * x)).exp() * (2 / math.sqrt(math.pi))),
    "Exp": lambda g, x, y: g * y,
    "Gelu": lambda g, x, y, approximate="none": (
        g * (_tanh_gelu_slope(x) if approximate == "tanh" else _gelu_slope(x))
    ),
    "HardSigmoid": lambda g, x, y, alpha=0.2, beta=0.5: _inside(y, 0.0, 1.0).where(g * alpha, 0.0),
    "HardSwish": lambda g, x, y: (x < 3.0).where(g * (x > -3.0).where(x * (1 / 3) + 0.5, 0.0), g),
    "LeakyRelu": lambda g, x, y, alpha=0.01: (x > 0.0).where(g, g * alpha),
    "Log": lambda g, x, y: g / x,
    "Mish": lambda g, x, y: g * _mish_slope(x, x.op("Softplus").op("Tanh")),
    "Neg": lambda g, x, y: -g,
    "Reciprocal": lambda g, x, y: -(g * (y * y)),
    "Selu": lambda g, x, y, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875: (
        g * (x > 0.0).where(x.constant(gamma), y + alpha * gamma)
    ),
    "Sigmoid": lambda g, x, y: g * (y * (1.0 - y)),
    "Shrink": lambda g, x, y, bias=0.0, lambd=0.5: (x.abs() > lambd).where(g, 0.0),
    "Sin": lambda g, x, y: g * x.op("Cos"),
    "Sinh": lambda g, x, y: g * x.op("Cosh"),
    "Softplus": lambda g, x, y: g * x.sigmoid(),
    "Softsign": lambda g, x, y: g / (x.abs() + 1.0) ** 2.0,
    "Sqrt": lambda g, x, y: g / (y * 2.0),
    "Swish": lambda g, x, y, alpha=1.0: g * _swish_slope(y * alpha, (x * alpha).sigmoid()),
    "Tan": lambda g, x, y: g * (y * y + 1.0),
    "Tanh": lambda g, x, y: g * (1.0 - y * y),
    "ThresholdedRelu": lambda g, x, y, alpha=1.0: (x > alpha).where(g, 0.0),
}
"""Operator to the cotangent of x, from g, x, y and attributes."""

BINARY: dict[str, tuple[Callable[..., Value] | None, ...]] = {
    "Add": (lambda g, x, z, y: g,),
    "Div": (lambda g, x, z, y: g / z, lambda g, x, z, y: -(g * (y / z))),
    "Mod": (lambda g, x, z, y, **_: g, lambda g, x, z, y, **_: -(g * ((x - y) / z))),
    "PRelu": (
        lambda g, x, z, y: (x > 0.0).where(g, g * z),
        lambda g, x, z, y: (x > 0.0).where(g.constant(0.0), g * x),
    ),
    "Sub": (lambda g, x, z, y: g, lambda g, x, z, y: -g),
}
"""Operator to the cotangents of x and z, before they are summed over axes that were broadcast."""


def _inside(x: Value, low: float, high: float) -> Value:
    return (x > low) & (x < high)


def _gelu_slope(x: Value) -> Value:
    """x·Φ(x), Φ the normal distribution: Φ(x) + x·Φ'(x)."""
    density = (x * x * -0.5).exp() * (1 / math.sqrt(2 * math.pi))
    return ((x * math.sqrt(0.5)).op("Erf") + 1.0) * 0.5 + x * density


def _tanh_gelu_slope(x: Value) -> Value:
    """x·(1 + t)/2, t = tanh u, u = √(2/π)·(x + c·x³): (1 + t)/2 + x·(1 - t²)/2·u'."""
    root, cubic = math.sqrt(2 / math.pi), 0.044715
    square = x * x
    t = (x * (square * (root * cubic) + root)).op("Tanh")
    return (t + 1.0 + x * (1.0 - t * t) * (square * (3 * root * cubic) + root)) * 0.5


def _mish_slope(x: Value, t: Value) -> Value:
    """x·t, t = tanh(log(1 + e^x)): t + x·(1 - t²)·σ(x)."""
    return t + x * (1.0 - t * t) * x.sigmoid()


def _swish_slope(y: Value, s: Value) -> Value:
    """x·s, s = σ(α·x), y = α·x·s: s + y·(1 - s)."""
    return s + y * (1.0 - s)


def unary(formula: Callable[..., Value]) -> tuple[Rule]:
    """Make the rule of an entry of :data:`UNARY`."""

    def rule(b: Backward, n: NodeProto, g: str, i: int) -> str:
        x, y = b.value(n.input[0]), b.value(n.output[0])
        return formula(b.value_like(g, n.input[0]), x, y, **attributes(n)).name

    return (rule,)


def binary(formulas: tuple[Callable[..., Value] | None, ...]) -> tuple[Rule | None, ...]:
    """Make the rules of an entry of :data:`BINARY`."""
    return tuple(formula and _of_two(formula) for formula in formulas)


def _of_two(formula: Callable[..., Value]) -> Rule:
    @broadcast
    def rule(b: Backward, n: NodeProto, g: str, i: int) -> str:
        x, z, y = (b.value(name) for name in (*n.input, n.output[0]))
        return formula(b.value_like(g, n.input[0]), x, z, y, **attributes(n)).name

    return rule


def broadcast(derivative: Callable[[Backward, NodeProto, str, int], str]) -> Rule:
    """Make a rule of an elementwise derivative: sum over the axes that were broadcast."""

    def rule(b: Backward, n: NodeProto, g: str, i: int) -> str:
        return b.unbroadcast(derivative(b, n, g, i), n.input[i], n.output[0])

    rule.__doc__ = derivative.__doc__
    return rule


@broadcast
def summand(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x + z + ...: g."""
    return g


@broadcast
def mean(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = (x + z + ...)/m: g/m."""
    return b.scale(g, 1 / len(n.input), n.input[i])


def multiply(b: Backward, n: NodeProto, g: str, i: int) -> str | None:
    """y = x·z: g·z; both at once for y = x·x: 2·g·x."""
    x, z = n.input
    if x == z:
        return b.op("Mul", b.scale(g, 2.0, x), x) if i == 0 else None
    return b.unbroadcast(b.op("Mul", g, n.input[1 - i]), n.input[i], n.output[0])


@broadcast
def base(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x^p: g·p·x^(p-1), 0 where p = 0."""
    x, power = n.input
    known = b.builder.value_of(power)
    if known is not None and known.size == 1 and known.item() == 2:
        return b.op("Mul", g, b.scale(x, 2.0, x))
    power = b.cast(power, x)
    less = b.op("Sub", power, b.scalar(1.0, x))
    product = b.op("Mul", g, b.op("Mul", power, b.op("Pow", x, less)))
    if known is not None and (known != 0).all():
        return product
    zero = b.scalar(0.0, x)
    return b.op("Where", b.op("Equal", power, zero), zero, product)


@broadcast
def exponent(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = z^x: g·y·log z, 0 where z = 0 and x >= 0."""
    z, y = b.value(n.input[0]), b.value(n.output[0])
    x = b.value(n.input[1])
    slope = (z.equals(0.0) & (x >= 0.0)).where(y.constant(0.0), y * z.log())
    return (b.value_like(g, n.output[0]) * slope).cast(x.kind).name


@broadcast
def extreme(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = max(x, z, ...) or min: g where x is y, shared equally by those that are."""
    y = b.value(n.output[0])
    chosen = [y.equals(b.value(name)).cast(y.kind) for name in n.input]
    count = chosen[0]
    for other in chosen[1:]:
        count = count + other
    return (b.value_like(g, n.output[0]) * (chosen[i] / count)).name


def relu(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = max(x, 0): g where y > 0, else 0."""
    return b.own("ReluGrad", g, b.real(n.output[0]), like=n.input[0])


def clip(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x between bounds: g where x was not clipped, else 0."""
    kept = b.op("Equal", n.input[0], n.output[0])
    return b.op("Where", kept, g, b.scalar(0.0, n.input[0]))


@broadcast
def clip_bound(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x between low and high: g where x < low, for low; where x > high, for high.

    Where low > high, y is high, wherever x is.
    """
    x, low, high = (name and b.value(name) for name in [*n.input, ""][:3])
    taken = x < low if i == 1 else x > high
    if low and high:
        taken = taken & (low < high) if i == 1 else taken | (high < low)
    return taken.where(b.value_like(g, n.input[0]), 0.0).name


@broadcast
def choice(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = c ? x : z: g where c for x, g elsewhere for z."""
    zero = b.scalar(0.0, n.input[i])
    return b.op("Where", n.input[0], *((g, zero) if i == 1 else (zero, g)))


def identity(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x: g."""
    return g


def nothing(b: Backward, n: NodeProto, g: str, i: int) -> None:
    """y is constant between jumps: 0."""


def cast(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x in another float type, or codes as floats: g in the type of x."""
    kind = b.kind(n.input[0])
    return g if kind == b.kind(n.output[0]) else b.op("Cast", g, to=kind)


def weighted(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x·w, one weight for each position: g·w."""
    return b.own("Weighted", g, n.input[1], like=n.input[0])
