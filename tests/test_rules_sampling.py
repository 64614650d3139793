"""Rules of what samples at other places against central differences, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from derivatives import Case, check_gradient, check_runtime, integers, model_of, reals


def scaled(mode: str, *scales: float, static: bool = True, **attributes: Any) -> Case:
    inputs = (reals(1, 2, 4, 5), None, np.array(scales, np.float32))
    return Case("Resize", inputs, {"mode": mode, **attributes}, static=static, opset=19)


def sized(mode: str, *sizes: int, static: bool = True, **attributes: Any) -> Case:
    inputs = (reals(1, 2, 4, 5), None, None, integers(*sizes))
    return Case("Resize", inputs, {"mode": mode, **attributes}, static=static, opset=19)


GRIDS = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
CROP = (
    reals(1, 2, 4, 5),
    np.array([0, 0, 0.4, -0.2, 1, 1, 0.8, 1.2], np.float32),
    None,
    integers(1, 2, 3, 6),
)
CASES: dict[str, Case] = {
    **{
        f"Resize, {mode}, {grid}": scaled(mode, 1, 1, 1.6, 0.7, coordinate_transformation_mode=grid)
        for mode in ("nearest", "linear", "cubic")
        for grid in GRIDS
    },
    **{
        f"Resize, nearest, {rounding}": scaled("nearest", 1, 1, 1.5, 2.5, nearest_mode=rounding)
        for rounding in ROUNDINGS
    },
    "Resize, linear, unknown": scaled("linear", 1, 1, 2, 2, static=False),
    "Resize, linear, sizes": sized("linear", 1, 2, 7, 5),
    "Resize, linear, sizes, unknown": sized("linear", 1, 2, 7, 3, static=False),
    "Resize, nearest, sizes": sized("nearest", 1, 2, 3, 9),
    "Resize, cubic, outside": scaled(
        "cubic", 1, 1, 2.3, 0.6, cubic_coeff_a=-0.5, exclude_outside=1
    ),
    "Resize, linear, antialias": scaled("linear", 1, 1, 0.6, 0.4, antialias=1),
    "Resize, cubic, antialias": scaled("cubic", 1, 1, 0.6, 0.5, antialias=1),
    "Resize, linear, axes": sized("linear", 7, 8, axes=[3, 2]),
    "Resize, linear, crop": Case(
        "Resize",
        CROP,
        {
            "mode": "linear",
            "coordinate_transformation_mode": "tf_crop_and_resize",
            "extrapolation_value": 3.0,
        },
        opset=19,
    ),
    "Resize, linear, 2-d": Case(
        "Resize", (reals(3, 4), None, np.array([2, 1.5], np.float32)), {"mode": "linear"}
    ),
    "Resize, linear, 3-d": Case(
        "Resize", (reals(1, 2, 4), None, np.array([1, 1, 2.5], np.float32)), {"mode": "linear"}
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rule_agrees_with_central_differences(case: Case) -> None:
    check_gradient(*model_of(case))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_runtime_agrees(case: Case) -> None:
    check_runtime(case)
