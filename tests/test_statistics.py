"""Style by Gaussians, "w2": the cost and its gradient against the exact distance in float64."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from torch.nn import functional
from torch_reference import shipped_weights

from ortist.engine import Engine, Options
from ortist.engine.images import to_tensor
from ortist.engine.scene import Scene
from ortist.export.builder import GraphBuilder
from ortist.export.costs import STATISTICS
from ortist.export.costs.gaussian import DIRECTIONS, NOISE, Gaussian
from ortist.export.costs.roots import LEAST, STEPS, roots
from ortist.export.differentiate import differentiate
from ortist.export.pooling import EPSILON, RESCALING

Pixels = NDArray[np.uint8]
Tensor = NDArray[np.float32]

CONTENT_LAYERS, STYLE_LAYERS = ("conv2_2",), ("conv1_1", "conv2_1", "conv3_1")


def moments(activation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return E[a·aᵀ] and E[a], (C, 1), of activations (C, positions)."""
    second = activation @ activation.T / activation.shape[1]
    return second, activation.mean(dim=1, keepdim=True)


def distance(
    activation: torch.Tensor, target: torch.Tensor, directions: int = DIRECTIONS
) -> torch.Tensor:
    """Return W₂²/C by the eigenvalues that the definition asks for, noise included.

    Of directions beyond the target's strongest ones only the traces are compared.
    """
    (second, mean), (target_second, target_mean) = moments(activation), moments(target)
    noise = NOISE * target_second.trace() * torch.eye(len(mean), dtype=torch.float64)
    covariance = second - mean @ mean.T + noise
    target_covariance = target_second - target_mean @ target_mean.T + noise
    vectors = torch.linalg.eigh(target_covariance).eigenvectors[:, -directions:]
    mine, theirs = (vectors.T @ s @ vectors for s in (covariance, target_covariance))
    root = torch.linalg.cholesky(theirs)
    shared = torch.linalg.eigvalsh(root.T @ mine @ root).clamp(min=0).sqrt().sum()
    if directions < len(mean):
        beyond = covariance.trace() - mine.trace()
        shared = shared + (beyond * (target_covariance.trace() - theirs.trace())).sqrt()
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


def measured(activation: Tensor) -> dict[str, Tensor]:
    """Return the statistics of activations (C, positions)."""
    second, mean = moments(torch.tensor(activation).double())
    return {"second": second.float().numpy(), "mean": mean.float().numpy()}


def cost_model(channels: int, directions: int) -> ModelProto:
    """Return the cost of ``x`` (1, C, 1, n) and its gradient."""
    term = Gaussian(directions)
    shapes = term.target_shapes({"second": (channels, channels), "mean": (channels, 1)})
    inputs = {"x": [1, channels, 1, "n"], **shapes}
    infos = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()]
    graph = helper.make_graph([], "cost", infos, [])
    opset = helper.make_opsetid("", 18)
    b = GraphBuilder(helper.make_model(graph, ir_version=10, opset_imports=[opset]))
    comparison = term.compare(b, term.measure(b, "x"), {name: name for name in shapes})
    output = helper.make_tensor_value_info(comparison.cost, TensorProto.FLOAT, [1])
    b.graph.output.append(output)
    return differentiate(b.model, comparison.cost, "x", held=comparison.held)


def run(model: ModelProto, feeds: dict[str, Tensor]) -> list[Tensor]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


def evaluate(
    activation: Tensor, target: Tensor, directions: int = DIRECTIONS
) -> tuple[float, Tensor]:
    """Return the cost that the graph computes and its gradient, (C, positions)."""
    feeds = {"x": activation[None, :, None], **Gaussian(directions).settle(measured(target))}
    cost, gradient = run(cost_model(len(target), directions), feeds)
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


@pytest.mark.parametrize("directions", [DIRECTIONS, 5, 1])
@pytest.mark.parametrize("name", CASES)
def test_cost_and_gradient_are_those_of_the_exact_distance(name: str, directions: int) -> None:
    activation, target = CASES[name]
    cost, gradient = evaluate(activation, target, directions)
    x = torch.tensor(activation).double().requires_grad_()
    expected = distance(x, torch.tensor(target).double(), directions)
    (slope,) = torch.autograd.grad(expected, x)
    assert cost == pytest.approx(expected.item(), rel=1e-4)
    error = gradient - slope.numpy()
    assert np.linalg.norm(error) <= 2e-4 * np.linalg.norm(slope.numpy())


def test_gradients_of_nearly_equal_statistics_are_exact_to_a_thousandth() -> None:
    """At the end of a run what is left is a small difference of large matrices."""
    target = activations(0, 128, 500)
    factors = np.random.default_rng(5).normal(1, 0.1, target.shape)
    activation = np.maximum(target * factors, 0).astype(np.float32)
    cost, gradient = evaluate(activation, target)
    x = torch.tensor(activation).double().requires_grad_()
    expected = distance(x, torch.tensor(target).double())
    (slope,) = torch.autograd.grad(expected, x)
    assert expected.item() <= 5e-3 * size(target)
    assert cost == pytest.approx(expected.item(), rel=5e-4)
    assert np.linalg.norm(gradient - slope.numpy()) <= 1e-3 * np.linalg.norm(slope.numpy())


@pytest.mark.parametrize("name", CASES)
def test_fewer_directions_never_make_the_distance_larger(name: str) -> None:
    activation, target = CASES[name]
    found = [evaluate(activation, target, directions)[0] for directions in (1, 4, 8, 40)]
    assert all(fewer <= more * (1 + 1e-5) for fewer, more in pairwise(found))
    assert found[-1] == evaluate(activation, target)[0]


@pytest.mark.parametrize("directions", [DIRECTIONS, 8])
def test_the_distance_of_equal_statistics_is_zero(directions: int) -> None:
    target = activations(0, 32, 100)
    order = np.random.default_rng(0).permutation(100)
    cost, gradient = evaluate(np.ascontiguousarray(target[:, order]), target, directions)
    assert abs(cost) <= 1e-5 * size(target)
    _, usual = evaluate(activations(1, 32, 100), target, directions)
    assert np.linalg.norm(gradient) <= 1e-2 * np.linalg.norm(usual)


@pytest.mark.parametrize("target", [np.zeros((8, 5)), np.ones((8, 1)), 1e-3 * np.eye(8, 9)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("directions", [DIRECTIONS, 8, 3])
def test_degenerate_statistics_have_finite_costs(
    target: NDArray[Any], scale: float, directions: int
) -> None:
    activation = (scale * activations(0, 8, 30)).astype(np.float32)
    cost, gradient = evaluate(activation, target.astype(np.float32), directions)
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


def diagonal_and_inverse(matrix: Tensor) -> list[Tensor]:
    """Return what the graph computes of a matrix: the diagonal of its root, its inverse root."""
    info = helper.make_tensor_value_info("m", TensorProto.FLOAT, matrix.shape)
    graph = helper.make_graph([], "roots", [info], [])
    opset = helper.make_opsetid("", 18)
    b = GraphBuilder(helper.make_model(graph, ir_version=10, opset_imports=[opset]))
    for name in roots(b, "m", b.op("EyeLike", "m")):
        b.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return run(b.model, {"m": matrix})


def test_roots_are_those_of_numpy_down_to_the_least_eigenvalue() -> None:
    random = np.random.default_rng(0)
    vectors, _ = np.linalg.qr(random.normal(size=(48, 48)))
    values = 5e9 * np.geomspace(1, (2 * LEAST) ** 2, 48)
    matrix = ((vectors * values) @ vectors.T).astype(np.float32)
    diagonal, inverse = diagonal_and_inverse(matrix)
    root = (vectors * np.sqrt(values)) @ vectors.T
    assert diagonal.shape == (48, 1)
    np.testing.assert_allclose(diagonal[:, 0], np.diag(root), rtol=1e-4)
    weighted = inverse @ root
    assert np.abs(weighted - np.eye(48)).max() <= 0.05


def test_a_matrix_of_one_strong_direction_has_roots() -> None:
    """Rounding then makes the largest eigenvalue larger than the Frobenius norm."""
    vector = np.random.default_rng(0).normal(size=(64, 1))
    least = 1e-6 * np.square(vector).sum()
    matrix = (vector @ vector.T + least * np.eye(64)).astype(np.float32)
    diagonal, inverse = diagonal_and_inverse(matrix)
    values, vectors = np.linalg.eigh(matrix.astype(np.float64))
    root = (vectors * np.sqrt(values)) @ vectors.T
    np.testing.assert_allclose(diagonal[:, 0], np.diag(root), rtol=1e-3)
    assert np.abs(inverse @ root - np.eye(64)).max() <= 0.1


def test_the_polynomials_composed_are_1_where_they_are_meant_to_be() -> None:
    x = np.geomspace(LEAST, 1.005, 100_001)
    for coefficients in STEPS:
        x = x * np.polynomial.Polynomial(coefficients)(x**2)
        assert (x > 0).all()
    assert np.abs(x - 1).max() <= 2.5e-6


def test_targets_of_gaussians_are_mean_root_and_rest() -> None:
    """Of two styles with shares as their numbers of positions, those of both side by side."""
    first, second = activations(0, 12, 30), activations(1, 12, 90)
    one, other = measured(first), measured(second)
    blend = {name: np.float32(0.25) * one[name] + np.float32(0.75) * other[name] for name in one}
    target = Gaussian().settle(blend)
    mean, root, rest = (target[part] for part in ("mean", "root", "rest"))
    assert {part.dtype for part in (mean, root, rest)} == {np.dtype(np.float32)}
    both = np.hstack([first, second]).astype(np.float64)
    np.testing.assert_allclose(mean, both.mean(axis=1, keepdims=True), rtol=1e-5)
    noise = NOISE * np.square(both).sum(axis=0).mean() * np.eye(12)
    covariance = np.cov(both, bias=True) + noise
    np.testing.assert_allclose(root @ root.T, covariance, atol=1e-5 * np.abs(covariance).max())
    assert rest == np.zeros((1, 1))


def test_roots_of_fewer_directions_are_the_strongest_and_the_rest_is_their_trace() -> None:
    statistics = measured(activations(0, 12, 30))
    whole, part = Gaussian(12).settle(statistics)["root"], Gaussian(5).settle(statistics)
    assert part["root"].shape == (12, 5)
    np.testing.assert_array_equal(part["root"], whole[:, -5:])
    columns = whole.T @ whole
    np.testing.assert_allclose(columns, np.diag(np.diag(columns)), atol=1e-5 * columns.max())
    assert (np.diff(np.diag(columns)) > 0).all()
    assert part["rest"].item() == pytest.approx(np.diag(columns)[:-5].sum(), rel=1e-5)


def picture(height: int, width: int, seed: int) -> Pixels:
    """Coarse and fine noise (H, W, 3)."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(40, 210, (height // 6 + 1, width // 6 + 1, 3))
    coarse = coarse.repeat(6, axis=0).repeat(6, axis=1)[:height, :width]
    return (coarse + random.uniform(-40, 40, coarse.shape)).astype(np.uint8)


CONTENT, STYLE, IMAGE = picture(37, 53, 0), picture(31, 42, 1), picture(37, 53, 2)


def torch_activations(
    image: torch.Tensor, options: Options, last: str = STYLE_LAYERS[-1]
) -> dict[str, torch.Tensor]:
    weights = shipped_weights()
    activation = image - torch.tensor(weights.mean).double().reshape(1, 3, 1, 1)
    found: dict[str, torch.Tensor] = {}
    factors = iter(RESCALING[options.pooling])
    for name, layer in weights.layers.items():
        if name.endswith("_1") and name != "conv1_1":
            if options.pooling == "max":
                activation = functional.max_pool2d(activation, 2)
            elif options.pooling == "average":
                activation = functional.avg_pool2d(activation, 2)
            else:
                activation = (functional.avg_pool2d(activation.square(), 2) + EPSILON).sqrt()
            activation = activation * (next(factors) if options.rescaled else 1)
        kernel, bias = torch.tensor(layer.decoded()).double(), torch.tensor(layer.bias).double()
        activation = functional.conv2d(activation, kernel, bias, padding=1).relu()
        found[name] = activation
        if name == last:
            break
    return found


def style_cost(activation: torch.Tensor, target: torch.Tensor, statistic: str) -> torch.Tensor:
    rows, target_rows = activation.flatten(2)[0], target.flatten(2)[0]
    if statistic == "w2":
        return distance(rows, target_rows)
    return (moments(rows)[0] - moments(target_rows)[0]).square().mean() / 4


def expected_costs(options: Options) -> tuple[list[float], NDArray[Any]]:
    """Return costs and gradient of J, all weights 1, by autograd in float64."""
    image, content, style = (
        torch.tensor(to_tensor(pixels)).double() for pixels in (IMAGE, CONTENT, STYLE)
    )
    image.requires_grad_()
    mine, contents, styles = (torch_activations(x, options) for x in (image, content, style))
    found = [(mine[name] - contents[name]).square().mean() / 4 for name in CONTENT_LAYERS]
    found += [style_cost(mine[name], styles[name], options.statistic) for name in STYLE_LAYERS]
    found.append(image.diff(dim=2).square().mean() + image.diff(dim=3).square().mean())
    (gradient,) = torch.autograd.grad(torch.stack(found).sum(), image)
    return torch.stack(found).tolist(), gradient.numpy()


CHOICES = {
    "average, w2": ("average", "w2", False),
    "max, w2": ("max", "w2", True),
    "l2": ("l2", "gram", False),
    "l2, rescaled, w2": ("l2", "w2", True),
    "average, rescaled": ("average", "gram", True),
}


@pytest.mark.parametrize("kernel", ["direct", "winograd"])
@pytest.mark.parametrize("name", CHOICES)
def test_graphs_of_each_choice_compute_what_autograd_does(name: str, kernel: str) -> None:
    pooling, statistic, rescaled = CHOICES[name]
    assert statistic in STATISTICS
    options = Options(
        pooling=pooling,
        statistic=statistic,
        rescaled=rescaled,
        alpha=1,
        beta=1,
        tv=1,
        content_layers=dict.fromkeys(CONTENT_LAYERS, 1.0),
        style_layers=dict.fromkeys(STYLE_LAYERS, 1.0),
    )
    objective = Engine("cpu", 2, kernel=kernel)._objective(Scene.whole(CONTENT, [STYLE]), options)
    evaluation = objective.evaluate(to_tensor(IMAGE))
    costs = evaluation.costs
    found = [*costs.content_layers.values(), *costs.style_layers.values(), costs.total_variation]
    expected, slope = expected_costs(options)
    np.testing.assert_allclose(found, expected, rtol=3e-4 if statistic == "w2" else 3e-6)
    error = evaluation.gradient - slope
    # Single ReLUs may take the other side in float32.
    assert np.median(np.abs(error)) <= (3e-4 if statistic == "w2" else 2e-6) * slope.std()
    assert np.linalg.norm(error) <= 1e-2 * np.linalg.norm(slope)
