"""L-BFGS on functions whose minima are known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ortist.engine.lbfgs import LBFGS

Array = NDArray[Any]
Function = Callable[[Array], tuple[float, Array]]
SHAPE = (1, 3, 4, 5)
RANDOM = np.random.default_rng(2)
START = RANDOM.uniform(0, 255, SHAPE).astype(np.float32)


def bowl(center: Array) -> Function:
    """A quadratic with curvatures from 1 to 100."""
    curvature = np.geomspace(1, 100, center.size).reshape(SHAPE)

    def evaluate(x: Array) -> tuple[float, Array]:
        away = x.astype(np.float64) - center
        gradient = curvature * away
        return float((gradient * away).sum() / 2), gradient.astype(np.float32)

    return evaluate


def minimize(function: Function, start: Array, steps: int) -> tuple[LBFGS, list[float]]:
    optimizer = LBFGS(start)
    accepted = []
    for _ in range(steps):
        if optimizer.done:
            break
        assert optimizer.step(*function(optimizer.point))
        accepted.append(function(optimizer.picture)[0])
        assert optimizer.picture.min() >= 0
        assert optimizer.picture.max() <= 255
    return optimizer, accepted


def test_the_minimum_of_a_quadratic_is_found() -> None:
    center = RANDOM.uniform(20, 235, SHAPE)
    optimizer, values = minimize(bowl(center), START, 150)
    np.testing.assert_allclose(optimizer.picture, center, rtol=0, atol=0.1)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 1e-6 * values[0]


def test_about_one_evaluation_per_step_is_enough() -> None:
    _, values = minimize(bowl(RANDOM.uniform(20, 235, SHAPE)), START, 40)
    accepted = sum(later < earlier for earlier, later in pairwise(values))
    assert accepted >= 34


def test_a_minimum_outside_the_range_of_pixels_is_met_at_its_border() -> None:
    center = RANDOM.uniform(-200, 455, SHAPE)
    optimizer, _ = minimize(bowl(center), START, 150)
    # Separable: the constrained minimum is the clipped one.
    np.testing.assert_allclose(optimizer.picture, np.clip(center, 0, 255), rtol=0, atol=0.5)


def test_values_that_rise_or_are_not_finite_are_not_accepted() -> None:
    function = bowl(np.full(SHAPE, 100.0))
    optimizer = LBFGS(START)
    optimizer.step(*function(optimizer.point))
    best = optimizer.picture
    for bad in (np.inf, np.nan, 1e30):
        tried = optimizer.point
        assert optimizer.step(bad, np.full(SHAPE, np.nan, np.float32))
        np.testing.assert_array_equal(optimizer.picture, best)
        assert np.abs(optimizer.point - best).max() < np.abs(tried - best).max()


def test_where_nothing_is_lower_it_is_done() -> None:
    optimizer = LBFGS(START)
    gradient = np.ones(SHAPE, np.float32)
    for count in range(100):
        if optimizer.done:
            break
        optimizer.step(1.0 + (count > 0), gradient)
    assert optimizer.done
    np.testing.assert_array_equal(optimizer.picture, START)


def test_a_zero_gradient_is_the_end() -> None:
    optimizer = LBFGS(START)
    optimizer.step(1.0, np.zeros(SHAPE, np.float32))
    assert optimizer.done
    np.testing.assert_array_equal(optimizer.picture, START)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_start_that_is_not_finite_is_told(bad: float) -> None:
    assert not LBFGS(START).step(bad, np.zeros(SHAPE, np.float32))
    assert not LBFGS(START).step(1.0, np.full(SHAPE, bad, np.float32))


def test_another_size_starts_anew_from_the_picture() -> None:
    optimizer, _ = minimize(bowl(np.full(SHAPE, 100.0)), START, 5)
    optimizer.resize(8, 6)
    assert optimizer.picture.shape == optimizer.point.shape == (1, 3, 6, 8)
    assert not optimizer.done
    assert optimizer.step(1e9, np.ones((1, 3, 6, 8), np.float32))
