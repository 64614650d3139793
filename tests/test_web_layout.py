"""What lowered graphs take beside the picture is in JavaScript what it is in Python."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from javascript import JavaScriptError, call

from ortist.models.blocks import Grid, Order, Places, layout
from ortist.models.winograd import transform_kernel, transforms

ORDERS, PLACES = get_args(Order), get_args(Places)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 64), (37, 51), (101, 34), (18, 131)])
@pytest.mark.parametrize("block", [4, 6])
def test_maps_are_the_same(height: int, width: int, block: int) -> None:
    names = []
    for halvings in range(4):
        grid = Grid("image", halvings, block)
        inputs = [grid.real, grid.parts(1), grid.parts(3), grid.parts(7)]
        for order in ORDERS:
            inputs += [grid.taps(order), grid.inside(order)]
            for places in PLACES:
                inputs += [grid.rows(order, places), grid.patches(order, places)]
        names += [one.name for one in inputs]
    expected = layout(names, {"image": np.zeros((1, 3, height, width), np.float32)})
    found = call("web/blocks.js", "layout", ["image", *names], height, width)
    assert list(found) == names
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_unknown_maps_are_refused() -> None:
    with pytest.raises(JavaScriptError, match="the map layout:columns:4:0:image is unknown"):
        call("web/blocks.js", "layout", ["layout:columns:4:0:image"], 16, 16)


@pytest.mark.parametrize("block", [4, 6])
def test_kernels_are_transformed_alike(block: int) -> None:
    kernel = np.random.default_rng(0).normal(size=(5, 7, 3, 3)).astype(np.float32)
    matrix = transforms(block).kernel.tolist()
    found = call("web/winograd.js", "transformKernel", kernel, matrix)
    expected = transform_kernel(kernel, block)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_inputs_for_kernels_are_known_by_name() -> None:
    assert call("web/winograd.js", "transformedLayer", "conv1_2/kernel/winograd") == "conv1_2"
    assert call("web/winograd.js", "transformedLayer", "image") is None
