"""The two graphs the engine runs, made from a features graph: targets, and costs with gradient."""

from __future__ import annotations

from collections.abc import Callable

from onnx import ModelProto, TensorProto, helper

from ortist.export import costs
from ortist.export.builder import GraphBuilder, prune, schedule
from ortist.export.differentiate import differentiate
from ortist.export.lowering import lower
from ortist.models.interface import CONTENT, COSTS_KEY, STYLE, TOTAL_VARIATION
from ortist.models.keys import GraphKey, Kind


def derive_targets(features: ModelProto, key: GraphKey) -> ModelProto:
    """Return :func:`targets_graph` as the engine runs it: lowered to ``key.tile``."""
    return _finished(targets_graph(features, key), key.tile)


def derive_gradient(features: ModelProto, key: GraphKey) -> ModelProto:
    """Return :func:`gradient_graph` as the engine runs it: lowered to ``key.tile``."""
    return _finished(gradient_graph(features, key), key.tile)


DERIVATIONS: dict[Kind, Callable[[ModelProto, GraphKey], ModelProto]] = {
    "targets": derive_targets,
    "gradient": derive_gradient,
}
"""Kind of graph to the function that makes it of a features graph and a key."""


def _finished(model: ModelProto, tile: int) -> ModelProto:
    if tile:
        model = lower(model, tile)
        schedule(model)
    return model


def targets_graph(features: ModelProto, key: GraphKey) -> ModelProto:
    """Return the graph that measures an image's content and style.

    Input ``image``: float32 (1, 3, H, W), RGB, 0..255. Outputs: ``content/<layer>``, the
    activation (1, C, H', W'), per content layer; ``style/<layer>``, per style layer, the Gram
    matrix (C, C) divided by the number of positions, or, for ``"w2"``, that and the mean,
    (C, C + 1).

    Args:
        features: features graph of the pooling in ``key``, with at least its layers.
        key: layers and statistic; not changed.
    """
    builder = GraphBuilder(features)
    targets = {f"{CONTENT}/{layer}": layer for layer in key.content_layers}
    shapes = {name: _shape(builder, layer) for name, layer in targets.items()}
    for layer in key.style_layers:
        name, channels = f"{STYLE}/{layer}", _channels(builder, layer)
        targets[name], shapes[name] = _gram(builder, layer), [channels, channels]
        if key.statistic == "w2":
            moments = (targets[name], costs.mean_vector(builder, layer, channels))
            targets[name] = builder.op("Concat", *moments, axis=1)
            shapes[name] = [channels, channels + 1]
    for name, tensor in targets.items():
        builder.op("Identity", tensor, name=name)
    _set_outputs(builder, shapes)
    prune(builder.model)
    return builder.model


def gradient_graph(features: ModelProto, key: GraphKey) -> ModelProto:
    """Return the training artifact: the graph that computes all costs and the gradient of J.

    Inputs: ``image``, float32 (1, 3, H, W), RGB, 0..255; the targets, as named and shaped by
    :func:`graph_targets <ortist.engine.statistics.graph_targets>` of what :func:`targets_graph`
    measures; ``weights``, float32 (n,). Outputs: ``costs``, the unweighted
    costs, float32 (n,), in the order of the metadata entry ``ortist.costs``: content layers,
    style layers, total variation; ``gradient`` = dJ/dimage for J = Σ weight·cost, shaped as
    ``image``.

    Args:
        features: features graph of the pooling in ``key``, with at least its layers.
        key: layers and statistic; not changed.
    """
    builder = GraphBuilder(features)
    terms: dict[str, str] = {}
    held: list[str] = []
    for layer in key.content_layers:
        # An activation's target has its dimensions by name: that proves equal shapes.
        target = builder.add_input(f"{CONTENT}/{layer}", _shape(builder, layer))
        terms[target] = costs.content_cost(builder, layer, target)
    for layer in key.style_layers:
        add_style = _add_gaussian if key.statistic == "w2" else _add_gram
        name = f"{STYLE}/{layer}"
        terms[name], constants = add_style(builder, layer, name)
        held += constants
    terms[TOTAL_VARIATION] = costs.total_variation_cost(builder, "image")
    builder.add_input("weights", [len(terms)])
    vector = builder.op("Concat", *terms.values(), axis=0, name="costs")
    total = costs.weighted_sum(builder, vector, "weights", "total")
    _set_outputs(builder, {"costs": [len(terms)]})
    builder.model.metadata_props.add(key=COSTS_KEY, value=" ".join(terms))
    return differentiate(builder.model, total, {"image": "gradient"}, held=held)


def _add_gram(builder: GraphBuilder, layer: str, name: str) -> tuple[str, list[str]]:
    """Add a style cost by Gram matrices and its target; return it and what to hold: nothing."""
    channels = _channels(builder, layer)
    target = builder.add_input(name, [channels, channels])
    return costs.style_cost(builder, _gram(builder, layer), target), []


def _add_gaussian(builder: GraphBuilder, layer: str, name: str) -> tuple[str, list[str]]:
    """Add a style cost by Gaussians and its targets; return it and what to hold."""
    channels = _channels(builder, layer)
    targets = (
        builder.add_input(f"{name}/mean", [channels, 1]),
        builder.add_input(f"{name}/root", [channels, channels]),
    )
    moments = _gram(builder, layer), costs.mean_vector(builder, layer, channels)
    return costs.gaussian_cost(builder, *moments, *targets)


def _gram(builder: GraphBuilder, layer: str) -> str:
    return costs.gram_matrix(builder, layer, _channels(builder, layer))


def _channels(builder: GraphBuilder, layer: str) -> int:
    return int(_shape(builder, layer)[1])


def _shape(builder: GraphBuilder, layer: str) -> list[int | str]:
    """Return the shape of an activation, which features graphs state in full."""
    return [size for size in builder.shape(layer) or () if size is not None]


def _set_outputs(builder: GraphBuilder, shapes: dict[str, list[int | str]]) -> None:
    # A layer that stops being an output keeps its shape, which the derivative rules rely on.
    builder.graph.value_info.extend(builder.graph.output)
    del builder.graph.output[:]
    for name, shape in shapes.items():
        builder.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
