"""Every derivative rule against central differences, in float64."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from derivatives import (
    OPSET,
    POSITIVE,
    Case,
    central_differences,
    check_gradient,
    integers,
    model_of,
    reals,
)
from onnx import ModelProto, NodeProto
from onnx.reference import ReferenceEvaluator

from ortist.export.autodiff import rules
from ortist.export.autodiff.backward import Backward
from ortist.export.differentiate import DifferentiationError, differentiate, vjp


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
    # They have tests of their own: a cast between float types cannot be checked by differences,
    # and the evaluator knows neither our operators nor all of ONNX's.
    families = [path.stem for path in Path(__file__).parent.glob("test_rules_*.py")]
    tables = [CASES, *(importlib.import_module(family).CASES for family in families)]
    tested = {case.op_type for cases in tables for case in cases.values()}
    elsewhere = "Cast Erf GlobalLpPool GroupNormalization If LRN SumSquares Weighted"
    elsewhere += " AffineGrid Loop MeanVarianceNormalization Scan"
    elsewhere += " EyeLike RandomNormalLike RandomUniformLike"
    assert tested == set(rules.RULES).difference(elsewhere.split())


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
        (
            "{ y = Det (x) J = ReduceSum <keepdims = 0> (y) }",
            "x",
            "Det node .*: no derivative rule",
        ),
        ("{ J = ReduceSum <keepdims = 0> (x) }", "z", "no tensor 'z'"),
        ("{ y = Shape (x) J = ReduceSum <keepdims = 0> (x) }", "y", "'y' is INT64"),
        (
            "{ s = Shape (x) f = Cast <to = 11> (s) J = ReduceSum <keepdims = 0> (f) }",
            "x",
            "'J' does not depend on 'x'",
        ),
        (
            "{ i = Cast <to = 7> (x) s = Shape (x) y = MaxUnpool <kernel_shape = [1]> (x, i, s) "
            "J = ReduceSum <keepdims = 0> (y) }",
            "x",
            "MaxUnpool node 'y', input 'x': output_shape",
        ),
    ],
)
def test_what_cannot_be_differentiated_is_named(text: str, wrt: str, message: str) -> None:
    model = parsed(f"g (double[2,3] x) => (double J) {text}")
    with pytest.raises(DifferentiationError, match=message):
        differentiate(model, "J", wrt)


@pytest.mark.parametrize("taken", [True, False])
def test_of_if_the_branch_that_is_taken_is_differentiated(taken: bool) -> None:
    """One reads two tensors, the other one and hands it on; and an If in a branch of another."""
    model = parsed("""g (double[3] x, double[3] w, bool c) => (double J) {
        a = Exp (x)
        z = If (c) <then_branch = t () => (double[3] o) {
                        p = Mul (a, w)
                        q = If (c) <then_branch = u () => (double[3] v) { v = Relu (p) },
                                    else_branch = f () => (double[3] v) { v = Cos (w) }>
                        o = Mul (q, p)
                    },
                    else_branch = e () => (double[3] o) { o = Identity (a) }>
        y = Mul (z, x)
        J = ReduceSum <keepdims = 0> (y)
    }""")
    extended = differentiate(model, "J", ["x", "w"])
    onnx.checker.check_model(extended, full_check=True)
    x, w = reals(3), reals(3, low=0.5)
    _, dx, dw = ReferenceEvaluator(extended).run(None, {"x": x, "w": w, "c": np.array(taken)})
    for name, found in (("x", dx), ("w", dw)):
        inputs = {"x": x, "w": w, "c": np.array(taken)}
        np.testing.assert_allclose(found, central_differences(model, inputs, name), atol=1e-8)


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
