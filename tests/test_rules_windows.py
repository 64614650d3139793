"""Rules of convolutions and pooling against central differences, in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from derivatives import (
    Case,
    check_gradient,
    check_runtime,
    integers,
    make_model,
    model_of,
    reals,
)
from onnx import helper
from onnxruntime import InferenceSession

from ortist.export.differentiate import differentiate


def conv(groups: int, *kernel: int, size: int = 6, static: bool = True, **attributes: Any) -> Case:
    """Four channels in, twice as many out."""
    inputs = (reals(2, 4, *[size] * len(kernel)), reals(8, 4 // groups, *kernel), reals(8))
    return Case(
        "Conv", inputs, {"group": groups, "kernel_shape": kernel, **attributes}, static=static
    )


def transposed(groups: int, *kernel: int, size: int = 4, **attributes: Any) -> Case:
    inputs = (reals(2, 4, *[size] * len(kernel)), reals(4, 3, *kernel), reals(3 * groups))
    return Case("ConvTranspose", inputs, {"group": groups, **attributes})


def pool(op_type: str, *shape: int, static: bool = True, **attributes: Any) -> Case:
    return Case(op_type, (reals(1, 2, *shape),), attributes, static=static)


DEPTHWISE = (reals(2, 3, 5, 5), reals(3, 1, 3, 3), reals(3))
UPPER, LOWER = {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}
CEIL = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
CASES: dict[str, Case] = {
    "Conv, depthwise, dilation": Case(
        "Conv", DEPTHWISE, {"group": 3, "dilations": [2, 2], "pads": [2, 1, 1, 2]}
    ),
    "Conv, 3-d": conv(1, 2, 1, 2, size=3),
    "Conv, depthwise": Case("Conv", DEPTHWISE, {"group": 3, "pads": [1, 1, 1, 1]}),
    "Conv, depthwise, unknown": Case(
        "Conv", DEPTHWISE, {"group": 3, "kernel_shape": [3, 3]}, static=False
    ),
    **{
        f"Conv, {mode['auto_pad']}, stride {stride}, size {size}": conv(
            1, 3, size=size, strides=[stride], **mode
        )
        for mode in (UPPER, LOWER)
        for stride in (1, 2, 3)
        for size in (5, 6)
    },
    "Conv, SAME_UPPER, even": conv(1, 2, 2, **UPPER),
    "Conv, SAME_LOWER, unknown": conv(1, 2, 2, static=False, **LOWER),
    "Conv, VALID": conv(1, 3, auto_pad="VALID"),
    "AveragePool, ceil": pool("AveragePool", 6, 6, **CEIL),
    "AveragePool, ceil, pads": pool("AveragePool", 6, 6, pads=[1, 0, 0, 1], **CEIL),
    "AveragePool, ceil, pads counted": pool(
        "AveragePool", 6, 6, pads=[1, 0, 0, 1], count_include_pad=1, **CEIL
    ),
    "AveragePool, SAME_UPPER": pool("AveragePool", 6, kernel_shape=[3], strides=[2], **UPPER),
    "AveragePool, SAME_LOWER": pool("AveragePool", 5, kernel_shape=[2], strides=[1], **LOWER),
    "AveragePool, 3-d": pool("AveragePool", 3, 4, 3, kernel_shape=[2, 2, 2], static=False),
    "AveragePool, dilation": Case(
        "AveragePool", (reals(1, 2, 7),), {"kernel_shape": [3], "dilations": [2]}, opset=19
    ),
    "Col2Im": Case(
        "Col2Im",
        (reals(1, 8, 6), integers(3, 5), integers(2, 2)),
        {"strides": [2, 2], "pads": [0, 1, 1, 0], "dilations": [1, 1]},
    ),
    "Col2Im, plain": Case("Col2Im", (reals(2, 8, 2), integers(2, 3), integers(2, 2))),
    "GlobalAveragePool": pool("GlobalAveragePool", 3, 4),
    "GlobalAveragePool, unknown": pool("GlobalAveragePool", 3, static=False),
    "GlobalMaxPool": pool("GlobalMaxPool", 3, 4),
    "LpPool": pool("LpPool", 5, 5, kernel_shape=[2, 3], strides=[2, 1], p=3),
    "LpPool 1": pool("LpPool", 6, kernel_shape=[2], p=1),
    "MaxPool, ceil": pool("MaxPool", 6, 6, **CEIL),
    "MaxPool, dilation": pool("MaxPool", 6, kernel_shape=[2], dilations=[2]),
    "MaxPool, SAME_UPPER": pool("MaxPool", 6, kernel_shape=[3], strides=[2], **UPPER),
    "MaxUnpool": Case(
        "MaxUnpool",
        (reals(1, 1, 2, 2), np.array([[[[5, 7], [13, 15]]]])),
        {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rule_agrees_with_central_differences(case: Case) -> None:
    check_gradient(*model_of(case))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_runtime_agrees(case: Case) -> None:
    check_runtime(case)


# The reference evaluator computes these otherwise than the specification says.
TRANSPOSED: dict[str, Case] = {
    "dilation": transposed(1, 3, strides=[3], dilations=[2], pads=[1, 2]),
    "groups": transposed(2, 3, 3, pads=[1, 1, 1, 1]),
    "groups, stride": transposed(2, 3, strides=[2], output_padding=[1]),
    "SAME_UPPER": transposed(1, 3, strides=[2], **UPPER),
    "SAME_LOWER": transposed(2, 4, strides=[2], **LOWER),
    "output_shape": transposed(1, 3, strides=[3], output_shape=[10]),
}


@pytest.mark.parametrize("case", TRANSPOSED.values(), ids=TRANSPOSED)
def test_transposed_convolutions_agree_with_differences_in_the_runtime(case: Case) -> None:
    """In float32, yet exact: they are linear in each input, so that any step will do."""
    names = [f"x{i}" for i in range(3)]
    node = helper.make_node("ConvTranspose", names, ["y"], **case.attributes)
    feeds = {
        name: value.astype(np.float32)
        for name, value in zip(names, case.inputs, strict=True)
        if value is not None
    }
    model = make_model([node], feeds, [], True, ["y"], np.float32)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    extended = differentiate(model, "y", names)
    _, *gradients = InferenceSession(extended.SerializeToString()).run(None, feeds)
    forward = InferenceSession(model.SerializeToString())
    random = np.random.default_rng(0)
    for name, gradient in zip(names, gradients, strict=True):
        step = random.standard_normal(gradient.shape).astype(np.float32)
        ends = [forward.run(None, {**feeds, name: feeds[name] + s * step})[0] for s in (1, -1)]
        slope = float((ends[0] - ends[1]).sum(dtype=float)) / 2
        np.testing.assert_allclose((gradient * step).sum(dtype=float), slope, atol=1e-4)


F = torch.nn.functional
STRIDED = {"strides": [2, 3], "dilations": [2, 1], "pads": [1] * 4}
# The evaluator computes these, or the transposed convolutions of their gradients, otherwise.
PYTORCH: dict[str, tuple[Case, Callable[..., torch.Tensor]]] = {
    **{
        f"Conv, {groups} groups, static {static}": (
            conv(groups, 3, 3, static=static, **STRIDED),
            partial(F.conv2d, stride=(2, 3), padding=1, dilation=(2, 1), groups=groups),
        )
        for groups in (2, 4)
        for static in (True, False)
    },
    "LRN": (
        Case("LRN", (reals(2, 5, 2, 2),), {"size": 3, "alpha": 0.7, "beta": 0.6, "bias": 1.5}),
        partial(F.local_response_norm, size=3, alpha=0.7, beta=0.6, k=1.5),
    ),
    "MaxPool, 3-d": (
        pool("MaxPool", 3, 4, 3, kernel_shape=[2, 2, 2], static=False),
        partial(F.max_pool3d, kernel_size=2, stride=1),
    ),
    "MaxPool, column order": (
        pool("MaxPool", 4, 4, kernel_shape=[2, 2], storage_order=1),
        partial(F.max_pool2d, kernel_size=2, stride=1),
    ),
    "GlobalMaxPool, ties": (
        Case("GlobalMaxPool", (np.ones((1, 2, 2, 3)),)),
        partial(F.adaptive_max_pool2d, output_size=1),
    ),
}


@pytest.mark.parametrize(("case", "function"), PYTORCH.values(), ids=PYTORCH)
def test_runtime_agrees_with_pytorch(case: Case, function: Callable[..., torch.Tensor]) -> None:
    variables = {f"x{i}": v.astype(np.float32) for i, v in enumerate(case.inputs) if v is not None}
    node = helper.make_node(case.op_type, list(variables), ["y"], **case.attributes)
    model = make_model([node], variables, [], case.static, ["y"], np.float32)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    extended = differentiate(model, "y", list(variables))
    y, *gradients = InferenceSession(extended.SerializeToString()).run(None, variables)
    leaves = [torch.tensor(value, requires_grad=True) for value in variables.values()]
    expected = function(*leaves)
    np.testing.assert_allclose(y, expected.detach(), atol=1e-5)
    expected.sum().backward()
    for gradient, leaf in zip(gradients, leaves, strict=True):
        np.testing.assert_allclose(gradient, leaf.grad, atol=1e-4)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_global_norms(power: int) -> None:
    """By the formula: the reference evaluator has no GlobalLpPool."""
    x = reals(1, 2, 3, 4).astype(np.float32)
    node = helper.make_node("GlobalLpPool", ["x"], ["y"], p=power)
    model = make_model([node], {"x": x}, [], True, ["y"], np.float32)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    extended = differentiate(model, "y", "x")
    y, gradient = InferenceSession(extended.SerializeToString()).run(None, {"x": x})
    expected = np.sign(x) * np.abs(x) ** (power - 1) / y ** (power - 1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
