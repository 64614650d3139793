"""Lowers a differentiated graph for CPUs: 3×3 convolutions become Winograd's, in standard ops.

The pass reads the graph once, in order, and keeps for every tensor how it is represented: as it
was, or in tile layout (see :mod:`ortist.export.tiles`). Operators with an entry in
:data:`LOWERINGS` work on tiles; before any other operator a tensor is put back as it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from ortist.engine.winograd import POINTS, TRANSFORMED_SUFFIX, transforms
from ortist.export.builder import Dimension, GraphBuilder, attribute, prune, reads
from ortist.export.tiles import Grid, Places, RowOrder

FEW_CHANNELS = 8
"""With at most so many channels in or out, a plain product beats the transforms of Winograd."""
CHUNKED_CHANNELS = 512
"""A convolution of C channels works through its tiles in so many / C chunks.

Fewer intermediate results are alive at a time then, and more of them in the caches.
"""


@dataclass(frozen=True)
class Tiles:
    """A tensor in tile layout, (places per tile, (tiles + 1)·C).

    Attributes:
        name: the tensor.
        grid: how the picture is cut.
        channels: C.
        form: ``"image"`` for what was (1, C, H, W), ``"matrix"`` for (C, H·W), ``"transposed"``
            for (H·W, C), ``"flat"`` for (C·H·W).
        places: ``"all"`` positions; ``"pooled"``, those of the coarser picture in the same tiles;
            ``"windows"``, one value for each window, which stands for its four positions.
        clean: whether positions outside the picture are zero.
        rectified: whether negative values are zero already.
    """

    name: str
    grid: Grid
    channels: int
    form: Literal["image", "matrix", "transposed", "flat"] = "image"
    places: Literal["all", "pooled", "windows"] = "all"
    clean: bool = False
    rectified: bool = False

    @property
    def picture(self) -> Grid:
        """The grid of the picture whose values these are."""
        return self.grid.coarser if self.places == "pooled" else self.grid

    @property
    def order(self) -> RowOrder:
        """Where which position is."""
        return self.grid.pooled_order if self.places == "pooled" else self.grid.order

    @property
    def count(self) -> int:
        """Places per tile."""
        return self.grid.edge**2 // (1 if self.places == "all" else 4)


@dataclass(frozen=True)
class Product:
    """Tiles that are a matrix product yet to be computed, perhaps together with a sum.

    Attributes:
        rows: (rows, C), by name.
        matrix: (K, C), by name; the product is rows·matrixᵀ.
        tiles: everything about the result but its name.
    """

    rows: str
    matrix: str
    tiles: Tiles


@dataclass(frozen=True)
class Deferred:
    """A tensor that is not computed unless something needs it as it was.

    Attributes:
        plain: computes it.
        uniform: a scalar that all its elements equal, if they do.
        unordered: a tensor with the same sum of elements, if there is one.
        mask: the tensor as bool, if it is a cast of one.
    """

    plain: Callable[[], str]
    uniform: str | None = None
    unordered: str | None = None
    mask: Tiles | None = None


Value = str | Tiles | Product | Deferred


def lower(model: ModelProto, tile: int) -> ModelProto:
    """Return ``model`` with its 3×3 stride-1 convolutions as Winograd's F(tile×tile, 3×3).

    Lowered are convolutions with padding 1 and enough channels, of batches of one. Transformed
    kernels, see :func:`ortist.engine.winograd.transform_kernel`, become inputs float32 (n², C, K)
    named ``<kernel>/winograd``; one serves a convolution and its backward.

    Args:
        model: a graph made by :func:`ortist.export.differentiate.differentiate`, or any other;
            not changed.
        tile: 4 or 6.

    Raises:
        ValueError: for another tile size.
    """
    if tile not in POINTS:
        raise ValueError(f"tile is {tile}, accepted are {', '.join(map(str, POINTS))}")
    lowering = _Lowering(model, tile)
    for node in model.graph.node:
        lowering.visit(node)
    for output in model.graph.output:
        lowering.restore(output.name)
    prune(lowering.b.model)
    return lowering.b.model


class _Lowering:
    """The state of one pass: the graph that grows, and how each old tensor is represented."""

    def __init__(self, model: ModelProto, tile: int) -> None:
        self.b = GraphBuilder(model)
        del self.b.graph.node[:]
        self.tile = tile
        self._values: dict[str, Value] = {}
        self._plain: dict[str, str] = {}
        self._grids: dict[tuple[Dimension, ...], Grid] = {}
        self._transformed: dict[str, str] = {}
        self._restored: set[str] = set()
        self._readers: dict[str, set[str]] = defaultdict(set)
        for node in model.graph.node:
            for name in reads(node):
                self._readers[name].add(node.op_type)
        for value in model.graph.output:
            self._readers[value.name].add("")

    def visit(self, node: NodeProto) -> None:
        """Emit a node, lowered if that can be."""
        rule = LOWERINGS.get(node.op_type)
        value = rule(self, node) if rule is not None else None
        if value is None:
            self.as_it_was(node)
            return
        self._values[node.output[0]] = value
        if isinstance(value, Tiles):
            self._remember(node.output[0], value.picture)

    def restore(self, name: str) -> None:
        """Make sure that a tensor is there as it was, under its name."""
        plain = self.plain(name)
        if plain != name and name not in self._restored:
            self._restored.add(name)
            self.b.graph.node.append(helper.make_node("Identity", [plain], [name], name))

    def as_it_was(self, node: NodeProto) -> str:
        """Emit a node unchanged and return its first output."""
        inputs = [self.plain(name) for name in node.input]
        for name in reads(node)[len(inputs) :]:
            self.restore(name)
        copy = self.b.graph.node.add()
        copy.CopyFrom(node)
        copy.input[:] = inputs
        return str(node.output[0])

    def value(self, name: str) -> Value:
        """Return how a tensor of the original graph is represented."""
        return self._values.get(name, name)

    def tiles(self, name: str) -> Tiles | None:
        """Return a tensor if it is in tile layout."""
        value = self.value(name)
        if isinstance(value, Product):
            matrix = self.b.op("Transpose", value.matrix, perm=[1, 0])
            product = self.b.op("MatMul", value.rows, matrix)
            value = self._values[name] = self.by_place(product, value.tiles)
        return value if isinstance(value, Tiles) else None

    def plain(self, name: str) -> str:
        """Return a tensor as it was in the original graph."""
        value = self.tiles(name) or self.value(name)
        if isinstance(value, str):
            return value
        if name not in self._plain:
            self._plain[name] = (
                self.untile(value) if isinstance(value, Tiles) else value.plain()  # type: ignore[union-attr]
            )
        return self._plain[name]

    def is_read_by(self, name: str, *op_types: str) -> bool:
        """Tell whether a node of one of those types reads a tensor of the original graph."""
        return not self._readers[name].isdisjoint(op_types)

    def is_only_read_by(self, name: str, op_type: str) -> bool:
        """Tell whether all that reads a tensor of the original graph is nodes of one type."""
        return self._readers[name] == {op_type}

    def grid_of(self, name: str) -> Grid | None:
        """Return the grid of an image; None if its size or batch cannot be told.

        Images of the same, possibly symbolic, size have the same grid.
        """
        tiles = self.tiles(name)
        if tiles is not None:
            return tiles.picture
        shape = self.b.shape(name)
        if shape is None or len(shape) != 4 or shape[0] != 1 or None in shape:
            return None
        if shape[2:] not in self._grids:
            sizes = self.b.op("Shape", self.plain(name))
            sides = [self.b.op("Gather", sizes, self.b.integers(axis)) for axis in (2, 3)]
            self._grids[shape[2:]] = Grid(self.b, sides[0], sides[1], self.tile)
        return self._grids[shape[2:]]

    def _remember(self, name: str, grid: Grid) -> None:
        shape = self.b.shape(name)
        if shape is not None and len(shape) == 4 and None not in shape:
            self._grids.setdefault(shape[2:], grid)

    def rows(self, tiles: Tiles) -> str:
        """Return a tensor in tile layout as a matrix (rows, C)."""
        return self.b.op("Reshape", tiles.name, self.b.integers(-1, tiles.channels))

    def by_place(self, rows: str, tiles: Tiles) -> Tiles:
        """Return ``tiles`` with other values, given as rows."""
        return replace(tiles, name=self.b.op("Reshape", rows, self.b.integers(tiles.count, -1)))

    def source(self, name: str) -> tuple[str, RowOrder] | None:
        """Return an image as a matrix of rows, whatever its layout, and their order."""
        tiles = self.tiles(name)
        if tiles is not None:
            tiles = self.spread(tiles)
            return self.rows(tiles), tiles.order
        grid = self.grid_of(name)
        return None if grid is None else (self.reading_rows(name), grid.reading_order)

    def gather(self, name: str, places: Places) -> str | None:
        """Return the rows of an image at ``places``, whatever its layout."""
        source = self.source(name)
        if source is None:
            return None
        return self.b.op("Gather", source[0], source[1].index(places), axis=0)

    def tiled(self, name: str, like: Tiles) -> Tiles | None:
        """Return an image of the size of ``like`` in its layout, None if it has another size."""
        tiles = self.tiles(name)
        if tiles is not None:
            return tiles if _match(tiles, like) else None
        shape = self.b.shape(name)
        if like.form != "image" or like.places == "pooled" or shape is None:
            return None
        if self.grid_of(name) is not like.grid or shape[1] != like.channels:
            return None
        rows = self.gather(name, like.grid.positions)
        return (
            self.by_place(rows, Tiles("", like.grid, like.channels, clean=True)) if rows else None
        )

    def reading_rows(self, name: str) -> str:
        """Return a plain image (1, C, H, W) as rows (H·W + 1, C), the last one zeros."""
        name = self.plain(name)
        b, channels = self.b, self.b.dimension(name, 1)
        matrix = b.op("Reshape", name, b.op("Concat", channels, b.integers(-1), axis=0))
        zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
        shape = b.op("Concat", b.integers(1), channels, axis=0)
        zeros = b.op("ConstantOfShape", shape, value=zero)
        return b.op("Concat", b.op("Transpose", matrix, perm=[1, 0]), zeros, axis=0)

    def untile(self, tiles: Tiles) -> str:
        """Return what a tensor in tile layout was."""
        tiles = self.spread(tiles)
        index = tiles.order.index(tiles.picture.everywhere, zero_tile=False)
        matrix = self.b.op("Gather", self.rows(tiles), index, axis=0)
        if tiles.form == "transposed":
            return matrix
        matrix = self.b.op("Transpose", matrix, perm=[1, 0])
        return self.b.op("Reshape", matrix, self.shape(tiles))

    def shape(self, tiles: Tiles) -> str:
        """Return the shape of what a tensor in tile layout was, int64."""
        b, picture, channels = self.b, tiles.picture, self.b.integers(tiles.channels)
        if tiles.form == "image":
            return b.op("Concat", b.integers(1), channels, picture.height, picture.width, axis=0)
        if tiles.form == "flat":
            return b.integers(-1)
        area = b.op("Mul", picture.height, picture.width)
        parts = (channels, area) if tiles.form == "matrix" else (area, channels)
        return b.op("Concat", *parts, axis=0)

    def windows(self, tiles: Tiles) -> str:
        """Return tiles as (windows, positions in the window, the rest); 1 position if not all."""
        quarter = tiles.grid.edge**2 // 4
        return self.b.op(
            "Reshape", tiles.name, self.b.integers(quarter, tiles.count // quarter, -1)
        )

    def spread(self, tiles: Tiles) -> Tiles:
        """Return tiles with a value for every position."""
        if tiles.places != "windows":
            return tiles
        four = self.b.constant(np.ones((1, 4, 1)), np.float32)
        return self.flat(self.b.op("Mul", self.windows(tiles), four), replace(tiles, places="all"))

    def flat(self, windows: str, tiles: Tiles) -> Tiles:
        """Return ``tiles`` with other values, given by windows."""
        return replace(tiles, name=self.b.op("Reshape", windows, self.b.integers(tiles.count, -1)))

    def cleaned(self, tiles: Tiles) -> Tiles:
        """Return tiles with zeros outside the picture."""
        if tiles.clean:
            return tiles
        tiles = self.spread(tiles)
        mask = tiles.grid.pooled_mask if tiles.places == "pooled" else tiles.grid.mask
        masked = self.b.op("Mul", self.rows(tiles), mask)
        return replace(self.by_place(masked, tiles), clean=True)

    def transformed(self, kernel: str) -> str:
        """Return the input that receives the transformed kernel, float32 (n², C, K)."""
        if kernel not in self._transformed:
            outputs, inputs = (self.b.shape(kernel) or ())[:2]
            name = self._transformed[kernel] = kernel + TRANSFORMED_SUFFIX
            shape = [(self.tile + 2) ** 2, inputs, outputs]
            self.b.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return self._transformed[kernel]

    def mirrored_kernel(self, name: str) -> str | None:
        """Return W if ``name`` is W turned by 180° with in and out exchanged, as in a backward."""
        flip = self.b.producer(name)
        if flip is None or flip.op_type != "Slice" or len(flip.input) != 5:
            return None
        swap = self.b.producer(flip.input[0])
        if swap is None or swap.op_type != "Transpose":
            return None
        starts, ends, axes, steps = (self.b.value_of(given) for given in flip.input[1:])
        turned = (
            _equals(starts, [-1, -1])
            and (ends is not None and (ends < -3).all())
            and _equals(axes, [2, 3])
            and _equals(steps, [-1, -1])
        )
        swapped = list(attribute(swap, "perm", [])) == [1, 0, 2, 3]
        return swap.input[0] if turned and swapped else None

    def is_weight(self, name: str) -> bool:
        """Tell whether a tensor is given, or decoded from what is given, and not computed."""
        producer = self.b.producer(name)
        decoded = producer is not None and producer.op_type == "Gather"
        return producer is None or (decoded and self.b.producer(producer.input[0]) is None)


def _conv(low: _Lowering, node: NodeProto) -> Value | None:
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
    low: _Lowering, node: NodeProto, grid: Grid, channels: tuple[int, int]
) -> Value | None:
    """From few channels: gather the patch around each position, multiply by the kernel."""
    b, (outputs, inputs) = low.b, channels
    if low.tiles(node.input[0]) is not None:
        return None
    image, kernel = low.plain(node.input[0]), low.plain(node.input[1])
    if len(node.input) > 2:
        # A channel of ones carries the bias, which then does not reach the zero tile.
        ones = b.op("Concat", b.integers(1, 1), grid.height, grid.width, axis=0)
        image = b.op("Concat", image, b.op("Expand", b.constant(1.0, np.float32), ones), axis=1)
        centre = b.constant([[[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]], np.float32)
        bias = b.op("Reshape", low.plain(node.input[2]), b.integers(outputs, 1, 1, 1))
        kernel = b.op("Concat", kernel, b.op("Mul", bias, centre), axis=1)
        inputs += 1
    patches = b.op(
        "Gather", low.reading_rows(image), grid.reading_order.index(grid.patches), axis=0
    )
    matrix = b.op(
        "Reshape",
        b.op("Transpose", kernel, perm=[2, 3, 1, 0]),
        b.integers(9 * inputs, outputs),
    )
    rows = b.op("MatMul", b.op("Reshape", patches, b.integers(-1, 9 * inputs)), matrix)
    return low.by_place(rows, Tiles("", grid, outputs))


def _conv_to_patches(
    low: _Lowering, node: NodeProto, grid: Grid, channels: tuple[int, int]
) -> Value | None:
    """To few channels: multiply by the kernel first, then sum what each position sees."""
    b, (outputs, inputs) = low.b, channels
    tiles = low.tiles(node.input[0])
    if tiles is None or tiles.places != "all" or len(node.input) > 2:
        return None
    kernel = b.op("Transpose", low.plain(node.input[1]), perm=[1, 2, 3, 0])
    matrix = b.op("Reshape", kernel, b.integers(inputs, 9 * outputs))
    products = b.op("MatMul", low.rows(tiles), matrix)
    position = b.op(
        "Reshape", tiles.order.index(grid.patches_everywhere, zero_tile=False), b.integers(-1, 9)
    )
    taps = b.op("Add", b.op("Mul", position, b.integers(9)), b.constant(np.arange(9), np.int64))
    seen = b.op("Gather", b.op("Reshape", products, b.integers(-1, outputs)), taps, axis=0)
    summing = b.constant(np.tile(np.eye(outputs), (9, 1)), np.float32)
    image = b.op("MatMul", b.op("Reshape", seen, b.integers(-1, 9 * outputs)), summing)
    shape = low.shape(Tiles("", grid, outputs))
    return b.op("Reshape", b.op("Transpose", image, perm=[1, 0]), shape)


def _winograd(
    low: _Lowering, node: NodeProto, grid: Grid, channels: tuple[int, int]
) -> Value | None:
    """Gather neighbourhoods, transform them, multiply by the transformed kernel, transform back."""
    found = low.source(node.input[0])
    if found is None:
        return None
    rows, order = found
    b, (outputs, inputs) = low.b, channels
    original = low.mirrored_kernel(node.input[1])
    if not low.is_weight(original or node.input[1]):
        return None
    kernel = low.transformed(original or node.input[1])
    kernel = b.op("Transpose", kernel, perm=[0, 2, 1]) if original else kernel
    bias = low.plain(node.input[2]) if len(node.input) > 2 else None
    matrices = transforms(low.tile).mirrored() if original else transforms(low.tile)
    analysis = b.constant(np.kron(matrices.input, matrices.input), np.float32)
    synthesis = b.constant(_by_window(np.kron(matrices.output, matrices.output)), np.float32)
    seen = (low.tile + 2) ** 2
    chunks = max(1, CHUNKED_CHANNELS // max(channels))
    rectified = low.is_only_read_by(node.output[0], "Relu")

    def one(index: str, real: str) -> str:
        spectrum = b.op("Reshape", b.op("Gather", rows, index, axis=0), b.integers(seen, -1))
        spectrum = b.op("MatMul", analysis, spectrum)
        products = b.op("MatMul", b.op("Reshape", spectrum, b.integers(seen, -1, inputs)), kernel)
        products = b.op("Reshape", products, b.integers(seen, -1))
        if bias is None:
            return b.op("MatMul", synthesis, products)
        # One product adds the bias too, and to all tiles but the zero tile.
        offset = b.op("Reshape", b.op("Mul", real, bias), b.integers(1, -1))
        total = b.op("Gemm", synthesis, products, offset)
        return b.op("Relu", total) if rectified else total

    index = b.op("Reshape", order.index(grid.neighbourhoods), b.integers(seen, -1))
    indices, reals = b.split(index, chunks, axis=1), b.split(grid.real_tiles, chunks, axis=0)
    parts = [one(*pair) for pair in zip(indices, reals, strict=True)]
    name = b.op("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
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


def _relu(low: _Lowering, node: NodeProto) -> Value | None:
    tiles = low.tiles(node.input[0])
    if tiles is None:
        return None
    positive = tiles if tiles.rectified else replace(tiles, name=low.b.op("Relu", tiles.name))
    positive = replace(positive, rectified=False)
    # What is summed over positions must be zero outside; convolutions do not look there.
    measured = low.is_read_by(node.output[0], "Reshape", "Sub", "ReduceSumSquare")
    return low.cleaned(positive) if measured else positive


def _keep_layout(low: _Lowering, node: NodeProto) -> Value | None:
    """Elementwise operators of one tensor that take 0 to 0."""
    tiles = low.tiles(node.input[0])
    return None if tiles is None else replace(tiles, name=low.b.op(node.op_type, tiles.name))


def _greater(low: _Lowering, node: NodeProto) -> Value | None:
    """Comparison with a constant."""
    tiles, bound = low.tiles(node.input[0]), low.b.value_of(node.input[1])
    if tiles is None or bound is None or bound.ndim > 0:
        return None
    name = low.b.op("Greater", tiles.name, node.input[1])
    return replace(tiles, name=name, clean=tiles.clean and bool(bound >= 0))


def _cast(low: _Lowering, node: NodeProto) -> Value | None:
    """A mask stays bool, a quarter of the size, until it is used."""
    tiles = low.tiles(node.input[0])
    from_bool = low.b.element_type(node.input[0]) == TensorProto.BOOL
    if tiles is None or not from_bool or attribute(node, "to") != TensorProto.FLOAT:
        return None
    return Deferred(lambda: low.as_it_was(node), mask=tiles)


def _masked(low: _Lowering, mask: Tiles, name: str) -> Value | None:
    """The product of an image and a mask."""
    tiles, b = low.tiles(name), low.b
    if tiles is None or not _match(tiles, mask):
        return None
    # True, but not before the image is there: or a runtime that picks its own order would cast
    # the masks of all layers at once, and keep them.
    size = b.op("Size", tiles.name)
    ready = b.op("And", mask.name, b.op("Equal", size, size))
    numbers = replace(mask, name=b.op("Cast", ready, to=TensorProto.FLOAT))
    return _elementwise(low, "Mul", tiles, numbers)


def _add(low: _Lowering, node: NodeProto) -> Value | None:
    """A sum; one with a product is computed together with it."""
    for name, other in (node.input, reversed(node.input)):
        product = low.value(name)
        if not isinstance(product, Product):
            continue
        tiles = low.tiles(other)
        same = tiles is not None and tiles == replace(
            product.tiles, name=tiles.name, clean=tiles.clean
        )
        if tiles is not None and same:
            total = low.b.op("Gemm", product.rows, product.matrix, low.rows(tiles), transB=1)
            return low.by_place(total, replace(tiles, clean=tiles.clean and product.tiles.clean))
    return _binary(low, node)


def _binary(low: _Lowering, node: NodeProto) -> Value | None:
    """Elementwise operators of two tensors of equal shape."""
    first, second = (low.tiles(name) for name in node.input)
    if first is None and second is not None:
        first = low.tiled(node.input[0], second)
    if second is None and first is not None:
        second = low.tiled(node.input[1], first)
    if first is None or second is None:
        return None
    return _elementwise(low, node.op_type, first, second) if _match(first, second) else None


def _match(first: Tiles, second: Tiles) -> bool:
    """Tell whether two tensors in tile layout have the same shape and picture."""
    same = (first.grid, first.form, first.channels) == (second.grid, second.form, second.channels)
    return same and (first.places == "pooled") == (second.places == "pooled")


def _elementwise(low: _Lowering, op_type: str, first: Tiles, second: Tiles) -> Tiles:
    both = op_type == "Mul" and (first.clean or second.clean)
    clean = both or (first.clean and second.clean)
    if first.places == second.places:
        return replace(first, name=low.b.op(op_type, first.name, second.name), clean=clean)
    whole = first if first.places == "all" else second
    windows = low.b.op(op_type, low.windows(first), low.windows(second))
    return replace(low.flat(windows, whole), clean=clean)


def _scale(low: _Lowering, node: NodeProto) -> Value | None:
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


def _scalar(low: _Lowering, name: str) -> str | None:
    """Return a tensor of one element, or one whose elements are all equal, as a scalar."""
    value = low.value(name)
    if isinstance(value, Deferred):
        return value.uniform
    shape = low.b.shape(name)
    return value if isinstance(value, str) and shape is not None and set(shape) <= {1} else None


def _average_pool(low: _Lowering, node: NodeProto) -> Value | None:
    tiles = low.tiles(node.input[0])
    if tiles is None or tiles.places != "all" or not _is_halving(node):
        return None
    count = tiles.count
    mean = np.kron(np.eye(count // 4), np.full((1, 4), 0.25))
    name = low.b.op("MatMul", low.b.constant(mean, np.float32), tiles.name)
    return replace(tiles, name=name, places="pooled", clean=False)


def _max_pool(low: _Lowering, node: NodeProto) -> Value | None:
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


def _if_needed(low: _Lowering, node: NodeProto) -> Value | None:
    """What the lowered operators around it do without."""
    tiled = any(not isinstance(low.value(name), str) for name in node.input)
    return Deferred(lambda: low.as_it_was(node)) if tiled else None


def _unpool(low: _Lowering, node: NodeProto) -> Value | None:
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
        and _equals(b.value_of(begin.input[1]), [0])
        and own.input[0] == node.input[0]
    )
    like = low.tiles(sizes.input[0])
    if not at_the_end or not _is_doubling(low, enlarge) or like is None:
        return None
    return _over_windows(low, enlarge.input[0], like)


def _is_doubling(low: _Lowering, enlarge: NodeProto) -> bool:
    """Tell whether a Resize repeats each row and column once."""
    return (
        len(enlarge.input) == 3
        and _equals(low.b.value_of(enlarge.input[2]), [1, 1, 2, 2])
        and attribute(enlarge, "mode", "nearest") == "nearest"
        and attribute(enlarge, "coordinate_transformation_mode") == "asymmetric"
        and attribute(enlarge, "nearest_mode") == "floor"
        and attribute(enlarge, "axes") is None
    )


def _is_whole_shape(node: NodeProto) -> bool:
    return node.op_type == "Shape" and not node.attribute


def _equals(value: NDArray[Any] | None, expected: list[int]) -> bool:
    return value is not None and value.tolist() == expected


def _over_windows(low: _Lowering, name: str, like: Tiles) -> Tiles | None:
    """Return an image of half the size of ``like`` as one value for each of its windows."""
    tiles = low.tiles(name)
    if like.places != "all" or tiles is None or tiles.picture is not like.grid.coarser:
        return None
    rows = low.gather(name, like.grid.windows)
    blank = Tiles("", like.grid, tiles.channels, places="windows", clean=True)
    return low.by_place(rows, blank) if rows is not None else None


def _max_unpool(low: _Lowering, node: NodeProto) -> Value | None:
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
    first, *others = b.split(largest, 4, axis=1)
    taken, chosen = first, [first]
    for here in others:
        chosen.append(
            b.op("Greater", *[b.op("Cast", t, to=TensorProto.FLOAT) for t in (here, taken)])
        )
        taken = b.op("Or", taken, here)
    mask = b.op("Cast", b.op("Concat", *chosen, axis=1), to=TensorProto.FLOAT)
    flat = low.flat(b.op("Mul", low.windows(gradient), mask), activation)
    return replace(flat, clean=True, form="flat")


def _reshape(low: _Lowering, node: NodeProto) -> Value | None:
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
    if like.picture is not tiles.picture or tiles.form not in ("matrix", "flat"):
        return None
    rolled = replace(tiles, form="image")
    return replace(value, tiles=rolled) if isinstance(value, Product) else rolled


def _transpose(low: _Lowering, node: NodeProto) -> Value | None:
    tiles = low.tiles(node.input[0])
    swap = list(attribute(node, "perm", [1, 0])) == [1, 0]
    if tiles is None or tiles.form != "matrix" or not swap:
        return None
    return replace(tiles, form="transposed")


def _matmul(low: _Lowering, node: NodeProto) -> Value | None:
    """Products over positions, as Gram matrices, or over the channels of a matrix."""
    left, right = (low.tiles(name) for name in node.input)
    if left is not None and right is not None:
        forms = (left.form, right.form) == ("matrix", "transposed")
        if not forms or left.grid is not right.grid or not (left.clean or right.clean):
            return None
        # One product per place, then their sum: more to share between threads, less to round.
        stacks = [
            low.b.op("Reshape", tiles.name, low.b.integers(tiles.count, -1, tiles.channels))
            for tiles in (left, right)
        ]
        by_place = low.b.op("MatMul", low.b.op("Transpose", stacks[0], perm=[0, 2, 1]), stacks[1])
        return low.b.op("ReduceSum", by_place, low.b.integers(0), keepdims=0)
    shape = low.b.shape(node.input[0])
    if right is None or right.form != "matrix" or shape is None or len(shape) != 2:
        return None
    if not isinstance(shape[0], int):
        return None
    result = replace(right, name="", channels=shape[0])
    return Product(low.rows(right), low.plain(node.input[0]), result)


def _shape(low: _Lowering, node: NodeProto) -> Value | None:
    tiles = low.tiles(node.input[0])
    if tiles is None:
        return _if_needed(low, node)
    shape = low.shape(tiles)
    start, end = attribute(node, "start", 0), attribute(node, "end", 2**31)
    if (start, end) == (0, 2**31):
        return shape
    return low.b.op("Slice", shape, low.b.integers(start), low.b.integers(end))


def _size(low: _Lowering, node: NodeProto) -> Value | None:
    tiles = low.tiles(node.input[0])
    return None if tiles is None else low.b.op("ReduceProd", low.shape(tiles), keepdims=0)


def _reduce_sum_square(low: _Lowering, node: NodeProto) -> Value | None:
    """Squares summed along rows; along channels instead if all that follows is their sum."""
    tiles = low.tiles(node.input[0])
    axes = low.b.value_of(node.input[1]) if len(node.input) > 1 else None
    if tiles is None or axes is None or tiles.form != "image":
        return None
    rows = low.rows(low.cleaned(low.spread(tiles)))
    sums = low.b.op("ReduceSumSquare", rows, low.b.integers(1), keepdims=0)
    return Deferred(lambda: low.as_it_was(node), unordered=sums)


def _reduce_sum(low: _Lowering, node: NodeProto) -> Value | None:
    value = low.value(node.input[0])
    if not isinstance(value, Deferred) or value.unordered is None or len(node.input) > 1:
        return None
    if attribute(node, "keepdims", 1) or attribute(node, "noop_with_empty_axes", 0):
        return None
    return low.b.op("ReduceSum", value.unordered, keepdims=0)


def _expand(low: _Lowering, node: NodeProto) -> Value | None:
    scalar = _scalar(low, node.input[0])
    if scalar is None or not isinstance(low.value(node.input[1]), Deferred):
        return None
    return Deferred(lambda: low.as_it_was(node), uniform=scalar)


def _unsqueeze(low: _Lowering, node: NodeProto) -> Value | None:
    value = low.value(node.input[0])
    if not isinstance(value, Deferred):
        return None
    return Deferred(lambda: low.as_it_was(node), uniform=value.uniform)


LOWERINGS: dict[str, Callable[[_Lowering, NodeProto], Value | None]] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "Cast": _cast,
    "Conv": _conv,
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
    "Sub": _binary,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operator to the function that emits it in tile layout, or returns None where it cannot."""
