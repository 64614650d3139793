"""Derivative rules of the operators that sample at other places."""

from __future__ import annotations

import math

from onnx import NodeProto

from ortist.export.autodiff.backward import Backward
from ortist.export.builder import attribute

_REPEATING = {
    ("asymmetric", "floor"),
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
}
"""Coordinates and rounding by which a whole scale repeats each element."""


def resize(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = each element repeated k times: g summed over the repetitions."""
    scales = b.builder.value_of(n.input[2]) if len(n.input) > 2 and n.input[2] else None
    grid = attribute(n, "coordinate_transformation_mode", "half_pixel")
    rounding = attribute(n, "nearest_mode", "round_prefer_floor")
    if attribute(n, "mode", "nearest") != "nearest":
        raise NotImplementedError(f"mode {attribute(n, 'mode')!r}, only 'nearest' has a rule")
    if (
        scales is None
        or (scales != scales.round()).any()
        or (scales < 1).any()
        or (scales[:2] != 1).any()
        or attribute(n, "axes") is not None
    ):
        raise NotImplementedError("scales must be constant whole numbers, 1 for batch and channels")
    if (grid, rounding) not in _REPEATING:
        raise NotImplementedError(f"{grid} with {rounding} does not repeat each element k times")
    kernel = [int(scale) for scale in scales[2:]]
    mean = b.op("AveragePool", g, kernel_shape=kernel, strides=kernel)
    return b.scale(mean, math.prod(kernel), n.input[0])
