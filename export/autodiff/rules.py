"""The vector-Jacobian rules, one short entry per operator.

For a node y = f(x_0, x_1, ...) and the cotangent g = dJ/dy, rule i returns the contribution
g·(dy/dx_i) to dJ/dx_i. Rules emit standard operators, and what lowering is to know by its name as
one of :mod:`ortist.export.operators`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import NodeProto

from ortist.export.autodiff import windows
from ortist.export.autodiff.backward import Backward
from ortist.export.builder import attribute, attributes

Rule = Callable[[Backward, NodeProto, str, int], str | None]
"""``rule(backward, node, g, i)`` returns the cotangent contribution to input i, or None for none.

It raises NotImplementedError, with the reason, for a use of the operator that it does not cover.
"""


def _elementwise(derivative: Callable[[Backward, NodeProto, str, int], str]) -> Rule:
    """Make a rule of an elementwise derivative: sum over the axes that were broadcast."""

    def rule(b: Backward, n: NodeProto, g: str, i: int) -> str:
        return b.unbroadcast(derivative(b, n, g, i), n.input[i], n.output[0])

    return rule


@_elementwise
def _pass(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x + c: g."""
    return g


@_elementwise
def _negate(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = c - x: -g."""
    return b.op("Neg", g)


def _multiply(b: Backward, n: NodeProto, g: str, i: int) -> str | None:
    """y = x·z: g·z; both at once for y = x·x: 2·g·x."""
    x, z = n.input
    if x == z:
        return b.op("Mul", b.scale(g, 2.0, x), x) if i == 0 else None
    return b.unbroadcast(b.op("Mul", g, n.input[1 - i]), n.input[i], n.output[0])


@_elementwise
def _numerator(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x/z: g/z."""
    return b.op("Div", g, n.input[1])


@_elementwise
def _denominator(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = z/x: -g·y/x."""
    return b.op("Neg", b.op("Mul", g, b.op("Div", n.output[0], n.input[1])))


@_elementwise
def _base(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x^p: g·p·x^(p-1); not a number where x = 0 and p < 1."""
    x, power = n.input
    known = b.builder.value_of(power)
    if known is not None and known.size == 1 and known.item() == 2:
        return b.op("Mul", g, b.scale(x, 2.0, x))
    power = b.cast(power, x)
    less = b.op("Sub", power, b.scalar(1.0, x))
    return b.op("Mul", g, b.op("Mul", power, b.op("Pow", x, less)))


@_elementwise
def _exponent(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = z^x: g·y·log z."""
    return b.op("Mul", g, b.op("Mul", n.output[0], b.op("Log", n.input[0])))


def _sqrt(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = √x: g/(2y)."""
    return b.op("Div", g, b.scale(n.output[0], 2.0, n.input[0]))


def _exp(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = e^x: g·y."""
    return b.op("Mul", g, n.output[0])


def _log(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = log x: g/x."""
    return b.op("Div", g, n.input[0])


def _abs(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = |x|: g·sign x, 0 at 0."""
    return b.op("Mul", g, b.op("Sign", n.input[0]))


def _sigmoid(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = 1/(1+e^-x): g·y·(1-y)."""
    y = n.output[0]
    return b.op("Mul", g, b.op("Mul", y, b.op("Sub", b.scalar(1.0, n.input[0]), y)))


def _tanh(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = tanh x: g·(1-y²)."""
    y = n.output[0]
    return b.op("Mul", g, b.op("Sub", b.scalar(1.0, n.input[0]), b.op("Mul", y, y)))


def _relu(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = max(x, 0): g where y > 0, else 0."""
    return b.own("ReluGrad", g, n.output[0], like=n.input[0])


def _identity(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x: g."""
    return g


def _cast(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x in another float type: g in the type of x."""
    return b.op("Cast", g, to=b.builder.element_type(n.input[0]))


def _matmul(b: Backward, n: NodeProto, g: str, i: int) -> str | None:
    """Y = A·B: G·Bᵀ for A, Aᵀ·G for B; both at once for Y = A·Aᵀ: (G + Gᵀ)·A."""
    left, right = n.input
    if _is_own_transpose(b, left, right):
        return b.op("MatMul", b.op("Add", g, _swap_last(b, g)), left) if i == 0 else None
    ranks = [len(b.builder.shape(name) or ()) for name in n.input]
    if min(ranks) < 2:
        raise NotImplementedError("operands must have a known rank of at least 2")
    if i == 0:
        product = b.op("MatMul", g, _swap_last(b, right, ranks[1]))
    else:
        product = b.op("MatMul", _swap_last(b, left, ranks[0]), g)
    return product if ranks == [2, 2] else b.sum_to(product, n.input[i])


def _is_own_transpose(b: Backward, left: str, right: str) -> bool:
    """Tell whether ``right`` is the transpose of the matrix ``left``, and of no other interest."""
    producer = b.builder.producer(right)
    return (
        producer is not None
        and producer.op_type == "Transpose"
        and producer.input[0] == left
        and len(b.builder.shape(left) or ()) == 2
        and list(attribute(producer, "perm", [1, 0])) == [1, 0]
        and right not in b.wrt
    )


def _swap_last(b: Backward, matrix: str, rank: int = 2) -> str:
    """Return the transpose of a matrix, or of a stack of them."""
    return b.op("Transpose", matrix, perm=[*range(rank - 2), rank - 1, rank - 2])


def _gemm_left(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = α·A'·B' + β·C, ' for transposed or not: α·G·B'ᵀ for A', transposed again for A."""
    flip_a, flip_b = attribute(n, "transA", 0), attribute(n, "transB", 0)
    alpha = attribute(n, "alpha", 1.0)
    if flip_a:
        return b.op("Gemm", n.input[1], g, alpha=alpha, transA=flip_b, transB=1)
    return b.op("Gemm", g, n.input[1], alpha=alpha, transB=1 - flip_b)


def _gemm_right(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = α·A'·B' + β·C: α·A'ᵀ·G for B', transposed again for B."""
    flip_a, flip_b = attribute(n, "transA", 0), attribute(n, "transB", 0)
    alpha = attribute(n, "alpha", 1.0)
    if flip_b:
        return b.op("Gemm", g, n.input[0], alpha=alpha, transA=1, transB=flip_a)
    return b.op("Gemm", n.input[0], g, alpha=alpha, transA=1 - flip_a)


@_elementwise
def _gemm_bias(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = α·A'·B' + β·C: β·G."""
    return b.scale(g, attribute(n, "beta", 1.0), n.input[2])


def _reduce_sum(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = Σx: g spread over the summed axes."""
    return b.op("Expand", _kept(b, n, g), b.op("Shape", n.input[0]))


def _reduce_mean(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = Σx/m: g/m spread over the summed axes."""
    x, y = n.input[0], n.output[0]
    count = b.op("Div", b.op("Size", x), b.op("Size", y))
    share = b.op("Div", _kept(b, n, g), b.cast(count, x))
    return b.op("Expand", share, b.op("Shape", x))


def _reduce_sum_square(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = Σx²: 2·g·x."""
    return b.op("Mul", b.scale(_kept(b, n, g), 2.0, n.input[0]), n.input[0])


def _sum_squares(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = Σx² over all elements: 2·g·x."""
    return b.op("Mul", b.scale(g, 2.0, n.input[0]), n.input[0])


def _weighted(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x·w, one weight for each position: g·w."""
    return b.own("Weighted", g, n.input[1], like=n.input[0])


def _reduce_l1(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = Σ|x|: g·sign x."""
    return b.op("Mul", _kept(b, n, g), b.op("Sign", n.input[0]))


def _reduce_l2(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = √Σx²: g·x/y; not a number where y = 0."""
    return b.op("Mul", b.op("Div", _kept(b, n, g), _kept(b, n, n.output[0])), n.input[0])


def _kept(b: Backward, n: NodeProto, reduced: str) -> str:
    """Return a tensor shaped as the output of a reduction, with the reduced axes kept as ones."""
    if attribute(n, "keepdims", 1):
        return reduced
    axes = attribute(n, "axes")
    if axes is not None:
        return b.op("Unsqueeze", reduced, b.builder.integers(*axes))
    if len(n.input) > 1 and n.input[1]:
        constant = b.builder.value_of(n.input[1])
        if constant is None or constant.size:
            return b.op("Unsqueeze", reduced, n.input[1])
    return reduced


def _reshape(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x in another shape: g in the shape of x."""
    return b.reshape_like(g, n.input[0])


def _expand(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x broadcast: g summed over the new axes."""
    return b.unbroadcast(g, n.input[0], n.output[0])


def _transpose(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x with axes permuted: g permuted back."""
    perm = attribute(n, "perm")
    if perm is None:
        return b.op("Transpose", g)
    return b.op("Transpose", g, perm=[list(perm).index(axis) for axis in range(len(perm))])


def _concat(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = [x_0, x_1, ...]: the slice of g that x_i went to."""
    axis = attribute(n, "axis")
    shapes = [b.builder.shape(name) for name in n.input[: i + 1]]
    sizes = [shape[axis] if shape is not None else None for shape in shapes]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) == len(sizes):
        start, end = b.builder.integers(sum(known[:-1])), b.builder.integers(sum(known))
    else:
        start = b.builder.integers(0)
        for before in n.input[:i]:
            start = b.op("Add", start, b.builder.dimension(before, axis))
        end = b.op("Add", start, b.builder.dimension(n.input[i], axis))
    return b.op("Slice", g, start, end, b.builder.integers(axis))


def _split(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """[y_0, y_1, ...] = x: the concatenated cotangents."""
    parts = [b.cotangent_or_zeros(name) for name in n.output]
    return b.op("Concat", *parts, axis=attribute(n, "axis", 0))


def _pad(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x between constants: the part of g where x is."""
    pads = b.builder.value_of(n.input[1])
    if attribute(n, "mode", "constant") != "constant":
        raise NotImplementedError(f"mode {attribute(n, 'mode')!r}, only 'constant' has a rule")
    if len(n.input) > 3 or pads is None or (pads < 0).any():
        raise NotImplementedError("pads must be constant, not negative and given for all axes")
    begin = b.builder.integers(*pads[: pads.size // 2].tolist())
    end = b.op("Add", begin, b.op("Shape", n.input[0]))
    return b.op("Slice", g, begin, end)


def _slice(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x[begin:end:step]: g between zeros."""
    x, start, _, axis, step = [*n.input, "", ""][:5]
    shape = b.builder.shape(x)
    if shape is None:
        return _picked(b, n, g, i)
    rank = len(shape)
    starts = b.builder.value_of(start)
    axes = b.builder.value_of(axis) if axis else np.arange(rank)
    steps = b.builder.value_of(step) if step else np.ones(1)
    if starts is None or axes is None or steps is None or (starts < 0).any() or (steps != 1).any():
        return _picked(b, n, g, i)
    begin = np.zeros(rank, np.int64)
    begin[axes[: starts.size]] = starts
    before = b.op("Min", b.builder.integers(*begin.tolist()), b.op("Shape", x))
    after = b.op("Sub", b.op("Sub", b.op("Shape", x), b.op("Shape", g)), before)
    return b.op("Pad", g, b.op("Concat", before, after, axis=0))


def _picked(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = some elements of x: g added to zeros where its elements were picked.

    The node itself, run on the positions of x, tells where they were.
    """
    picked = b.op(n.op_type, b.positions(n.input[0]), *n.input[1:], **attributes(n))
    return b.scatter(picked, g, n.input[0])


def _depth_to_space(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = blocks of channels laid out in space: laid back."""
    size = attribute(n, "blocksize")
    blocks = b.op("SpaceToDepth", g, blocksize=size)
    if attribute(n, "mode", "DCR") == "DCR":
        return blocks
    channels = (b.builder.shape(n.input[0]) or (None, None))[1]
    if not isinstance(channels, int):
        raise NotImplementedError("mode CRD needs a known number of channels")
    # SpaceToDepth puts the position within a block before the channel, CRD has it behind.
    area = size * size
    split = b.op("Reshape", blocks, b.builder.integers(0, area, channels // area, -1))
    return b.reshape_like(b.op("Transpose", split, perm=[0, 2, 1, 3]), n.input[0])


def _space_to_depth(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = blocks of space laid out in channels: laid back."""
    return b.op("DepthToSpace", g, blocksize=attribute(n, "blocksize"), mode="DCR")


def _clip(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x between bounds: g where x was not clipped, else 0."""
    kept = b.op("Equal", n.input[0], n.output[0])
    return b.op("Where", kept, g, b.scalar(0.0, n.input[0]))


RULES: dict[str, tuple[Rule | None, ...]] = {
    "Abs": (_abs,),
    "Add": (_pass,),
    "AveragePool": (windows.average_pool,),
    "Cast": (_cast,),
    "Clip": (_clip, None),
    "Concat": (_concat,),
    "Conv": (windows.conv_input, windows.conv_weight, windows.conv_bias),
    "ConvTranspose": (
        windows.conv_transpose_input,
        windows.conv_transpose_weight,
        windows.conv_bias,
    ),
    "DepthToSpace": (_depth_to_space,),
    "Div": (_numerator, _denominator),
    "Exp": (_exp,),
    "Expand": (_expand, None),
    "Flatten": (_reshape,),
    "Gather": (_picked, None),
    "GatherElements": (_picked, None),
    "GatherND": (_picked, None),
    "Gemm": (_gemm_left, _gemm_right, _gemm_bias),
    "Identity": (_identity,),
    "Log": (_log,),
    "MatMul": (_matmul,),
    "MaxPool": (windows.max_pool,),
    "Mul": (_multiply,),
    "Neg": (lambda b, n, g, i: b.op("Neg", g),),
    "Pad": (_pad, None),
    "Pow": (_base, _exponent),
    "ReduceL1": (_reduce_l1, None),
    "ReduceL2": (_reduce_l2, None),
    "ReduceMean": (_reduce_mean, None),
    "ReduceSum": (_reduce_sum, None),
    "ReduceSumSquare": (_reduce_sum_square, None),
    "Relu": (_relu,),
    "Reshape": (_reshape, None),
    "Resize": (windows.resize, None),
    "Sigmoid": (_sigmoid,),
    "Slice": (_slice, None),
    "SpaceToDepth": (_space_to_depth,),
    "Split": (_split, None),
    "Sqrt": (_sqrt,),
    "Squeeze": (_reshape, None),
    "Sub": (_pass, _negate),
    "Sum": (_pass,),
    "SumSquares": (_sum_squares,),
    "Tanh": (_tanh,),
    "Transpose": (_transpose,),
    "Unsqueeze": (_reshape, None),
    "Weighted": (_weighted, None),
}
"""Operator to the rules of its inputs; the last one serves all further inputs.

None marks an input without derivative, such as a shape or axes.
"""
