"""How the tensors of a graph are represented while it is lowered, and conversions between layouts.

Layouts are those of :mod:`ortist.models.blocks`. Convolutions decide: what they compute is in
blocks, whatever their operands are in. Other operators that have a rule adapt: they stay in the
layout of their operands, or bring one operand into that of the other. The rest knows plain tensors
only, and gets its operands as they were.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from ortist.export.builder import Dimension, GraphBuilder, reads
from ortist.models.blocks import Grid, MapInput, Order, Places


@dataclass(frozen=True)
class Blocks:
    """A tensor in block layout, (places per block, (blocks + 1)·C).

    Attributes:
        name: the tensor.
        grid: how the picture is cut.
        channels: C.
        form: ``"image"`` for what was (1, C, H, W), ``"matrix"`` for (C, H·W), ``"transposed"``
            for (H·W, C).
        places: ``"all"`` positions; ``"pooled"``, those of the coarser picture in the same blocks;
            ``"quads"``, one value for each 2×2, which stands for its four positions.
        clean: whether positions outside the picture are zero.
        rectified: whether negative values are zero already.
    """

    name: str
    grid: Grid
    channels: int
    form: Literal["image", "matrix", "transposed"] = "image"
    places: Literal["all", "pooled", "quads"] = "all"
    clean: bool = False
    rectified: bool = False

    @property
    def picture(self) -> Grid:
        """The grid of the picture whose values these are."""
        return self.grid.coarser if self.places == "pooled" else self.grid

    @property
    def order(self) -> Order:
        """Which row holds which position of the picture, if there is one for each."""
        return "pooled" if self.places == "pooled" else "blocks"

    @property
    def count(self) -> int:
        """Places per block."""
        return self.grid.block**2 // (1 if self.places == "all" else 4)

    def matches(self, other: Blocks) -> bool:
        """Tell whether operators of two tensors take both as they are."""
        same = (self.grid, self.form, self.channels) == (other.grid, other.form, other.channels)
        return same and (self.places == "pooled") == (other.places == "pooled")


@dataclass(frozen=True)
class Product:
    """Blocks that are a matrix product yet to be computed, perhaps together with a sum.

    Attributes:
        rows: (rows, C), by name.
        matrix: (K, C), by name; the product is rows·matrixᵀ.
        blocks: everything about the result but its name.
        column: (K, 1), by name, to add to all positions, if there is one.
    """

    rows: str
    matrix: str
    blocks: Blocks
    column: str | None = None


@dataclass(frozen=True)
class Column:
    """A matrix (C, H·W) of equal columns.

    Attributes:
        name: the column, (C, 1).
        like: blocks that had that shape.
    """

    name: str
    like: Blocks


@dataclass(frozen=True)
class ShapeOf:
    """The shape that blocks had, an int64 vector."""

    blocks: Blocks


Value: TypeAlias = str | Blocks | Product | Column | ShapeOf
"""A tensor as it was, by name, or what stands for it."""


class Lowering:
    """The state of one pass: the graph that grows, and how each old tensor is represented."""

    def __init__(self, model: ModelProto, block: int) -> None:
        self.b = GraphBuilder(model)
        del self.b.graph.node[:]
        self.block = block
        self._values: dict[str, Value] = {}
        self._plain: dict[str, str] = {}
        self._grids: dict[tuple[Dimension, ...], Grid] = {}
        self._readers: dict[str, set[str]] = defaultdict(set)
        for node in model.graph.node:
            for name in reads(node):
                self._readers[name].add(node.op_type)
        for value in model.graph.output:
            self._readers[value.name].add("")

    def represent(self, name: str, value: Value) -> None:
        """Remember what stands for a tensor of the original graph."""
        self._values[name] = value
        size = self._size(name)
        if isinstance(value, Blocks) and size is not None:
            self._grids.setdefault(size, value.picture)

    def keep(self, node: NodeProto) -> None:
        """Emit a node unchanged, with its operands as they were."""
        inputs = [self.plain(name) for name in node.input]
        for name in reads(node)[len(inputs) :]:
            self.restore(name)
        copy = self.b.graph.node.add()
        copy.CopyFrom(node)
        copy.input[:] = inputs

    def restore(self, name: str) -> None:
        """Make sure that a tensor is there as it was, under its name."""
        plain = self.plain(name)
        if plain != name:
            self.b.call(plain, name)
            self._plain[name] = name

    def is_read_by(self, name: str, *op_types: str) -> bool:
        """Tell whether a node of one of those types reads a tensor of the original graph."""
        return not self._readers[name].isdisjoint(op_types)

    def is_only_read_by(self, name: str, op_type: str) -> bool:
        """Tell whether all that reads a tensor of the original graph is nodes of one type."""
        return self._readers[name] == {op_type}

    def value(self, name: str) -> Value:
        """Return how a tensor of the original graph is represented."""
        return self._values.get(name, name)

    def blocks(self, name: str) -> Blocks | None:
        """Return a tensor if it is in block layout, a product computed."""
        value = self.value(name)
        if isinstance(value, Product):
            matrix = self.b.op("Transpose", value.matrix, perm=[1, 0])
            product = self.with_rows(self.b.op("MatMul", value.rows, matrix), value.blocks)
            value = self._values[name] = self.shifted(product, value.column)
        return value if isinstance(value, Blocks) else None

    def plain(self, name: str) -> str:
        """Return a tensor as it was in the original graph."""
        value = self.blocks(name) or self.value(name)
        if isinstance(value, str):
            return value
        if name not in self._plain:
            self._plain[name] = self._restored(value)
        return self._plain[name]

    def convert(self, name: str, like: Blocks) -> Blocks | None:
        """Return a tensor of the size of ``like`` in its layout, None if it has another size."""
        blocks = self.blocks(name)
        if blocks is not None and blocks.matches(like):
            return blocks
        shape, picture = self.b.shape(name), self.grid_of(name)
        images = like.form == "image" and (blocks is None or blocks.form == "image")
        if not images or picture != like.picture or shape is None or shape[1] != like.channels:
            return None
        places: Literal["pooled", "all"] = "pooled" if like.places == "pooled" else "all"
        rows = self.gathered(name, "quads" if places == "pooled" else "positions")
        return self.with_rows(rows, Blocks("", like.grid, like.channels, places=places, clean=True))

    def grid_of(self, name: str) -> Grid | None:
        """Return the grid of an image; None unless its size is known to be that of another one.

        Images of the same, possibly symbolic, size have the same grid.
        """
        blocks = self.blocks(name)
        if blocks is not None:
            return blocks.picture
        size = self._size(name)
        if size is None:
            return None
        for value in self.b.inputs:
            if size not in self._grids and self._size(value) == size:
                self._grids[size] = Grid(value, 0, self.block)
        return self._grids.get(size)

    def gathered(self, name: str, places: Places) -> str:
        """Return the rows at ``places`` of an image that has a grid, whatever its layout."""
        rows, grid, order = self.ordered(name)
        return self.b.op("Gather", rows, self.map(grid.rows(order, places)), axis=0)

    def ordered(self, name: str) -> tuple[str, Grid, Order]:
        """Return an image that has a grid as a matrix of rows, the grid, and their order."""
        blocks = self.blocks(name)
        if blocks is not None:
            blocks = self.spread(blocks)
            return self.rows(blocks), blocks.picture, blocks.order
        grid = self.grid_of(name)
        if grid is None:
            raise ValueError(f"{name} has no grid")
        return self.reading_rows(name), grid, "reading"

    def reading_rows(self, name: str) -> str:
        """Return an image as rows (H·W + 1, C) in reading order, the last one zeros."""
        name = self.plain(name)
        b, channels = self.b, self.b.dimension(name, 1)
        matrix = b.op("Reshape", name, b.op("Concat", channels, b.integers(-1), axis=0))
        zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
        shape = b.op("Concat", b.integers(1), channels, axis=0)
        zeros = b.op("ConstantOfShape", shape, value=zero)
        return b.op("Concat", b.op("Transpose", matrix, perm=[1, 0]), zeros, axis=0)

    def rows(self, blocks: Blocks) -> str:
        """Return a tensor in block layout as a matrix (rows, C)."""
        return self.b.op("Reshape", blocks.name, self.b.integers(-1, blocks.channels))

    def with_rows(self, rows: str, blocks: Blocks) -> Blocks:
        """Return ``blocks`` with other values: rows, or whatever has as many elements in order."""
        return replace(blocks, name=self.b.op("Reshape", rows, self.b.integers(blocks.count, -1)))

    def quads(self, blocks: Blocks) -> str:
        """Return blocks as (quads, places in a quad, the rest): 4 places, or 1 for all of them."""
        quads = blocks.grid.block**2 // 4
        sizes = self.b.integers(quads, blocks.count // quads, -1)
        return self.b.op("Reshape", blocks.name, sizes)

    def spread(self, blocks: Blocks) -> Blocks:
        """Return blocks with a value for every position."""
        if blocks.places != "quads":
            return blocks
        four = self.b.constant(np.ones((1, 4, 1)), np.float32)
        return self.with_rows(
            self.b.op("Mul", self.quads(blocks), four), replace(blocks, places="all")
        )

    def cleaned(self, blocks: Blocks) -> Blocks:
        """Return blocks with zeros outside the picture."""
        if blocks.clean:
            return blocks
        blocks = self.spread(blocks)
        inside = self.map(blocks.picture.inside(blocks.order))
        masked = self.b.op("Mul", self.rows(blocks), inside)
        return replace(self.with_rows(masked, blocks), clean=True)

    def shifted(self, blocks: Blocks, column: str | None) -> Blocks:
        """Return blocks with a column (C, 1), if there is one, added to all but the zero block."""
        if column is None:
            return blocks
        row = self.b.op("Reshape", column, self.b.integers(-1))
        offset = self.offset(self.map(blocks.grid.real), row)
        return replace(blocks, name=self.b.op("Add", blocks.name, offset), clean=False)

    def offset(self, real: str, row: str) -> str:
        """Return (C,) for each block but zeros for the zero block, to add to places."""
        return self.b.op("Reshape", self.b.op("Mul", real, row), self.b.integers(1, -1))

    def shape(self, blocks: Blocks) -> str:
        """Return the shape of what a tensor in block layout was, int64."""
        b, picture, channels = self.b, blocks.picture, self.b.integers(blocks.channels)
        sides = b.op("Shape", picture.image, start=2)
        if picture.halvings:
            sides = b.op("Div", sides, b.integers(2**picture.halvings))
        if blocks.form == "image":
            return b.op("Concat", b.integers(1), channels, sides, axis=0)
        area = b.op("ReduceProd", sides)
        parts = (channels, area) if blocks.form == "matrix" else (area, channels)
        return b.op("Concat", *parts, axis=0)

    def scalar(self, name: str) -> str | None:
        """Return a tensor if it has one element."""
        value, shape = self.value(name), self.b.shape(name)
        one = shape is not None and len(shape) <= 2 and set(shape) <= {1}
        return value if one and isinstance(value, str) else None

    def map(self, wanted: MapInput) -> str:
        """Return an input of the graph, added to it if need be, by name."""
        if not self.b.knows(wanted.name):
            element_type = helper.np_dtype_to_tensor_dtype(np.dtype(wanted.dtype))
            self.b.add_input(wanted.name, [None] * wanted.rank, element_type)
        return wanted.name

    def _size(self, name: str) -> tuple[Dimension, ...] | None:
        """Return H and W, symbols or numbers, of an image (1, C, H, W), None if not known."""
        shape = self.b.shape(name)
        image = shape is not None and len(shape) == 4 and shape[0] == 1 and None not in shape
        return shape[2:] if shape is not None and image else None

    def _restored(self, value: Blocks | Product | Column | ShapeOf) -> str:
        if isinstance(value, ShapeOf):
            return self.shape(value.blocks)
        if isinstance(value, Column):
            return self.b.op("Expand", value.name, self.shape(value.like))
        if isinstance(value, Product):
            raise TypeError("a product is computed before it is converted")
        blocks = self.spread(value)
        index = self.map(blocks.picture.rows(blocks.order, "everywhere"))
        # The map is (1, positions); an index of one axis gives a matrix.
        index = self.b.op("Reshape", index, self.b.integers(-1))
        matrix = self.b.op("Gather", self.rows(blocks), index, axis=0)
        if blocks.form == "transposed":
            return matrix
        matrix = self.b.op("Transpose", matrix, perm=[1, 0])
        return self.b.op("Reshape", matrix, self.shape(blocks))


Rule: TypeAlias = Callable[[Lowering, NodeProto], Value | None]
"""What emits an operator and returns its value, or None where it cannot: the node then stays."""
