from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ortist.engine.adam import Adam

Tensor = NDArray[np.float32]

GRADIENTS = np.random.default_rng(5).normal(0, 1e4, (30, 2, 3)).astype(np.float32)
START = np.array([[0, 50, 100], [150, 200, 255]], np.float32)


def steps(adam: Adam, gradients: Tensor) -> Tensor:
    values = START
    for gradient in gradients:
        values = adam.step(values, gradient)
    return values


@pytest.mark.parametrize("settings", [(2.0, 0.9, 0.999, 1e-8), (0.5, 0.8, 0.9, 5e3)])
def test_steps_are_those_of_the_paper(settings: tuple[float, float, float, float]) -> None:
    """Algorithm 1 of arXiv:1412.6980, in float64."""
    rate, beta1, beta2, epsilon = settings
    values = START.astype(np.float64)
    mean = square = np.zeros_like(values)
    for t, gradient in enumerate(GRADIENTS.astype(np.float64), start=1):
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        unbiased = mean / (1 - beta1**t), square / (1 - beta2**t)
        values = values - rate * unbiased[0] / (np.sqrt(unbiased[1]) + epsilon)
    actual = steps(Adam(rate, beta1, beta2, epsilon), GRADIENTS)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, values, rtol=0, atol=2e-4)


def test_steps_are_those_of_pytorch() -> None:
    import torch

    values = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([values], lr=2.0)
    for gradient in GRADIENTS:
        values.grad = torch.tensor(gradient, dtype=torch.float64)
        optimiser.step()
    np.testing.assert_allclose(steps(Adam(2.0), GRADIENTS), values.detach(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e15])
def test_the_first_step_has_the_length_of_the_learning_rate(scale: float) -> None:
    """Whatever the size of the gradient; the bias correction sees to it."""
    moved = Adam(2.0).step(
        START, np.array([[-3, 3, 1], [1, -5, 9]], np.float32) * np.float32(scale)
    )
    np.testing.assert_allclose(START - moved, [[-2, 2, 2], [2, -2, 2]], rtol=1e-4)


def test_a_zero_gradient_moves_nothing() -> None:
    np.testing.assert_array_equal(Adam(2.0).step(START, np.zeros_like(START)), START)


def test_arguments_are_left_as_they_are() -> None:
    adam, values, gradient = Adam(2.0), START.copy(), GRADIENTS[0].copy()
    first = adam.step(values, gradient)
    kept = first.copy()
    adam.step(first, gradient)
    np.testing.assert_array_equal(values, START)
    np.testing.assert_array_equal(gradient, GRADIENTS[0])
    np.testing.assert_array_equal(first, kept)
