"""Derivative rules of the operators that slide a window: convolutions, pooling, resizing.

k, s, p, d are the
window's kernel size, stride, padding and dilation along one axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnx import NodeProto

from ortist.export.autodiff.backward import Backward
from ortist.export.builder import attribute, attributes


@dataclass(frozen=True)
class _Window:
    """The window of a node, one entry per spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    dilations: tuple[int, ...]

    @property
    def pads(self) -> list[int]:
        return [*self.begin, *self.end]

    @property
    def is_disjoint(self) -> bool:
        """Whether windows neither overlap, nor leave gaps, nor reach into padding."""
        return self.kernel == self.strides and not any(self.pads) and set(self.dilations) == {1}


def _window(b: Backward, n: NodeProto) -> _Window:
    kernel = attribute(n, "kernel_shape")
    if kernel is None:
        shape = b.builder.shape(n.input[1]) if len(n.input) > 1 else None
        kernel = (shape or ())[2:]
    if not kernel or not all(isinstance(size, int) for size in kernel):
        raise NotImplementedError("the kernel size must be known")
    if attribute(n, "group", 1) != 1:
        raise NotImplementedError(f"group {attribute(n, 'group')}, only 1 has a rule")
    if attribute(n, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NotImplementedError(f"auto_pad {attribute(n, 'auto_pad')!r}, give pads instead")
    if attribute(n, "ceil_mode", 0):
        raise NotImplementedError("ceil_mode 1 has no rule")
    axes = len(kernel)
    pads = attribute(n, "pads", [0] * 2 * axes)
    return _Window(
        tuple(kernel),
        tuple(attribute(n, "strides", [1] * axes)),
        tuple(pads[:axes]),
        tuple(pads[axes:]),
        tuple(attribute(n, "dilations", [1] * axes)),
    )


def conv_input(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = W * x: g correlated with the flipped W, in and out channels swapped.

    With a stride, a transposed convolution that also reaches the rows left over at the end.
    """
    w, x = _window(b, n), n.input[0]
    reach = [d * (k - 1) for d, k in zip(w.dilations, w.kernel, strict=True)]
    if set(w.strides) == {1} and all(p <= r for p, r in zip(w.pads, reach * 2, strict=True)):
        window = {"kernel_shape": w.kernel, "pads": w.pads, "dilations": w.dilations}
        return b.own("ConvInputGrad", g, n.input[1], like=x, **window)
    return _transposed(b, g, n.input[1], x, w)


def _transposed(b: Backward, g: str, kernel: str, x: str, w: _Window) -> str:
    """Return the adjoint of a convolution (kernel (K, C, ...)) applied to g, shaped as x."""
    spread = b.op(
        "ConvTranspose",
        g,
        kernel,
        kernel_shape=w.kernel,
        strides=w.strides,
        pads=w.pads,
        dilations=w.dilations,
        output_padding=[s - 1 for s in w.strides],
    )
    return spread if set(w.strides) == {1} else b.cut_spatial(spread, x)


def conv_weight(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = W * x: x correlated with g, batch and channels swapped, strides as dilations."""
    return _correlate(b, n.input[0], g, n.input[1], _window(b, n))


def conv_bias(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = W * x + c: g summed over batch and space."""
    axes = len(_window(b, n).kernel)
    return b.op("ReduceSum", g, b.builder.integers(0, *range(2, 2 + axes)), keepdims=0)


def conv_transpose_input(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = Wᵀ * x: the convolution W * g."""
    w = _transposed_window(b, n)
    return b.op(
        "Conv",
        g,
        n.input[1],
        kernel_shape=w.kernel,
        strides=w.strides,
        pads=w.pads,
        dilations=w.dilations,
    )


def conv_transpose_weight(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = Wᵀ * x: as for a convolution, with x and g in each other's place."""
    return _correlate(b, g, n.input[0], n.input[1], _transposed_window(b, n))


def _transposed_window(b: Backward, n: NodeProto) -> _Window:
    if attribute(n, "output_shape") is not None:
        raise NotImplementedError("output_shape has no rule, give pads and output_padding")
    return _window(b, n)


def _correlate(b: Backward, large: str, small: str, weight: str, w: _Window) -> str:
    """Return the gradient at W for small = W * large, shaped as W."""
    swap = [1, 0, *range(2, 2 + len(w.kernel))]
    correlated = b.op(
        "Conv",
        b.op("Transpose", large, perm=swap),
        b.op("Transpose", small, perm=swap),
        strides=w.dilations,
        pads=w.pads,
        dilations=w.strides,
    )
    # Rows that a stride leaves over at the end of `large` make the result longer than W.
    return b.cut_spatial(b.op("Transpose", correlated, perm=swap), weight)


def average_pool(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = mean over each window: g/k² spread over the window."""
    w, x = _window(b, n), n.input[0]
    if w.is_disjoint:
        share = b.scale(g, 1 / math.prod(w.kernel), x)
        return b.own("SumPoolGrad", share, x, like=x, kernel_shape=w.kernel)
    ones = b.op("Expand", b.scalar(1.0, x), b.builder.integers(1, 1, *w.kernel))
    apart = b.builder.integers(-1, 1)
    single = b.op("Reshape", g, b.op("Concat", apart, b.op("Shape", g, start=2), axis=0))
    if attribute(n, "count_include_pad", 0) or not any(w.pads):
        share = b.scale(single, 1 / math.prod(w.kernel), x)
    else:
        plane = b.op("Concat", b.builder.integers(1, 1), b.op("Shape", x, start=2), axis=0)
        inside = b.op("Expand", b.scalar(1.0, x), plane)
        counts = b.op("Conv", inside, ones, strides=w.strides, pads=w.pads, dilations=w.dilations)
        share = b.op("Div", single, counts)
    return b.reshape_like(_transposed(b, share, ones, x, w), x)


def max_pool(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = max over each window: g at the window's first maximum, in row order."""
    if attribute(n, "storage_order", 0):
        raise NotImplementedError("storage_order 1 has no rule")
    return b.own("MaxPoolGrad", g, n.input[0], like=n.input[0], **attributes(n))


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
