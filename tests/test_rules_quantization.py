"""Rules of quantizers and of what reads their codes, straight through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from derivatives import Array, Case, reals
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType

from ortist.export.differentiate import DifferentiationError, differentiate

# What is tested here: central differences see the steps only.
CASES = {
    op_type: Case(op_type, ())
    for op_type in (
        *("ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"),
        *("QLinearConv", "QLinearMatMul", "QuantizeLinear"),
    )
}


def parsed(text: str, opset: int = 21) -> ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> {text}')


def single(*shape: int, low: float = -1.0, high: float = 1.0) -> Array:
    return reals(*shape, low=low, high=high).astype(np.float32)


def gradients(model: ModelProto, wrt: list[str], inputs: dict[str, Array], **how: Any) -> Any:
    extended = differentiate(model, "J", wrt, **how)
    onnx.checker.check_model(extended, full_check=True)
    session = onnxruntime.InferenceSession(extended.SerializeToString())
    return session.run([f"gradient/{name}" for name in wrt], inputs)


@pytest.mark.parametrize(("kind", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127)])
def test_a_fake_quantizer_passes_what_pytorch_passes(kind: str, low: int, high: int) -> None:
    model = parsed(f"""g (float[2,3,4] x, float[2,3,4] c) => (float J)
        <float s = {{0.01}}, {kind} z = {{3}}> {{
            q = QuantizeLinear (x, s, z)
            y = DequantizeLinear (q, s, z)
            p = Mul (y, c)
            J = ReduceSum <keepdims = 0> (p)
        }}""")
    x, c = single(2, 3, 4, low=-2.0, high=3.0), single(2, 3, 4)
    variable = torch.tensor(x, requires_grad=True)
    y = torch.fake_quantize_per_tensor_affine(variable, 0.01, 3, low, high)
    (y * torch.tensor(c)).sum().backward()
    (found,) = gradients(model, ["x"], {"x": x, "c": c}, straight_through=True)
    np.testing.assert_allclose(found, variable.grad, rtol=1e-6)
    assert 0 < np.count_nonzero(found) < found.size


@pytest.mark.parametrize("axis", [1, -2])
def test_a_fake_quantizer_of_channels_passes_what_pytorch_passes(axis: int) -> None:
    model = parsed(f"""g (float[2,3,4] x, float[2,3,4] c) => (float J)
        <float[3] s = {{0.001, 0.01, 0.02}}, int8[3] z = {{3, 0, -5}}> {{
            q = QuantizeLinear <axis = {axis}> (x, s, z)
            y = DequantizeLinear <axis = {axis}> (q, s, z)
            p = Mul (y, c)
            J = ReduceSum <keepdims = 0> (p)
        }}""")
    x, c = single(2, 3, 4, low=-2.0, high=3.0), single(2, 3, 4)
    variable = torch.tensor(x, requires_grad=True)
    scales, zeros = torch.tensor([0.001, 0.01, 0.02]), torch.tensor([3, 0, -5], dtype=torch.int32)
    y = torch.fake_quantize_per_channel_affine(variable, scales, zeros, 1, -128, 127)
    (y * torch.tensor(c)).sum().backward()
    (found,) = gradients(model, ["x"], {"x": x, "c": c}, straight_through=True)
    np.testing.assert_allclose(found, variable.grad, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((), ""),
        ((3,), ""),
        ((4,), "<axis = -1>"),
        ((2, 3, 2), "<axis = 2, block_size = 2>"),
        ((2, 2, 4), "<axis = 1, block_size = 2>"),
    ],
)
@pytest.mark.parametrize("sizes", ["2,3,4", "N,M,K"])
def test_scales_have_the_gradient_of_what_they_scale(
    shape: tuple[int, ...], attributes: str, sizes: str
) -> None:
    dims = f"[{','.join(map(str, shape))}]" if shape else ""
    signature = f"int8[{sizes}] q, float{dims} s, int8{dims} z, float[2,3,4] c"
    model = parsed(f"""g ({signature}) => (float J) {{
        y = DequantizeLinear {attributes} (q, s, z)
        p = Mul (y, c)
        J = ReduceSum <keepdims = 0> (p)
    }}""")
    generator = np.random.default_rng(0)
    q = generator.integers(-128, 127, (2, 3, 4)).astype(np.int8)
    z = generator.integers(-9, 9, shape).astype(np.int8)
    inputs = {"q": q, "s": np.asarray(single(*shape, low=0.5, high=2.0)), "z": z}
    inputs["c"] = single(2, 3, 4)
    (found,) = gradients(model, ["s"], inputs)
    # Y is linear in each scale: its slope is its change as the scale goes up by one.
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = np.zeros_like(inputs["s"])
    for index in np.ndindex(shape):
        moved = inputs["s"].copy()
        moved[index] += 1.0
        change = session.run(["J"], {**inputs, "s": moved})[0] - session.run(["J"], inputs)[0]
        expected[index] = change
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


MOVES = {
    "Cast": "w = Cast <to = 6> (q) r = Cast <to = 3> (w)",
    "Clip": "r = Clip (q, low)",
    "Concat": "r = Concat <axis = 0> (q, q)",
    "Flatten": "r = Flatten (q)",
    "Gather": "r = Gather <axis = 1> (q, picked)",
    "Max": "r = Max (q, low)",
    "MaxPool": "r = MaxPool <kernel_shape = [2, 2]> (q)",
    "ReduceMax": "r = ReduceMax (q)",
    "Relu": "r = Relu (q)",
    "Reshape": "r = Reshape (q, flat)",
    "Slice": "r = Slice (q, start, end)",
    "Split": "r, t = Split <axis = 2, num_outputs = 2> (q)",
    "Squeeze": "t = Unsqueeze (q, start) r = Squeeze (t, start)",
    "Transpose": "r = Transpose <perm = [1, 0, 3, 2]> (q)",
}


@pytest.mark.parametrize("text", MOVES.values(), ids=MOVES)
def test_operators_on_codes_pass_gradients_as_those_on_floats_do(text: str) -> None:
    """The scale is a power of two, the values are multiples of it: quantizing changes nothing."""
    constants = """<int64[1] flat = {-1}, int64[2] picked = {0, 2}, int64[1] start = {0},
        int64[1] end = {1}, int8 low = {-20}, float s = {0.03125}, int8 z = {0}>"""
    head = f"g (float[2,3,4,4] x) => (float J) {constants}"
    tail = "p = Mul (y, y) J = ReduceSum <keepdims = 0> (p)"
    quantized = parsed(
        f"{head} {{ q = QuantizeLinear (x, s, z) {text} y = DequantizeLinear (r, s, z) {tail} }}"
    )
    floats = text.replace("to = 6", "to = 11").replace("to = 3", "to = 1").replace("low", "real")
    plain = parsed(
        f"{head.replace('int8 low', 'float real').replace('-20', '-0.625')}"
        f"{{ q = Identity (x) {floats} y = Identity (r) {tail} }}"
    )
    x = np.random.default_rng(0).permutation(96).reshape(2, 3, 4, 4).astype(np.float32) - 48
    inputs = {"x": x / 32}
    (found,) = gradients(quantized, ["x"], inputs, straight_through=True)
    (expected,) = gradients(plain, ["x"], inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.any(found)


NET = """g (float[N,3,8,8] x) => (float[N,5] y) {
    a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w, v)
    r = Relu (a)
    m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
    d = Conv <kernel_shape = [3, 3], strides = [2, 2]> (m, u)
    f = Flatten (d)
    y = MatMul (f, k)
}"""


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: list[Array]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict[str, Array] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"x": batch}


def with_loss(model: ModelProto, c: Array) -> ModelProto:
    model.graph.node.append(helper.make_node("Mul", ["y", "loss/c"], ["loss/p"]))
    model.graph.node.append(helper.make_node("ReduceSum", ["loss/p"], ["J"], keepdims=0))
    model.graph.initializer.append(numpy_helper.from_array(c, "loss/c"))
    model.graph.output.append(helper.make_tensor_value_info("J", onnx.TensorProto.FLOAT, []))
    return model


@pytest.mark.parametrize("how", ["QDQ", "QOperator", "QOperator, channels", "dynamic"])
def test_a_quantized_net_has_nearly_the_gradient_of_its_original(tmp_path: Path, how: str) -> None:
    generator = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(0.3 * generator.standard_normal(shape, np.float32), name)

    model = parsed(NET)
    model.graph.initializer.extend([weight("w", 4, 3, 3, 3), weight("v", 4)])
    model.graph.initializer.extend([weight("u", 6, 4, 3, 3), weight("k", 6, 5)])
    source, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    onnx.save(model, source)
    x, c = generator.standard_normal((2, 3, 8, 8), np.float32), single(2, 5)
    if how == "dynamic":
        quantization.quantize_dynamic(source, target, weight_type=QuantType.QUInt8)
    else:
        quantization.quantize_static(
            source,
            target,
            Calibration([1.1 * x]),
            quant_format=QuantFormat.QDQ if how == "QDQ" else QuantFormat.QOperator,
            per_channel="channels" in how,
        )
    quantized = onnx.load(target)
    (expected,) = gradients(with_loss(model, c), ["x"], {"x": x})
    (found,) = gradients(with_loss(quantized, c), ["x"], {"x": x}, straight_through=True)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error < 0.03


ROWS = """<float[2] s = {0.01, 0.02}, int8[2] z = {3, -2},
    float[5] t = {0.01, 0.02, 0.01, 0.03, 0.01}, int8[5] o = {0, 1, 2, 3, 4},
    float[2,1] d = {0.01, 0.02}, int8[2,1] k = {3, -2},
    float e = {0.05}, int8 f = {1}, float[2,5] c = {1, 2, 3, 4, 5, 6, 7, 8, 9, -1}>"""


def test_a_product_of_codes_has_the_gradients_of_that_of_what_they_stand_for() -> None:
    """With scales of rows and columns, with respect to both operands."""
    head = f"""g (float[2,3] x, float[3,5] w) => (float J) {ROWS} {{
        q = QuantizeLinear <axis = 0> (x, s, z)
        r = QuantizeLinear <axis = 1> (w, t, o)"""
    tail = """y = DequantizeLinear (p, e, f)
        v = Mul (y, c)
        J = ReduceSum <keepdims = 0> (v)
    }"""
    linear = parsed(f"{head} p = QLinearMatMul (q, d, k, r, t, o, e, f) {tail}")
    separate = parsed(f"""{head}
        a = DequantizeLinear <axis = 0> (q, s, z)
        b = DequantizeLinear <axis = 1> (r, t, o)
        m = MatMul (a, b)
        p = QuantizeLinear (m, e, f) {tail}""")
    integer = parsed(f"{head} i = MatMulInteger (q, r, k, o) p = Cast <to = 3> (i) {tail}")
    inputs = {"x": single(2, 3), "w": single(3, 5)}
    # Those of rows and columns are not in ONNX Runtime.
    found, expected, products = (
        ReferenceEvaluator(differentiate(model, "J", ["x", "w"], straight_through=True)).run(
            ["gradient/x", "gradient/w"], inputs
        )
        for model in (linear, separate, integer)
    )
    c = numpy_helper.to_array(linear.graph.initializer[-1])
    s, t = np.array([[0.01], [0.02]]), np.array([0.01, 0.02, 0.01, 0.03, 0.01])
    for name, linear_one, separate_one in zip("xw", found, expected, strict=True):
        np.testing.assert_allclose(linear_one, separate_one, rtol=1e-5, err_msg=name)
    codes = [np.rint(inputs["x"] / s), np.rint(inputs["w"] / t)]
    np.testing.assert_allclose(products[0], 0.05 * c @ codes[1].T / s, rtol=1e-4)
    np.testing.assert_allclose(products[1], 0.05 * codes[0].T @ c / t, rtol=1e-4)


def test_codes_end_the_gradient_if_not_straight_through() -> None:
    model = parsed("""g (float[3] x) => (float J) {
        q, s, z = DynamicQuantizeLinear (x)
        y = DequantizeLinear (q, s, z)
        J = ReduceSum <keepdims = 0> (y)
    }""")
    with pytest.raises(DifferentiationError, match="hold y_scale, or pass straight_through"):
        differentiate(model, "J", "x")
    with pytest.raises(DifferentiationError, match="does not depend"):
        differentiate(model, "J", "x", held=["s"])
    (found,) = gradients(model, ["x"], {"x": single(3)}, straight_through=True)
    np.testing.assert_allclose(found, np.ones(3), rtol=1e-6)
