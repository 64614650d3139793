"""The activations of recurrent operators, which are named by attributes, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx import NodeProto

from ortist.export.autodiff.expressions import Value
from ortist.export.autodiff.rules.elementwise import UNARY
from ortist.export.builder import attribute

Formula = Callable[..., Value]


def _operator(op_type: str) -> tuple[Formula, Formula]:
    return lambda x, **parameters: x.op(op_type, **parameters), UNARY[op_type]


def _scaled_tanh(x: Value, alpha: float, beta: float) -> Value:
    return (x * beta).op("Tanh") * alpha


def _scaled_tanh_slope(g: Value, x: Value, y: Value, alpha: float, beta: float) -> Value:
    t = (x * beta).op("Tanh")
    return g * ((1.0 - t * t) * (alpha * beta))


ACTIVATIONS: dict[str, tuple[Formula, Formula]] = {
    **{op_type: _operator(op_type) for op_type in ("Elu", "HardSigmoid", "LeakyRelu", "Sigmoid")},
    **{op_type: _operator(op_type) for op_type in ("Softplus", "Softsign", "Tanh")},
    "Affine": (
        lambda x, alpha, beta: x * alpha + beta,
        lambda g, x, y, alpha, beta: g * alpha,
    ),
    "Relu": (lambda x: x.op("Relu"), lambda g, x, y: (y > 0.0).where(g, 0.0)),
    "ScaledTanh": (_scaled_tanh, _scaled_tanh_slope),
    "ThresholdedRelu": (
        lambda x, alpha: (x > alpha).where(x, 0.0),
        UNARY["ThresholdedRelu"],
    ),
}
"""Name to y from x and parameters, and to g·(dy/dx) from g, x, y and parameters."""

PARAMETERS: dict[str, dict[str, float | None]] = {
    "Affine": {"alpha": None, "beta": None},
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
    "ScaledTanh": {"alpha": None, "beta": None},
    "ThresholdedRelu": {"alpha": 1.0},
}
"""Name to what each parameter is by default, None for those that must be given."""

_NAMES = {name.lower(): name for name in ACTIVATIONS}


@dataclass(frozen=True)
class Activation:
    """y = f(x), x clipped before if there is a bound."""

    name: str
    parameters: Mapping[str, float]
    bound: float | None

    def __call__(self, x: Value) -> Value:
        """Return y."""
        return ACTIVATIONS[self.name][0](self._clipped(x), **self.parameters)

    def pull(self, g: Value, x: Value, y: Value) -> Value:
        """Return g·(dy/dx); as Clip, the bounds themselves are not clipped."""
        clipped = self._clipped(x)
        slope = ACTIVATIONS[self.name][1](g, clipped, y, **self.parameters)
        return slope if clipped is x else x.equals(clipped).where(slope, 0.0)

    def _clipped(self, x: Value) -> Value:
        return x if self.bound is None else x.op("Clip", -self.bound, self.bound)


def activations(n: NodeProto, default: Sequence[str], directions: int) -> list[list[Activation]]:
    """Return the activations of each direction of a node.

    Those that have an alpha, or beta, take theirs from the attributes one after the other, and the
    default where these are used up. What is clipped is gates, not the cell, as in ONNX Runtime.
    """
    names = attribute(n, "activations") or [*default] * directions
    given = {key: iter(attribute(n, f"activation_{key}") or []) for key in ("alpha", "beta")}
    found, count = [], len(default)
    for position, name in enumerate(names):
        text = name.decode() if isinstance(name, bytes) else name
        known = _NAMES.get(text.lower())
        if known is None:
            raise NotImplementedError(f"activation {text!r}")
        bound = attribute(n, "clip") if position % count < 2 else None
        found.append(Activation(known, _parameters(known, given), bound))
    return [found[count * d : count * (d + 1)] for d in range(directions)]


def _parameters(name: str, given: Mapping[str, Iterator[float]]) -> dict[str, float]:
    parameters = {}
    for key, default in PARAMETERS.get(name, {}).items():
        value = next(given[key], default)
        if value is None:
            raise NotImplementedError(f"activation {name!r} without {key}")
        parameters[key] = value
    return parameters
