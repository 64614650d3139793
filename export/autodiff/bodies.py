"""Operators by simpler ones: what has no rule of its own is replaced by its body, then derived.

The bodies are ONNX's own functions, of :func:`onnx.defs.get_schema`, and those of a model.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import onnx
from onnx import FunctionProto, ModelProto, NodeProto, TypeProto, helper
from onnx.inliner import inline_local_functions

from ortist.export.builder import GraphBuilder, is_known, with_inner

_DOMAIN = "ortist.bodies"


def has_body(node: NodeProto, opset: int) -> bool:
    """Tell whether an operator can be replaced by a body."""
    return is_known(node) and bool(_versions(node.op_type, opset))


def replace(builder: GraphBuilder, op_types: Collection[str], opset: int) -> ModelProto:
    """Return the model with all nodes of some operators replaced by their bodies."""
    model = builder.model
    for node in with_inner(model.graph.node):
        if is_known(node) and node.op_type in op_types:
            body = _body(builder, node, opset)
            body.domain, body.name = _DOMAIN, f"{node.op_type}{len(model.functions)}"
            del body.opset_import[:]
            body.opset_import.extend(model.opset_import)
            node.domain, node.op_type = _DOMAIN, body.name
            model.functions.append(body)
    model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    model = inlined(model)
    kept = [entry for entry in model.opset_import if entry.domain != _DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _versions(op_type: str, opset: int) -> list[int]:
    """Return the opsets up to one in which ONNX has a body for an operator."""
    schema = _schema(op_type, opset)
    if schema is None:
        return []
    known = {*schema.function_opset_versions, *schema.context_dependent_function_opset_versions}
    return sorted(version for version in known if version <= opset)


def _schema(op_type: str, opset: int) -> Any:
    try:
        return onnx.defs.get_schema(op_type, opset)
    except onnx.defs.SchemaError:
        return None


def _body(builder: GraphBuilder, node: NodeProto, opset: int) -> FunctionProto:
    """Return the body of a node, which may depend on its attributes and the types it reads.

    Default values of attributes are written into the node: the body refers to them.
    """
    schema, version = _schema(node.op_type, opset), _versions(node.op_type, opset)[-1]
    if version in schema.context_dependent_function_opset_versions:
        types = [_type(builder, name).SerializeToString() for name in node.input]
        data = schema.get_context_dependent_function_with_opset_version(
            version, node.SerializeToString(), types
        )
    else:
        data = schema.get_function_with_opset_version(version)
    stated = {item.name for item in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in stated and attribute.default_value.name:
            node.attribute.append(attribute.default_value)
    body: FunctionProto = FunctionProto.FromString(data)
    return body


def _type(builder: GraphBuilder, tensor: str) -> TypeProto:
    if not tensor:
        return TypeProto()
    return helper.make_tensor_type_proto(builder.element_type(tensor), builder.shape(tensor))


def inlined(model: ModelProto) -> ModelProto:
    """Return the model with calls of its functions replaced by their bodies.

    Default values of attributes are written into the calls of ``model`` first: the inliner knows
    none.
    """
    functions = {(function.domain, function.name): function for function in model.functions}
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in with_inner(nodes):
            function = functions.get((node.domain, node.op_type))
            stated = {item.name for item in node.attribute}
            for item in function.attribute_proto if function else ():
                if item.name not in stated:
                    node.attribute.append(item)
    return inline_local_functions(model, convert_version=True)
