"""Derivative rules of recurrent operators: backpropagation through time.

The hidden states of all steps are at hand, so what is local to a step, its gates and how much each
of them moves the states, is computed for all steps at once. What is left for the loop from the last
step to the first is linear in the cotangents of the states, which it carries, with a product by the
recurrent weights in each step. It returns the cotangents of the gates before activation, a; those
of the inputs are single products of these, for all steps at once.

In the formulas a' is the cotangent of a, s' the derivative of s, and H, C are h, c the step before.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import NodeProto

from ortist.export.autodiff.backward import Backward, Rule
from ortist.export.autodiff.expressions import Value
from ortist.export.autodiff.rules.activations import activations
from ortist.export.autodiff.rules.directions import (
    C0,
    H0,
    LENGTHS,
    Y_C,
    Y_H,
    B,
    Direction,
    P,
    R,
    W,
    X,
    concat,
    joined,
    number_of_directions,
    split,
)
from ortist.export.builder import attribute

Gradients = dict[int, Callable[[], Value]]
"""Input to what emits its cotangent, or the part of it that belongs to a direction."""
Stepped = tuple[list[Value], list[Value]]
"""States after a step, and what is returned of it."""


def _rule(cell: Callable[[Direction], Gradients], *functions: str) -> Rule:
    """Make the rule of all inputs of an operator from its cell and default activations."""

    def rule(b: Backward, n: NodeProto, g: str, i: int) -> None:
        chosen = activations(n, functions, number_of_directions(n))
        active = [j for j, name in enumerate(n.input) if name in b.active and j != LENGTHS]
        if i != active[0]:
            return
        parts = [cell(Direction(b, n, number, own)) for number, own in enumerate(chosen)]
        for j in active:
            b.accumulate(n.input[j], joined(b, n, j, [part[j]() for part in parts]).name)

    rule.__doc__ = cell.__doc__
    return rule


def _gradients(d: Direction, a: Value, recurrent: Value, dh: Value) -> Gradients:
    """x·Wᵀ + b and h·Rᵀ + b of all steps, whose cotangents are given, and the first h."""
    return {
        X: lambda: d.as_input(a.op("MatMul", d.w)),
        W: lambda: _by_weight(a, d.x),
        R: lambda: _by_weight(recurrent, d.h_before),
        B: lambda: concat(_over_steps(a), _over_steps(recurrent)),
        H0: lambda: dh,
    }


def _by_weight(a: Value, x: Value) -> Value:
    """a = x·Wᵀ in each step: a'ᵀ·x, summed over steps and batch."""
    return a.op("Flatten", axis=2).op("Gemm", x.op("Flatten", axis=2), transA=1)


def _over_steps(a: Value) -> Value:
    """Return the sum over steps and batch."""
    return a.op("ReduceSum", a.builder.integers(0, 1), keepdims=0)


def _from_input(d: Direction) -> Value:
    return _plus(d.x.op("MatMul", _turned(d.w)), d.biases[0])


def _from_hidden(d: Direction) -> Value:
    return _plus(d.h_before.op("MatMul", _turned(d.r)), d.biases[1])


def _turned(w: Value) -> Value:
    return w.op("Transpose", perm=[1, 0])


def _plus(a: Value, bias: Value | None) -> Value:
    return a if bias is None else a + bias


def _before(a: Value, r: Value, dh: Value, held: tuple[Value, ...]) -> Value:
    """Return the cotangent of the h before a step: after the end of a sequence, that after it."""
    before = a.op("MatMul", r)
    for is_held in held:
        before = before + dh * is_held
    return before


def _rnn(d: Direction) -> Gradients:
    """h = s(a), a = x·Wᵀ + H·Rᵀ + b: a' = h'·s', H' = a'·R."""
    (s,) = d.functions
    a = _from_input(d) + _from_hidden(d)
    slope = d.while_running(s.pull(d.zeros() + 1.0, a, d.h), 0.0)

    def step(dh: Value, own: Value, slope: Value, *held: Value) -> Stepped:
        dh = dh + own
        a = dh * slope
        return [_before(a, d.r, dh, held)], [a]

    (dh,), (a,) = d.backwards(step, [d.at_end(Y_H)], [d.dh, slope, *d.after_end])
    return _gradients(d, a, a, dh)


def _lstm(d: Direction) -> Gradients:
    """c = f·C + i·n, h = o·m(c): C' = c'·f, to c' comes h'·o·m', H' = a'·R.

    i, o, f are s(a), n is g(a). With peepholes a of i and f has C·p in it, that of o c·p, and C'
    and c' have what comes of it. Where input_forget couples them, f = 1 - i.
    """
    s, g, m = d.functions
    c0 = d.given(C0) or d.zeros(1)
    (a_i, a_o, a_f, a_n), i, f, n, c = _cells(d, c0)
    before = d.before(c0, c)
    o, shown = s(a_o), m(c)
    slopes = [
        s.pull(n - before if attribute(d.node, "input_forget") else n, a_i, i),
        s.pull(shown, a_o, o),
        d.zeros() if attribute(d.node, "input_forget") else s.pull(before, a_f, f),
        g.pull(i, a_n, n),
    ]
    kept, show = f, m.pull(o, c, shown)
    if (peepholes := d.given(P)) is not None:
        p_i, p_o, p_f = split(peepholes, 3)
        kept, show = kept + slopes[0] * p_i + slopes[2] * p_f, show + slopes[1] * p_o

    def step(
        dh: Value, dc: Value, own: Value, show: Value, slope: Value, kept: Value, *held: Value
    ) -> Stepped:
        dh = dh + own
        dc = dc + dh * show
        a = concat(dc, dh, dc, dc) * slope
        return [_before(a, d.r, dh, held), dc * kept], [a]

    factors = [d.while_running(show, 0.0), d.while_running(concat(*slopes), 0.0)]
    inputs = [d.dh, *factors, d.while_running(kept, 1.0), *d.after_end]
    (dh, dc), (a,) = d.backwards(step, [d.at_end(Y_H), d.at_end(Y_C)], inputs)

    def by_peepholes() -> Value:
        return _over_steps(concat(*split(a, 4)[:3]) * concat(before, c, before))

    return {**_gradients(d, a, a, dh), C0: lambda: dc, P: by_peepholes}


def _cells(d: Direction, c0: Value) -> tuple[list[Value], Value, Value, Value, Value]:
    """Return a of all gates of an LSTM, i, f, n and c, of all steps."""
    s, g, _ = d.functions
    a_i, a_o, a_f, a_n = split(_from_input(d) + _from_hidden(d), 4)
    n = g(a_n)

    def gates(a_i: Value, a_f: Value) -> tuple[Value, Value]:
        i = s(a_i)
        return i, 1.0 - i if attribute(d.node, "input_forget") else s(a_f)

    def step(c: Value, f: Value, added: Value) -> Stepped:
        c = c * f + added
        return [c], [c]

    if (peepholes := d.given(P)) is None:
        i, f = gates(a_i, a_f)
        (c,) = d.forwards(step, [c0], [f, i * n])
        return [a_i, a_o, a_f, a_n], i, f, n, c
    p_i, p_o, p_f = split(peepholes, 3)

    def peeping(c: Value, a_i: Value, a_f: Value, n: Value) -> Stepped:
        i, f = gates(a_i + c * p_i, a_f + c * p_f)
        return step(c, f, i * n)

    (c,) = d.forwards(peeping, [c0], [a_i, a_f, n])
    before = d.before(c0, c)
    a_i, a_o, a_f = a_i + before * p_i, a_o + c * p_o, a_f + before * p_f
    return [a_i, a_o, a_f, a_n], *gates(a_i, a_f), n, c


def _gru(d: Direction) -> Gradients:
    """h = (1 - z)·n + z·H: H' = h'·z and what comes of a'; z, r are s(a), n is g(a)."""
    linear = attribute(d.node, "linear_before_reset", 0)
    return _gru_reset_after(d) if linear else _gru_reset_before(d)


def _gru_reset_after(d: Direction) -> Gradients:
    """a = x·Wᵀ + b + r·v for n, v = H·Rᵀ + b: H' has (z', r', v')·R in it, a of z and r."""
    s, g = d.functions
    x_z, x_r, x_n = split(_from_input(d), 3)
    h_z, h_r, v = split(_from_hidden(d), 3)
    a_z, a_r = x_z + h_z, x_r + h_r
    z, r = s(a_z), s(a_r)
    a_n = x_n + r * v
    n = g(a_n)
    by_n = d.while_running(g.pull(1.0 - z, a_n, n), 0.0)
    by_z = s.pull(d.h_before - n, a_z, z)
    slope = d.while_running(concat(by_z, s.pull(by_n * v, a_r, r), by_n * r), 0.0)

    def step(dh: Value, own: Value, z: Value, slope: Value) -> Stepped:
        dh = dh + own
        a = concat(dh, dh, dh) * slope
        return [_before(a, d.r, dh, (z,))], [a, dh]

    states, inputs = [d.at_end(Y_H)], [d.dh, d.while_running(z, 1.0), slope]
    (first,), (recurrent, dh) = d.backwards(step, states, inputs)
    a = concat(*split(recurrent, 3)[:2], dh * by_n)
    return _gradients(d, a, recurrent, first)


def _gru_reset_before(d: Direction) -> Gradients:
    """a = x·Wᵀ + v·Rᵀ + b for n, v = r·H: v' = n'·R, H' has v'·r and (z', r')·R in it."""
    s, g = d.functions
    r_z, r_r, r_n = split(d.r, 3, axis=0)
    r_gates = concat(r_z, r_r, axis=0)
    x_z, x_r, x_n = split(_plus(_from_input(d), d.biases[1]), 3)
    h_z, h_r = split(d.h_before.op("MatMul", _turned(r_gates)), 2)
    a_z, a_r = x_z + h_z, x_r + h_r
    z, r = s(a_z), s(a_r)
    v = r * d.h_before
    a_n = x_n + v.op("MatMul", _turned(r_n))
    n = g(a_n)
    slopes = [
        d.while_running(s.pull(d.h_before - n, a_z, z), 0.0),
        d.while_running(g.pull(1.0 - z, a_n, n), 0.0),
        s.pull(d.h_before, a_r, r),
    ]

    def step(
        dh: Value, own: Value, z: Value, r: Value, by_z: Value, by_n: Value, by_v: Value
    ) -> Stepped:
        dh = dh + own
        a_n = dh * by_n
        dv = a_n.op("MatMul", r_n)
        gates = concat(dh * by_z, dv * by_v)
        return [_before(gates, r_gates, dh, (z,)) + dv * r], [gates, a_n]

    inputs = [d.dh, d.while_running(z, 1.0), r, *slopes]
    (first,), (gates, candidate) = d.backwards(step, [d.at_end(Y_H)], inputs)
    a = concat(gates, candidate)

    def by_weight() -> Value:
        return concat(_by_weight(gates, d.h_before), _by_weight(candidate, v), axis=0)

    return {**_gradients(d, a, a, first), R: by_weight}


gru = _rule(_gru, "Sigmoid", "Tanh")
lstm = _rule(_lstm, "Sigmoid", "Tanh", "Tanh")
rnn = _rule(_rnn, "Tanh")
