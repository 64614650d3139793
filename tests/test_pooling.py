"""L2 and rescaled pooling, made of traced graphs of average and max pooling."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch.nn import functional

from ortist.export.differentiate import differentiate
from ortist.export.pooling import EPSILON, RESCALING, repool
from ortist.models.layers import POOLINGS

Array = NDArray[Any]
TRACED = {"average": "AveragePool", "l2": "AveragePool", "max": "MaxPool"}


def features(pooling: str) -> ModelProto:
    """Two poolings and a sum, with names and shapes as features graphs have them."""
    operator = f"{TRACED[pooling]} <kernel_shape = [2, 2], strides = [2, 2]>"
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["": 18],
      metadata_props: ["ortist.pooling": "{pooling}"]>
    g (float[1,3,h,w] conv1_2, float[1,3,"h/4","w/4"] slope)
      => (float[1,3,"h/2","w/2"] conv2_1, float J)
      <float[1,3,"h/2","w/2"] pool1, float[1,3,"h/4","w/4"] pool2>
    {{
        pool1 = {operator} (conv1_2)
        conv2_1 = Relu (pool1)
        pool2 = {operator} (conv2_1)
        weighted = Mul (pool2, slope)
        J = ReduceSum <keepdims = 0> (weighted)
    }}""")
    for node in model.graph.node:
        node.name = node.output[0]
        node.ClearField("domain")
    return model


def pooled(x: torch.Tensor, pooling: str) -> torch.Tensor:
    if pooling == "max":
        return functional.max_pool2d(x, 2)
    if pooling == "average":
        return functional.avg_pool2d(x, 2)
    return (functional.avg_pool2d(x.square(), 2) + EPSILON).sqrt()


def evaluate(model: ModelProto, x: Array, slope: Array) -> list[Array]:
    session = onnxruntime.InferenceSession(
        differentiate(model, "J", "conv1_2").SerializeToString(),
        providers=["CPUExecutionProvider"],
    )
    values = {"conv1_2": x.astype(np.float32), "slope": slope.astype(np.float32)}
    return list(session.run(["conv2_1", "J", "gradient/conv1_2"], values))


@pytest.mark.parametrize("size", [(8, 12), (11, 9)], ids=str)
@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_value_and_gradient_are_those_of_the_formula(
    pooling: str, rescaled: bool, size: tuple[int, int]
) -> None:
    model = repool(features(pooling), pooling, rescaled)
    onnx.checker.check_model(model, full_check=True)
    random = np.random.default_rng(0)
    x = random.normal(0, 100, (1, 3, *size)).clip(0)
    x[0, :, :6, :6] = 0  # as where nothing is seen
    slope = random.normal(size=(1, 3, size[0] // 4, size[1] // 4))
    activation, cost, gradient = evaluate(model, x, slope)
    variable = torch.tensor(x, requires_grad=True)
    factors = RESCALING[pooling] if rescaled else (1.0, 1.0)
    first = factors[0] * pooled(variable, pooling)
    expected = (factors[1] * pooled(first.relu(), pooling) * torch.tensor(slope)).sum()
    (derivative,) = torch.autograd.grad(expected, variable)
    np.testing.assert_allclose(activation, first.detach().numpy(), rtol=1e-5)
    assert cost == pytest.approx(expected.item(), rel=1e-4)
    if pooling == "max":  # of tied zeros another one may be chosen, in a window of zeros only
        gradient, derivative = gradient[x > 0], derivative[torch.tensor(x) > 0]
    np.testing.assert_allclose(gradient, derivative.numpy(), rtol=1e-4, atol=1e-5)


def test_windows_of_zeros_have_no_gradient() -> None:
    model = repool(features("l2"), "l2", rescaled=True)
    activation, _, gradient = evaluate(model, np.zeros((1, 3, 8, 8)), np.ones((1, 3, 2, 2)))
    assert 0 < activation.max() <= 2e-4
    np.testing.assert_array_equal(gradient, 0)


def test_what_is_pooled_keeps_names_and_shapes() -> None:
    model = repool(features("l2"), "l2", rescaled=True)
    infos = {info.name: info.type for info in (*model.graph.value_info, *model.graph.output)}
    computed = {name for node in model.graph.node for name in node.output}
    assert {name for name in computed if name.startswith("pool")} <= set(infos)
    assert [dim.dim_param for dim in infos["pool1/squares"].tensor_type.shape.dim][2:] == ["h", "w"]
    assert infos["pool1/root"] == infos["pool1"]
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "ortist.pooling": "l2, rescaled"
    }


def test_without_a_change_there_is_none() -> None:
    for pooling in ("average", "max"):
        model = features(pooling)
        assert repool(model, pooling, rescaled=False) == model


@pytest.mark.parametrize("pooling", ["average", "l2"])
def test_factors_grow_with_what_pooling_takes_away(pooling: str) -> None:
    assert all(factor > 1 for factor in RESCALING[pooling])
    pairs = zip(RESCALING["average"], RESCALING["l2"], strict=True)
    assert all(average > l2 for average, l2 in pairs)
