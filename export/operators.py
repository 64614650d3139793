"""Operators of our own, each short for several standard ones.

Derivative rules and terms emit them where :mod:`ortist.export.lowering` does better than standard
operators do, if it knows what is wanted. They live in graphs that are being made only: what is not
lowered, :func:`expand` writes out. The function of an operator says what it computes, from which
inputs and attributes, by the nodes that it emits; g is the gradient at the output of an operator,
of which that at its input x is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto

from ortist.export.builder import OWN_DOMAIN, GraphBuilder, attributes, prune, subgraphs
from ortist.export.emitter import Emitter


def expand(model: ModelProto) -> ModelProto:
    """Return a model with our operators written out in standard ones; ``model`` stays."""
    builder = GraphBuilder(model)
    del builder.graph.node[:]
    results: dict[str, str] = {}
    _expand_nodes(Emitter(builder), model.graph.node, results)
    for output in model.graph.output:
        if output.name in results:
            builder.call(results[output.name], output.name)
    standard = [entry for entry in model.opset_import if entry.domain != OWN_DOMAIN]
    del builder.model.opset_import[:]
    builder.model.opset_import.extend(standard)
    prune(builder.model)
    return builder.model


def _expand_nodes(emitter: Emitter, nodes: Iterable[NodeProto], results: dict[str, str]) -> None:
    """Append nodes, ours written out; ``results`` has what became of their outputs."""
    for node in nodes:
        inputs = [results.get(name, name) for name in node.input]
        if node.domain == OWN_DOMAIN:
            results[node.output[0]] = OPERATORS[node.op_type](emitter, *inputs, **attributes(node))
            continue
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = inputs
        for graph, typed in zip(
            subgraphs(copy), subgraphs(emitter.builder.inferred(node)), strict=True
        ):
            emitter.builder.learn(typed)
            with emitter.builder.branch(graph.name) as inner:
                _expand_nodes(emitter, graph.node, results)
            del graph.node[:]
            graph.node.extend(inner.node)
            graph.value_info.extend(inner.value_info)
        emitter.builder.graph.node.append(copy)


def sum_squares(e: Emitter, x: str) -> str:
    """Σx² over all elements, a scalar."""
    # Rows first: a single float32 sum over all elements loses 1e-5 of them.
    rows = e.op("ReduceSumSquare", x, e.builder.integers(-1), keepdims=0)
    return e.op("ReduceSum", rows, keepdims=0)


def relu_grad(e: Emitter, g: str, y: str) -> str:
    """y = Relu(x): g where y > 0, else 0."""
    # On CPUs a product with a cast mask takes 0.6 of the time of Where.
    positive = e.op("Greater", y, e.scalar(0.0, y))
    return e.op("Mul", g, e.op("Cast", positive, to=e.builder.element_type(y)))


def conv_input_grad(
    e: Emitter,
    g: str,
    w: str,
    *,
    kernel_shape: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    group: int = 1,
) -> str:
    """y = Conv(x, w), stride 1, with these attributes: g convolved with the mirrored kernel.

    Of several groups each has one channel, in and out.
    """
    reach = [d * (k - 1) for d, k in zip(dilations, kernel_shape, strict=True)]
    around = [r - p for r, p in zip(reach * 2, pads, strict=True)]
    axes = len(kernel_shape)
    window: dict[str, Any] = {"kernel_shape": kernel_shape, "pads": around, "dilations": dilations}
    if group > 1:
        return e.op("Conv", g, turned(e.builder, w, axes), **window, group=group)
    return e.op("Conv", g, mirrored(e.builder, w, axes), **window)


def mirrored(b: GraphBuilder, kernel: str, axes: int) -> str:
    """Return a kernel (K, C, ...) turned by 180°, channels in and out exchanged: (C, K, ...)."""
    return turned(b, b.op("Transpose", kernel, perm=[1, 0, *range(2, 2 + axes)]), axes)


def turned(b: GraphBuilder, kernel: str, axes: int) -> str:
    """Return a kernel turned by 180°."""
    back, before_first = [-1] * axes, [-(2**31)] * axes
    slices = [back, before_first, range(2, 2 + axes), back]
    return b.op("Slice", kernel, *[b.integers(*values) for values in slices])


def max_pool_grad(e: Emitter, g: str, x: str, **window: Any) -> str:
    """MaxPool(x) with these attributes: g at each window's first maximum, in row order."""
    pooled = e.op("MaxPool", x, outputs=2, **window)
    return e.scatter(f"{pooled}:1", g, x)


def sum_pool_grad(e: Emitter, g: str, x: str, *, kernel_shape: Sequence[int]) -> str:
    """Sums over windows of x side by side, without padding: g all over each window."""
    repeated = e.op(
        "Resize",
        g,
        "",
        e.builder.constant([1, 1, *kernel_shape], np.float32),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return e.pad_end(repeated, x)


def weighted(e: Emitter, x: str, w: str) -> str:
    """x·w of x (1, C, H, W) and w (1, 1, H, W), one weight for each position; w is constant."""
    return e.op("Mul", x, w)


OPERATORS: dict[str, Callable[..., str]] = {
    "ConvInputGrad": conv_input_grad,
    "MaxPoolGrad": max_pool_grad,
    "ReluGrad": relu_grad,
    "SumPoolGrad": sum_pool_grad,
    "SumSquares": sum_squares,
    "Weighted": weighted,
}
"""The name of each operator and what emits its standard nodes."""
