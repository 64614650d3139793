"""Operators in tile layout, for :func:`ortist.export.lowering.lower`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from ortist.engine.tiles import Grid
from ortist.engine.winograd import transforms
from ortist.export.builder import Dimension, attribute
from ortist.export.tiled import Deferred, Lowering, Product, Tiles, Value, equals, match

FEW_CHANNELS = 8
"""With at most so many channels in or out, a plain product beats the transforms of Winograd."""
CHUNKED_CHANNELS = 512
"""A convolution of C channels works through its tiles in so many / C chunks.

Fewer intermediate results are alive at a time then, and more of them in the caches.
"""


def _conv(low: Lowering, node: NodeProto) -> Value | None:
    """A 3×3 convolution with padding 1, by whichever way suits its channels."""
    if low.b.element_type(node.input[1]) not in (TensorProto.FLOAT, TensorProto.UNDEFINED):
        return None
    kernel = low.b.shape(node.input[1])
    grid = low.grid_of(node.input[0])
    if grid is None or kernel is None or not _is_same_3x3(node, kernel):
        return None
    outputs, inputs = (size if isinstance(size, int) else 0 for size in kernel[:2])
    if not outputs or not inputs:
        return None
    if inputs <= FEW_CHANNELS:
        return _conv_of_patches(low, node, grid, (outputs, inputs))
    if outputs <= FEW_CHANNELS:
        return _conv_to_patches(low, node, grid, (outputs, inputs))
    return _winograd(low, node, grid, (outputs, inputs))


def _conv_of_patches(
    low: Lowering, node: NodeProto, grid: Grid, channels: tuple[int, int]
) -> Value | None:
    """From few channels: gather the patch around each position, multiply by the kernel."""
    b, (outputs, inputs) = low.b, channels
    if low.tiles(node.input[0]) is not None:
        return None
    rows, kernel = low.reading_rows(node.input[0]), low.plain(node.input[1])
    if len(node.input) > 2:
        # A channel of ones carries the bias, which then does not leave the picture.
        ones = low.map(grid.inside("reading"))
        rows = b.op("Concat", rows, ones, axis=1)
        centre = b.constant([[[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]], np.float32)
        bias = b.op("Reshape", low.plain(node.input[2]), b.integers(outputs, 1, 1, 1))
        kernel = b.op("Concat", kernel, b.op("Mul", bias, centre), axis=1)
        inputs += 1
    patches = b.op("Gather", rows, low.map(grid.patches("reading", "positions")), axis=0)
    matrix = b.op(
        "Reshape",
        b.op("Transpose", kernel, perm=[2, 3, 1, 0]),
        b.integers(9 * inputs, outputs),
    )
    rows = b.op("MatMul", b.op("Reshape", patches, b.integers(-1, 9 * inputs)), matrix)
    return low.by_place(rows, Tiles("", grid, outputs, clean=True))


def _conv_to_patches(
    low: Lowering, node: NodeProto, grid: Grid, channels: tuple[int, int]
) -> Value | None:
    """To few channels: multiply by the kernel first, then sum what each position sees."""
    b, (outputs, inputs) = low.b, channels
    tiles = low.tiles(node.input[0])
    if tiles is None or tiles.places != "all" or len(node.input) > 2:
        return None
    kernel = b.op("Transpose", low.plain(node.input[1]), perm=[1, 2, 3, 0])
    matrix = b.op("Reshape", kernel, b.integers(inputs, 9 * outputs))
    products = b.op("MatMul", low.rows(tiles), matrix)
    taps = b.op("Reshape", products, b.integers(-1, outputs))
    seen = b.op("Gather", taps, low.map(grid.taps(tiles.order)), axis=0)
    summing = b.constant(np.tile(np.eye(outputs), (9, 1)), np.float32)
    image = b.op("MatMul", b.op("Reshape", seen, b.integers(-1, 9 * outputs)), summing)
    shape = low.shape(Tiles("", grid, outputs))
    return b.op("Reshape", b.op("Transpose", image, perm=[1, 0]), shape)


def _winograd(
    low: Lowering, node: NodeProto, grid: Grid, channels: tuple[int, int]
) -> Value | None:
    """Gather neighbourhoods, transform them, multiply by the transformed kernel, transform back."""
    found = low.source(node.input[0])
    original = low.mirrored_kernel(node.input[1])
    if found is None or not low.is_weight(original or node.input[1]):
        return None
    b, (outputs, inputs) = low.b, channels
    rows, _, order = found
    bias = low.plain(node.input[2]) if len(node.input) > 2 else None
    if original is not None:
        # The same transform serves both directions: a second one would take 200 MB.
        forward = low.transformed(original, (inputs, outputs))
        kernel = b.op("Transpose", forward, perm=[0, 2, 1])
        matrices = transforms(low.tile).mirrored()
    else:
        kernel = low.transformed(node.input[1], channels)
        matrices = transforms(low.tile)
    analysis = b.constant(np.kron(matrices.input, matrices.input), np.float32)
    synthesis = b.constant(_by_window(np.kron(matrices.output, matrices.output)), np.float32)
    seen = (low.tile + 2) ** 2
    rectified = low.is_only_read_by(node.output[0], "Relu")

    def one(rows_seen: str, real: str) -> str:
        spectrum = b.op("Reshape", b.op("Gather", rows, rows_seen, axis=0), b.integers(seen, -1))
        spectrum = b.op("MatMul", analysis, spectrum)
        products = b.op("MatMul", b.op("Reshape", spectrum, b.integers(seen, -1, inputs)), kernel)
        products = b.op("Reshape", products, b.integers(seen, -1))
        if bias is None:
            return b.op("MatMul", synthesis, products)
        # One product adds the bias too, and to all tiles but the zero tile.
        total = b.op("Gemm", synthesis, products, low.offset(real, bias))
        return b.op("Relu", total) if rectified else total

    chunks = max(1, CHUNKED_CHANNELS // max(channels))
    neighbourhoods = low.chunks(low.map(grid.rows(order, "neighbourhoods")), grid, chunks, axis=1)
    reals = low.chunks(low.map(grid.real), grid, chunks, axis=0)
    parts = [one(*pair) for pair in zip(neighbourhoods, reals, strict=True)]
    name = b.op("Concat", *parts, axis=1) if chunks > 1 else parts[0]
    return Tiles(name, grid, outputs, rectified=rectified and bias is not None)


def _is_same_3x3(node: NodeProto, kernel: tuple[Dimension, ...]) -> bool:
    """Tell whether a convolution is 3×3 and keeps the size of the picture."""
    return (
        len(kernel) == 4
        and kernel[2:] == (3, 3)
        and attribute(node, "group", 1) == 1
        and set(attribute(node, "strides", [1])) == {1}
        and set(attribute(node, "dilations", [1])) == {1}
        and set(attribute(node, "pads", [0])) == {1}
        and attribute(node, "auto_pad", "NOTSET") == "NOTSET"
    )


def _by_window(matrix: NDArray[Any]) -> NDArray[Any]:
    """Reorder rows from reading order to that of the tile layout."""
    edge = int(len(matrix) ** 0.5)
    cells = np.arange(edge * edge).reshape(edge // 2, 2, edge // 2, 2)
    return matrix[cells.transpose(0, 2, 1, 3).reshape(-1)]


def _relu(low: Lowering, node: NodeProto) -> Value | None:
    tiles = low.tiles(node.input[0])
    if tiles is None:
        return None
    positive = tiles if tiles.rectified else replace(tiles, name=low.b.op("Relu", tiles.name))
    positive = replace(positive, rectified=False)
    # What is summed over positions must be zero outside; convolutions do not look there.
    measured = low.is_read_by(node.output[0], "Reshape", "Sub", "ReduceSumSquare")
    return low.cleaned(positive) if measured else positive


def _keep_layout(low: Lowering, node: NodeProto) -> Value | None:
    """Elementwise operators of one tensor that take 0 to 0."""
    tiles = low.tiles(node.input[0])
    return None if tiles is None else replace(tiles, name=low.b.op(node.op_type, tiles.name))


def _greater(low: Lowering, node: NodeProto) -> Value | None:
    """Comparison with a constant."""
    tiles, bound = low.tiles(node.input[0]), low.b.value_of(node.input[1])
    if tiles is None or bound is None or bound.ndim > 0:
        return None
    name = low.b.op("Greater", tiles.name, node.input[1])
    return replace(tiles, name=name, clean=tiles.clean and bool(bound >= 0))


def _cast(low: Lowering, node: NodeProto) -> Value | None:
    """A mask stays bool, a quarter of the size, until it is used."""
    tiles = low.tiles(node.input[0])
    from_bool = low.b.element_type(node.input[0]) == TensorProto.BOOL
    if tiles is None or not from_bool or attribute(node, "to") != TensorProto.FLOAT:
        return None
    return Deferred(lambda: low.as_it_was(node), mask=tiles)


def _masked(low: Lowering, mask: Tiles, name: str) -> Value | None:
    """The product of an image and a mask."""
    tiles = low.tiles(name)
    if tiles is None or not match(tiles, mask):
        return None
    numbers = replace(mask, name=low.b.op("Cast", mask.name, to=TensorProto.FLOAT))
    return _elementwise(low, "Mul", tiles, numbers)


def _add(low: Lowering, node: NodeProto) -> Value | None:
    """A sum; one with a product is computed together with it."""
    for name, other in (node.input, reversed(node.input)):
        product, scalar = low.value(name), _scalar(low, name)
        if isinstance(product, Deferred) and product.column is not None:
            return _shift(low, product.column, other)
        # Asked for where it is needed only: it would compute a product.
        tiles = low.tiles(other) if scalar is not None else None
        if tiles is not None and scalar is not None:
            column = low.b.op("Expand", scalar, low.b.integers(tiles.channels, 1))
            return low.shifted(tiles, column)
        if not isinstance(product, Product):
            continue
        tiles = low.tiles(other)
        same = tiles is not None and tiles == replace(
            product.tiles, name=tiles.name, clean=tiles.clean
        )
        if tiles is not None and same:
            total = low.b.op("Gemm", product.rows, product.matrix, low.rows(tiles), transB=1)
            both = replace(tiles, clean=tiles.clean and product.tiles.clean)
            return low.shifted(low.by_place(total, both), product.column)
    return _binary(low, node)


def _shift(low: Lowering, column: str, name: str) -> Value | None:
    """A matrix, perhaps a product that is yet to be computed, and the same for each position."""
    value = low.value(name)
    if isinstance(value, Product) and value.tiles.form == "matrix" and value.column is None:
        return replace(value, column=column, tiles=replace(value.tiles, clean=False))
    tiles = low.tiles(name)
    return low.shifted(tiles, column) if tiles is not None and tiles.form == "matrix" else None


def _binary(low: Lowering, node: NodeProto) -> Value | None:
    """Elementwise operators of two tensors of equal shape."""
    pair = _alike(low, node)
    return None if pair is None else _elementwise(low, node.op_type, *pair)


def _divide(low: Lowering, node: NodeProto) -> Value | None:
    """A quotient of two tensors of equal shape; outside the picture it is by 1."""
    pair = _alike(low, node)
    if pair is None:
        return None
    first, second = pair[0], low.spread(pair[1])
    # Zeros divided by zeros there would stay: no mask makes 0 of what is not a number.
    inside = low.b.op("Cast", low.map(second.picture.inside(second.order)), to=TensorProto.BOOL)
    rows = low.b.op("Where", inside, low.rows(second), low.b.constant(1, np.float32))
    quotient = _elementwise(low, "Div", first, low.by_place(rows, second))
    return replace(quotient, clean=first.clean)


def _sqrt(low: Lowering, node: NodeProto) -> Value | None:
    """A root, not taken of what lies outside the picture, which may be negative."""
    tiles = low.tiles(node.input[0])
    if tiles is None:
        return None
    tiles = low.cleaned(tiles)
    return replace(tiles, name=low.b.op("Sqrt", tiles.name))


def _alike(low: Lowering, node: NodeProto) -> tuple[Tiles, Tiles] | None:
    """Return both operands in the same layout, that of the pooled one if there is one."""
    first, second = (low.tiles(name) for name in node.input)
    if second is not None and (first is None or second.places == "pooled"):
        first = low.tiled(node.input[0], second)
    elif first is not None:
        second = low.tiled(node.input[1], first)
    return None if first is None or second is None else (first, second)


def _elementwise(low: Lowering, op_type: str, first: Tiles, second: Tiles) -> Tiles:
    both = op_type == "Mul" and (first.clean or second.clean)
    clean = both or (first.clean and second.clean)
    if first.places == second.places:
        return replace(first, name=low.b.op(op_type, first.name, second.name), clean=clean)
    whole = first if first.places == "all" else second
    windows = low.b.op(op_type, low.windows(first), low.windows(second))
    return replace(low.flat(windows, whole), clean=clean)


def _scale(low: Lowering, node: NodeProto) -> Value | None:
    """A product, perhaps with a mask, a scalar, or a tensor of equal elements."""
    for name, other in (node.input, reversed(node.input)):
        factor = low.value(name)
        if isinstance(factor, Deferred) and factor.mask is not None:
            return _masked(low, factor.mask, other)
        scalar, value = _scalar(low, name), low.value(other)
        if scalar is None or isinstance(value, str):
            continue
        value = low.tiles(other) or value
        if isinstance(value, Tiles):
            return replace(value, name=low.b.op("Mul", value.name, scalar))
        if isinstance(value, Deferred) and value.uniform is not None:
            product = low.b.op("Mul", value.uniform, scalar)
            return Deferred(lambda: low.as_it_was(node), uniform=product)
    return _binary(low, node)


def _scalar(low: Lowering, name: str) -> str | None:
    """Return a tensor of one element, or one whose elements are all equal, as a scalar."""
    value = low.value(name)
    if isinstance(value, Deferred):
        return value.uniform
    shape = low.b.shape(name)
    return value if isinstance(value, str) and shape is not None and set(shape) <= {1} else None


def _average_pool(low: Lowering, node: NodeProto) -> Value | None:
    tiles = low.tiles(node.input[0])
    if tiles is None or tiles.places != "all" or not _is_halving(node):
        return None
    count = tiles.count
    mean = np.kron(np.eye(count // 4), np.full((1, 4), 0.25))
    name = low.b.op("MatMul", low.b.constant(mean, np.float32), tiles.name)
    return replace(tiles, name=name, places="pooled", clean=False)


def _max_pool(low: Lowering, node: NodeProto) -> Value | None:
    tiles = low.tiles(node.input[0])
    if tiles is None or tiles.places != "all" or not _is_halving(node) or len(node.output) > 1:
        return None
    name = low.b.op("ReduceMax", low.windows(tiles), low.b.integers(1), keepdims=0)
    return replace(tiles, name=name, places="pooled", clean=False)


def _is_halving(node: NodeProto) -> bool:
    """Tell whether a pooling is over 2×2 windows side by side."""
    return (
        list(attribute(node, "kernel_shape")) == [2, 2]
        and list(attribute(node, "strides", [])) == [2, 2]
        and not any(attribute(node, "pads", []))
        and not attribute(node, "ceil_mode", 0)
        and not attribute(node, "storage_order", 0)
        and set(attribute(node, "dilations", [1])) == {1}
        and attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    )


def _if_needed(low: Lowering, node: NodeProto) -> Value | None:
    """What the lowered operators around it do without."""
    tiled = any(not isinstance(low.value(name), str) for name in node.input)
    return Deferred(lambda: low.as_it_was(node)) if tiled else None


def _unpool(low: Lowering, node: NodeProto) -> Value | None:
    """Padding of a twofold enlargement to an image's size: backward of average pooling."""
    b = low.b
    enlarge, pads = b.producer(node.input[0]), b.producer(node.input[1])
    if enlarge is None or enlarge.op_type != "Resize" or pads is None or pads.op_type != "Concat":
        return None
    begin, missing = (b.producer(name) for name in [*pads.input, "", ""][:2])
    if begin is None or missing is None or missing.op_type != "Sub":
        return None
    sizes, own = (b.producer(name) for name in missing.input)
    if sizes is None or own is None or not _is_whole_shape(sizes) or not _is_whole_shape(own):
        return None
    at_the_end = (
        len(node.input) == 2
        and attribute(node, "mode", "constant") == "constant"
        and begin.op_type == "Mul"
        and begin.input[0] == pads.input[1]
        and equals(b.value_of(begin.input[1]), [0])
        and own.input[0] == node.input[0]
    )
    like = low.tiles(sizes.input[0])
    if not at_the_end or not _is_doubling(low, enlarge) or like is None:
        return None
    return _over_windows(low, enlarge.input[0], like)


def _is_doubling(low: Lowering, enlarge: NodeProto) -> bool:
    """Tell whether a Resize repeats each row and column once."""
    return (
        len(enlarge.input) == 3
        and equals(low.b.value_of(enlarge.input[2]), [1, 1, 2, 2])
        and attribute(enlarge, "mode", "nearest") == "nearest"
        and attribute(enlarge, "coordinate_transformation_mode") == "asymmetric"
        and attribute(enlarge, "nearest_mode") == "floor"
        and attribute(enlarge, "axes") is None
    )


def _is_whole_shape(node: NodeProto) -> bool:
    return node.op_type == "Shape" and not node.attribute


def _over_windows(low: Lowering, name: str, like: Tiles) -> Tiles | None:
    """Return an image of half the size of ``like`` as one value for each of its windows."""
    tiles = low.tiles(name)
    if like.places != "all" or tiles is None or tiles.picture != like.grid.coarser:
        return None
    if tiles.places == "pooled":
        return replace(low.cleaned(tiles), places="windows")
    rows = low.gather(name, "windows")
    blank = Tiles("", like.grid, tiles.channels, places="windows", clean=True)
    return low.by_place(rows, blank) if rows is not None else None


def _max_unpool(low: Lowering, node: NodeProto) -> Value | None:
    """Backward of max pooling: each window's value goes to its first maximum, the rest is zero."""
    zeros, positions, updates = (low.b.producer(name) for name in node.input)
    if zeros is None or positions is None or updates is None:
        return None
    if attribute(node, "reduction") != "add" or zeros.op_type != "ConstantOfShape":
        return None
    pool = low.b.producer(positions.input[0])
    flattened = positions.op_type == updates.op_type == "Reshape"
    if not flattened or pool is None or pool.op_type != "MaxPool" or not _is_halving(pool):
        return None
    activation = low.tiles(pool.input[0])
    gradient = _over_windows(low, updates.input[0], activation) if activation else None
    if activation is None or gradient is None:
        return None
    b, axis = low.b, low.b.integers(1)
    values = low.windows(activation)
    largest = b.op("Equal", values, b.op("ReduceMax", values, axis, keepdims=1))
    first = b.op("Split", largest, b.integers(1, 1, 1, 1), outputs=4, axis=1)
    others = [f"{first}:{index}" for index in (1, 2, 3)]
    taken, chosen = first, [first]
    for here in others:
        chosen.append(
            b.op("Greater", *[b.op("Cast", t, to=TensorProto.FLOAT) for t in (here, taken)])
        )
        taken = b.op("Or", taken, here)
    mask = b.op("Cast", b.op("Concat", *chosen, axis=1), to=TensorProto.FLOAT)
    flat = low.flat(b.op("Mul", low.windows(gradient), mask), activation)
    return replace(flat, clean=True, form="flat")


def _reshape(low: Lowering, node: NodeProto) -> Value | None:
    """An image unrolled to a matrix, or rolled up again."""
    value, target = low.value(node.input[0]), low.b.value_of(node.input[1])
    tiles = value.tiles if isinstance(value, Product) else low.tiles(node.input[0])
    if tiles is None:
        return None
    if target is not None:
        tiles = low.tiles(node.input[0]) or tiles
        unrolled = tiles.form == "image" and target.tolist() == [tiles.channels, -1]
        return replace(low.cleaned(low.spread(tiles)), form="matrix") if unrolled else None
    sizes = low.b.producer(node.input[1])
    like = low.tiles(sizes.input[0]) if sizes is not None and _is_whole_shape(sizes) else None
    if like is None or like.form != "image" or like.channels != tiles.channels:
        return None
    if like.picture != tiles.picture or tiles.form not in ("matrix", "flat"):
        return None
    rolled = replace(tiles, form="image")
    return replace(value, tiles=rolled) if isinstance(value, Product) else rolled


def _transpose(low: Lowering, node: NodeProto) -> Value | None:
    tiles = low.tiles(node.input[0])
    swap = list(attribute(node, "perm", [1, 0])) == [1, 0]
    if tiles is None or tiles.form != "matrix" or not swap:
        return None
    return replace(tiles, form="transposed")


def _matmul(low: Lowering, node: NodeProto) -> Value | None:
    """Products over positions, as Gram matrices, or over the channels of a matrix."""
    left, right = (low.tiles(name) for name in node.input)
    if left is not None and right is not None:
        forms = (left.form, right.form) == ("matrix", "transposed")
        if not forms or left.grid != right.grid or not (left.clean or right.clean):
            return None
        return low.b.op("Gemm", low.rows(left), low.rows(right), transA=1)
    shape = low.b.shape(node.input[0])
    if right is None or right.form != "matrix" or shape is None or len(shape) != 2:
        return None
    if not isinstance(shape[0], int):
        return None
    result = replace(right, name="", channels=shape[0])
    return Product(low.rows(right), low.plain(node.input[0]), result)


def _shape(low: Lowering, node: NodeProto) -> Value | None:
    tiles = low.tiles(node.input[0])
    if tiles is None:
        return _if_needed(low, node)
    shape = low.shape(tiles)
    start, end = attribute(node, "start", 0), attribute(node, "end", 2**31)
    if (start, end) == (0, 2**31):
        return shape
    return low.b.op("Slice", shape, low.b.integers(start), low.b.integers(end))


def _size(low: Lowering, node: NodeProto) -> Value | None:
    tiles = low.tiles(node.input[0])
    return None if tiles is None else low.b.op("ReduceProd", low.shape(tiles), keepdims=0)


def _reduce_sum_square(low: Lowering, node: NodeProto) -> Value | None:
    """Squares summed along rows; along channels instead if all that follows is their sum."""
    tiles = low.tiles(node.input[0])
    axes = low.b.value_of(node.input[1]) if len(node.input) > 1 else None
    if tiles is None or axes is None or tiles.form != "image":
        return None
    rows = low.rows(low.cleaned(low.spread(tiles)))
    sums = low.b.op("ReduceSumSquare", rows, low.b.integers(1), keepdims=0)
    return Deferred(lambda: low.as_it_was(node), unordered=sums)


def _reduce_sum(low: Lowering, node: NodeProto) -> Value | None:
    """Sums over the positions of a matrix, or over all that was summed by channels before."""
    value, tiles = low.value(node.input[0]), low.tiles(node.input[0])
    if tiles is not None:
        axes = low.b.value_of(node.input[1]) if len(node.input) > 1 else None
        if tiles.form != "matrix" or not equals(axes, [1]) or not attribute(node, "keepdims", 1):
            return None
        rows = low.rows(low.cleaned(low.spread(tiles)))
        sums = low.b.op("ReduceSum", rows, low.b.integers(0), keepdims=0)
        return low.b.op("Reshape", sums, low.b.integers(-1, 1))
    if not isinstance(value, Deferred) or value.unordered is None or len(node.input) > 1:
        return None
    if attribute(node, "keepdims", 1) or attribute(node, "noop_with_empty_axes", 0):
        return None
    return low.b.op("ReduceSum", value.unordered, keepdims=0)


def _expand(low: Lowering, node: NodeProto) -> Value | None:
    """A tensor of equal elements, or a matrix of equal columns."""
    sizes = low.b.producer(node.input[1])
    like = low.tiles(sizes.input[0]) if sizes is not None and _is_whole_shape(sizes) else None
    if like is not None and like.form == "matrix":
        if low.b.shape(node.input[0]) != (like.channels, 1):
            return None
        return Deferred(lambda: low.as_it_was(node), column=low.plain(node.input[0]))
    scalar = _scalar(low, node.input[0])
    if scalar is None or not isinstance(low.value(node.input[1]), Deferred):
        return None
    return Deferred(lambda: low.as_it_was(node), uniform=scalar)


def _unsqueeze(low: Lowering, node: NodeProto) -> Value | None:
    value = low.value(node.input[0])
    if not isinstance(value, Deferred):
        return None
    return Deferred(lambda: low.as_it_was(node), uniform=value.uniform)


TILE_RULES: dict[str, Callable[[Lowering, NodeProto], Value | None]] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "Cast": _cast,
    "Conv": _conv,
    "Div": _divide,
    "Expand": _expand,
    "Greater": _greater,
    "Identity": _keep_layout,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mul": _scale,
    "Neg": _keep_layout,
    "Pad": _unpool,
    "ReduceSum": _reduce_sum,
    "ReduceSumSquare": _reduce_sum_square,
    "Relu": _relu,
    "Reshape": _reshape,
    "Resize": _if_needed,
    "ScatterElements": _max_unpool,
    "Shape": _shape,
    "Size": _size,
    "Sqrt": _sqrt,
    "Sub": _binary,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operator to the function that emits it in tile layout, or returns None where it cannot."""
