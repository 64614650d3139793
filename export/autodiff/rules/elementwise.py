"""Derivative rules of the elementwise operators, with broadcasting.

Those of one input x are a table of formulas for g·(dy/dx), those of several inputs one formula for
each. Where dy/dx jumps, PyTorch's choice is taken: 0 for Relu and Abs at 0, g at the bounds of
Clip, halves for both of a tie in Max and Min.
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
    "Cos": lambda g, x, y: -(g * x.op("Sin")),
    "Cosh": lambda g, x, y: g * x.op("Sinh"),
    "Elu": lambda g, x, y, alpha=1.0: g * (x > 0.0).where(x.constant(1.0), y + alpha),
    "Erf": lambda g, x, y: g * ((-(x * x)).exp() * (2 / math.sqrt(math.pi))),
    "Exp": lambda g, x, y: g * y,
    "HardSigmoid": lambda g, x, y, alpha=0.2, beta=0.5: _inside(y, 0.0, 1.0).where(g * alpha, 0.0),
    "LeakyRelu": lambda g, x, y, alpha=0.01: (x > 0.0).where(g, g * alpha),
    "Log": lambda g, x, y: g / x,
    "Neg": lambda g, x, y: -g,
    "Reciprocal": lambda g, x, y: -(g * (y * y)),
    "Selu": lambda g, x, y, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875: (
        g * (x > 0.0).where(x.constant(gamma), y + alpha * gamma)
    ),
    "Sigmoid": lambda g, x, y: g * (y * (1.0 - y)),
    "Sin": lambda g, x, y: g * x.op("Cos"),
    "Sinh": lambda g, x, y: g * x.op("Cosh"),
    "Softplus": lambda g, x, y: g * x.sigmoid(),
    "Softsign": lambda g, x, y: g / (x.abs() + 1.0) ** 2.0,
    "Sqrt": lambda g, x, y: g / (y * 2.0),
    "Tan": lambda g, x, y: g * (y * y + 1.0),
    "Tanh": lambda g, x, y: g * (1.0 - y * y),
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


def unary(formula: Callable[..., Value]) -> tuple[Rule]:
    """Make the rule of an entry of :data:`UNARY`."""

    def rule(b: Backward, n: NodeProto, g: str, i: int) -> str:
        x, y = b.value(n.input[0]), b.value(n.output[0])
        return formula(Value(b.builder, g, x.kind), x, y, **attributes(n)).name

    return (rule,)


def binary(formulas: tuple[Callable[..., Value] | None, ...]) -> tuple[Rule | None, ...]:
    """Make the rules of an entry of :data:`BINARY`."""
    return tuple(formula and _of_two(formula) for formula in formulas)


def _of_two(formula: Callable[..., Value]) -> Rule:
    @broadcast
    def rule(b: Backward, n: NodeProto, g: str, i: int) -> str:
        x, z, y = (b.value(name) for name in (*n.input, n.output[0]))
        return formula(Value(b.builder, g, x.kind), x, z, y, **attributes(n)).name

    return rule


def broadcast(derivative: Callable[[Backward, NodeProto, str, int], str]) -> Rule:
    """Make a rule of an elementwise derivative: sum over the axes that were broadcast."""

    def rule(b: Backward, n: NodeProto, g: str, i: int) -> str:
        return b.unbroadcast(derivative(b, n, g, i), n.input[i], n.output[0])

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
    """y = x^p: g·p·x^(p-1); not a number where x = 0 and p < 1."""
    x, power = n.input
    known = b.builder.value_of(power)
    if known is not None and known.size == 1 and known.item() == 2:
        return b.op("Mul", g, b.scale(x, 2.0, x))
    power = b.cast(power, x)
    less = b.op("Sub", power, b.scalar(1.0, x))
    return b.op("Mul", g, b.op("Mul", power, b.op("Pow", x, less)))


@broadcast
def exponent(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = z^x: g·y·log z."""
    return b.op("Mul", g, b.op("Mul", n.output[0], b.op("Log", n.input[0])))


@broadcast
def extreme(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = max(x, z, ...) or min: g where x is y, shared equally by those that are."""
    y = b.value(n.output[0])
    chosen = [y.equals(name).cast(y.kind) for name in n.input]
    count = chosen[0]
    for other in chosen[1:]:
        count = count + other
    return (Value(b.builder, g, y.kind) * (chosen[i] / count)).name


def relu(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = max(x, 0): g where y > 0, else 0."""
    return b.own("ReluGrad", g, n.output[0], like=n.input[0])


def clip(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x between bounds: g where x was not clipped, else 0."""
    kept = b.op("Equal", n.input[0], n.output[0])
    return b.op("Where", kept, g, b.scalar(0.0, n.input[0]))


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
    """y = x in another float type: g in the type of x."""
    return b.op("Cast", g, to=b.kind(n.input[0]))


def weighted(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x·w, one weight for each position: g·w."""
    return b.own("Weighted", g, n.input[1], like=n.input[0])
