"""Models as they come, made ready for differentiation."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any

from onnx import (
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    helper,
    version_converter,
)

from ortist.export.autodiff import bodies
from ortist.export.autodiff.backward import Rules
from ortist.export.autodiff.errors import DifferentiationError
from ortist.export.autodiff.paths import Ends, nodes_between
from ortist.export.builder import GraphBuilder, is_known, with_inner

OPSET = 18
"""What rules emit: nodes of this opset that newer ones have unchanged."""
OLDEST_OPSET = 7
_LARGE = 16384
"""Elements above which no rule needs the values of an initializer."""

_OPSET_OF_GRIDS = 11
_OLD_GRID = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
"""How Resize and Upsample sampled before that opset, which the converter leaves out."""

_log = logging.getLogger(__name__)


def skeleton(model: ModelProto) -> ModelProto:
    """Return a copy whose large initializers are inputs, so that copying it again is cheap.

    Initializers of models with an IR version below 4, where each had to be an input too, are no
    inputs: that said nothing of whether they are meant to change.
    """
    copy = ModelProto()
    _copy_fields(model, copy, skip="graph")
    _copy_fields(model.graph, copy.graph, skip="initializer")
    if model.ir_version < 4:
        names = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in copy.graph.input if value.name not in names]
        del copy.graph.input[:]
        copy.graph.input.extend(inputs)
        copy.ir_version = 4
    _name_domain(copy)
    known = {value.name for value in copy.graph.input}
    for tensor in model.graph.initializer:
        if not _is_large(tensor):
            copy.graph.initializer.append(tensor)
        elif tensor.name not in known:
            copy.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return copy


def _name_domain(model: ModelProto) -> None:
    """Call ONNX's own domain "", not by its other name, "ai.onnx"."""
    for holder in (model, *model.functions):
        for entry in holder.opset_import:
            _clear(entry)
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in with_inner(nodes):
            _clear(node)


def _clear(named: NodeProto | OperatorSetIdProto) -> None:
    # What is not changed is not touched: set to "", a field is written to the file.
    if named.domain == "ai.onnx":
        named.domain = ""


def restore(copy: ModelProto, model: ModelProto) -> ModelProto:
    """Give a graph made of a skeleton the large initializers of its model back, in their order."""
    graph = copy.graph
    overridable = {value.name for value in model.graph.input} if model.ir_version >= 4 else set()
    large = [tensor for tensor in model.graph.initializer if _is_large(tensor)]
    needed = {value.name for value in graph.input} & {tensor.name for tensor in large}
    inputs = [v for v in graph.input if v.name not in needed or v.name in overridable]
    if not needed:
        return copy
    others = {tensor.name: tensor for tensor in graph.initializer}
    del graph.input[:], graph.initializer[:]
    graph.input.extend(inputs)
    for tensor in model.graph.initializer:
        if tensor.name in needed:
            graph.initializer.add().CopyFrom(tensor)  # append takes another copy on the way
        elif tensor.name in others:
            graph.initializer.append(others.pop(tensor.name))
    graph.initializer.extend(others.values())
    return copy


def _is_large(tensor: TensorProto) -> bool:
    # By its shape: to ask for its bytes or their number makes a copy of them.
    return tensor.data_location == TensorProto.EXTERNAL or math.prod(tensor.dims) > _LARGE


def _copy_fields(source: Any, target: Any, skip: str) -> None:
    """Copy all fields of a message but one."""
    for field, value in source.ListFields():
        if field.name == skip:
            continue
        if isinstance(value, str | int | float | bytes):
            setattr(target, field.name, value)
        elif hasattr(value, "CopyFrom"):
            getattr(target, field.name).CopyFrom(value)
        else:
            getattr(target, field.name).extend(value)


def opset_of(model: ModelProto) -> int:
    """Return the version of ONNX's own operators that a model is written in."""
    return next(
        (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1
    )


def modernized(model: ModelProto) -> ModelProto:
    """Return the model without functions of its own, in a recent opset.

    Raises:
        DifferentiationError: if it is too old, or :mod:`onnx.version_converter` fails.
    """
    if model.functions:
        model = bodies.inlined(model)
    opset = opset_of(model)
    if opset >= OPSET:
        return model
    if opset < OLDEST_OPSET:
        raise DifferentiationError(f"opset {opset} is older than {OLDEST_OPSET}")
    try:
        converted = version_converter.convert_version(model, OPSET)
    except Exception as error:  # It raises what its C++ side does, of many kinds.
        reason = str(error).strip().splitlines()[-1]
        raise DifferentiationError(
            f"opset {opset} cannot be converted to {OPSET}: {reason}"
        ) from error
    if opset < _OPSET_OF_GRIDS:
        for node in with_inner(converted.graph.node):
            if node.op_type == "Resize":
                stated = {item.name for item in node.attribute}
                for name, value in _OLD_GRID.items():
                    if name not in stated:
                        node.attribute.append(helper.make_attribute(name, value))
    converted.ir_version = max(converted.ir_version, 8)  # the first that has opset 16 and newer
    _log.info("the model is converted from opset %d to %d", opset, OPSET)
    return converted


def with_bodies(
    model: ModelProto,
    rules: Rules,
    sources: Iterable[str],
    outputs: Iterable[str],
    ends: Ends,
) -> GraphBuilder:
    """Return the model, ready to be extended, with operators on the way that lack a rule expanded.

    What the body of an operator is made of may lack a rule too, and have a body.
    """
    sources, outputs = list(sources), list(outputs)
    while True:
        builder = GraphBuilder(model)
        path = nodes_between(builder, builder.graph.node, sources, outputs, ends)
        opset = opset_of(model)
        lacking = {
            node.op_type
            for node in with_inner(path)
            if is_known(node) and node.op_type not in rules and bodies.has_body(node, opset)
        }
        if not lacking:
            return builder
        model = bodies.replace(builder, lacking, opset)
