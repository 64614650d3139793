"""Derivatives of single nodes against central differences, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from ortist.export.differentiate import differentiate

OPSET = 18
Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One node; float64 inputs are differentiated, others and those in ``fixed`` are constants."""

    op_type: str
    inputs: tuple[Array | None, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    fixed: tuple[int, ...] = ()
    static: bool = True
    opset: int = OPSET


def reals(*shape: int, low: float = -1.0, high: float = 1.0) -> Array:
    """Distinct values, in random order, that stay away from 0 and from each other."""
    size = int(np.prod(shape))
    values = np.linspace(low, high, size) + 0.2 / (size + 1)
    return np.random.default_rng(size).permutation(values).reshape(shape)


def integers(*values: int) -> Array:
    return np.array(values, np.int64)


def model_of(
    case: Case, real: type = np.float64, operators: Sequence[type[OpRun]] = ()
) -> tuple[ModelProto, dict[str, Array]]:
    """Build J = sum over outputs of sum(c * y) with fixed random c around the case's node.

    Some operators may be evaluated in place of what the reference evaluator has.
    """
    names = [f"x{i}" if value is not None else "" for i, value in enumerate(case.inputs)]
    variables = {
        name: value
        for i, (name, value) in enumerate(zip(names, case.inputs, strict=True))
        if value is not None and value.dtype == real and i not in case.fixed
    }
    constants = [
        numpy_helper.from_array(value, name)
        for name, value in zip(names, case.inputs, strict=True)
        if value is not None and name not in variables
    ]
    outputs = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(case.op_type, names, outputs, "node", **case.attributes)
    results = run_node(node, names, case.inputs, case.opset, operators)
    nodes, terms = [node], []
    for i, result in enumerate(results):
        if result.dtype != real:
            continue
        cotangent = np.random.default_rng(i).standard_normal(result.shape).astype(real)
        constants.append(numpy_helper.from_array(cotangent, f"c{i}"))
        nodes.append(helper.make_node("Mul", [f"y{i}", f"c{i}"], [f"yc{i}"]))
        nodes.append(helper.make_node("ReduceSum", [f"yc{i}"], [f"term{i}"], keepdims=0))
        terms.append(f"term{i}")
    nodes.append(helper.make_node("Sum", terms, ["J"]))
    model = make_model(nodes, variables, constants, case.static, real=real, opset=case.opset)
    return model, variables


def run_node(
    node: NodeProto,
    names: list[str],
    values: tuple[Array | None, ...],
    opset: int,
    operators: Sequence[type[OpRun]] = (),
) -> list[Array]:
    feeds = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    model = make_model([node], feeds, [], True, list(node.output), opset=opset)
    evaluator = ReferenceEvaluator(model, new_ops=list(operators))
    return [np.asarray(value) for value in evaluator.run(None, feeds)]


def make_model(
    nodes: list[NodeProto],
    inputs: dict[str, Array],
    initializers: list[TensorProto],
    static: bool,
    outputs: list[str] | None = None,
    real: type = np.float64,
    opset: int = OPSET,
) -> ModelProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(real))
    graph = helper.make_graph(
        nodes,
        "case",
        [
            helper.make_tensor_value_info(
                name,
                helper.np_dtype_to_tensor_dtype(value.dtype),
                value.shape if static else [None] * value.ndim,
            )
            for name, value in inputs.items()
        ],
        [helper.make_tensor_value_info(name, kind, []) for name in outputs or ["J"]],
        initializers,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)])


def central_differences(model: ModelProto, inputs: dict[str, Array], wrt: str) -> Array:
    """Return dJ/dwrt by central differences, error about 1e-9 in float64."""
    evaluator, step = ReferenceEvaluator(model), 1e-5
    gradient = np.zeros_like(inputs[wrt])
    for index in np.ndindex(gradient.shape):
        values = []
        for sign in (1, -1):
            moved = inputs[wrt].copy()
            moved[index] += sign * step
            values.append(float(evaluator.run(["J"], {**inputs, wrt: moved})[0]))
        gradient[index] = (values[0] - values[1]) / (2 * step)
    return gradient


def check_gradient(model: ModelProto, inputs: dict[str, Array]) -> None:
    """Fail unless the derived gradients of J agree with central differences."""
    extended = differentiate(model, "J", list(inputs))
    onnx.checker.check_model(extended, full_check=True)
    assert {node.domain for node in extended.graph.node} == {""}
    names = [f"gradient/{name}" for name in inputs]
    results = ReferenceEvaluator(extended).run(names, inputs)
    for name, gradient in zip(inputs, results, strict=True):
        expected = central_differences(model, inputs, name)
        assert np.asarray(gradient).dtype == np.float64
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7, err_msg=name)


POSITIVE = {"low": 0.5, "high": 2.0}


def check_runtime(case: Case) -> None:
    """Fail unless ONNX Runtime and the reference evaluator agree on the gradients in float32."""
    model, variables = single_model_of(case)
    extended = differentiate(model, "J", list(variables))
    names = [f"gradient/{name}" for name in variables]
    expected = ReferenceEvaluator(extended).run(names, variables)
    session = onnxruntime.InferenceSession(extended.SerializeToString())
    for name, found, value in zip(names, session.run(names, variables), expected, strict=True):
        scale = max(float(np.abs(value).max(initial=0)), 1e-3)
        np.testing.assert_allclose(found, value, rtol=0, atol=1e-4 * scale, err_msg=name)


def single_model_of(
    case: Case, operators: Sequence[type[OpRun]] = ()
) -> tuple[ModelProto, dict[str, Array]]:
    """Build the model of a case in float32."""
    inputs = tuple(
        value.astype(np.float32) if value is not None and value.dtype == np.float64 else value
        for value in case.inputs
    )
    single = {i for i, x in enumerate(case.inputs) if x is not None and x.dtype == np.float32}
    fixed = tuple(single.union(case.fixed))
    return model_of(replace(case, inputs=inputs, fixed=fixed), np.float32, operators)
