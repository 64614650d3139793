from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ortist.engine.adam import Adam
from ortist.engine.storage import BLOCK, IN_MEMORY, Storage

Tensor = NDArray[np.float32]

GRADIENTS = np.random.default_rng(5).normal(0, 1e4, (30, 1, 3, 1, 2)).astype(np.float32)
START = np.array([[0, 50], [100, 150], [200, 255]], np.float32).reshape(1, 3, 1, 2)


def steps(adam: Adam, gradients: Tensor) -> Tensor:
    for gradient in gradients:
        assert adam.step(1.0, gradient)
    return adam.picture


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
    actual = steps(Adam(START, rate, 0.0, beta1, beta2, epsilon), GRADIENTS)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, values, rtol=0, atol=2e-4)


def test_steps_are_those_of_pytorch() -> None:
    import torch

    values = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([values], lr=2.0)
    for gradient in GRADIENTS:
        values.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    np.testing.assert_allclose(
        steps(Adam(START, 2.0), GRADIENTS), values.detach(), rtol=0, atol=2e-4
    )


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e15])
def test_the_first_step_has_the_length_of_the_learning_rate(scale: float) -> None:
    """Whatever the size of the gradient; the bias correction sees to it."""
    signs = np.array([[-3, 3], [1, 1], [-5, 9]], np.float32).reshape(START.shape)
    adam = Adam(START, 2.0)
    adam.step(1.0, signs * np.float32(scale))
    np.testing.assert_allclose(START - adam.point, 2 * np.sign(signs), rtol=1e-4)


def test_a_zero_gradient_moves_nothing() -> None:
    np.testing.assert_array_equal(steps(Adam(START, 2.0), np.zeros_like(GRADIENTS)), START)


def test_points_and_gradients_are_left_as_they_are() -> None:
    start, gradient = START.copy(), GRADIENTS[0].copy()
    adam = Adam(start, 2.0)
    adam.step(1.0, gradient)
    first = adam.point
    kept = first.copy()
    adam.step(1.0, gradient)
    np.testing.assert_array_equal(start, START)
    np.testing.assert_array_equal(gradient, GRADIENTS[0])
    np.testing.assert_array_equal(first, kept)


def test_blocks_of_a_large_picture_are_treated_alike() -> None:
    shape = (1, 3, 200, 300)
    gradient = np.random.default_rng(0).normal(0, 1e3, shape).astype(np.float32)
    large, small = Adam(np.zeros(shape, np.float32), 2.0), Adam(np.zeros(shape, np.float32), 2.0)
    for _ in range(2):
        large.step(1.0, gradient)
        # The gradient's blocks in another order give the same values in that order.
        small.step(1.0, gradient[:, ::-1, ::-1])
    np.testing.assert_array_equal(large.point, small.point[:, ::-1, ::-1])


def test_what_is_not_finite_is_told() -> None:
    assert not Adam(START, 2.0).step(np.nan, GRADIENTS[0])
    assert not Adam(START, 2.0).step(1.0, GRADIENTS[0] * np.float32(np.nan))


def test_the_mean_of_the_iterates_is_unbiased() -> None:
    """Σ dᵗ⁻ⁱ·(1-d)·xᵢ / (1 - dᵗ)."""
    averaged, plain = Adam(START, 2.0, 0.9), Adam(START, 2.0)
    expected, weight = np.zeros(START.shape), 0.0
    for gradient in GRADIENTS:
        averaged.step(1.0, gradient)
        plain.step(1.0, gradient)
        expected = 0.9 * expected + 0.1 * plain.point
        weight = 0.9 * weight + 0.1
    np.testing.assert_allclose(averaged.picture, expected / weight, rtol=1e-5)
    np.testing.assert_array_equal(averaged.point, plain.point)


def test_the_moments_are_carried_to_another_size() -> None:
    start = np.full((1, 3, 8, 8), 100, np.float32)
    gradient = np.ones_like(start)
    adam = Adam(start, 2.0, averaging=0.5)
    for _ in range(50):
        adam.step(1.0, gradient)
    before, average = adam.point, adam.picture
    adam.resize(16, 16)
    assert adam.point.shape == (1, 3, 16, 16)
    np.testing.assert_allclose(adam.point, before[0, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(adam.picture, average[0, 0, 0, 0], rtol=1e-6)
    # Four times the pixels have a quarter of the derivative each: the step stays as long.
    adam.step(1.0, np.full((1, 3, 16, 16), 0.25, np.float32))
    np.testing.assert_allclose(before[0, 0, 0, 0] - adam.point, 2.0, rtol=1e-4)


def pictures(storage: Storage, averaging: float) -> list[Tensor]:
    """Those of 15 steps, with another size and a state from another place amid them."""
    random = np.random.default_rng(0)
    small = random.uniform(0, 255, (1, 3, 90, 121)).astype(np.float32)
    adam = Adam(small, 2.0, averaging, storage=storage)
    found = []
    for count in range(15):
        if count == 5:
            adam.resize(241, 180, storage)
            assert adam.point.size > BLOCK
        if count == 11:
            other = Adam(small, 2.0, averaging, storage=storage)
            other.restore({name: value.copy() for name, value in adam.state().items()}, storage)
            adam = other
        assert adam.step(1.0, random.normal(0, 1, adam.point.shape).astype(np.float32))
        found += [adam.point, adam.picture]
    return found


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_in_files_it_takes_the_same_steps(averaging: float) -> None:
    files = pictures(Storage(mapped=True), averaging)
    for one, other in zip(pictures(IN_MEMORY, averaging), files, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_mean_that_was_handed_out_is_not_written_to() -> None:
    adam = Adam(START, 2.0, 0.9)
    handed = []
    for gradient in GRADIENTS:
        adam.step(1.0, gradient)
        assert adam.picture is adam.picture
        handed.append((adam.picture, adam.picture.copy()))
    for picture, before in handed:
        np.testing.assert_array_equal(picture, before)
