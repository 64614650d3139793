"""The directions of a recurrent node, and loops over their steps.

They are taken one by one. Whatever the layout of the node, tensors of all steps are (steps, batch,
features) here, in the order in which the direction runs, those of one step (batch, features).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from onnx import NodeProto, TensorProto, helper

from ortist.export.autodiff.backward import Backward
from ortist.export.autodiff.expressions import Value
from ortist.export.autodiff.rules.activations import Activation
from ortist.export.builder import attribute

X, W, R, B, LENGTHS, H0, C0, P = range(8)
"""Inputs; the first six are those of all recurrent operators."""
Y, Y_H, Y_C = range(3)
"""Outputs; the first two are those of all."""

Step = Callable[..., tuple[list[Value], list[Value]]]
"""States and what else is read of a step to the states after it and what is returned of it."""


class Direction:
    """What one direction of a recurrent node reads and returns, and the cotangents of that."""

    def __init__(self, b: Backward, n: NodeProto, number: int, functions: list[Activation]) -> None:
        self.b, self.node, self.number = b, n, number
        self.functions = functions
        self._layout = attribute(n, "layout", 0)
        self._is_reverse = number == 1 or attribute(n, "direction") == "reverse"
        shape = b.builder.shape(n.input[X])
        self._is_one_step = shape is not None and shape[self._layout] == 1

    @cached_property
    def x(self) -> Value:
        """The input."""
        return self._ordered(self._value(self.node.input[X]))

    @cached_property
    def w(self) -> Value:
        """The weights of the input."""
        return self._part(self.node.input[W])

    @cached_property
    def r(self) -> Value:
        """The recurrent weights."""
        return self._part(self.node.input[R])

    @cached_property
    def biases(self) -> list[Value] | list[None]:
        """The biases of the products with both."""
        bias = self.given(B)
        return [None, None] if bias is None else split(bias, 2)

    @cached_property
    def h(self) -> Value:
        """The states after each step."""
        states = self.b.further_output(self.node, Y)
        return self._ordered(self._part(states, 2 if self._layout else 1))

    @cached_property
    def h_before(self) -> Value:
        """The states before each step."""
        return self.before(self.given(H0), self.h)

    @cached_property
    def dh(self) -> Value:
        """The cotangent of the states after each step; those after the end are no outputs."""
        cotangent = self._cotangent(Y)
        if cotangent is None:
            return self.zeros()
        states = self._ordered(self._part(cotangent, 2 if self._layout else 1))
        return self.while_running(states, 0.0)

    def at_end(self, output: int) -> Value:
        """Return the cotangent of a state after the last step."""
        cotangent = self._cotangent(output)
        return self.zeros(1) if cotangent is None else self._part(cotangent, self._layout)

    def given(self, i: int) -> Value | None:
        """Return an input, None if it is not there."""
        if len(self.node.input) <= i or not self.node.input[i]:
            return None
        return self._part(self.node.input[i], _axis_of_directions(self.node, i))

    def before(self, first: Value | None, after: Value) -> Value:
        """Return the states before each step, the first of which is zero if not given."""
        axis = self.b.builder.integers(0)
        before = (self.zeros(1) if first is None else first).op("Unsqueeze", axis)
        if self._is_one_step:
            return before
        others = after.op("Slice", axis, self.b.builder.integers(-1), axis)
        return before.op("Concat", others, axis=0)

    def zeros(self, start: int = 0) -> Value:
        """Return zeros in the shape of the states of all steps, of one step if start is 1."""
        shape = self.b.op("Shape", self.h.name, start=start)
        return self._value(self.b.zeros(shape, self.node.input[X]))

    def as_input(self, x: Value) -> Value:
        """Return a tensor of all steps in the order and layout of the node."""
        x = self._turned(x)
        return x.op("Transpose", perm=[1, 0, 2]) if self._layout else x

    def while_running(self, x: Value, otherwise: float) -> Value:
        """Return x, and another number in the steps after the end of a sequence."""
        return x if self._runs is None else self._runs.where(x, otherwise)

    @property
    def after_end(self) -> list[Value]:
        """1 in the steps after the end of a sequence, else 0; nothing if all have the same end."""
        return [] if self._runs is None else [1.0 - self._runs.cast(self.x.kind)]

    def forwards(self, step: Step, states: Sequence[Value], inputs: Sequence[Value]) -> list[Value]:
        """Run over all steps, first to last, and return what is returned of them."""
        return self._scan(step, states, inputs)[1]

    def backwards(
        self, step: Step, states: Sequence[Value], inputs: Sequence[Value]
    ) -> tuple[list[Value], list[Value]]:
        """Run over all steps, last to first; return the states at the end too."""
        states, outputs = self._scan(step, states, [self._flipped(x) for x in inputs])
        return states, [self._flipped(x) for x in outputs]

    def _scan(
        self, step: Step, states: Sequence[Value], inputs: Sequence[Value]
    ) -> tuple[list[Value], list[Value]]:
        if self._is_one_step:
            states, outputs = step(*states, *inputs)
            return [x.op("Squeeze", self.b.builder.integers(0)) for x in states], outputs
        builder, kind = self.b.builder, self.x.kind
        with builder.branch(builder.unused("steps")) as body:
            own = [self._value(builder.unused("step")) for _ in (*states, *inputs)]
            after, emitted = step(*own)
            # A state that is returned of each step as well needs two names.
            names = [x.name for x in after]
            results = [*after, *(x.op("Identity") if x.name in names else x for x in emitted)]
            for values, items in ((body.input, own), (body.output, results)):
                # ONNX Runtime wants to know the rank where it cannot infer it, in branches of If.
                sizes = [None, None]
                values.extend(helper.make_tensor_value_info(x.name, kind, sizes) for x in items)
        names = [x.name for x in (*states, *inputs)]
        count, taken = len(results), len(inputs)
        first = self.b.op("Scan", *names, outputs=count, body=body, num_scan_inputs=taken)
        found = several(self._value(first), count)
        return found[: len(states)], found[len(states) :]

    def _value(self, tensor: str) -> Value:
        return self.b.value_like(tensor, self.node.input[X])

    def _cotangent(self, output: int) -> str | None:
        name = self.node.output[output] if len(self.node.output) > output else ""
        return self.b.cotangent(name) if name else None

    def _part(self, tensor: str, axis: int = 0) -> Value:
        """Return the part of a tensor that belongs to this direction."""
        if number_of_directions(self.node) == 1:
            return self._value(self.b.op("Squeeze", tensor, self.b.builder.integers(axis)))
        index = self.b.builder.constant(self.number, np.int64)
        return self._value(self.b.op("Gather", tensor, index, axis=axis))

    def _ordered(self, x: Value) -> Value:
        """Return a tensor of the order and layout of the node as one of all steps."""
        return self._turned(x.op("Transpose", perm=[1, 0, 2]) if self._layout else x)

    def _turned(self, x: Value) -> Value:
        if not self._is_reverse:
            return x
        if self._lengths is None:
            return self._flipped(x)
        return x.op("ReverseSequence", self._lengths, time_axis=0, batch_axis=1)

    def _flipped(self, x: Value) -> Value:
        """Return the steps of a tensor from last to first."""
        ends = (-1, -(2**63), 0, -1)
        constants = [self.b.builder.integers(value) for value in ends]
        return x if self._is_one_step else x.op("Slice", *constants)

    @cached_property
    def _lengths(self) -> Value | None:
        """The lengths of the sequences, int64, if they differ."""
        n = self.node
        if len(n.input) <= LENGTHS or not n.input[LENGTHS]:
            return None
        return Value(self.b.builder, n.input[LENGTHS], TensorProto.INT32).cast(TensorProto.INT64)

    @cached_property
    def _runs(self) -> Value | None:
        """Whether each sequence has each step, (steps, batch, 1), if they differ."""
        if self._lengths is None:
            return None
        builder = self.b.builder
        count = self.b.op("Squeeze", self.b.op("Shape", self.x.name, start=0, end=1))
        numbers = Value(builder, builder.numbers(count), TensorProto.INT64)
        steps = numbers.op("Unsqueeze", builder.integers(1))
        return (steps < self._lengths).op("Unsqueeze", self.b.builder.integers(2))


def number_of_directions(n: NodeProto) -> int:
    """Return how many directions a node has."""
    return 2 if attribute(n, "direction") == "bidirectional" else 1


def joined(b: Backward, n: NodeProto, i: int, parts: list[Value]) -> Value:
    """Return the cotangent of an input from those that the directions return."""
    if i == X:
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]
    axis = _axis_of_directions(n, i)
    stacked = [part.op("Unsqueeze", b.builder.integers(axis)) for part in parts]
    return concat(*stacked, axis=axis) if len(stacked) > 1 else stacked[0]


def split(x: Value, count: int, axis: int = -1) -> list[Value]:
    """Return equal parts of a tensor."""
    return several(x.op("Split", axis=axis, num_outputs=count, outputs=count), count)


def concat(*parts: Value, axis: int = -1) -> Value:
    """Return parts joined."""
    return parts[0].op("Concat", *parts[1:], axis=axis)


def several(first: Value, count: int) -> list[Value]:
    """Return the outputs of the node that was appended for its first."""
    names = [first.name, *(f"{first.name}:{index}" for index in range(1, count))]
    return [Value(first.builder, name, first.kind) for name in names]


def _axis_of_directions(n: NodeProto, i: int) -> int:
    return int(attribute(n, "layout", 0)) if i in (H0, C0) else 0
