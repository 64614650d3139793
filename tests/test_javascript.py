"""The bridge to JavaScript hands values over unchanged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from javascript import JavaScriptError, call


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8"])
def test_arrays_come_back(dtype: str) -> None:
    array = np.arange(6).reshape(1, 2, 3).astype(dtype)
    back = call("tests/web/same.js", "same", {"within": [array, "text", 1.5]})["within"]
    assert back[0].dtype == array.dtype
    np.testing.assert_array_equal(back[0], array)
    assert back[1:] == ["text", 1.5]


def test_numbers_that_json_does_not_have() -> None:
    infinite, nan = call("tests/web/same.js", "odd")
    assert infinite == -math.inf
    assert math.isnan(nan)


def test_errors_are_raised() -> None:
    with pytest.raises(JavaScriptError, match="RangeError: too much"):
        call("tests/web/same.js", "fail")
