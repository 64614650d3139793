"""L-BFGS on functions whose minima are known."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ortist.engine import lbfgs
from ortist.engine.lbfgs import LBFGS
from ortist.engine.preconditioner import COLORS, CURVATURES, FREQUENCIES, POWER, Preconditioner
from ortist.engine.storage import BLOCK, IN_MEMORY, Storage

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


@pytest.mark.parametrize(("height", "width"), [(1, 1), (6, 8), (7, 9), (400, 501)])
def test_the_preconditioner_is_a_filter(height: int, width: int) -> None:
    """By the definition, in float64."""
    gradient = RANDOM.normal(0, 1, (1, 3, height, width)).astype(np.float32)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    gains = [np.interp(frequency, FREQUENCIES, row) ** -POWER for row in CURVATURES]
    mixed = np.einsum("ij,jhw->ihw", COLORS, gradient[0])
    filtered = np.fft.ifft2(np.fft.fft2(mixed) * np.stack([gains[0], gains[1], gains[1]]))
    expected = np.einsum("ji,jhw->ihw", COLORS, filtered.real)[np.newaxis]
    preconditioner = Preconditioner(height, width)
    square = preconditioner.square(gradient)
    assert square == pytest.approx((gradient * expected).sum(), rel=1e-5)
    preconditioner.apply(gradient)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def saddle(x: Array) -> tuple[float, Array]:
    """A function with curvatures of both signs, whose gradient has parts out of the range."""
    away = x.astype(np.float64) - 100
    waves = 20 * np.sin(away / 9)
    gradient = away * np.linspace(0.1, 5, x.size).reshape(x.shape) + waves
    return float((gradient * away).sum() / 2), gradient.astype(np.float32)


def pictures(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> list[Array]:
    """Those of 15 steps, with another size and a state from another place amid them."""
    monkeypatch.setattr(lbfgs, "HISTORY", 3)
    small = np.random.default_rng(0).uniform(-5, 260, (1, 3, 90, 121)).astype(np.float32)
    optimizer = LBFGS(small, storage)
    found = []
    for count in range(15):
        if count == 5:
            optimizer.resize(241, 180, storage)
            assert optimizer.point.size > BLOCK
        if count == 11:
            other = LBFGS(small, storage)
            other.restore(
                {name: value.copy() for name, value in optimizer.state().items()}, storage
            )
            optimizer = other
        assert optimizer.step(*saddle(optimizer.point))
        found += [optimizer.point, optimizer.picture]
    return found


def test_in_files_it_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    first = pictures(IN_MEMORY, monkeypatch)
    for one, other in zip(first, pictures(Storage(mapped=True), monkeypatch), strict=True):
        np.testing.assert_array_equal(one, other)


def test_steps_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(pictures(IN_MEMORY, monkeypatch)[-1])
    np.testing.assert_array_equal(*found)


def test_what_was_handed_out_is_not_written_to() -> None:
    optimizer = LBFGS(START)
    handed = []
    for _ in range(8):
        optimizer.step(*bowl(np.full(SHAPE, 100.0))(optimizer.point))
        arrays = [optimizer.point, *optimizer.state().values()]
        handed += [(array, array.copy()) for array in arrays]
    for array, before in handed:
        np.testing.assert_array_equal(array, before)


# Prints the most memory, in channels of its picture, that steps take beside point and gradient.
MEMORY = """
import resource
import numpy as np
from ortist.engine.lbfgs import LBFGS
from ortist.engine.storage import Storage, blocks
shape, storage = (1, 3, 3000, 4000), Storage(mapped=True)
start = storage.empty(shape)
for (block,) in blocks(start):
    block[:] = np.linspace(0, 255, block.size)
gradient = np.ones(shape, np.float32)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
optimizer = LBFGS(start, storage)
before = peak()
for _ in range(4):
    value = 0.0
    for count, (slope, place) in enumerate(blocks(gradient, optimizer.point)):
        away = place - np.float32(100)
        np.multiply(away, np.float32(1 + count % 50), out=slope)
        value += float((slope * away).sum(dtype=np.float64)) / 2
    assert optimizer.step(value, gradient)
print((peak() - before) * 1024 / start[0, 0].nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_in_files_it_takes_no_memory_but_for_its_filter() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 2.5
