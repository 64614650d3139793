"""Reverse-mode differentiation of ONNX graphs.

The result is a plain ONNX model in standard operators that computes, beside its old outputs, the
gradient of one of them; any runtime that can run the old model can run the new one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from ortist.export.autodiff.backward import Backward
from ortist.export.autodiff.rules import RULES
from ortist.export.builder import OWN_DOMAIN, GraphBuilder, prune, reads
from ortist.export.operators import expand
from ortist.models.errors import OrtistError

MINIMUM_OPSET = 16
_DOMAINS = ("", "ai.onnx", OWN_DOMAIN)
_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}


class DifferentiationError(OrtistError):
    """The graph cannot be differentiated; the message names operator, node and tensor."""


def differentiate(
    model: ModelProto,
    output: str,
    wrt: str | Sequence[str] | Mapping[str, str],
    *,
    held: Collection[str] = (),
    expanded: bool = True,
) -> ModelProto:
    """Extend a model with the gradient of ``output`` with respect to the tensors ``wrt``.

    Reverse mode: starting from a cotangent of ones, each node on the way from ``wrt`` to
    ``output`` is visited once, from last to first, and hands the cotangents of its inputs on by
    the vector-Jacobian rule of its operator (:data:`ortist.export.autodiff.rules.RULES`).

    Args:
        model: ONNX model with nodes in topological order, opset 16 or newer; not changed.
        output: name of a floating-point tensor, usually a scalar; for a tensor of any other shape
            the gradient is that of the sum of its elements.
        wrt: name or names of inputs, initializers or intermediate floating-point tensors; a
            mapping also says what to call their gradients, else ``gradient/<name>``.
        held: names of tensors taken as constant, however they are computed.
        expanded: whether the result is to be in standard operators only; if not, it has some of
            :mod:`ortist.export.operators`, which :func:`ortist.export.lowering.lower` takes.

    Returns:
        The model with one more output for each name in ``wrt``, of the same element type and
        shape. Nodes that no output needs are left out.

    Raises:
        DifferentiationError: for an operator without a rule, or one used in a way that its rule
            does not cover, on a path from ``wrt`` to ``output``; for unknown names; if ``output``
            does not depend on a tensor of ``wrt``.
    """
    builder = GraphBuilder(model)
    titles = _titles(wrt, "gradient")
    _check(builder, [output], list(titles), held)
    ones = builder.op(
        "ConstantOfShape", builder.op("Shape", output), value=_one(builder.element_type(output))
    )
    return _swept(builder, {output: ones}, titles, held, expanded)


def vjp(
    model: ModelProto,
    outputs: str | Sequence[str] | Mapping[str, str],
    wrt: str | Sequence[str] | Mapping[str, str],
    *,
    held: Collection[str] = (),
    expanded: bool = True,
) -> ModelProto:
    """Extend a model with its vector-Jacobian product: gradients for cotangents that are inputs.

    For outputs y and cotangents v, of the same shapes, the gradient at x is Σ v·dy/dx: that of
    Σ ⟨v, y⟩. So whatever is computed of the outputs elsewhere, by another graph, by a program, on
    another machine, its derivative by them is handed in, and the chain rule goes on from there.

    Args:
        model: as in :func:`differentiate`.
        outputs: name or names of floating-point tensors, each of which must depend on ``wrt``; a
            mapping also says what to call the inputs for their cotangents, else
            ``cotangent/<name>``.
        wrt: as in :func:`differentiate`.
        held: as in :func:`differentiate`.
        expanded: as in :func:`differentiate`.

    Returns:
        The model with one more input for each name in ``outputs``, of its element type and shape,
        and one more output for each name in ``wrt``.

    Raises:
        DifferentiationError: as in :func:`differentiate`.
    """
    builder = GraphBuilder(model)
    titles, inputs = _titles(wrt, "gradient"), _titles(outputs, "cotangent")
    _check(builder, list(inputs), list(titles), held)
    for name, title in inputs.items():
        _check_unused(builder, title)
        builder.add_input(title, builder.shape(name), builder.element_type(name))
        if not _nodes_between(builder, titles, [name], held) and name not in titles:
            raise DifferentiationError(f"{name!r} depends on none of {', '.join(titles)}")
    return _swept(builder, inputs, titles, held, expanded)


def depends(builder: GraphBuilder, output: str, source: str, held: Collection[str] = ()) -> bool:
    """Tell whether a tensor depends on another, other than through tensors that are held."""
    return bool(_nodes_between(builder, [source], [output], held))


def _titles(names: str | Sequence[str] | Mapping[str, str], prefix: str) -> Mapping[str, str]:
    """Return names with what to call what belongs to them."""
    if isinstance(names, Mapping):
        return names
    return {name: f"{prefix}/{name}" for name in ([names] if isinstance(names, str) else names)}


def _swept(
    builder: GraphBuilder,
    cotangents: Mapping[str, str],
    wrt: Mapping[str, str],
    held: Collection[str],
    expanded: bool,
) -> ModelProto:
    """Return the model with the gradients that follow from the cotangents of some tensors."""
    path = _nodes_between(builder, wrt, cotangents, held)
    active = {name for node in path for name in node.output}.difference(held).union(wrt)
    given = {tensor: [cotangent] for tensor, cotangent in cotangents.items()}
    backward = Backward(builder, given, frozenset(wrt))
    for node in reversed(path):
        _propagate(node, backward, active)
    for name, title in wrt.items():
        cotangent = backward.cotangent(name)
        if cotangent is None:
            outputs = ", ".join(map(repr, cotangents))
            raise DifferentiationError(f"{outputs} does not depend on {name!r}")
        _add_output(builder, title, cotangent, name)
    prune(builder.model)
    return expand(builder.model) if expanded else builder.model


def _propagate(node: NodeProto, backward: Backward, active: set[str]) -> None:
    """Add the contributions of ``node`` to the cotangents of its active inputs."""
    if not any(backward.has_cotangent(name) for name in node.output):
        return
    cotangent = backward.cotangent_or_zeros(node.output[0])
    for position, tensor in enumerate(reads(node)):
        if tensor not in active:
            continue
        rules = RULES.get(node.op_type) if node.domain in _DOMAINS else None
        where = f"{node.op_type} node {node.name!r}, input {tensor!r}"
        if rules is None:
            raise DifferentiationError(f"no derivative rule for {where}")
        rule = rules[min(position, len(rules) - 1)]
        if rule is None:
            raise DifferentiationError(f"not differentiable: {where}")
        try:
            contribution = rule(backward, node, cotangent, position)
        except NotImplementedError as error:
            raise DifferentiationError(f"{where}: {error}") from error
        if contribution is not None:
            backward.accumulate(tensor, contribution)


def _nodes_between(
    builder: GraphBuilder,
    sources: Iterable[str],
    outputs: Iterable[str],
    held: Collection[str],
) -> list[NodeProto]:
    """Return the nodes through which ``outputs`` depend on ``sources``, in graph order.

    Dependence ends at tensors that are ``held``, and at those that are not floating point: shapes,
    indices, comparisons.
    """
    reached = set(sources)
    downstream: list[NodeProto] = []
    for node in builder.graph.node:
        if reached.intersection(reads(node)):
            differentiable = [
                name for name in node.output if name not in held and _may_be_float(builder, name)
            ]
            reached.update(differentiable)
            if differentiable:
                downstream.append(node)
    needed = set(outputs)
    path: list[NodeProto] = []
    for node in reversed(downstream):
        if needed.intersection(node.output):
            needed.update(reads(node))
            path.append(node)
    return path[::-1]


def _may_be_float(builder: GraphBuilder, name: str) -> bool:
    return builder.element_type(name) in _FLOATS | {TensorProto.UNDEFINED}


def _check(
    builder: GraphBuilder, outputs: Sequence[str], wrt: Sequence[str], held: Collection[str]
) -> None:
    opset = next((entry.version for entry in builder.model.opset_import if not entry.domain), 0)
    if opset < MINIMUM_OPSET:
        raise DifferentiationError(
            f"opset {opset} is older than {MINIMUM_OPSET}: use onnx.version_converter first"
        )
    for names, label in ((outputs, "outputs"), (wrt, "wrt")):
        if not names:
            raise DifferentiationError(f"{label} names no tensor")
    for name in (*outputs, *wrt, *held):
        if not builder.knows(name):
            raise DifferentiationError(f"the graph has no tensor {name!r}")
    for name in (*outputs, *wrt):
        if builder.element_type(name) not in _FLOATS:
            kind = onnx.TensorProto.DataType.Name(builder.element_type(name))
            raise DifferentiationError(f"tensor {name!r} is {kind}, not floating point")


def _one(element_type: int) -> TensorProto:
    return helper.make_tensor("one", element_type, [1], [1.0])


def _add_output(builder: GraphBuilder, name: str, cotangent: str, like: str) -> None:
    _check_unused(builder, name)
    builder.op("Identity", cotangent, name=name)
    shape = builder.shape(like)
    builder.graph.output.append(
        helper.make_tensor_value_info(name, builder.element_type(like), shape)
    )


def _check_unused(builder: GraphBuilder, name: str) -> None:
    if builder.knows(name):
        raise DifferentiationError(f"the graph already has a tensor {name!r}")
