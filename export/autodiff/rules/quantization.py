"""Derivative rules of quantization, straight through: as if quantizers did not round.

Codes q stand for (q - zero)·scale. Their cotangents are float32, whatever their type. Scales have a
derivative where DequantizeLinear reads them; elsewhere they, and all zero points, are taken as
constant. Where a quantizer saturates the gradient is 0, as that of PyTorch's
fake_quantize_per_tensor_affine.
"""

from __future__ import annotations

from onnx import NodeProto, TensorProto, helper

from ortist.export.autodiff.backward import Backward, Rule
from ortist.export.autodiff.expressions import Value
from ortist.export.autodiff.rules.elementwise import nothing
from ortist.export.builder import attribute, attributes

_INTEGERS: dict[int, tuple[float, float]] = {
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-32768, 32767),
    TensorProto.UINT16: (0, 65535),
}
"""The least and the greatest of each type of codes that are integers."""
_RANGES = {
    **_INTEGERS,
    TensorProto.FLOAT8E4M3FN: (-448, 448),
    TensorProto.FLOAT8E4M3FNUZ: (-240, 240),
    TensorProto.FLOAT8E5M2: (-57344, 57344),
    TensorProto.FLOAT8E5M2FNUZ: (-57344, 57344),
}
"""Those of all codes."""


def quantize(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = round(x/scale) + zero: g/scale where it is in the range of codes, else 0."""
    scale, zero = (name and _spread(b, n, name) for name in [*n.input, ""][1:3])
    return _unrounded(b, n, g, scale, zero)


def dynamic_quantize(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = round(x/scale) + zero, which are made of x, but held: g/scale."""
    if not b.ends.straight_through:
        raise NotImplementedError("y_scale depends on it: hold y_scale, or pass straight_through")
    scale, zero = (b.value(name) for name in n.output[1:])
    return _unrounded(b, n, g, scale, zero)


def _unrounded(b: Backward, n: NodeProto, g: str, scale: Value, zero: Value | None) -> str:
    low, high = _range(b, n)
    level = b.value(n.input[0]).cast(scale.kind) / scale
    if b.builder.element_type(n.output[0]) in _INTEGERS:
        level = level.op("Round")
    if zero:
        level = level + zero.cast(level.kind)
    slope = Value(b.builder, g, TensorProto.FLOAT).cast(scale.kind) / scale
    kept = (level >= low) & (level <= high)
    return kept.where(slope, 0.0).cast(b.kind(n.input[0])).name


def dequantize(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = (q - zero)·scale: g·scale."""
    g_ = b.value_like(g, n.output[0])
    return (g_ * _spread(b, n, n.input[1]).cast(g_.kind)).cast(TensorProto.FLOAT).name


def dequantize_scale(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = (q - zero)·scale: g·(q - zero), summed over what has the same scale."""
    scale, zero = n.input[1], [*n.input, ""][2]
    steps = b.value(n.input[0])
    if zero:
        steps = steps - _spread(b, n, zero)
    product = b.value_like(g, n.output[0]) * steps.cast(b.kind(n.output[0]))
    product = product.cast(b.kind(scale))
    if attribute(n, "block_size", 0):
        return b.scatter(_repeated(b, n, b.positions(scale)), product.name, scale)
    return b.reshape_like(b.sum_to(product.name, _spread(b, n, scale).name), scale)


def _spread(b: Backward, n: NodeProto, tensor: str) -> Value:
    """Return a scale or zero point of a quantizer as it is broadcast to x."""
    value, axis = b.value(tensor), attribute(n, "axis", 1)
    if attribute(n, "block_size", 0):
        return Value(b.builder, _repeated(b, n, value.name), value.kind)
    if len(b.shape(tensor)) != 1:
        return value
    after = -axis - 1 if axis < 0 else b.rank(n.input[0]) - axis - 1
    return _before(b, tensor, after)


def _repeated(b: Backward, n: NodeProto, tensor: str) -> str:
    """Return what there is for each block of x, for each element."""
    axis, x = attribute(n, "axis", 1), n.input[0]
    positions = b.builder.numbers(b.op("Squeeze", b.builder.dimension(x, axis)))
    blocks = b.op("Div", positions, b.builder.integers(attribute(n, "block_size")))
    return b.op("Gather", tensor, blocks, axis=axis)


def _before(b: Backward, tensor: str, after: int) -> Value:
    """Return a scale or zero point; a vector of them is followed by some more axes."""
    value, shape = b.value(tensor), b.shape(tensor)
    if len(shape) != 1 or shape[0] == 1 or after <= 0:
        return value
    return value.op("Unsqueeze", b.builder.integers(*range(1, after + 1)))


def _range(b: Backward, n: NodeProto) -> tuple[float, float]:
    """Return the least and the greatest code of an output."""
    kind = b.builder.element_type(n.output[0])
    if kind not in _RANGES:
        raise NotImplementedError(f"codes of type {TensorProto.DataType.Name(kind)} have no rule")
    return _RANGES[kind]


def integer(op_type: str) -> tuple[Rule, ...]:
    """Make the rules of an operator on codes minus their zero points: those of the one on floats.

    Its inputs are the codes of two operands, then their zero points.
    """

    def rule(b: Backward, n: NodeProto, g: str, i: int) -> str | None:
        """Y of codes minus their zero points: as of the operator on floats."""
        zeros = [*n.input[2:], "", ""]
        other = _operand(b, op_type, n.input[1 - i], "", zeros[1 - i], 1 - i)
        return _of_floats(b, n, op_type, other, g, i)

    return rule, rule, nothing


def linear(op_type: str) -> tuple[Rule | None, ...]:
    """Make the rules of an operator on codes with scales: those of the one on floats.

    Its inputs are codes, scale and zero point of one operand, then of the other, then scale and
    zero point of its output; where that is the least or the greatest code the gradient is 0.
    """

    def rule(b: Backward, n: NodeProto, g: str, i: int) -> str | None:
        """Y = round(y/scale) + zero, y of what codes stand for: as of the operator on floats."""
        own, other = i // 3, 1 - i // 3
        low, high = _range(b, n)
        y = b.value(n.output[0])
        slope = b.value_like(g, n.output[0]) / b.value(n.input[6]).cast(y.kind)
        g_ = ((y > low) & (y < high)).where(slope, 0.0)
        codes, its_scale, zero = n.input[3 * other : 3 * other + 3]
        operand = _operand(b, op_type, codes, its_scale, zero, other)
        scale = _before(b, n.input[i + 1], _after(b, op_type, n.input[i], own)).cast(y.kind)
        contribution = _of_floats(b, n, op_type, operand, g_.name, own)
        return contribution and (b.value_like(contribution, n.output[0]) * scale).name

    return (rule, nothing, nothing, rule, *[nothing] * 4, None)


def _operand(b: Backward, op_type: str, codes: str, scale: str, zero: str, position: int) -> str:
    """Return what codes stand for; a scale that is not given is 1."""
    after = _after(b, op_type, codes, position)
    value = b.value(codes)
    if zero:
        value = value - _before(b, zero, after)
    if scale:
        value = value * _before(b, scale, after).cast(value.kind)
    if b.builder.element_type(value.name) == TensorProto.UNDEFINED:
        b.builder.state_shape(value.name, b.builder.shape(codes))
    return value.name


def _after(b: Backward, op_type: str, codes: str, position: int) -> int:
    """Return the number of axes behind that which a vector of scales is for.

    That is the row of a left matrix, the column of a right one, the output channel of a kernel.
    """
    if op_type == "MatMul":
        return 1 - position
    return b.rank(codes) - 1 if position == 1 else 0


def _of_floats(b: Backward, n: NodeProto, op_type: str, other: str, g: str, i: int) -> str | None:
    """Return what the rule of an operator on floats gives, of which one operand is given.

    Of the operand that the rule is for it needs the shape only.
    """
    own = n.input[i if len(n.input) < 6 else 3 * i]
    operands = [own, other] if i == 0 else [other, own]
    node = helper.make_node(op_type, operands, n.output, n.name, **attributes(n))
    rules = b.rules[op_type]
    rule = rules[min(i, len(rules) - 1)]
    return rule and rule(b, node, g, i)
