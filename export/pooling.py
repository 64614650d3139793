"""Poolings that are not traced: average and max pooling, rewritten."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ortist.export.builder import attributes, prune

EPSILON = 1e-8
"""What L2 pooling adds to mean squares, so that the root has a derivative where they are 0.

It makes 1e-4 of zeros, where activations are in the hundreds. Windows of zeros get the gradient 0,
of which a is a factor.
"""

RESCALING: dict[str, tuple[float, ...]] = {
    "average": (1.18, 1.65, 1.33, 1.90),
    "l2": (1.15, 1.45, 1.25, 1.56),
    "max": (1.0, 1.0, 1.0, 1.0),
}
"""Pooling to the factors, pool1 to pool4, that keep the size that max pooling gives activations.

Size is √(mean a²), the scale of Gram matrices. Each factor is the ratio of the sizes of that pool
in the network with max pooling and in this one with the factors before it, as the geometric mean
over five photographs and paintings and the two in ``examples/``, 256 pixels on the longer side; for
one picture it is up to 14% off. With them the sizes at conv2_1 to conv5_1 are within 20% (L2: 13%)
of those of max pooling, which without are 1.3, 1.9, 2.5 and 4.9 times as large (L2: 1.2, 1.6, 2.0
and 3.2).
"""


def repool(model: ModelProto, pooling: str, rescaled: bool) -> ModelProto:
    """Return a features graph with another pooling over the same windows.

    Average pooling becomes, for ``"l2"``, √(mean a² + EPSILON). What is pooled keeps its name.

    Args:
        model: features graph of average pooling for ``"average"`` and ``"l2"``, of max pooling for
            ``"max"``; not changed.
        pooling: one of :data:`~ortist.models.layers.POOLINGS`.
        rescaled: whether to multiply what is pooled by its factor in :data:`RESCALING`.
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    infos = (*graph.input, *graph.value_info, *graph.output)
    shapes = {info.name: info.type for info in infos}
    del graph.node[:]
    factors = iter(RESCALING[pooling])
    for node in model.graph.node:
        if node.op_type not in ("AveragePool", "MaxPool"):
            graph.node.append(node)
            continue
        source, output = node.input[0], node.output[0]
        steps = _steps(node, pooling == "l2", rescaled)
        graph.node.extend(steps)
        for step in steps[:-1]:
            squares = list(step.input) == [source, source]
            shape = shapes[source if squares else output]
            graph.value_info.add(name=step.output[0], type=shape)
        _add_scalar(result, f"{output}/factor", next(factors))
    _add_scalar(result, "pool/epsilon", EPSILON)
    prune(result)
    for entry in result.metadata_props:
        if entry.key == "ortist.pooling":
            entry.value = f"{pooling}, rescaled" if rescaled else pooling
    return result


def _steps(pool: NodeProto, l2: bool, rescaled: bool) -> list[NodeProto]:
    """Return the nodes that replace a pooling; the last one has its name."""
    steps: list[NodeProto] = []
    output = pool.output[0]

    def add(what: str, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = f"{output}/{what}"
        steps.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name

    pooled = pool.input[0]
    if l2:
        pooled = add("squares", "Mul", pooled, pooled)
    pooled = add("pooled", pool.op_type, pooled, **attributes(pool))
    if l2:
        pooled = add("root", "Sqrt", add("shifted", "Add", pooled, "pool/epsilon"))
    if rescaled:
        add("rescaled", "Mul", pooled, f"{output}/factor")
    steps[-1].name = steps[-1].output[0] = output
    return steps


def _add_scalar(model: ModelProto, name: str, value: float) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
