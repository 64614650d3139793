"""Style by Gaussians, "w2": the cost and its gradient against the exact distance in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from torch.nn import functional
from torch_reference import shipped_weights

from ortist.engine.artifacts import Artifacts
from ortist.engine.sessions import Device
from ortist.engine.statistics import NOISE, graph_targets
from ortist.export import costs
from ortist.export.builder import GraphBuilder
from ortist.export.differentiate import differentiate
from ortist.export.pooling import EPSILON, RESCALING
from ortist.export.roots import LEAST, roots
from ortist.models.interface import interface
from ortist.models.keys import STATISTICS, GraphKey

Tensor = NDArray[np.float32]

CONTENT_LAYERS, STYLE_LAYERS = ("conv2_2",), ("conv1_1", "conv2_1", "conv3_1")


def moments(activation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return E[a·aᵀ] and E[a], (C, 1), of activations (C, positions)."""
    second = activation @ activation.T / activation.shape[1]
    return second, activation.mean(dim=1, keepdim=True)


def distance(activation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return W₂²/C by the eigenvalues that the definition asks for, noise included."""
    (second, mean), (target_second, target_mean) = moments(activation), moments(target)
    noise = NOISE * target_second.trace() * torch.eye(len(mean), dtype=torch.float64)
    covariance = second - mean @ mean.T + noise
    target_covariance = target_second - target_mean @ target_mean.T + noise
    values, vectors = torch.linalg.eigh(target_covariance)
    root = (vectors * values.sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0).sqrt().sum()
    total = (mean - target_mean).square().sum() + covariance.trace() + target_covariance.trace()
    return (total - 2 * shared) / len(mean)


def activations(seed: int, channels: int, positions: int, decay: float = 1.0) -> Tensor:
    """Rectified mixtures whose variances fall off as those of real activations do."""
    random = np.random.default_rng(seed)
    strengths = 1000.0 * np.arange(1, channels + 1) ** -decay
    mixed = random.normal(0.3, 1, (channels, channels)) @ (
        strengths[:, None] * random.normal(0.5, 1, (channels, positions))
    )
    return np.maximum(mixed, 0).astype(np.float32)


def measured(activation: Tensor) -> Tensor:
    """Return what a targets graph gives for activations (C, positions)."""
    second, mean = moments(torch.tensor(activation).double())
    return torch.hstack([second, mean]).numpy().astype(np.float32)


def cost_model(channels: int) -> ModelProto:
    """Return the cost of ``x`` (1, C, 1, n) and its gradient."""
    inputs = {"x": [1, channels, 1, "n"], "mean": [channels, 1], "root": [channels, channels]}
    infos = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()]
    graph = helper.make_graph([], "cost", infos, [])
    opset = helper.make_opsetid("", 18)
    b = GraphBuilder(helper.make_model(graph, ir_version=10, opset_imports=[opset]))
    given = costs.gram_matrix(b, "x", channels), costs.mean_vector(b, "x", channels)
    cost, held = costs.gaussian_cost(b, *given, "mean", "root")
    b.graph.output.append(helper.make_tensor_value_info(cost, TensorProto.FLOAT, [1]))
    return differentiate(b.model, cost, "x", held=held)


def run(model: ModelProto, feeds: dict[str, Tensor]) -> list[Tensor]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


def evaluate(activation: Tensor, target: Tensor) -> tuple[float, Tensor]:
    """Return the cost that the graph computes and its gradient, (C, positions)."""
    inputs = graph_targets("w2", {"style/x": measured(target)})
    feeds = {name.rpartition("/")[2]: value for name, value in inputs.items()}
    cost, gradient = run(cost_model(len(target)), {"x": activation[None, :, None], **feeds})
    assert cost.shape == (1,)
    return cost.item(), gradient[0, :, 0]


def size(activation: Tensor) -> float:
    """Return E|a|²/C, what costs of activations are large or small against."""
    return float(np.square(activation, dtype=np.float64).mean())


CASES = {
    "more positions than channels": (activations(0, 24, 400), activations(1, 24, 300)),
    "fewer positions than channels": (activations(2, 40, 15), activations(3, 40, 9)),
    "fewer in the target": (activations(4, 24, 200), activations(5, 24, 7)),
    "flat variances": (activations(6, 16, 300, 0), 3 * activations(7, 16, 300, 0)),
    "a silent channel": (
        activations(8, 12, 90) * (np.arange(12) != 3)[:, None].astype(np.float32),
        activations(9, 12, 90) * (np.arange(12) != 7)[:, None].astype(np.float32),
    ),
    "one position": (activations(10, 12, 1), activations(11, 12, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_cost_and_gradient_are_those_of_the_exact_distance(name: str) -> None:
    activation, target = CASES[name]
    cost, gradient = evaluate(activation, target)
    x = torch.tensor(activation).double().requires_grad_()
    expected = distance(x, torch.tensor(target).double())
    (slope,) = torch.autograd.grad(expected, x)
    assert cost == pytest.approx(expected.item(), rel=1e-4)
    error = gradient - slope.numpy()
    assert np.linalg.norm(error) <= 2e-3 * np.linalg.norm(slope.numpy())


def test_the_distance_of_equal_statistics_is_zero() -> None:
    target = activations(0, 32, 100)
    order = np.random.default_rng(0).permutation(100)
    cost, gradient = evaluate(np.ascontiguousarray(target[:, order]), target)
    assert abs(cost) <= 1e-5 * size(target)
    _, usual = evaluate(activations(1, 32, 100), target)
    assert np.linalg.norm(gradient) <= 1e-2 * np.linalg.norm(usual)


@pytest.mark.parametrize("target", [np.zeros((8, 5)), np.ones((8, 1)), 1e-3 * np.eye(8, 9)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_degenerate_statistics_have_finite_costs(target: NDArray[Any], scale: float) -> None:
    activation = (scale * activations(0, 8, 30)).astype(np.float32)
    cost, gradient = evaluate(activation, target.astype(np.float32))
    assert np.isfinite(cost)
    assert np.isfinite(gradient).all()


def test_the_noise_changes_distances_of_many_positions_little() -> None:
    activation, target = CASES["more positions than channels"]
    cost, _ = evaluate(activation, target)
    (second, mean), (other, other_mean) = (
        moments(torch.tensor(values).double()) for values in (activation, target)
    )
    covariance, other = second - mean @ mean.T, other - other_mean @ other_mean.T
    shared = torch.linalg.eigvals(covariance @ other).real.clamp(min=0).sqrt().sum()
    total = (mean - other_mean).square().sum() + covariance.trace() + other.trace()
    without_noise = (total - 2 * shared).item() / len(mean)
    assert cost <= without_noise
    assert cost == pytest.approx(without_noise, rel=0.05)


def test_roots_are_those_of_numpy_down_to_the_least_eigenvalue() -> None:
    random = np.random.default_rng(0)
    vectors, _ = np.linalg.qr(random.normal(size=(48, 48)))
    values = 5e9 * np.geomspace(1, (2 * LEAST) ** 2, 48)
    matrix = ((vectors * values) @ vectors.T).astype(np.float32)
    info = helper.make_tensor_value_info("m", TensorProto.FLOAT, [48, 48])
    graph = helper.make_graph([], "roots", [info], [])
    b = GraphBuilder(
        helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    )
    for name in roots(b, "m", b.op("EyeLike", "m")):
        b.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    diagonal, inverse = run(b.model, {"m": matrix})
    root = (vectors * np.sqrt(values)) @ vectors.T
    assert diagonal.shape == (48, 1)
    np.testing.assert_allclose(diagonal[:, 0], np.diag(root), rtol=1e-4)
    weighted = inverse @ root
    assert np.abs(weighted - np.eye(48)).max() <= 0.05


def test_targets_of_gram_matrices_are_given_as_measured() -> None:
    targets = {"style/conv1_1": np.eye(3, dtype=np.float32), "content/conv4_2": np.float32([1])}
    assert graph_targets("gram", targets) == targets


def test_targets_of_gaussians_are_mean_and_root() -> None:
    """Of two styles with shares as their numbers of positions, those of both side by side."""
    first, second = activations(0, 12, 30), activations(1, 12, 90)
    blend = np.float32(0.25) * measured(first) + np.float32(0.75) * measured(second)
    content = np.ones((1, 4, 2, 2), np.float32)
    inputs = graph_targets("w2", {"content/conv4_2": content, "style/conv1_1": blend})
    assert list(inputs) == ["content/conv4_2", "style/conv1_1/mean", "style/conv1_1/root"]
    assert inputs["content/conv4_2"] is content
    mean, root = inputs["style/conv1_1/mean"], inputs["style/conv1_1/root"]
    assert (mean.dtype, root.dtype) == (np.float32, np.float32)
    both = np.hstack([first, second]).astype(np.float64)
    np.testing.assert_allclose(mean, both.mean(axis=1, keepdims=True), rtol=1e-5)
    noise = NOISE * np.square(both).sum(axis=0).mean() * np.eye(12)
    covariance = np.cov(both, bias=True) + noise
    np.testing.assert_allclose(root @ root.T, covariance, atol=1e-5 * np.abs(covariance).max())


def picture(height: int, width: int, seed: int) -> Tensor:
    """Coarse and fine noise (1, 3, H, W), 0..255."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(40, 210, (1, 3, height // 6 + 1, width // 6 + 1))
    coarse = coarse.repeat(6, axis=2).repeat(6, axis=3)[:, :, :height, :width]
    return (coarse + random.uniform(-40, 40, coarse.shape)).astype(np.float32)


CONTENT, STYLE, IMAGE = picture(37, 53, 0), picture(31, 42, 1), picture(37, 53, 2)


def torch_activations(image: torch.Tensor, key: GraphKey) -> dict[str, torch.Tensor]:
    weights = shipped_weights()
    activation = image - torch.tensor(weights.mean).double().reshape(1, 3, 1, 1)
    found: dict[str, torch.Tensor] = {}
    factors = iter(RESCALING[key.pooling])
    for name, layer in weights.layers.items():
        if name.endswith("_1") and name != "conv1_1":
            if key.pooling == "max":
                activation = functional.max_pool2d(activation, 2)
            elif key.pooling == "average":
                activation = functional.avg_pool2d(activation, 2)
            else:
                activation = (functional.avg_pool2d(activation.square(), 2) + EPSILON).sqrt()
            activation = activation * (next(factors) if key.rescaled else 1)
        kernel, bias = torch.tensor(layer.decoded()).double(), torch.tensor(layer.bias).double()
        activation = functional.conv2d(activation, kernel, bias, padding=1).relu()
        found[name] = activation
        if name == STYLE_LAYERS[-1]:
            break
    return found


def style_cost(activation: torch.Tensor, target: torch.Tensor, statistic: str) -> torch.Tensor:
    rows, target_rows = activation.flatten(2)[0], target.flatten(2)[0]
    if statistic == "w2":
        return distance(rows, target_rows)
    return (moments(rows)[0] - moments(target_rows)[0]).square().mean() / 4


def expected_costs(key: GraphKey) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return costs and gradient of J, all weights 1, by autograd in float64."""
    image = torch.tensor(IMAGE).double().requires_grad_()
    mine = torch_activations(image, key)
    content, style = (torch_activations(torch.tensor(x).double(), key) for x in (CONTENT, STYLE))
    found = [(mine[name] - content[name]).square().mean() / 4 for name in key.content_layers]
    found += [style_cost(mine[name], style[name], key.statistic) for name in key.style_layers]
    found.append(image.diff(dim=2).square().mean() + image.diff(dim=3).square().mean())
    (gradient,) = torch.autograd.grad(torch.stack(found).sum(), image)
    return torch.stack(found).detach().numpy(), gradient.numpy()


def graph_costs(key: GraphKey) -> tuple[Tensor, Tensor]:
    """Return costs and gradient of J, all weights 1, as a run of the engine has them."""
    artifacts, device = Artifacts(), Device("cpu", 2)
    measure, graph = (
        device.load(
            artifacts.graph(kind, key),
            artifacts.weights(),
            interface(kind, key),
            lambda names: artifacts.transformed_kernels(names, key.tile),
            label=kind,
            as_written=key.tile > 0,
        )
        for kind in ("targets", "gradient")
    )
    targets = {}
    for kind, image, layers in (
        ("content", CONTENT, key.content_layers),
        ("style", STYLE, key.style_layers),
    ):
        feeds = {"image": image}
        names = [f"{kind}/{layer}" for layer in layers]
        targets |= measure.run(names, {**feeds, **measure.layout(feeds)})
    feeds = {**graph_targets(key.statistic, targets), "image": IMAGE}
    feeds["weights"] = np.ones(len(layers) + len(key.content_layers) + 1, np.float32)
    found = graph.run(["costs", "gradient"], {**feeds, **graph.layout({"image": IMAGE})})
    return found["costs"], found["gradient"]


CHOICES = {
    "average, w2": ("average", "w2", False),
    "max, w2": ("max", "w2", True),
    "l2": ("l2", "gram", False),
    "l2, rescaled, w2": ("l2", "w2", True),
    "average, rescaled": ("average", "gram", True),
}


@pytest.mark.parametrize("tile", [0, 4])
@pytest.mark.parametrize("name", CHOICES)
def test_graphs_of_each_choice_compute_what_autograd_does(name: str, tile: int) -> None:
    pooling, statistic, rescaled = CHOICES[name]
    assert statistic in STATISTICS
    layers = CONTENT_LAYERS, STYLE_LAYERS
    key = GraphKey.of(pooling, *layers, tile, statistic=statistic, rescaled=rescaled)
    found, gradient = graph_costs(key)
    expected, slope = expected_costs(key)
    np.testing.assert_allclose(found, expected, rtol=3e-4 if statistic == "w2" else 3e-6)
    error = gradient - slope
    # Single ReLUs may take the other side in float32.
    assert np.median(np.abs(error)) <= (3e-4 if statistic == "w2" else 2e-6) * slope.std()
    assert np.linalg.norm(error) <= 1e-2 * np.linalg.norm(slope)
