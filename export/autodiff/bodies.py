"""Operators by simpler ones: what has no rule of its own is replaced by a body, then derived.

Most bodies are ONNX's own: its functions, of :func:`onnx.defs.get_schema`. Those of operators that
ONNX has no body for are here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, helper
from onnx.inliner import inline_local_functions, inline_selected_functions

from ortist.export.builder import is_known, with_inner

_DOMAIN = "ortist.bodies"
BODIES: dict[str, str] = {}
"""Operator to the text of its function, which is in the syntax of :mod:`onnx.parser`."""


def has_body(node: NodeProto, opset: int) -> bool:
    """Tell whether an operator can be replaced by a body."""
    return is_known(node) and (node.op_type in BODIES or _has_standard_body(node.op_type, opset))


def _has_standard_body(op_type: str, opset: int) -> bool:
    try:
        schema: Any = onnx.defs.get_schema(op_type, opset)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def replace(model: ModelProto, op_types: Collection[str]) -> ModelProto:
    """Return the model with all nodes of some operators replaced by their bodies."""
    ours = [op_type for op_type in op_types if op_type in BODIES]
    if ours:
        for op_type in ours:
            model.functions.append(_function(op_type, model))
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
        for node in with_inner(model.graph.node):
            if is_known(node) and node.op_type in ours:
                node.domain = _DOMAIN
        model = inlined(model)
        kept = [entry for entry in model.opset_import if entry.domain != _DOMAIN]
        del model.opset_import[:]
        model.opset_import.extend(kept)
    standard = [("", op_type) for op_type in op_types if op_type not in BODIES]
    if standard:
        stated = list(model.graph.value_info)
        for tensor in model.graph.initializer:  # Of these the inliner does not know the types.
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            model.graph.value_info.append(info)
        model = inline_selected_functions(model, standard, inline_schema_functions=True)
        del model.graph.value_info[:]
        model.graph.value_info.extend(stated)
    return model


def _function(op_type: str, model: ModelProto) -> onnx.FunctionProto:
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    head = f'<domain: "{_DOMAIN}", opset_import: ["": {opset}]>'
    return onnx.parser.parse_function(f"{head} {op_type} {BODIES[op_type]}")


def inlined(model: ModelProto) -> ModelProto:
    """Return the model with calls of its functions replaced by their bodies.

    Default values of attributes are written into the calls first: the inliner knows none.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    functions = {(function.domain, function.name): function for function in copy.functions}
    for nodes in (copy.graph.node, *(function.node for function in copy.functions)):
        for node in with_inner(nodes):
            function = functions.get((node.domain, node.op_type))
            stated = {item.name for item in node.attribute}
            for item in function.attribute_proto if function else ():
                if item.name not in stated:
                    node.attribute.append(item)
    return inline_local_functions(copy)
