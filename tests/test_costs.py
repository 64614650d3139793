"""The costs against the numbers that the reference notebook prints, and against autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ortist.engine.objective import Objective, weighted_parts
from ortist.engine.options import Options
from ortist.engine.values import layer_weights
from ortist.export.builder import GraphBuilder
from ortist.export.costs.content import Content
from ortist.export.costs.gram import Gram
from ortist.export.costs.term import Term
from ortist.export.costs.variation import Variation
from ortist.export.differentiate import differentiate
from ortist.export.operators import expand

Tensor = NDArray[np.float32]

GOLDEN: Mapping[str, NDArray[Any]] = dict(
    np.load(Path(__file__).parent / "data" / "seed_costs.npz")
)
"""float32; activations a_C and a_G are (1, H, W, C), A is a matrix, a channel a row."""

CONTENT_COST = 6.765593029674008
STYLE_COST = 9.1902783292755
TOTAL_COST = 35.34667875478276
GRAM_MATRIX = [
    [6.42230511, -4.42912197, -2.09668207],
    [-4.42912197, 19.46583748, 19.56387138],
    [-2.09668207, 19.56387138, 20.6864624],
]


def activation(name: str) -> Tensor:
    """Return golden activations as (1, C, H, W)."""
    return np.ascontiguousarray(GOLDEN[name].transpose(0, 3, 1, 2))


def reals(*shape: int) -> Tensor:
    return np.random.default_rng(sum(shape)).normal(0, 3, shape).astype(np.float32)


def run(build: Callable[..., str], inputs: Mapping[str, Tensor], wrt: str = "") -> list[Tensor]:
    """Run the nodes that ``build(builder, *inputs)`` appends to an empty graph.

    With ``wrt`` the gradient of the result with respect to that input is returned behind it.
    """
    float32 = TensorProto.FLOAT
    infos = [helper.make_tensor_value_info(k, float32, v.shape) for k, v in inputs.items()]
    graph = helper.make_graph([], "cost", infos, [])
    opset = helper.make_opsetid("", 18)
    builder = GraphBuilder(helper.make_model(graph, ir_version=10, opset_imports=[opset]))
    result = build(builder, *inputs)
    builder.graph.output.append(helper.make_tensor_value_info(result, float32, None))
    model = differentiate(builder.model, result, wrt) if wrt else expand(builder.model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(inputs)))


def cost_of(term: Term) -> Callable[..., str]:
    """What builds the cost of an activation whose target is the statistics of another one."""

    def build(b: GraphBuilder, activation: str, *other: str) -> str:
        targets = term.measure(b, other[0]) if other else {}
        return term.compare(b, term.measure(b, activation), targets).cost

    return build


def test_content_cost_is_the_notebooks() -> None:
    inputs = {"a_G": activation("a_G"), "a_C": activation("a_C")}
    (cost,) = run(cost_of(Content()), inputs)
    assert cost.shape == (1,)
    assert cost.item() == pytest.approx(CONTENT_COST, rel=1e-6)
    assert f"{cost.item():.5f}" == "6.76559"


def test_gram_matrix_is_the_notebooks_divided_by_the_number_of_positions() -> None:
    matrix = GOLDEN["A"].reshape(1, 3, 1, 2)
    (gram,) = run(lambda b, a: Gram().measure(b, a)["gram"], {"A": matrix})
    np.testing.assert_allclose(gram, np.array(GRAM_MATRIX) / 2, rtol=1e-6)


def test_style_cost_is_the_notebooks() -> None:
    """Its a_S is the array called a_C here."""
    inputs = {"a_G": activation("a_G"), "a_S": activation("a_C")}
    (cost,) = run(cost_of(Gram()), inputs)
    assert cost.shape == (1,)
    assert cost.item() == pytest.approx(STYLE_COST, rel=1e-6)


def total_of(content: float, style: float, variation: float, options: Options) -> float:
    """J as an objective has it, of costs that are given: one layer each."""
    parts = weighted_parts(options)
    values = {"content": content, "style": style, "variation": variation}
    costs = np.array([values[weighted.group] for weighted in parts], np.float64)
    image = np.zeros((1, 3, 16, 16), np.float32)
    objective = Objective(lambda pixels, _: (costs, pixels), parts, options)
    return objective.evaluate(image).costs.total


def test_total_cost_is_the_notebooks() -> None:
    random = np.random.RandomState(3)  # the notebook's generator
    content, style = float(random.randn()), float(random.randn())
    options = Options(style_layers={"conv1_1": 1.0}, alpha=10, beta=40)
    total = total_of(content, style, 0.0, options)
    assert total == pytest.approx(TOTAL_COST, rel=1e-15)


def test_total_cost_of_the_defaults_has_the_notebooks_weights() -> None:
    assert total_of(1.0, 0.1, 7.0, Options()) == pytest.approx(10 + 4, rel=1e-15)
    assert total_of(0.0, 0.0, 7.0, Options(tv=3)) == 21


def test_layers_without_weights_share_a_sum_of_one() -> None:
    layers = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    assert layer_weights(Options().style_layers) == dict.fromkeys(layers, 0.2)
    assert layer_weights({"conv1_1": 3.0, "conv2_1": 0.5}) == {"conv1_1": 3.0, "conv2_1": 0.5}


def test_total_variation_is_the_mean_squared_difference_of_neighbors() -> None:
    image = np.zeros((1, 3, 2, 3), np.float32)
    image[0, :, 0] = [1, 2, 4]  # to the right 1 and 4, then 0 and 0; downwards 1, 4 and 16
    (cost,) = run(cost_of(Variation()), {"image": image})
    assert cost.shape == (1,)
    assert cost.item() == pytest.approx(5 / 4 + 21 / 3, rel=1e-6)


def test_costs_of_large_activations_are_accurate_to_1e_6() -> None:
    """As large as a real picture's: a naive float32 sum would lose 1e-5."""
    values, target = 1000 + 300 * np.abs(reals(1, 64, 96, 128)), 400 * np.abs(reals(1, 64, 1, 1))
    target = np.ascontiguousarray(np.broadcast_to(target, values.shape), np.float32)
    exact = np.mean((values.astype(np.float64) - target) ** 2) / 4
    (cost,) = run(cost_of(Content()), {"values": values, "target": target})
    assert cost.item() == pytest.approx(exact, rel=1e-6)


def torch_gram(x: torch.Tensor) -> torch.Tensor:
    rows = x.flatten(2)[0]
    return rows @ rows.T / rows.shape[1]


FORMULAS: dict[str, tuple[Term, list[Tensor], Callable[..., torch.Tensor]]] = {
    "content": (
        Content(),
        [reals(1, 5, 7, 9), reals(1, 5, 9, 7).reshape(1, 5, 7, 9)],
        lambda x, target: ((x - target) ** 2).sum() / (4 * 5 * 7 * 9),
    ),
    "style": (
        Gram(),
        [reals(1, 5, 7, 9), reals(1, 5, 6, 4)],
        lambda x, target: ((torch_gram(x) - torch_gram(target)) ** 2).sum() / (4 * 5**2),
    ),
    "total variation": (
        Variation(),
        [reals(1, 3, 6, 8)],
        lambda x: (x.diff(dim=2) ** 2).mean() + (x.diff(dim=3) ** 2).mean(),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_costs_and_their_gradients_are_those_of_the_formulas(name: str) -> None:
    term, arrays, formula = FORMULAS[name]
    inputs = dict(zip(("x", "target"), arrays, strict=False))
    cost, gradient = run(cost_of(term), inputs, wrt="x")
    tensors = [torch.tensor(array).double() for array in arrays]
    tensors[0].requires_grad_()
    expected = formula(*tensors)
    (slope,) = torch.autograd.grad(expected, tensors[0])
    assert cost.item() == pytest.approx(expected.item(), rel=1e-6)
    scale = slope.abs().max().item()
    np.testing.assert_allclose(gradient, slope.numpy(), rtol=1e-6, atol=1e-6 * scale)
