"""Reverse-mode differentiation of ONNX graphs.

The result is a plain ONNX model in standard operators that computes, beside its old outputs, the
gradient of one of them; any runtime that can run the old model can run the new one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence

import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from ortist.export.autodiff.backward import Backward
from ortist.export.autodiff.errors import DifferentiationError, Obstacle
from ortist.export.autodiff.paths import FLOATS, Ends, nodes_between
from ortist.export.autodiff.preparation import modernized, restore, skeleton, with_bodies
from ortist.export.autodiff.rules import RULES
from ortist.export.builder import GraphBuilder, prune
from ortist.export.operators import expand

__all__ = ["DifferentiationError", "Obstacle", "depends", "differentiate", "obstacles", "vjp"]

Names = str | Sequence[str] | Mapping[str, str]
"""One name, several, or several with what to call what belongs to them."""


def differentiate(
    model: ModelProto,
    output: str,
    wrt: Names,
    *,
    held: Collection[str] = (),
    straight_through: bool = False,
    expanded: bool = True,
) -> ModelProto:
    """Extend a model with the gradient of ``output`` with respect to the tensors ``wrt``.

    Reverse mode: starting from a cotangent of ones, each node on the way from ``wrt`` to
    ``output`` is visited once, from last to first, and hands the cotangents of its inputs on by
    the vector-Jacobian rule of its operator (:data:`ortist.export.autodiff.rules.RULES`). Operators
    without a rule are replaced by their bodies, if they have one; of If both branches are
    differentiated. What is not differentiable at a point gets what PyTorch gives it: 0 for Relu at
    0, g at the bounds of Clip, equal shares for ties of ReduceMax, the first of a tie in MaxPool;
    the docstrings of the rules say so.

    Args:
        model: ONNX model with nodes in topological order, opset 7 or newer; not changed. Below 18
            it is converted to 18 on the way. Weights may be outside of it, as external data.
        output: name of a floating-point tensor, usually a scalar; for a tensor of any other shape
            the gradient is that of the sum of its elements.
        wrt: name or names of inputs, initializers or intermediate floating-point tensors; a
            mapping also says what to call their gradients, else ``gradient/<name>``.
        held: names of tensors taken as constant, however they are computed.
        straight_through: whether quantizers pass the gradient on, where they do not saturate, as
            if they did not round (Bengio et al. 2013); if not, it ends at them.
        expanded: whether the result is to be in standard operators only; if not, it has some of
            :mod:`ortist.export.operators`, which :func:`ortist.export.lowering.lower` takes.

    Returns:
        The model with one more output for each name in ``wrt``, of the same element type and
        shape; ``output`` is one too. Nodes that no output needs are left out. External data stays
        where it is.

    Raises:
        DifferentiationError: for operators without a rule, or used in a way that their rule does
            not cover, on a path from ``wrt`` to ``output``: its ``obstacles`` are all of them; for
            unknown names; if ``output`` does not depend on a tensor of ``wrt``; for an opset that
            cannot be converted.
    """

    def ones(builder: GraphBuilder) -> Mapping[str, str]:
        one = helper.make_tensor("one", builder.element_type(output), [1], [1.0])
        return {output: builder.op("ConstantOfShape", builder.op("Shape", output), value=one)}

    return _derived(model, [output], wrt, ones, Ends(held, straight_through), expanded)


def vjp(
    model: ModelProto,
    outputs: Names,
    wrt: Names,
    *,
    held: Collection[str] = (),
    straight_through: bool = False,
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
        straight_through: as in :func:`differentiate`.
        expanded: as in :func:`differentiate`.

    Returns:
        The model with one more input for each name in ``outputs``, of its element type and shape,
        and one more output for each name in ``wrt``.

    Raises:
        DifferentiationError: as in :func:`differentiate`.
    """
    titles, sources = _titles(outputs, "cotangent"), list(_titles(wrt, "gradient"))
    ends = Ends(held, straight_through)

    def inputs(builder: GraphBuilder) -> Mapping[str, str]:
        for name, title in titles.items():
            _check_unused(builder, title)
            builder.add_input(title, builder.shape(name), builder.element_type(name))
            path = nodes_between(builder, builder.graph.node, sources, [name], ends)
            if not path and name not in sources:
                raise DifferentiationError(f"{name!r} depends on none of {', '.join(sources)}")
        return titles

    return _derived(model, list(titles), wrt, inputs, ends, expanded)


def obstacles(
    model: ModelProto,
    outputs: str | Sequence[str],
    wrt: str | Sequence[str],
    *,
    held: Collection[str] = (),
    straight_through: bool = False,
) -> tuple[Obstacle, ...]:
    """Return all that stands in the way of the gradients of some outputs, none if nothing does.

    Args:
        model: as in :func:`differentiate`.
        outputs: as in :func:`vjp`.
        wrt: as in :func:`differentiate`.
        held: as in :func:`differentiate`.
        straight_through: as in :func:`differentiate`.

    Raises:
        DifferentiationError: for unknown names, missing dependence and too old an opset.
    """
    try:
        vjp(model, outputs, wrt, held=held, straight_through=straight_through)
    except DifferentiationError as error:
        if not error.obstacles:
            raise
        return error.obstacles
    return ()


def depends(builder: GraphBuilder, output: str, source: str, held: Collection[str] = ()) -> bool:
    """Tell whether a tensor depends on another, other than through tensors that are held."""
    return bool(nodes_between(builder, builder.graph.node, [source], [output], Ends(held)))


def _titles(names: Names, prefix: str) -> Mapping[str, str]:
    """Return names with what to call what belongs to them."""
    if isinstance(names, Mapping):
        return names
    return {name: f"{prefix}/{name}" for name in ([names] if isinstance(names, str) else names)}


def _derived(
    model: ModelProto,
    outputs: Sequence[str],
    wrt: Names,
    cotangents: Callable[[GraphBuilder], Mapping[str, str]],
    ends: Ends,
    expanded: bool,
) -> ModelProto:
    """Return the model with the gradients that follow from the cotangents of some tensors."""
    titles = _titles(wrt, "gradient")
    try:
        return _extended(model, outputs, titles, cotangents, ends, expanded)
    except DifferentiationError:
        raise
    except Exception as error:  # What is malformed ends somewhere; where is of no use to anyone.
        _check_form(skeleton(model), error)
        raise


def _extended(
    model: ModelProto,
    outputs: Sequence[str],
    titles: Mapping[str, str],
    cotangents: Callable[[GraphBuilder], Mapping[str, str]],
    ends: Ends,
    expanded: bool,
) -> ModelProto:
    builder = with_bodies(modernized(skeleton(model)), RULES, titles, outputs, ends)
    _check(builder, outputs, list(titles), ends.held)
    for title in titles.values():
        _check_unused(builder, title)
        builder.unused(title)  # by what is appended from here on
    given = cotangents(builder)
    backward = Backward(builder, RULES, given, titles, ends)
    nodes = list(builder.graph.node)
    backward.sweep(nodes)
    if backward.obstacles:
        raise DifferentiationError.of(backward.obstacles)
    if expanded:
        _show(builder, outputs)
    for name, title in titles.items():
        cotangent = backward.cotangent(name)
        if cotangent is None:
            # What has a derivative of 0 everywhere, as Floor, contributes nothing.
            if not nodes_between(builder, nodes, [name], given, ends):
                named = ", ".join(map(repr, given))
                but = f" but through {', '.join(map(repr, ends.held))}" if ends.held else ""
                raise DifferentiationError(f"{named} does not depend on {name!r}{but}")
            cotangent = backward.cotangent_or_zeros(name)
        _add_output(builder, title, cotangent, name)
    inputs = list(builder.graph.input)
    prune(builder.model)
    result = builder.model
    if expanded:
        result = expand(builder.model)
        _keep_inputs(result.graph, inputs, {tensor.name for tensor in model.graph.initializer})
    return restore(result, model)


def _check_form(model: ModelProto, error: Exception) -> None:
    """Raise DifferentiationError from an error if the model is not what ONNX says it must be."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as fault:
        reason = str(fault).strip().splitlines()[0]
        raise DifferentiationError(f"the model is malformed: {reason}") from error
    if isinstance(error, onnx.shape_inference.InferenceError):
        reason = str(error).strip().splitlines()[-1]
        raise DifferentiationError(f"the model is malformed: {reason}") from error


def _show(builder: GraphBuilder, outputs: Sequence[str]) -> None:
    """Make outputs of the tensors that are differentiated: their values are wanted too."""
    known = {value.name for value in (*builder.graph.output, *builder.graph.input)}
    for name in outputs:
        if name not in known:
            kind, shape = builder.element_type(name), builder.shape(name)
            builder.graph.output.append(helper.make_tensor_value_info(name, kind, shape))


def _keep_inputs(
    graph: GraphProto, inputs: Sequence[ValueInfoProto], stored: Collection[str]
) -> None:
    """Give a graph all its inputs again, those that nothing reads too: who runs it gives them."""
    read = {value.name for value in graph.input}
    del graph.input[:]
    graph.input.extend(v for v in inputs if v.name in read or v.name not in stored)


def _check(
    builder: GraphBuilder, outputs: Sequence[str], wrt: Sequence[str], held: Collection[str]
) -> None:
    for names, label in ((outputs, "outputs"), (wrt, "wrt")):
        if not names:
            raise DifferentiationError(f"{label} names no tensor")
    for name in (*outputs, *wrt, *held):
        if not builder.knows(name):
            raise DifferentiationError(f"the graph has no tensor {name!r}; {_near(builder, name)}")
    if both := sorted(set(held) & set(wrt)):
        raise DifferentiationError(f"{both[0]!r} is both held and to be differentiated by")
    for name in (*outputs, *wrt):
        if builder.element_type(name) == TensorProto.UNDEFINED:
            raise DifferentiationError(
                f"tensor {name!r} has no type that can be inferred, or is inside a branch"
            )
        if builder.element_type(name) not in FLOATS:
            kind = onnx.TensorProto.DataType.Name(builder.element_type(name))
            raise DifferentiationError(f"tensor {name!r} is {kind}, not floating point")


def _near(builder: GraphBuilder, name: str) -> str:
    """Say what a name that the graph does not have may have been meant for."""
    similar = difflib.get_close_matches(name, builder.names(), 3)
    if similar:
        return f"similar are {', '.join(similar)}"
    graph = builder.graph
    inputs, outputs = (
        ", ".join(value.name for value in values) for values in (graph.input, graph.output)
    )
    return f"its inputs are {inputs}, its outputs {outputs}"


def _add_output(builder: GraphBuilder, name: str, cotangent: str, like: str) -> None:
    # With its domain written out, as builder.op does.
    builder.graph.node.append(helper.make_node("Identity", [cotangent], [name], name, domain=""))
    shape = builder.shape(like)
    builder.graph.output.append(
        helper.make_tensor_value_info(name, builder.element_type(like), shape)
    )


def _check_unused(builder: GraphBuilder, name: str) -> None:
    if builder.knows(name):
        raise DifferentiationError(f"the graph already has a tensor {name!r}")
