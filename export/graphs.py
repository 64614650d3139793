"""The graphs that the engine runs, made of a features graph and the terms of J.

With s the statistics of a picture x, s = measure(x), and J = Σ weight·cost(s, target):

    measure    x → s
    compare    s, targets, weights → costs, dJ/ds      nothing of the size of a picture but s itself
    pullback   x, dJ/ds → dJ/dx                        the chain rule through what measures
    gradient   x, targets, weights → costs, dJ/dx      all of it at once, activations computed once

Of a picture in tiles, t, each with what its network sees beside it, the first two are

    measure_tile    t, which part of t counts → s of that part
    pullback_tile   t, dJ/ds, targets of what is compared by position → dJ/dt
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnx import ModelProto, TensorProto, helper

from ortist.export.builder import GraphBuilder, prune
from ortist.export.costs.term import Part, Shape, divided
from ortist.export.differentiate import depends, differentiate, vjp
from ortist.export.lowering import lower
from ortist.export.operators import expand
from ortist.export.order import put_in_order
from ortist.models.errors import InputError, shown
from ortist.models.interface import COSTS, COSTS_KEY, GRADIENT, SLOPE, TARGET, WEIGHTS, WINDOW
from ortist.models.layers import IMAGE


def measure_graph(features: ModelProto, parts: Sequence[Part]) -> ModelProto:
    """Return the graph that measures a picture.

    Input ``image``: float32 (1, 3, H, W), RGB, 0..255. Outputs: the statistics of all parts, each
    called ``<term>/<layer>/<statistic>``, float32.

    Args:
        features: features graph with at least the layers of the parts; not changed.
        parts: terms and layers.
    """
    model, _ = _measuring(features, parts)
    return model


def compare_graph(features: ModelProto, parts: Sequence[Part]) -> ModelProto:
    """Return the graph that compares the statistics of a picture with the targets.

    Inputs: the statistics, as :func:`measure_graph` has them; the targets, ``target/<term>/<layer>/
    <name>``; ``weights``, float32 (n,). Outputs: ``costs``, the unweighted costs, float32 (n,), in
    the order of the parts, which the metadata entry ``ortist.costs`` names; for each statistic s
    on which J = Σ weight·cost depends ``slope/<s>`` = dJ/ds.
    """
    _, shapes = _measuring(features, parts)
    model, total, held, compared = _comparing(features, parts, shapes)
    slopes = {name: f"{SLOPE}/{name}" for name in compared}
    return differentiate(model, total, slopes, held=held, expanded=False)


def pullback_graph(features: ModelProto, parts: Sequence[Part]) -> ModelProto:
    """Return the graph that carries derivatives by the statistics on to the picture.

    Inputs: ``image``; each ``slope/<statistic>`` that :func:`compare_graph` gives of a statistic
    that depends on it. Output: ``gradient`` = Σ slope·d statistic/d image, shaped as ``image``.
    """
    model, shapes = _measuring(features, parts)
    measuring, (*_, compared) = GraphBuilder(model), _comparing(features, parts, shapes)
    varying = [name for name in compared if depends(measuring, name, IMAGE)]
    slopes = {name: f"{SLOPE}/{name}" for name in varying}
    model = vjp(model, slopes, {IMAGE: GRADIENT}, expanded=False)
    prune(model, [GRADIENT])
    return model


def measure_tile_graph(features: ModelProto, parts: Sequence[Part]) -> ModelProto:
    """Return the graph that measures a part of a picture: a tile's without what is beside it.

    Inputs: ``image``, of which sides and window begin at multiples of the stride of the deepest
    layer; ``window``, what to measure of it, int64 (2, 2), top and left, bottom and right, in
    pixels; guides, those of parts that are ``local`` of all of the image, others of the window.
    Outputs as in :func:`measure_graph`.
    """
    builder = GraphBuilder(features)
    window = builder.add_input(WINDOW, [2, 2], TensorProto.INT64)
    statistics: dict[str, str] = {}
    for part in parts:
        if part.term.local:
            for name, tensor in part.term.measure(*_of(builder, part)).items():
                cut = _cut(builder, tensor, window, part.term.stride(part.layer, name))
                statistics[f"{part.name}/{name}"] = cut
        elif tuple(part.term.layers(part.layer)) == (part.layer,):
            statistics |= _measured_within(builder, part, window)
        else:
            raise InputError(f"{part.name} looks at other layers: in tiles its term must be local")
    model, shapes = _with_statistics(builder, statistics)
    _check_sums(parts, shapes)
    return model


def _check_sums(parts: Sequence[Part], shapes: Mapping[str, Shape]) -> None:
    """Raise InputError for a part that measures maps but does not say so."""
    for part in parts:
        for name, shape in part.own(shapes).items():
            if not part.term.local and not all(isinstance(size, int) for size in shape):
                raise InputError(
                    f"{part.name} measures {name} of shape {shown(shape)}, which is no sum over"
                    " positions: in tiles its term must be local"
                )


def pullback_tile_graph(features: ModelProto, parts: Sequence[Part]) -> ModelProto:
    """Return the graph that carries derivatives on to a tile, and compares what is ``local``.

    Inputs: ``image``; guides; each ``slope/<statistic>`` of parts that are not local; of those that
    are the targets, and ``weights``, float32 (number of these,). Output: ``gradient``, of Σ ⟨slope,
    statistic⟩ + Σ weight·cost, shaped as ``image``.
    """
    near, far = divided(parts)
    _, shapes = _measuring(features, parts)
    far_shapes = {
        f"{part.name}/{name}": shape for part in far for name, shape in part.own(shapes).items()
    }
    *_, compared = _comparing(features, far, far_shapes)
    builder = GraphBuilder(features)
    kind = builder.element_type(IMAGE)
    statistics = _measured(builder, parts)
    for name, tensor in statistics.items():
        builder.op("Identity", tensor, name=name)
    given = {name: far_shapes[name] for name in compared}
    slopes = {name: f"{SLOPE}/{name}" for name in compared}
    held: list[str] = []
    if near:
        held = _costs(builder, kind, near, statistics, shapes)
        slopes[COSTS] = WEIGHTS
        given[COSTS] = [len(near)]
    _set_outputs(builder, kind, given)
    prune(builder.model)
    inferred = GraphBuilder(builder.model)
    slopes = {name: title for name, title in slopes.items() if depends(inferred, name, IMAGE, held)}
    model = vjp(inferred.model, slopes, {IMAGE: GRADIENT}, held=held, expanded=False)
    prune(model, [GRADIENT])
    return model


def gradient_graph(features: ModelProto, parts: Sequence[Part]) -> ModelProto:
    """Return the training artifact: the graph that computes all costs and the gradient of J.

    Inputs: ``image``, targets and ``weights``; outputs: ``costs``, and ``gradient`` = dJ/dimage;
    all as in :func:`compare_graph` and :func:`pullback_graph`.
    """
    builder = GraphBuilder(features)
    _, shapes = _measuring(features, parts)
    kind = builder.element_type(IMAGE)
    total, held = _compared(builder, kind, parts, _measured(builder, parts), shapes)
    return differentiate(builder.model, total, {IMAGE: GRADIENT}, held=held, expanded=False)


GRAPHS: dict[str, Callable[[ModelProto, Sequence[Part]], ModelProto]] = {
    "measure": measure_graph,
    "compare": compare_graph,
    "pullback": pullback_graph,
    "gradient": gradient_graph,
    "measure_tile": measure_tile_graph,
    "pullback_tile": pullback_tile_graph,
}
"""Kind of graph to the function that makes it of a features graph and the parts of J.

They may hold operators of our own, for :func:`derive` to lower or to expand.
"""


def derive(kind: str, features: ModelProto, parts: Sequence[Part], block: int) -> ModelProto:
    """Return a graph of :data:`GRAPHS` as the engine runs it, in standard operators.

    Unless ``block`` is 0 its convolutions are Winograd's, in blocks of that size.
    """
    model = GRAPHS[kind](features, parts)
    if not block or kind == "compare":
        return expand(model)
    model = lower(model, block)
    put_in_order(model)
    return model


def _measured(builder: GraphBuilder, parts: Sequence[Part]) -> dict[str, str]:
    """Append what all parts measure; return the tensors by the names of the statistics."""
    return {
        f"{part.name}/{name}": tensor
        for part in parts
        for name, tensor in part.term.measure(*_of(builder, part)).items()
    }


def _of(builder: GraphBuilder, part: Part) -> tuple[Any, ...]:
    """Return the arguments to measure with, the roots of a guide's weights among them."""
    if not part.guide:
        return builder, part.layer
    if not builder.knows(part.roots):
        kind = builder.element_type(part.layer)
        builder.add_input(part.roots, [1, 1, None, None], kind)
    return builder, part.layer, part.roots


def _measuring(features: ModelProto, parts: Sequence[Part]) -> tuple[ModelProto, dict[str, Shape]]:
    """Return the measure graph and the shapes of its statistics, which inference finds."""
    builder = GraphBuilder(features)
    return _with_statistics(builder, _measured(builder, parts))


def _with_statistics(
    builder: GraphBuilder, statistics: Mapping[str, str]
) -> tuple[ModelProto, dict[str, Shape]]:
    """Return the graph with statistics as its outputs, and their shapes."""
    kind = builder.element_type(IMAGE)
    for statistic, tensor in statistics.items():
        builder.op("Identity", tensor, name=statistic)
    _set_outputs(builder, kind, dict.fromkeys(statistics))
    prune(builder.model)
    inferred = GraphBuilder(builder.model)
    shapes = {name: _shape(inferred, name) for name in statistics}
    _set_outputs(inferred, kind, shapes)
    return inferred.model, shapes


def _measured_within(builder: GraphBuilder, part: Part, window: str) -> dict[str, str]:
    """Append what a part measures of a window; return the tensors by the names of statistics."""
    stride = part.term.stride(part.layer, "")
    found: dict[str, str] = {}
    for overlap in {(0, 0), *part.term.overlap.values()}:
        _, layer, *roots = _of(builder, part)
        cut = _cut(builder, layer, window, stride, overlap)
        for name, tensor in part.term.measure(builder, cut, *roots).items():
            if part.term.overlap.get(name, (0, 0)) == overlap:
                found[f"{part.name}/{name}"] = tensor
    return found


def _cut(
    builder: GraphBuilder,
    tensor: str,
    window: str,
    stride: int,
    overlap: tuple[int, int] = (0, 0),
) -> str:
    """Append what a map (1, C, H, W) has within a window, and beyond it by the overlap."""
    sides = builder.op("Div", window, builder.integers(stride)) if stride > 1 else window
    begin, end = (
        builder.op("Gather", sides, builder.constant(index, "int64"), axis=0) for index in (0, 1)
    )
    if overlap != (0, 0):
        end = builder.op("Add", end, builder.integers(*overlap))
    cut = builder.op("Slice", tensor, begin, end, builder.integers(2, 3))
    channels = (builder.shape(tensor) or (1, None))[1]
    sizes = [f"{cut}:rows", f"{cut}:columns"]
    builder.state_shape(cut, [1, channels, *sizes], builder.element_type(IMAGE))
    return cut


def _comparing(
    features: ModelProto, parts: Sequence[Part], shapes: Mapping[str, Shape]
) -> tuple[ModelProto, str, list[str], list[str]]:
    """Return the graph of the costs alone, J, what to hold, and the statistics J depends on."""
    kind = GraphBuilder(features).element_type(IMAGE)
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
    graph = helper.make_graph([], "compare", inputs, [])
    empty = helper.make_model(
        graph, ir_version=features.ir_version, opset_imports=features.opset_import
    )
    builder = GraphBuilder(empty)
    total, held = _compared(builder, kind, parts, {name: name for name in shapes}, shapes)
    inferred = GraphBuilder(builder.model)
    compared = [name for name in shapes if depends(inferred, total, name, held)]
    return builder.model, total, held, compared


def _compared(
    builder: GraphBuilder,
    kind: int,
    parts: Sequence[Part],
    statistics: Mapping[str, str],
    shapes: Mapping[str, Shape],
) -> tuple[str, list[str]]:
    """Append all costs and J; return J, by name, and what to hold when differentiating it."""
    held = _costs(builder, kind, parts, statistics, shapes)
    weights = builder.add_input(WEIGHTS, [len(parts)], kind)
    total = builder.op("ReduceSum", builder.op("Mul", COSTS, weights), keepdims=0, name="total")
    _set_outputs(builder, kind, {COSTS: [len(parts)]})
    names = " ".join(part.name for part in parts)
    builder.model.metadata_props.add(key=COSTS_KEY, value=names)
    return total, held


def _costs(
    builder: GraphBuilder,
    kind: int,
    parts: Sequence[Part],
    statistics: Mapping[str, str],
    shapes: Mapping[str, Shape],
) -> list[str]:
    """Append all costs as a vector of that name; return what to hold when differentiating it."""
    costs: list[str] = []
    held: list[str] = []
    for part in parts:
        targets = {
            name: builder.add_input(f"{TARGET}/{part.name}/{name}", shape, kind)
            for name, shape in part.term.target_shapes(part.own(shapes)).items()
        }
        comparison = part.term.compare(builder, part.own(statistics), targets)
        costs.append(comparison.cost)
        held += comparison.held
    _check_costs(builder.model, dict(zip((part.name for part in parts), costs, strict=True)))
    builder.op("Concat", *costs, axis=0, name=COSTS)
    return held


def _check_costs(model: ModelProto, costs: Mapping[str, str]) -> None:
    """Raise InputError for a cost, by the name of its part, that is not one number."""
    inferred = GraphBuilder(model)
    for part, cost in costs.items():
        shape = inferred.shape(cost)
        if shape is not None and not _may_be_one_number(shape):
            raise InputError(f"the cost of {part} has shape {shown(shape)}, accepted is (1,)")


def _may_be_one_number(shape: Shape) -> bool:
    """Tell whether a shape is (1,), as far as inference finds out."""
    return len(shape) == 1 and (shape[0] == 1 or not isinstance(shape[0], int))


def _shape(builder: GraphBuilder, tensor: str) -> Shape:
    shape = builder.shape(tensor)
    if shape is None:
        raise TypeError(f"the shape of {tensor} is not known")
    return shape


def _set_outputs(builder: GraphBuilder, kind: int, shapes: Mapping[str, Shape | None]) -> None:
    # A layer that stops being an output keeps its shape, which the derivative rules rely on.
    kept = [value for value in builder.graph.output if value.name not in shapes]
    builder.graph.value_info.extend(kept)
    del builder.graph.output[:]
    for name, shape in shapes.items():
        builder.graph.output.append(helper.make_tensor_value_info(name, kind, shape))
