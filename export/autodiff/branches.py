"""Operators with subgraphs: the derivative of If is that of the branch which was taken."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import GraphProto, NodeProto, helper

from ortist.export.autodiff.backward import Backward
from ortist.export.autodiff.paths import Ends
from ortist.export.builder import attributes, own_names, reads, subgraphs, with_inner

_DRAWN = ("Bernoulli", "Multinomial")


def choose(b: Backward, n: NodeProto, g: str, i: int) -> str | None:
    """y = c ? f(x) : h(x): the derivative of f where c, else that of h, x all that they read.

    A second If, by the same condition, has branches that compute what theirs do once more, and
    then the derivatives; those of all tensors that the branches read come out of it at once.
    """
    captured = list(dict.fromkeys(name for name in reads(n)[1:] if name in b.active))
    if captured[0] != reads(n)[i] or captured[0] in reads(n)[:i]:
        return None
    given = {name: b.cotangent_or_zeros(name) for name in n.output if b.has_cotangent(name)}
    branches = attributes(b.builder.inferred(n))
    results = [b.builder.unused(f"if/{name}") for name in captured]
    node = helper.make_node("If", [n.input[0]], results, b.builder.unused("if"))
    for key in ("then_branch", "else_branch"):
        graph = _branch(b, branches[key], [given.get(name) for name in n.output], captured)
        node.attribute.append(helper.make_attribute(key, graph))
    b.builder.graph.node.append(node)
    for tensor, result in zip(captured, results, strict=True):
        b.accumulate(tensor, result)
    return None


def loop(b: Backward, n: NodeProto, g: str, i: int) -> None:
    """Y = what a body makes of x in several steps: no rule."""
    raise NotImplementedError("loops in the model are not differentiated")


def _branch(
    b: Backward, graph: GraphProto, given: list[str | None], captured: list[str]
) -> GraphProto:
    """Return a branch that computes the cotangents of ``captured`` from those of its outputs."""
    if drawn := [node.op_type for node in with_inner(graph.node) if _is_drawn(node)]:
        raise NotImplementedError(f"{drawn[0]} in a branch, which would be drawn again")
    names = {name: b.builder.unused(name) for name in own_names(graph)}
    inner = _renamed(graph, names)
    held = [names.get(name, name) for name in b.ends.held]
    ends = Ends(held, b.ends.straight_through)
    outputs = [value.name for value in inner.output]
    with b.builder.branch(graph.name) as result:
        b.builder.adopt(inner)
        backward = Backward(b.builder, b.rules, {}, captured, ends)
        for name, cotangent in zip(outputs, given, strict=True):
            if cotangent is not None:
                backward.accumulate(name, cotangent)
        backward.sweep(list(b.builder.graph.node))
        b.obstacles += backward.obstacles
        for tensor in captured:
            # A branch may hand on what was computed outside it: its outputs need a node.
            cotangent = backward.cotangent_or_zeros(tensor)
            output = b.op("Identity", cotangent, name=b.builder.unused(f"cotangent/{tensor}"))
            info = helper.make_tensor_value_info(output, b.kind(tensor), b.builder.shape(tensor))
            result.output.append(info)
    return result


def _is_drawn(node: NodeProto) -> bool:
    """Tell whether a node may give something else each time."""
    trains = node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] != ""
    return trains or node.op_type.startswith("Random") or node.op_type in _DRAWN


def _renamed(graph: GraphProto, names: Mapping[str, str]) -> GraphProto:
    """Return a copy of a subgraph in which tensors have other names."""
    copy = GraphProto()
    copy.CopyFrom(graph)
    _rename(copy, names)
    return copy


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    for item in (*graph.initializer, *graph.value_info, *graph.output):
        item.name = names.get(item.name, item.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in subgraphs(node):
            _rename(inner, names)
