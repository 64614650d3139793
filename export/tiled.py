"""Tensors in tile layout, and the state of the pass that brings them into it.

See :mod:`ortist.engine.tiles` for the layout and :func:`ortist.export.lowering.lower` for the pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from ortist.engine.tiles import Grid, MapInput, Order, Places
from ortist.engine.winograd import TRANSFORMED_SUFFIX
from ortist.export.builder import Dimension, GraphBuilder, attribute, reads


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
    def order(self) -> Order:
        """Which row holds which position of the picture, if not the windows."""
        return "pooled" if self.places == "pooled" else "tiles"

    @property
    def count(self) -> int:
        """Places per tile."""
        return self.grid.tile**2 // (1 if self.places == "all" else 4)


@dataclass(frozen=True)
class Product:
    """Tiles that are a matrix product yet to be computed, perhaps together with a sum.

    Attributes:
        rows: (rows, C), by name.
        matrix: (K, C), by name; the product is rows·matrixᵀ.
        tiles: everything about the result but its name.
        column: (K, 1), by name, to add to all positions, if there is one.
    """

    rows: str
    matrix: str
    tiles: Tiles
    column: str | None = None


@dataclass(frozen=True)
class Deferred:
    """A tensor that is not computed unless something needs it as it was.

    Attributes:
        plain: computes it.
        uniform: a scalar that all its elements equal, if they do.
        unordered: a tensor with the same sum of elements, if there is one.
        mask: the tensor as bool, if it is a cast of one.
        column: (C, 1), by name, what each of its columns is, if they are equal.
    """

    plain: Callable[[], str]
    uniform: str | None = None
    unordered: str | None = None
    mask: Tiles | None = None
    column: str | None = None


Value = str | Tiles | Product | Deferred


class Lowering:
    """The state of one pass: the graph that grows, and how each old tensor is represented."""

    def __init__(self, model: ModelProto, tile: int) -> None:
        self.b = GraphBuilder(model)
        del self.b.graph.node[:]
        self.tile = tile
        self._values: dict[str, Value] = {}
        self._plain: dict[str, str] = {}
        self._grids: dict[tuple[Dimension, ...], Grid] = {}
        self._restored: set[str] = set()
        self._readers: dict[str, set[str]] = defaultdict(set)
        for node in model.graph.node:
            for name in reads(node):
                self._readers[name].add(node.op_type)
        for value in model.graph.output:
            self._readers[value.name].add("")

    def visit(self, node: NodeProto, value: Value | None) -> None:
        """Remember that ``value`` is what a node computes; if there is none, emit the node."""
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
            product = self.by_place(self.b.op("MatMul", value.rows, matrix), value.tiles)
            value = self._values[name] = self.shifted(product, value.column)
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
        """Return the grid of an image; None unless its size is known to be that of another one.

        Images of the same, possibly symbolic, size have the same grid.
        """
        tiles = self.tiles(name)
        if tiles is not None:
            return tiles.picture
        shape = self.b.shape(name)
        if shape is None or len(shape) != 4 or shape[0] != 1 or None in shape:
            return None
        if shape[2:] not in self._grids:
            for value in self.b.inputs:
                given = self.b.shape(value)
                if given is not None and given[0] == 1 and given[2:] == shape[2:]:
                    self._grids[shape[2:]] = Grid(value, 0, self.tile)
                    break
        return self._grids.get(shape[2:])

    def map(self, wanted: MapInput) -> str:
        """Return an input of the graph, added to it if need be, by name."""
        if not self.b.knows(wanted.name):
            element_type = helper.np_dtype_to_tensor_dtype(np.dtype(wanted.dtype))
            self.b.add_input(wanted.name, [None] * wanted.rank, element_type)
        return wanted.name

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

    def source(self, name: str) -> tuple[str, Grid, Order] | None:
        """Return an image as a matrix of rows, whatever its layout, its grid and their order."""
        tiles = self.tiles(name)
        if tiles is not None:
            tiles = self.spread(tiles)
            return self.rows(tiles), tiles.picture, tiles.order
        grid = self.grid_of(name)
        return None if grid is None else (self.reading_rows(name), grid, "reading")

    def gather(self, name: str, places: Places) -> str | None:
        """Return the rows of an image at ``places``, whatever its layout."""
        source = self.source(name)
        if source is None:
            return None
        rows, grid, order = source
        return self.b.op("Gather", rows, self.map(grid.rows(order, places)), axis=0)

    def tiled(self, name: str, like: Tiles) -> Tiles | None:
        """Return an image of the size of ``like`` in its layout, None if it has another size."""
        tiles, shape = self.tiles(name), self.b.shape(name)
        if tiles is not None and match(tiles, like):
            return tiles
        forms = {like.form, tiles.form if tiles is not None else "image"}
        if forms != {"image"} or shape is None or self.grid_of(name) != like.picture:
            return None
        rows = self.gather(name, "windows" if like.places == "pooled" else "positions")
        if rows is None or shape[1] != like.channels:
            return None
        places: Literal["pooled", "all"] = "pooled" if like.places == "pooled" else "all"
        return self.by_place(rows, Tiles("", like.grid, like.channels, places=places, clean=True))

    def chunks(self, name: str, grid: Grid, count: int, axis: int) -> list[str]:
        """Return a tensor, which has all tiles along ``axis``, in so many parts."""
        if count == 1:
            return [name]
        sizes = self.map(grid.parts(count))
        first = self.b.op("Split", name, sizes, outputs=count, axis=axis)
        return [first, *(f"{first}:{index}" for index in range(1, count))]

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
        index = self.map(tiles.picture.rows(tiles.order, "everywhere"))
        # The map is (1, positions); an index of one axis gives a matrix.
        index = self.b.op("Reshape", index, self.b.integers(-1))
        matrix = self.b.op("Gather", self.rows(tiles), index, axis=0)
        if tiles.form == "transposed":
            return matrix
        matrix = self.b.op("Transpose", matrix, perm=[1, 0])
        return self.b.op("Reshape", matrix, self.shape(tiles))

    def shape(self, tiles: Tiles) -> str:
        """Return the shape of what a tensor in tile layout was, int64."""
        b, picture, channels = self.b, tiles.picture, self.b.integers(tiles.channels)
        if tiles.form == "flat":
            return b.integers(-1)
        sides = b.op("Shape", picture.image, start=2)
        if picture.halvings:
            sides = b.op("Div", sides, b.integers(2**picture.halvings))
        if tiles.form == "image":
            return b.op("Concat", b.integers(1), channels, sides, axis=0)
        area = b.op("ReduceProd", sides)
        parts = (channels, area) if tiles.form == "matrix" else (area, channels)
        return b.op("Concat", *parts, axis=0)

    def windows(self, tiles: Tiles) -> str:
        """Return tiles as (windows, positions in the window, the rest); 1 position if not all."""
        quarter = tiles.grid.tile**2 // 4
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

    def shifted(self, tiles: Tiles, column: str | None) -> Tiles:
        """Return tiles with a column (C, 1), if there is one, added to all but the zero tile."""
        if column is None:
            return tiles
        row = self.b.op("Reshape", column, self.b.integers(-1))
        offset = self.offset(self.map(tiles.grid.real), row)
        return replace(tiles, name=self.b.op("Add", tiles.name, offset), clean=False)

    def offset(self, real: str, row: str) -> str:
        """Return (C,) for each tile but zeros for the zero tile, to add to places: (1, tiles·C)."""
        return self.b.op("Reshape", self.b.op("Mul", real, row), self.b.integers(1, -1))

    def cleaned(self, tiles: Tiles) -> Tiles:
        """Return tiles with zeros outside the picture."""
        if tiles.clean:
            return tiles
        tiles = self.spread(tiles)
        inside = self.map(tiles.picture.inside(tiles.order))
        masked = self.b.op("Mul", self.rows(tiles), inside)
        return replace(self.by_place(masked, tiles), clean=True)

    def transformed(self, kernel: str, channels: tuple[int, int]) -> str:
        """Return the input that receives the transform of a kernel (K, C, 3, 3): (n², C, K)."""
        outputs, inputs = channels
        name = kernel + TRANSFORMED_SUFFIX
        if not self.b.knows(name):
            self.b.add_input(name, [(self.tile + 2) ** 2, inputs, outputs])
        return name

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
            equals(starts, [-1, -1])
            and (ends is not None and (ends < -3).all())
            and equals(axes, [2, 3])
            and equals(steps, [-1, -1])
        )
        swapped = list(attribute(swap, "perm", [])) == [1, 0, 2, 3]
        return swap.input[0] if turned and swapped else None

    def is_weight(self, name: str) -> bool:
        """Tell whether a tensor is given, or decoded from what is given, and not computed."""
        producer = self.b.producer(name)
        decoded = producer is not None and producer.op_type == "Gather"
        return producer is None or (decoded and self.b.producer(producer.input[0]) is None)


def match(first: Tiles, second: Tiles) -> bool:
    """Tell whether two tensors in tile layout have the same shape and picture."""
    same = (first.grid, first.form, first.channels) == (second.grid, second.form, second.channels)
    return same and (first.places == "pooled") == (second.places == "pooled")


def equals(value: NDArray[Any] | None, expected: list[int]) -> bool:
    """Tell whether a tensor is known to have that value."""
    return value is not None and value.tolist() == expected
