"""The optimizers in JavaScript go where those of Python go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from javascript import call
from numpy.typing import NDArray

from ortist.engine import adam, lbfgs, preconditioner
from ortist.engine.adam import Adam
from ortist.engine.lbfgs import LBFGS
from ortist.engine.optimizer import Optimizer
from ortist.engine.preconditioner import Preconditioner

Picture = NDArray[np.float32]
Function = Callable[[Picture], tuple[float, Picture]]
FOURIER = "tests/web/fourier.js"
OPTIMIZERS = "tests/web/optimizers.js"
KNOWN = {
    "frequencies": preconditioner.FREQUENCIES,
    "curvatures": preconditioner.CURVATURES,
    "power": preconditioner.POWER,
    "colors": preconditioner.COLORS.tolist(),
}
CONSTANTS = {
    "adam": {"beta1": adam.BETA1, "beta2": adam.BETA2, "epsilon": adam.EPSILON},
    "lbfgs": {
        "lowest": float(lbfgs.LOWEST),
        "highest": float(lbfgs.HIGHEST),
        "history": lbfgs.HISTORY,
        "first_step": lbfgs.FIRST_STEP,
        "sufficient": lbfgs.SUFFICIENT,
        "most_trials": lbfgs.MOST_TRIALS,
    },
    "preconditioner": KNOWN,
}
SIDES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 25, 31, 49, 60, 64, 97, 120, 127, 128, 210, 243, 251)
"""Powers, products and primes, below and above what is transformed by the definition."""
FLIPPED = zip(SIDES, reversed(SIDES), strict=True)


@pytest.mark.parametrize(("height", "width"), [*FLIPPED, (3, 512), (23, 1), (1, 46), (45, 45)])
def test_transforms_are_those_of_numpy(height: int, width: int) -> None:
    plane = _random().normal(0, 1, (height, width)).astype(np.float32)
    expected = np.fft.rfft2(plane.astype(np.float64))
    re, im = call(FOURIER, "forward", plane)
    tolerance = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(re, expected.real, rtol=0, atol=tolerance)
    np.testing.assert_allclose(im, expected.imag, rtol=0, atol=tolerance)
    np.testing.assert_allclose(call(FOURIER, "inverse", re, im, width), plane, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7), (1, 2), (34, 33)])
def test_any_spectrum_is_transformed_back_as_by_numpy(height: int, width: int) -> None:
    re, im = _random().normal(0, 1, (2, height, width // 2 + 1)).astype(np.float32)
    expected = np.fft.irfft2(re + 1j * im, s=(height, width))
    np.testing.assert_allclose(call(FOURIER, "inverse", re, im, width), expected, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (6, 8), (7, 9), (96, 131)])
def test_the_preconditioner_is_that_of_python(height: int, width: int) -> None:
    gradient = _random().normal(0, 1, (1, 3, height, width)).astype(np.float32)
    filtered, square = call(OPTIMIZERS, "filtered", gradient, KNOWN)
    own = Preconditioner(height, width)
    assert square == pytest.approx(own.square(gradient), rel=1e-5)
    own.apply(gradient)
    np.testing.assert_allclose(filtered, gradient, rtol=0, atol=1e-5 * np.abs(gradient).max())


def _random() -> np.random.Generator:
    return np.random.default_rng(5)


def _curved(height: int, width: int) -> Function:
    """A quadratic of differences of neighbors, and a quartic of distances from a picture.

    Its minimum is outside the range in places, and its curvatures are far apart.
    """
    generator = _random()
    center = generator.uniform(-60, 315, (1, 3, height, width))
    weight = generator.uniform(0.1, 2, center.shape)

    def evaluate(point: Picture) -> tuple[float, Picture]:
        away = (point - center) / 64
        value, slope = (weight * away**4).sum(), 4 * weight * away**3 / 64
        for axis in (2, 3):
            rise = np.diff(point.astype(np.float64), axis=axis) / 100
            value += (rise**2).sum()
            padding = [(int(at == axis), int(at == axis)) for at in range(4)]
            slope -= 2 * np.diff(np.pad(rise, padding), axis=axis) / 100
        return float(value), slope.astype(np.float32)

    return evaluate


def _compare(own: Optimizer, other: dict[str, Any]) -> None:
    np.testing.assert_allclose(other["point"], own.point, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(other["picture"], own.picture, rtol=1e-4, atol=1e-2)
    assert (other["accepted"], other["done"]) == (own.accepted, own.done)


def _step_both(own: Optimizer, value: float, gradient: Picture) -> None:
    other = call(OPTIMIZERS, "step", np.array([value]), gradient)  # JSON has no NaN
    assert own.step(value, gradient) == other["goesOn"]
    assert not other["written"]
    _compare(own, other)


def _start(height: int, width: int) -> Picture:
    return _random().uniform(-20, 275, (1, 3, height, width)).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(12, 16), (13, 17), (20, 23)])
def test_lbfgs_goes_where_that_of_python_goes(height: int, width: int) -> None:
    start = _start(height, width)
    own = LBFGS(start)
    _compare(own, call(OPTIMIZERS, "lbfgs", start, CONSTANTS))
    function = _curved(height, width)
    first, _ = function(own.picture)
    for _ in range(15):
        _step_both(own, *function(own.point))
    assert function(own.picture)[0] < 0.7 * first
    own.resize(2 * width + 1, 2 * height)
    _compare(own, call(OPTIMIZERS, "resize", 2 * width + 1, 2 * height))
    function = _curved(2 * height, 2 * width + 1)
    for _ in range(15):
        _step_both(own, *function(own.point))


def test_the_line_search_is_that_of_python() -> None:
    start = _start(6, 7)
    own = LBFGS(start)
    call(OPTIMIZERS, "lbfgs", start, CONSTANTS)
    function = _curved(6, 7)
    accepted = []
    while not own.done:
        assert len(accepted) < 60
        value, gradient = function(own.point)
        if len(accepted) > 20:  # nothing is lower, but nothing is higher either
            value, _ = function(own.picture)
        bad = {3: 1e9, 7: np.inf, 11: np.nan}.get(len(accepted), value)
        _step_both(own, bad, gradient)
        accepted.append(own.accepted)
    refused = [3, 7, 11, *range(21, 39)]
    assert [at for at, taken in enumerate(accepted) if not taken] == refused


@pytest.mark.parametrize("factor", [1e38, 1e-36])
def test_huge_and_tiny_values_are_scaled_alike(factor: float) -> None:
    start = _start(5, 4)
    own = LBFGS(start)
    call(OPTIMIZERS, "lbfgs", start, CONSTANTS)
    function = _curved(5, 4)
    for _ in range(8):
        value, gradient = function(own.point)
        _step_both(own, factor * value, np.float32(factor) * gradient)


def test_lbfgs_tells_when_there_is_nothing_to_go_on_from() -> None:
    start = _start(5, 4)
    bad = np.full(start.shape, np.nan, np.float32)
    for value, gradient in [(1.0, bad), (np.inf, np.ones_like(start))]:
        own = LBFGS(start)
        call(OPTIMIZERS, "lbfgs", start, CONSTANTS)
        _step_both(own, value, gradient)
    own = LBFGS(start)
    call(OPTIMIZERS, "lbfgs", start, CONSTANTS)
    _step_both(own, 1.0, np.zeros_like(start))
    assert own.done


@pytest.mark.parametrize("averaging", [0.0, 0.9])
@pytest.mark.parametrize(("height", "width"), [(6, 8), (7, 9)])
def test_adam_goes_where_that_of_python_goes(height: int, width: int, averaging: float) -> None:
    start = _start(height, width)
    own = Adam(start, 4.0, averaging)
    _compare(own, call(OPTIMIZERS, "adam", start, 4.0, averaging, CONSTANTS))
    function = _curved(height, width)
    for _ in range(15):
        _step_both(own, *function(own.point))
    own.resize(2 * width - 1, 2 * height)
    _compare(own, call(OPTIMIZERS, "resize", 2 * width - 1, 2 * height))
    function = _curved(2 * height, 2 * width - 1)
    for _ in range(15):
        _step_both(own, *function(own.point))
    _step_both(own, np.nan, np.full_like(own.point, np.nan))
