"""The whole of J and its gradient, real weights, against PyTorch autograd in float64."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper
from onnxruntime import InferenceSession

from ortist.engine.artifacts import Artifacts, GraphKey
from ortist.engine.images import to_tensor
from ortist.engine.layers import POOLINGS
from ortist.engine.objective import Evaluation, Objective
from ortist.engine.options import Options
from ortist.engine.sessions import SessionFactory
from ortist.export.differentiate import differentiate

Pixels = NDArray[np.uint8]
Tensor = NDArray[np.float32]

# Written by make_reference.py, so that these tests run where there is no PyTorch too.
REFERENCE: Mapping[str, NDArray[Any]] = dict(
    np.load(Path(__file__).parent / "data" / "vgg_gradient.npz")
)
CASES = ("53x37", "64x48")

OPTIONS = {
    "unequal weights": Options(
        content_layers={"conv4_2": 0.75},
        style_layers={"conv1_1": 2, "conv2_1": 0, "conv3_1": 0.5, "conv4_1": 1, "conv5_1": 9},
        alpha=3,
        beta=0.02,
        tv=1e4,
    ),
    "content only": Options(style_layers=(), tv=0.5, pooling="max"),
    "other layers": Options(
        content_layers=("conv2_2", "conv5_4"),
        style_layers=("conv1_2", "conv2_2", "conv4_4", "conv5_4"),
        pooling="max",
    ),
}


def picture(case: str, name: str) -> Tensor:
    return to_tensor(REFERENCE[f"{case}/{name}"].astype(np.uint8))


@functools.cache
def sessions(key: GraphKey) -> tuple[InferenceSession, InferenceSession]:
    """The targets and the gradient graph on the CPU."""
    artifacts, factory = Artifacts(), SessionFactory("cpu", threads=2)
    folder = artifacts.weights_folder()
    measure, gradient = (
        factory.create(artifacts.graph(kind, key), folder) for kind in ("targets", "gradient")
    )
    return measure, gradient


def objective(content: Tensor, styles: list[tuple[Tensor, float]], options: Options) -> Objective:
    """J as the engine computes it; each style has its share in the blend."""
    key = GraphKey.of(options.pooling, options.content_layers, options.style_layers)
    measure, gradient = sessions(key)
    names = [output.name for output in measure.get_outputs()]
    targets = dict(zip(names, measure.run(names, {"image": content}), strict=True))
    grams = [name for name in names if name.startswith("style/")]
    measured = [measure.run(grams, {"image": style}) for style, _ in styles] if grams else []
    for position, name in enumerate(grams):
        shares = (share * run[position] for run, (_, share) in zip(measured, styles, strict=True))
        targets[name] = np.sum(list(shares), axis=0, dtype=np.float32)
    return Objective(gradient, targets, options)


def named_costs(evaluation: Evaluation) -> dict[str, float]:
    costs = evaluation.costs
    return {
        **{f"content/{layer}": cost for layer, cost in costs.content_layers.items()},
        **{f"style/{layer}": cost for layer, cost in costs.style_layers.items()},
        "total_variation": costs.total_variation,
        "total": costs.total,
    }


def assert_gradients_agree(actual: Tensor, expected: NDArray[Any]) -> None:
    """Single ReLUs may take the other side in float32: their share of the norm, not the median."""
    error = actual.astype(np.float64) - expected
    size = np.sqrt(np.mean(np.square(expected, dtype=np.float64)))
    assert actual.dtype == np.float32
    assert np.median(np.abs(error)) <= 1e-6 * size
    assert np.sqrt(np.mean(error**2)) <= 1e-2 * size


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_the_reference_file(case: str, pooling: str) -> None:
    styles = [(picture(case, "style"), 1.0)]
    ours = objective(picture(case, "content"), styles, Options(pooling=pooling)).evaluate(
        picture(case, "image")
    )
    for name, cost in named_costs(ours).items():
        assert cost == pytest.approx(float(REFERENCE[f"{case}/{pooling}/{name}"]), rel=1e-6)
    assert_gradients_agree(ours.gradient, REFERENCE[f"{case}/{pooling}/gradient"])


@pytest.mark.parametrize("name", OPTIONS)
def test_the_gradient_is_that_of_autograd(name: str) -> None:
    from torch_reference import TorchObjective, shipped_weights

    content, image = picture("53x37", "content"), picture("53x37", "image")
    styles = [(picture("53x37", "style"), 0.75), (picture("64x48", "style"), 0.25)]
    expected = TorchObjective(shipped_weights(), content, styles, OPTIONS[name]).evaluate(image)
    ours = objective(content, styles, OPTIONS[name]).evaluate(image)
    costs = {**expected.costs, "total": expected.total}
    assert named_costs(ours) == pytest.approx(costs, rel=1e-6)
    assert_gradients_agree(ours.gradient, expected.gradient)


def test_the_reference_file_holds_what_autograd_gives() -> None:
    from torch_reference import TorchObjective, shipped_weights

    content, style = picture("53x37", "content"), picture("53x37", "style")
    objective = TorchObjective(shipped_weights(), content, [(style, 1.0)], Options(pooling="max"))
    evaluation = objective.evaluate(picture("53x37", "image"))
    stored = REFERENCE["53x37/max/gradient"]
    scale = np.abs(stored).max()
    np.testing.assert_allclose(evaluation.gradient, stored, rtol=1e-6, atol=1e-9 * scale)
    total = float(REFERENCE["53x37/max/total"])
    assert evaluation.total == pytest.approx(total, rel=1e-12)


def test_of_tied_maxima_the_same_one_gets_the_gradient_as_in_autograd() -> None:
    import torch

    nodes = [
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Mul", ["y", "slope"], ["product"]),
        helper.make_node("ReduceSum", ["product"], ["J"], keepdims=0),
    ]
    shapes = {"x": [1, 3, 9, 11], "slope": [1, 3, 4, 5]}
    inputs = [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("J", 1, [])
    model = helper.make_model(
        helper.make_graph(nodes, "ties", inputs, [output]),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 18)],
    )
    session = InferenceSession(
        differentiate(model, "J", "x").SerializeToString(), providers=["CPUExecutionProvider"]
    )
    random = np.random.default_rng(1)
    x = random.integers(0, 2, shapes["x"]).astype(np.float32)
    slope = random.normal(size=shapes["slope"]).astype(np.float32)
    (gradient,) = session.run(["gradient/x"], {"x": x, "slope": slope})
    variable = torch.tensor(x, requires_grad=True)
    cost = (torch.nn.functional.max_pool2d(variable, 2) * torch.tensor(slope)).sum()
    (expected,) = torch.autograd.grad(cost, variable)
    np.testing.assert_array_equal(gradient, expected.numpy())
