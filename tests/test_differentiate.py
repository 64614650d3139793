"""Every derivative rule against central differences, in float64."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ortist.export.autodiff import rules
from ortist.export.autodiff.backward import Backward
from ortist.export.differentiate import DifferentiationError, differentiate, vjp

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


def reals(*shape: int, low: float = -1.0, high: float = 1.0) -> Array:
    """Distinct values, in random order, that stay away from 0 and from each other."""
    size = int(np.prod(shape))
    values = np.linspace(low, high, size) + 0.2 / (size + 1)
    return np.random.default_rng(size).permutation(values).reshape(shape)


def integers(*values: int) -> Array:
    return np.array(values, np.int64)


def model_of(case: Case) -> tuple[ModelProto, dict[str, Array]]:
    """Build J = sum over outputs of sum(c * y) with fixed random c around the case's node."""
    names = [f"x{i}" if value is not None else "" for i, value in enumerate(case.inputs)]
    variables = {
        name: value
        for i, (name, value) in enumerate(zip(names, case.inputs, strict=True))
        if value is not None and value.dtype == np.float64 and i not in case.fixed
    }
    constants = [
        numpy_helper.from_array(value, name)
        for name, value in zip(names, case.inputs, strict=True)
        if value is not None and name not in variables
    ]
    outputs = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(case.op_type, names, outputs, "node", **case.attributes)
    shapes = [value.shape for value in run_node(node, names, case.inputs)]
    nodes, terms = [node], []
    for i, shape in enumerate(shapes):
        cotangent = np.random.default_rng(i).standard_normal(shape)
        constants.append(numpy_helper.from_array(cotangent, f"c{i}"))
        nodes.append(helper.make_node("Mul", [f"y{i}", f"c{i}"], [f"yc{i}"]))
        nodes.append(helper.make_node("ReduceSum", [f"yc{i}"], [f"term{i}"], keepdims=0))
        terms.append(f"term{i}")
    nodes.append(helper.make_node("Sum", terms, ["J"]))
    return make_model(nodes, variables, constants, case.static), variables


def run_node(node: NodeProto, names: list[str], values: tuple[Array | None, ...]) -> list[Array]:
    feeds = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    evaluator = ReferenceEvaluator(make_model([node], feeds, [], True, list(node.output)))
    return [np.asarray(value) for value in evaluator.run(None, feeds)]


def make_model(
    nodes: list[NodeProto],
    inputs: dict[str, Array],
    initializers: list[TensorProto],
    static: bool,
    outputs: list[str] | None = None,
) -> ModelProto:
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
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, []) for name in outputs or ["J"]],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


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


def conv(
    size: int, kernel: int, stride: int, pads: tuple[int, int], dilation: int = 1, axes: int = 1
) -> Case:
    inputs = (reals(2, 2, *[size] * axes), reals(3, 2, *[kernel] * axes), reals(3))
    return Case("Conv", inputs, window(kernel, stride, pads, axes, dilation))


def window(
    kernel: int, stride: int, pads: tuple[int, int], axes: int, dilation: int = 1
) -> dict[str, Any]:
    attributes = {
        "kernel_shape": [kernel] * axes,
        "strides": [stride] * axes,
        "pads": [pads[0]] * axes + [pads[1]] * axes,
    }
    return {**attributes, "dilations": [dilation] * axes} if dilation > 1 else attributes


NEAREST = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}
POSITIVE = {"low": 0.5, "high": 2.0}
CASES: dict[str, Case] = {
    "Abs": Case("Abs", (reals(3, 4),)),
    "Add": Case("Add", (reals(3, 4), reals(3, 4))),
    "Add, broadcast": Case("Add", (reals(2, 1, 4), reals(3, 1))),
    "Add, broadcast, unknown shapes": Case("Add", (reals(2, 1, 4), reals(3, 1)), static=False),
    "Add, scalar": Case("Add", (reals(2, 3), np.array(0.3))),
    "AveragePool": Case("AveragePool", (reals(2, 2, 6),), window(2, 2, (0, 0), 1)),
    "AveragePool, odd": Case("AveragePool", (reals(1, 2, 5, 7),), window(2, 2, (0, 0), 2)),
    "AveragePool, overlapping": Case("AveragePool", (reals(2, 2, 8),), window(3, 2, (0, 0), 1)),
    "AveragePool, padding counted": Case(
        "AveragePool", (reals(1, 2, 6, 6),), {**window(3, 2, (1, 1), 2), "count_include_pad": 1}
    ),
    "AveragePool, padding not counted": Case(
        "AveragePool", (reals(1, 2, 6, 6),), window(3, 2, (1, 1), 2)
    ),
    "Clip": Case("Clip", (reals(3, 4), np.array(-0.5), np.array(0.6)), fixed=(1, 2)),
    "Concat": Case("Concat", (reals(2, 1, 2), reals(2, 3, 2), reals(2, 2, 2)), {"axis": 1}),
    "Concat, unknown shapes": Case(
        "Concat", (reals(2, 3), reals(1, 3)), {"axis": -2}, static=False
    ),
    "Conv 1x1": conv(4, 1, 1, (0, 0)),
    "Conv 3x3": conv(4, 3, 1, (1, 1), axes=2),
    "Conv, uneven pads": conv(5, 3, 1, (0, 2)),
    "Conv, wide pads": conv(4, 2, 1, (2, 2)),
    "Conv, dilation": conv(7, 3, 1, (2, 1), dilation=2),
    "Conv, stride": conv(6, 3, 2, (1, 1), axes=2),
    "Conv, stride leaves rows": conv(8, 3, 3, (1, 0)),
    "Conv, stride 3, kernel 2": conv(9, 2, 3, (0, 0)),
    "Conv, stride and dilation": conv(9, 2, 2, (1, 1), dilation=3),
    "ConvTranspose": Case(
        "ConvTranspose", (reals(2, 2, 4), reals(2, 3, 3), reals(3)), window(3, 1, (1, 1), 1)
    ),
    "ConvTranspose, stride": Case(
        "ConvTranspose",
        (reals(1, 2, 3, 3), reals(2, 2, 3, 3), reals(2)),
        {**window(3, 2, (1, 0), 2), "output_padding": [1, 1]},
    ),
    "DepthToSpace DCR": Case("DepthToSpace", (reals(1, 8, 2, 3),), {"blocksize": 2, "mode": "DCR"}),
    "DepthToSpace CRD": Case("DepthToSpace", (reals(1, 8, 2, 3),), {"blocksize": 2, "mode": "CRD"}),
    "Div": Case("Div", (reals(3, 4), reals(4, **POSITIVE))),
    "Exp": Case("Exp", (reals(3, 4),)),
    "Expand": Case("Expand", (reals(3, 1), integers(2, 3, 4))),
    "Flatten": Case("Flatten", (reals(2, 3, 2),)),
    "Gather": Case("Gather", (reals(4, 3), np.array([[0, 2], [2, -1]])), {"axis": 0}),
    "GatherElements": Case(
        "GatherElements", (reals(3, 2), np.array([[0, 1], [0, 0], [1, 1]])), {"axis": 1}
    ),
    "GatherND": Case("GatherND", (reals(3, 2), np.array([[0, 1], [2, 0], [0, 1]]))),
    **{
        f"Gemm {a}{b}": Case(
            "Gemm",
            (reals(*((4, 2) if a else (2, 4))), reals(*((3, 4) if b else (4, 3))), reals(3)),
            {"alpha": 0.5, "beta": 1.5, "transA": a, "transB": b},
        )
        for a in (0, 1)
        for b in (0, 1)
    },
    "Identity": Case("Identity", (reals(3),)),
    "Log": Case("Log", (reals(3, 4, **POSITIVE),)),
    "MatMul": Case("MatMul", (reals(2, 3), reals(3, 4))),
    "MatMul, stacked": Case("MatMul", (reals(2, 1, 2, 3), reals(2, 3, 2))),
    "MaxPool": Case("MaxPool", (reals(1, 2, 4, 6),), window(2, 2, (0, 0), 2)),
    "MaxPool, odd": Case("MaxPool", (reals(2, 2, 5, 7),), window(2, 2, (0, 0), 2)),
    "MaxPool, overlapping": Case("MaxPool", (reals(1, 2, 6, 6),), window(3, 2, (1, 1), 2)),
    "Mul": Case("Mul", (reals(3, 4), reals(3, 1))),
    "Neg": Case("Neg", (reals(3),)),
    "Pad": Case("Pad", (reals(2, 3), integers(1, 0, 0, 2))),
    "Pow": Case("Pow", (reals(3, 4, **POSITIVE), reals(4, **POSITIVE))),
    "Pow 2": Case("Pow", (reals(3, 4), np.array(2.0)), fixed=(1,)),
    "Pow 3, integer": Case("Pow", (reals(3, 4), np.array(3))),
    "ReduceL1": Case("ReduceL1", (reals(3, 4), integers(1))),
    "ReduceL2": Case("ReduceL2", (reals(3, 4), integers(0)), {"keepdims": 0}),
    "ReduceMean": Case("ReduceMean", (reals(2, 3, 4), integers(0, -1))),
    "ReduceMean, flat": Case("ReduceMean", (reals(2, 3, 4), integers(0, -1)), {"keepdims": 0}),
    "ReduceSum": Case("ReduceSum", (reals(2, 3, 4), integers(1))),
    "ReduceSum, flat": Case("ReduceSum", (reals(2, 3, 4), integers(1)), {"keepdims": 0}),
    "ReduceSum, all": Case("ReduceSum", (reals(2, 3),), {"keepdims": 0}),
    "ReduceSum, no axes": Case(
        "ReduceSum", (reals(2, 3), integers()), {"keepdims": 0, "noop_with_empty_axes": 1}
    ),
    "ReduceSumSquare": Case("ReduceSumSquare", (reals(2, 3), integers(1)), {"keepdims": 0}),
    "Relu": Case("Relu", (reals(3, 4),)),
    "Reshape": Case("Reshape", (reals(2, 6), integers(3, -1))),
    "Resize": Case(
        "Resize", (reals(1, 2, 2, 3), None, np.array([1, 1, 2, 3], np.float32)), NEAREST
    ),
    "Resize, half pixel": Case(
        "Resize", (reals(1, 2, 4), None, np.array([1, 1, 2], np.float32)), {"mode": "nearest"}
    ),
    "Sigmoid": Case("Sigmoid", (reals(3, 4),)),
    "Slice": Case("Slice", (reals(4, 5), integers(1, 0), integers(9, -1))),
    "Slice, one axis": Case("Slice", (reals(4, 5), integers(2), integers(4), integers(-1))),
    "Slice, backwards": Case(
        "Slice", (reals(4, 5), integers(-1), integers(-9), integers(1), integers(-2))
    ),
    "Slice, unknown shapes": Case(
        "Slice", (reals(4, 5), integers(1), integers(-1), integers(0)), static=False
    ),
    "SpaceToDepth": Case("SpaceToDepth", (reals(1, 2, 4, 6),), {"blocksize": 2}),
    "Split": Case("Split", (reals(5, 2), integers(2, 3)), {"axis": 0}, outputs=2),
    "Sqrt": Case("Sqrt", (reals(3, 4, **POSITIVE),)),
    "Squeeze": Case("Squeeze", (reals(2, 1, 3), integers(1))),
    "Sub": Case("Sub", (reals(3, 4), reals(4))),
    "Sum": Case("Sum", (reals(3, 4), reals(4), reals(3, 1))),
    "Tanh": Case("Tanh", (reals(3, 4),)),
    "Transpose": Case("Transpose", (reals(2, 3, 4),), {"perm": [2, 0, 1]}),
    "Transpose, reversed": Case("Transpose", (reals(2, 3, 4),)),
    "Unsqueeze": Case("Unsqueeze", (reals(2, 3), integers(0, 2))),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rule_agrees_with_central_differences(case: Case) -> None:
    check_gradient(*model_of(case))


def test_every_rule_has_a_case() -> None:
    # A cast between float types cannot be checked by differences, and the evaluator does not know
    # operators of ours: they have tests of their own.
    tested = {case.op_type for case in CASES.values()}
    assert tested == set(rules.RULES) - {"Cast", "SumSquares", "Weighted"}


def test_checker_catches_a_wrong_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(b: Backward, n: NodeProto, g: str, i: int) -> str:
        return b.op("Mul", g, b.scalar(1.0 + 1e-4, n.input[0]))

    monkeypatch.setitem(rules.RULES, "Neg", (wrong,))
    with pytest.raises(AssertionError, match="x0"):
        check_gradient(*model_of(CASES["Neg"]))


def parsed(text: str) -> ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": {OPSET}]> {text}')


def test_gram_matrix_takes_one_product_and_is_exact_for_any_cotangent() -> None:
    model = parsed("""g (double[3,5] x) => (double J) <double[3,3] c = {1,2,3,-4,5,6,7,-8,9}> {
        t = Transpose <perm = [1, 0]> (x)
        gram = MatMul (x, t)
        weighted = Mul (gram, c)
        J = ReduceSum <keepdims = 0> (weighted)
    }""")
    check_gradient(model, {"x": reals(3, 5)})
    products = [n for n in differentiate(model, "J", "x").graph.node if n.op_type == "MatMul"]
    assert len(products) == 2


def test_fan_out_is_summed_and_an_intermediate_can_be_asked_for() -> None:
    model = parsed("""g (double[4] x) => (double J) {
        a = Exp (x)
        b = Mul (a, x)
        c = Mul (a, b)
        d = Add (c, x)
        J = ReduceSumSquare <keepdims = 0> (d)
    }""")
    check_gradient(model, {"x": reals(4)})
    x = reals(4)
    a, d = ReferenceEvaluator(differentiate(model, "J", ["a", "d"])).run(
        ["gradient/a", "gradient/d"], {"x": x}
    )
    outer = 2 * (np.exp(x) ** 2 * x + x)
    np.testing.assert_allclose(d, outer)
    np.testing.assert_allclose(a, outer * 2 * np.exp(x) * x)


def test_cast_returns_the_gradient_in_the_type_of_its_input() -> None:
    model = parsed("""g (double[3] x) => (float J) {
        y = Cast <to = 1> (x)
        J = ReduceSumSquare <keepdims = 0> (y)
    }""")
    x = np.array([1.0, -2.0, 3.0])
    (gradient,) = ReferenceEvaluator(differentiate(model, "J", "x")).run(["gradient/x"], {"x": x})
    assert gradient.dtype == np.float64
    np.testing.assert_array_equal(gradient, 2 * x)


def test_tied_maxima_send_the_gradient_to_the_first_as_pytorch_does() -> None:
    model = parsed("""g (double[1,1,4,4] x) => (double J) {
        y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
        J = ReduceSum <keepdims = 0> (y)
    }""")
    (gradient,) = ReferenceEvaluator(differentiate(model, "J", "x")).run(
        ["gradient/x"], {"x": np.ones((1, 1, 4, 4))}
    )
    np.testing.assert_array_equal(gradient[0, 0], np.tile([[1.0, 0.0], [0.0, 0.0]], (2, 2)))


def test_old_outputs_stay_and_the_model_is_not_changed() -> None:
    model, _ = model_of(CASES["Mul"])
    before = model.SerializeToString(deterministic=True)
    extended = differentiate(model, "J", "x1")
    assert model.SerializeToString(deterministic=True) == before
    assert [value.name for value in extended.graph.output] == ["J", "gradient/x1"]


@pytest.mark.parametrize(
    ("text", "wrt", "message"),
    [
        ("{ y = Floor (x) J = ReduceSum <keepdims = 0> (y) }", "x", "no derivative rule for Floor"),
        ("{ J = ReduceSum <keepdims = 0> (x) }", "z", "no tensor 'z'"),
        ("{ y = Shape (x) J = ReduceSum <keepdims = 0> (x) }", "y", "'y' is INT64"),
        (
            "{ s = Shape (x) f = Cast <to = 11> (s) J = ReduceSum <keepdims = 0> (f) }",
            "x",
            "'J' does not depend on 'x'",
        ),
        (
            '{ p = Constant <value = int64[4] {1, 1, 1, 1}> () y = Pad <mode = "edge"> (x, p) '
            "J = ReduceSum <keepdims = 0> (y) }",
            "x",
            "Pad node '', input 'x': mode 'edge'",
        ),
    ],
)
def test_what_cannot_be_differentiated_is_named(text: str, wrt: str, message: str) -> None:
    model = parsed(f"g (double[2,3] x) => (double J) {text}")
    with pytest.raises(DifferentiationError, match=message):
        differentiate(model, "J", wrt)


def test_a_tensor_captured_by_a_subgraph_is_not_forgotten() -> None:
    model = parsed("""g (double[3] x, bool c) => (double J) {
        z = If (c) <then_branch = t () => (double[3] o) { o = Mul (x, x) },
                    else_branch = e () => (double[3] o) { o = Neg (x) }>
        y = Add (z, x)
        J = ReduceSum <keepdims = 0> (y)
    }""")
    with pytest.raises(DifferentiationError, match="no derivative rule for If"):
        differentiate(model, "J", "x")


def test_the_square_of_a_tensor_is_differentiated_at_once() -> None:
    model = parsed(
        "g (double[3] x) => (double J) { y = Mul (x, x) J = ReduceSum<keepdims = 0>(y) }"
    )
    check_gradient(model, {"x": reals(3)})
    products = [node for node in differentiate(model, "J", "x").graph.node if node.op_type == "Mul"]
    assert len(products) == 3


def test_held_tensors_are_taken_as_constant() -> None:
    # The minimum over h of (h² + x²)/2h is |x|, at h = |x|: there the slope by h is 0.
    model = parsed("""g (double[4] x) => (double J) {
        h = Abs (x)
        u, v = Split <num_outputs = 2> (h)
        z = Concat <axis = 0> (u, v)
        hh = Mul (z, z)
        xx = Mul (x, x)
        sum = Add (hh, xx)
        half = Constant <value = double {0.5}> ()
        ratio = Div (sum, z)
        y = Mul (ratio, half)
        J = ReduceSum <keepdims = 0> (y)
    }""")
    x = np.array([1.5, -2.0, 0.5, -1.0])
    for held in (["h"], ["u", "v"], ["z"], ["h", "z"]):
        extended = differentiate(model, "J", "x", held=held)
        (gradient,) = ReferenceEvaluator(extended).run(["gradient/x"], {"x": x})
        np.testing.assert_allclose(gradient, np.sign(x), rtol=1e-12)
        assert not any(node.op_type == "Sign" for node in extended.graph.node)
    one = differentiate(model, "J", "x", held=["u"])
    (gradient,) = ReferenceEvaluator(one).run(["gradient/x"], {"x": x})
    np.testing.assert_allclose(gradient, np.sign(x), rtol=1e-12)


@pytest.mark.parametrize(
    ("held", "message"), [(["w"], "no tensor 'w'"), (["y"], "'J' does not depend on 'x'")]
)
def test_held_tensors_must_leave_something(held: list[str], message: str) -> None:
    model = parsed("g (double[3] x) => (double J) { y = Exp (x) J = ReduceSum<keepdims = 0>(y) }")
    with pytest.raises(DifferentiationError, match=message):
        differentiate(model, "J", "x", held=held)


def test_old_opsets_are_refused() -> None:
    model, _ = model_of(CASES["Exp"])
    model.opset_import[0].version = 13
    with pytest.raises(DifferentiationError, match="opset 13 is older than 16"):
        differentiate(model, "J", "x0")


TWO_OUTPUTS = """g (double[2,3] x, double[3,2] w) => (double[2,2] product, double total) {
        product = MatMul (x, w)
        total = ReduceSum <keepdims = 0> (product)
    }"""


def test_cotangents_of_a_vjp_are_inputs() -> None:
    """Of several outputs, one of which depends on another; against the gradient of <v, y>."""
    model = vjp(parsed(TWO_OUTPUTS), ["product", "total"], {"x": "dx", "w": "gradient/w"})
    assert [value.name for value in model.graph.input] == [
        *("x", "w", "cotangent/product", "cotangent/total")
    ]
    assert [value.name for value in model.graph.output] == ["product", "total", "dx", "gradient/w"]
    onnx.checker.check_model(model, full_check=True)
    x, w, v = reals(2, 3), reals(3, 2), reals(2, 2)
    feeds = {"x": x, "w": w, "cotangent/product": v, "cotangent/total": np.array(0.25)}
    product, total, dx, dw = ReferenceEvaluator(model).run(None, feeds)
    np.testing.assert_allclose(product, x @ w)
    np.testing.assert_allclose(total, (x @ w).sum())
    np.testing.assert_allclose(dx, (v + 0.25) @ w.T)
    np.testing.assert_allclose(dw, x.T @ (v + 0.25))


def test_a_chain_of_two_vjps_is_the_gradient_of_the_whole() -> None:
    """dJ/dy, computed by another graph, is handed in."""
    whole = parsed("""g (double[2,3] x) => (double J) {
        y = Tanh (x)
        z = Mul (y, y)
        J = ReduceSum <keepdims = 0> (z)
    }""")
    outer = parsed(
        """g (double[2,3] y) => (double J) { z = Mul (y, y) J = ReduceSum <keepdims = 0> (z) }"""
    )
    inner = parsed("""g (double[2,3] x) => (double[2,3] y) { y = Tanh (x) }""")
    x = reals(2, 3)
    _, expected = ReferenceEvaluator(differentiate(whole, "J", "x")).run(None, {"x": x})
    (y,) = ReferenceEvaluator(inner).run(None, {"x": x})
    _, slope = ReferenceEvaluator(differentiate(outer, "J", "y")).run(None, {"y": y})
    pullback = ReferenceEvaluator(vjp(inner, "y", "x"))
    _, found = pullback.run(None, {"x": x, "cotangent/y": slope})
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("outputs", "wrt", "message"),
    [
        ([], "x", "outputs names no tensor"),
        ("none", "x", "the graph has no tensor 'none'"),
        ({"product": "w"}, "x", "the graph already has a tensor 'w'"),
        (["product", "other"], "x", "'other' depends on none of x"),
    ],
)
def test_what_has_no_vjp_is_named(outputs: Any, wrt: str, message: str) -> None:
    text = TWO_OUTPUTS.replace("total = ", "other = Neg (w)\n total = ")
    with pytest.raises(DifferentiationError, match=message):
        vjp(parsed(text), outputs, wrt)
