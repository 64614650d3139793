"""What derivative rules and operators of our own are made of, in standard nodes."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto, helper

from ortist.export.builder import Dimension, GraphBuilder


class Emitter:
    """Appends nodes to a graph; where shapes are not known, nodes find them out."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self.op = builder.op

    def kind(self, tensor: str) -> int:
        """Return the element type in which values that belong to ``tensor`` are computed."""
        return self.builder.element_type(tensor)

    def zeros(self, shape: str, like: str) -> str:
        """Return zeros of a shape (an int64 vector) in the element type of ``like``."""
        zero = helper.make_tensor("zero", self.kind(like), [1], [0.0])
        return self.op("ConstantOfShape", shape, value=zero)

    def scalar(self, value: float, like: str) -> str:
        """Return a scalar constant in the element type of ``like``."""
        return self.builder.constant(value, helper.tensor_dtype_to_np_dtype(self.kind(like)))

    def scale(self, tensor: str, factor: float, like: str) -> str:
        """Return ``factor * tensor``."""
        return tensor if factor == 1 else self.op("Mul", tensor, self.scalar(factor, like))

    def cast(self, tensor: str, like: str) -> str:
        """Return ``tensor`` in the element type of ``like``.

        By Cast: runtimes replace CastLike, and what replaces it comes last in the order of nodes.
        """
        return self.op("Cast", tensor, to=self.kind(like))

    def reshape_like(self, tensor: str, like: str) -> str:
        """Return ``tensor`` in the shape of ``like``."""
        return self.op("Reshape", tensor, self.op("Shape", like))

    def unbroadcast(self, gradient: str, operand: str, output: str) -> str:
        """Sum ``gradient``, shaped as ``output``, over the axes along which ``operand`` was spread.

        Nothing is emitted where the shapes, symbolic ones included, prove that nothing was.
        """
        inner, outer = self.builder.shape(operand), self.builder.shape(output)
        return gradient if _proven_equal(inner, outer) else self.sum_to(gradient, operand)

    def sum_to(self, gradient: str, operand: str) -> str:
        """Sum ``gradient`` to the shape of ``operand``, which was broadcast to its shape.

        The axes are those where the shape of ``operand``, filled up with ones in front, is 1.
        """
        integers = self.builder.integers
        one = self.builder.constant(1, "int64")
        shape = self.op("Shape", operand)
        ranks = [self.op("Shape", sizes) for sizes in (self.op("Shape", gradient), shape)]
        in_front = self.op("Concat", self.op("Sub", *ranks), integers(0), axis=0)
        is_one = self.op("Equal", self.op("Pad", shape, in_front, one), one)
        axes = self.op("Reshape", self.op("NonZero", is_one), integers(-1))
        summed = self.op("ReduceSum", gradient, axes, keepdims=1, noop_with_empty_axes=1)
        return self.op("Reshape", summed, shape)

    def scatter(self, positions: str, values: str, like: str) -> str:
        """Return zeros in the shape of ``like`` with ``values`` added at flat ``positions``."""
        flat = self.builder.integers(-1)
        size = self.op("Reshape", self.op("Size", like), flat)
        places, added = (self.op("Reshape", tensor, flat) for tensor in (positions, values))
        return self.reshape_like(self.added(size, places, added, like), like)

    def added(self, shape: str, places: str, values: str, like: str, axis: int = 0) -> str:
        """Return zeros of a shape with ``values`` added at ``places`` along an axis.

        In float32 for what is narrower, which ONNX Runtime does not add so.
        """
        kind = self.kind(like)
        along: dict[str, Any] = {"axis": axis} if axis else {}
        is_narrow = kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16)
        if is_narrow:
            values = self.op("Cast", values, to=TensorProto.FLOAT)
        zero = helper.make_tensor("zero", TensorProto.FLOAT if is_narrow else kind, [1], [0.0])
        zeros = self.op("ConstantOfShape", shape, value=zero)
        summed = self.op("ScatterElements", zeros, places, values, **along, reduction="add")
        return self.op("Cast", summed, to=kind) if is_narrow else summed

    def positions(self, tensor: str) -> str:
        """Return the flat position of each element of ``tensor``, int64 in its shape."""
        return self.reshape_like(self.builder.numbers(self.op("Size", tensor)), tensor)

    def pad_end(self, tensor: str, like: str) -> str:
        """Return ``tensor`` with zeros appended along each axis up to the shape of ``like``."""
        missing = self.op("Sub", self.op("Shape", like), self.op("Shape", tensor))
        begin = self.op("Mul", missing, self.builder.integers(0))
        return self.op("Pad", tensor, self.op("Concat", begin, missing, axis=0))

    def cut_spatial(self, tensor: str, like: str) -> str:
        """Return the first elements of ``tensor`` along axes 2 and on, as many as ``like`` has."""
        shape = self.op("Shape", like, start=2)
        zeros = self.op("Mul", shape, self.builder.integers(0))
        axes = self.op(
            "Range",
            self.builder.constant(2, "int64"),
            self.op("Size", self.op("Shape", like)),
            self.builder.constant(1, "int64"),
        )
        return self.op("Slice", tensor, zeros, shape, axes)


def _proven_equal(a: tuple[Dimension, ...] | None, b: tuple[Dimension, ...] | None) -> bool:
    """Tell whether two shapes are known to be equal."""
    return a is not None and a == b and None not in a
