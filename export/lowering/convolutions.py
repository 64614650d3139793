"""Convolutions in block layout, forward and backward, by whichever way suits their channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from ortist.export.builder import Dimension, attribute
from ortist.export.lowering.layouts import Blocks, Lowering, Rule, Value
from ortist.export.operators import mirrored
from ortist.models.blocks import Grid
from ortist.models.winograd import TRANSFORMED_SUFFIX, transforms

FEW_CHANNELS = 8
"""With at most so many channels in or out, a plain product beats the transforms of Winograd."""
CHUNKED_CHANNELS = 512
"""A convolution of C channels works through its blocks in so many / C chunks.

Fewer intermediate results are alive at a time then, and more of them in the caches.
"""


@dataclass(frozen=True)
class _Convolution:
    """A 3×3 convolution with padding 1.

    Attributes:
        source: what it is of, a tensor of the original graph that has a grid.
        kernel: a tensor of the original graph, (outputs, inputs, 3, 3) unless mirrored.
        bias: (outputs,), by name, if there is one.
        mirrored: whether it is with the kernel (inputs, outputs, 3, 3) turned by 180°.
        grid: that of the source and of the result.
        inputs: channels.
        outputs: channels.
        rectified: whether only what is above 0 of the result is of interest.
    """

    source: str
    kernel: str
    bias: str | None
    mirrored: bool
    grid: Grid
    inputs: int
    outputs: int
    rectified: bool = False


def _convolution(low: Lowering, node: NodeProto) -> Value | None:
    """A convolution, or its backward, if it is 3×3 and keeps the size of the picture."""
    source, kernel, *bias = node.input
    shape, grid = low.b.shape(kernel), low.grid_of(source)
    if grid is None or shape is None or not _is_same_3x3(node, shape):
        return None
    if low.b.element_type(kernel) not in (TensorProto.FLOAT, TensorProto.UNDEFINED):
        return None
    backward = node.op_type == "ConvInputGrad"
    inputs, outputs = shape[:2] if backward else shape[1::-1]
    if not isinstance(inputs, int) or not isinstance(outputs, int):
        return None
    c = _Convolution(
        source,
        kernel,
        bias=low.plain(bias[0]) if bias else None,
        mirrored=backward,
        grid=grid,
        inputs=inputs,
        outputs=outputs,
        rectified=bool(bias) and low.is_only_read_by(node.output[0], "Relu"),
    )
    if inputs <= FEW_CHANNELS:
        return _of_patches(low, c)
    if outputs <= FEW_CHANNELS:
        return _to_patches(low, c)
    return _winograd(low, c)


def _is_same_3x3(node: NodeProto, kernel: tuple[Dimension, ...]) -> bool:
    return (
        len(kernel) == 4
        and kernel[2:] == (3, 3)
        and attribute(node, "group", 1) == 1
        and set(attribute(node, "strides", [1])) == {1}
        and set(attribute(node, "dilations", [1])) == {1}
        and set(attribute(node, "pads", [0])) == {1}
        and attribute(node, "auto_pad", "NOTSET") == "NOTSET"
    )


def _of_patches(low: Lowering, c: _Convolution) -> Value:
    """From few channels: gather the patch around each position, multiply by the kernel."""
    b, inputs = low.b, c.inputs
    rows, kernel = low.reading_rows(c.source), _kernel(low, c)
    if c.bias is not None:
        # A channel of ones carries the bias, which then does not leave the picture.
        rows = b.op("Concat", rows, low.map(c.grid.inside("reading")), axis=1)
        center = b.constant([[[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]], np.float32)
        bias = b.op("Reshape", c.bias, b.integers(c.outputs, 1, 1, 1))
        kernel = b.op("Concat", kernel, b.op("Mul", bias, center), axis=1)
        inputs += 1
    patches = b.op("Gather", rows, low.map(c.grid.patches("reading", "positions")), axis=0)
    matrix = b.op("Transpose", kernel, perm=[2, 3, 1, 0])
    matrix = b.op("Reshape", matrix, b.integers(9 * inputs, c.outputs))
    rows = b.op("MatMul", b.op("Reshape", patches, b.integers(-1, 9 * inputs)), matrix)
    return low.with_rows(rows, Blocks("", c.grid, c.outputs, clean=True))


def _to_patches(low: Lowering, c: _Convolution) -> Value | None:
    """To few channels: multiply by the kernel first, then sum what each position sees."""
    b, blocks = low.b, low.blocks(c.source)
    if blocks is None or blocks.places != "all" or c.bias is not None:
        return None
    matrix = b.op("Transpose", _kernel(low, c), perm=[1, 2, 3, 0])
    matrix = b.op("Reshape", matrix, b.integers(c.inputs, 9 * c.outputs))
    products = b.op("MatMul", low.rows(blocks), matrix)
    taps = b.op("Reshape", products, b.integers(-1, c.outputs))
    seen = b.op("Gather", taps, low.map(c.grid.taps(blocks.order)), axis=0)
    summing = b.constant(np.tile(np.eye(c.outputs), (9, 1)), np.float32)
    image = b.op("MatMul", b.op("Reshape", seen, b.integers(-1, 9 * c.outputs)), summing)
    shape = low.shape(Blocks("", c.grid, c.outputs))
    return b.op("Reshape", b.op("Transpose", image, perm=[1, 0]), shape)


def _kernel(low: Lowering, c: _Convolution) -> str:
    """Return the kernel (outputs, inputs, 3, 3)."""
    kernel = low.plain(c.kernel)
    return mirrored(low.b, kernel, axes=2) if c.mirrored else kernel


def _winograd(low: Lowering, c: _Convolution) -> Value | None:
    """Gather neighborhoods, transform them, multiply by the transformed kernel, transform back."""
    b = low.b
    # Whoever runs the graph has to know the kernel, to transform it.
    if not (c.kernel in b.inputs or b.is_stored(c.kernel)):
        return None
    rows, _, order = low.ordered(c.source)
    matrices = transforms(low.block)
    if c.mirrored:
        # The same transform serves both directions: a second one would take 200 MB.
        kernel = b.op("Transpose", _transformed(low, c.kernel, c.outputs, c.inputs), perm=[0, 2, 1])
        matrices = matrices.mirrored()
    else:
        kernel = _transformed(low, c.kernel, c.inputs, c.outputs)
    analysis = b.constant(np.kron(matrices.input, matrices.input), np.float32)
    synthesis = b.constant(_by_quad(np.kron(matrices.output, matrices.output)), np.float32)
    seen = (low.block + 2) ** 2

    def chunk(rows_seen: str, real: str) -> str:
        spectrum = b.op("Reshape", b.op("Gather", rows, rows_seen, axis=0), b.integers(seen, -1))
        spectrum = b.op("MatMul", analysis, spectrum)
        products = b.op("MatMul", b.op("Reshape", spectrum, b.integers(seen, -1, c.inputs)), kernel)
        products = b.op("Reshape", products, b.integers(seen, -1))
        if c.bias is None:
            return b.op("MatMul", synthesis, products)
        # One product adds the bias too, and to all blocks but the zero block.
        total = b.op("Gemm", synthesis, products, low.offset(real, c.bias))
        return b.op("Relu", total) if c.rectified else total

    count = max(1, CHUNKED_CHANNELS // max(c.inputs, c.outputs))
    neighborhoods = low.map(c.grid.rows(order, "neighborhoods"))
    chunks = zip(
        _chunks(low, neighborhoods, c.grid, count, axis=1),
        _chunks(low, low.map(c.grid.real), c.grid, count, axis=0),
        strict=True,
    )
    parts = [chunk(*pair) for pair in chunks]
    name = b.op("Concat", *parts, axis=1) if count > 1 else parts[0]
    return Blocks(name, c.grid, c.outputs, rectified=c.rectified)


def _transformed(low: Lowering, kernel: str, inputs: int, outputs: int) -> str:
    """Return the input that receives the transform of a kernel: (n², inputs, outputs)."""
    name = kernel + TRANSFORMED_SUFFIX
    if not low.b.knows(name):
        low.b.add_input(name, [(low.block + 2) ** 2, inputs, outputs])
    return name


def _chunks(low: Lowering, name: str, grid: Grid, count: int, axis: int) -> list[str]:
    """Return a tensor, which has all blocks along ``axis``, in so many parts."""
    if count == 1:
        return [name]
    first = low.b.op("Split", name, low.map(grid.parts(count)), outputs=count, axis=axis)
    return [first, *(f"{first}:{index}" for index in range(1, count))]


def _by_quad(matrix: NDArray[Any]) -> NDArray[Any]:
    """Reorder rows from reading order to that of the block layout."""
    edge = int(len(matrix) ** 0.5)
    cells = np.arange(edge * edge).reshape(edge // 2, 2, edge // 2, 2)
    return matrix[cells.transpose(0, 2, 1, 3).reshape(-1)]


RULES: dict[str, Rule] = {"Conv": _convolution, "ConvInputGrad": _convolution}
