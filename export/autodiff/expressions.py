"""Formulas over tensors: what derivative rules are written in.

``g * (1.0 - y * y)`` appends the nodes Mul, Sub and Mul. Numbers become scalar constants of the
element type of what they are combined with, so a rule serves every floating-point type.
"""

from __future__ import annotations

from typing import Any

from onnx import TensorProto, helper

from ortist.export.builder import GraphBuilder


class Value:
    """A tensor of a graph with its ONNX element type; operators and methods append nodes."""

    __slots__ = ("builder", "kind", "name")

    def __init__(self, builder: GraphBuilder, name: str, kind: int) -> None:
        self.builder = builder
        self.name = name
        self.kind = kind

    def op(
        self, op_type: str, *operands: Operand, kind: int | None = None, **attributes: Any
    ) -> Value:
        """Append a node that reads this tensor first; ``kind`` is the type of its result."""
        names = [self.operand(operand) for operand in operands]
        name = self.builder.op(op_type, self.name, *names, **attributes)
        return Value(self.builder, name, self.kind if kind is None else kind)

    def operand(self, operand: Operand) -> str:
        """Return the name of an operand: numbers are made constants of this tensor's type."""
        if isinstance(operand, Value):
            return operand.name
        if isinstance(operand, str):
            return operand
        return self.constant(operand).name

    def constant(self, number: float) -> Value:
        """Return a scalar constant of this tensor's type."""
        dtype = helper.tensor_dtype_to_np_dtype(self.kind)
        return Value(self.builder, self.builder.constant(number, dtype), self.kind)

    def __add__(self, other: Operand) -> Value:
        return self.op("Add", other)

    def __sub__(self, other: Operand) -> Value:
        return self.op("Sub", other)

    def __mul__(self, other: Operand) -> Value:
        return self if other == 1.0 else self.op("Mul", other)

    def __truediv__(self, other: Operand) -> Value:
        return self.op("Div", other)

    def __pow__(self, other: Operand) -> Value:
        return self.op("Pow", other)

    def __radd__(self, other: float) -> Value:
        return self.constant(other) + self

    def __rsub__(self, other: float) -> Value:
        return self.constant(other) - self

    def __rmul__(self, other: float) -> Value:
        return self * other

    def __rtruediv__(self, other: float) -> Value:
        return self.constant(other) / self

    def __neg__(self) -> Value:
        return self.op("Neg")

    def __lt__(self, other: Operand) -> Value:
        return self.op("Less", other, kind=TensorProto.BOOL)

    def __gt__(self, other: Operand) -> Value:
        return self.op("Greater", other, kind=TensorProto.BOOL)

    def __le__(self, other: Operand) -> Value:
        return self.op("LessOrEqual", other, kind=TensorProto.BOOL)

    def __ge__(self, other: Operand) -> Value:
        return self.op("GreaterOrEqual", other, kind=TensorProto.BOOL)

    def equals(self, other: Operand) -> Value:
        """Return where this is equal to ``other``, bool."""
        return self.op("Equal", other, kind=TensorProto.BOOL)

    def __and__(self, other: Value) -> Value:
        return self.op("And", other)

    def __or__(self, other: Value) -> Value:
        return self.op("Or", other)

    def where(self, chosen: Value, otherwise: Operand) -> Value:
        """Return ``chosen`` where this bool is true, else ``otherwise``."""
        return self.op("Where", chosen, chosen.operand(otherwise), kind=chosen.kind)

    def cast(self, kind: int) -> Value:
        """Return this in another element type."""
        return self if kind == self.kind else self.op("Cast", kind=kind, to=kind)

    def exp(self) -> Value:
        """Return e^x."""
        return self.op("Exp")

    def log(self) -> Value:
        """Return log x."""
        return self.op("Log")

    def sqrt(self) -> Value:
        """Return √x."""
        return self.op("Sqrt")

    def sign(self) -> Value:
        """Return the sign of x, 0 at 0."""
        return self.op("Sign")

    def abs(self) -> Value:
        """Return |x|."""
        return self.op("Abs")

    def sigmoid(self) -> Value:
        """Return 1/(1 + e^-x)."""
        return self.op("Sigmoid")

    def sum(self, axes: str) -> Value:
        """Return the sum over axes (an int64 vector), which stay with size 1."""
        return self.op("ReduceSum", axes, keepdims=1)

    def mean(self, axes: str) -> Value:
        """Return the mean over axes (an int64 vector), which stay with size 1."""
        return self.op("ReduceMean", axes, keepdims=1)

    def shape(self) -> str:
        """Return the shape, an int64 vector."""
        return self.builder.op("Shape", self.name)


Operand = Value | str | float
"""A tensor, its name, or a number."""
