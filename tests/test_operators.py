"""Our own operators are what their standard nodes compute, and leave nothing behind."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from ortist.export.differentiate import differentiate
from ortist.export.operators import OPERATORS, expand

NETWORK = """<ir_version: 10, opset_import: ["": 18, "ortist": 1]>
g (float[1,2,h,w] x, float[4,2,3,3] W, float[1,1,i,j] s) => (float J)
  <float[1,4,h,w] p, float[1,4,i,j] v> {
    p = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, W)
    a = Relu (p)
    m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)
    n = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (m)
    v = ortist.Weighted (n, s)
    J = ortist.SumSquares (v)
}"""


def domains(model: ModelProto) -> set[str]:
    return {entry.domain for entry in model.opset_import} | {n.domain for n in model.graph.node}


def test_derivatives_have_names_until_they_are_expanded() -> None:
    model = onnx.parser.parse_model(NETWORK)
    named = differentiate(model, "J", "x", expanded=False)
    assert {node.op_type for node in named.graph.node if node.domain} == set(OPERATORS)
    before = named.SerializeToString()
    expanded = expand(named)
    assert named.SerializeToString() == before
    assert domains(expanded) == {""}
    assert expanded == differentiate(model, "J", "x")
    onnx.checker.check_model(expanded, full_check=True)
    assert [value.name for value in expanded.graph.output] == ["J", "gradient/x"]


def test_shapes_are_known_through_named_operators() -> None:
    named = differentiate(onnx.parser.parse_model(NETWORK), "J", "x", expanded=False)
    inferred = onnx.shape_inference.infer_shapes(named).graph.value_info
    shapes = {value.name: value.type.tensor_type.shape.dim for value in inferred}
    for node in named.graph.node:
        if node.domain:
            (output,) = node.output
            assert output in shapes or output == "J"
    (masked,) = [node.output[0] for node in named.graph.node if node.op_type == "ReluGrad"]
    assert [dim.dim_value or dim.dim_param for dim in shapes[masked]] == [1, 4, "h", "w"]


def test_a_sum_of_squares_can_be_differentiated() -> None:
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 18, "ortist": 1]>
    g (double[2,n] x) => (double J) { J = ortist.SumSquares (x) }""")
    x = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 4.0]])
    total, gradient = ReferenceEvaluator(differentiate(model, "J", "x")).run(None, {"x": x})
    assert total == 30.25
    np.testing.assert_array_equal(gradient, 2 * x)


def test_what_is_weighted_by_position_can_be_differentiated() -> None:
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 18, "ortist": 1]>
    g (double[1,3,2,2] x, double[1,1,2,2] w) => (double J) <double[1,3,2,2] y> {
        y = ortist.Weighted (x, w)
        J = ortist.SumSquares (y)
    }""")
    random = np.random.default_rng(0)
    x, w = random.normal(size=(1, 3, 2, 2)), random.normal(size=(1, 1, 2, 2))
    feeds = {"x": x, "w": w}
    total, gradient = ReferenceEvaluator(differentiate(model, "J", "x")).run(None, feeds)
    assert total == pytest.approx(np.sum((x * w) ** 2))
    np.testing.assert_allclose(gradient, 2 * x * w**2)


def test_sums_of_squares_of_many_elements_are_accurate_to_1e_6() -> None:
    """A naive float32 sum would lose 1e-5."""
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 18, "ortist": 1]>
    g (float[1,c,h,w] x) => (float y) { y = ortist.SumSquares (x) }""")
    x = np.random.default_rng(0).uniform(0, 1000, (1, 64, 96, 128)).astype(np.float32)
    session = onnxruntime.InferenceSession(
        expand(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (total,) = session.run(["y"], {"x": x})
    assert total == pytest.approx(np.sum(x.astype(np.float64) ** 2), rel=1e-6)
