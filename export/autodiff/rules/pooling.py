"""Derivative rules of pooling and of what undoes it."""

from __future__ import annotations

import math

from onnx import NodeProto

from ortist.export.autodiff.backward import Backward
from ortist.export.autodiff.expressions import Value
from ortist.export.autodiff.rules.convolutions import adjoint
from ortist.export.autodiff.rules.windows import Window, window_of
from ortist.export.builder import attribute, attributes


def average_pool(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = mean over each window: g/k² spread over the window, k² less what is not counted."""
    w, x = window_of(b, n), n.input[0]
    if w.is_disjoint:
        share = b.scale(g, 1 / math.prod(w.kernel), x)
        return b.own("SumPoolGrad", share, x, like=x, kernel_shape=w.kernel)
    single = _single(b, g)
    if not w.is_open and (attribute(n, "count_include_pad", 0) or not any(w.pads)):
        share = b.scale(single, 1 / math.prod(w.kernel), x)
    else:
        share = b.op("Div", single, _counts(b, n, single, w))
    return _spread(b, share, x, w)


def _single(b: Backward, g: str) -> str:
    """Return g (N, C, ...) as (N·C, 1, ...)."""
    apart = b.builder.integers(-1, 1)
    return b.op("Reshape", g, b.op("Concat", apart, b.op("Shape", g, start=2), axis=0))


def _counts(b: Backward, n: NodeProto, single: str, w: Window) -> str:
    """Return how many elements each window's mean is over."""
    x, axes = n.input[0], len(w.kernel)
    plane = b.op("Concat", b.builder.integers(1, 1), b.op("Shape", x, start=2), axis=0)
    inside, begin, end = b.op("Expand", b.scalar(1.0, x), plane), w.begin, w.end
    if attribute(n, "count_include_pad", 0):
        pads = b.builder.integers(0, 0, *begin, 0, 0, *end)
        inside = b.op("Pad", inside, pads, b.scalar(1.0, x))
        begin = end = (0,) * axes
    if w.is_open:
        end = tuple(e + s - 1 for e, s in zip(end, w.strides, strict=True))
    counts = b.op(
        "Conv",
        inside,
        _ones(b, x, w),
        strides=w.strides,
        pads=[*begin, *end],
        dilations=w.dilations,
    )
    return b.cut_spatial(counts, single) if w.is_open else counts


def _ones(b: Backward, x: str, w: Window) -> str:
    return b.op("Expand", b.scalar(1.0, x), b.builder.integers(1, 1, *w.kernel))


def _spread(b: Backward, share: str, x: str, w: Window) -> str:
    """Return the sums over windows turned around: share (N·C, 1, ...), the result as x."""
    return b.reshape_like(adjoint(b, share, _ones(b, x, w), x, w), x)


def max_pool(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = max over each window: g at the window's first maximum, in row order."""
    window = {key: value for key, value in attributes(n).items() if key != "storage_order"}
    return b.own("MaxPoolGrad", g, b.real(n.input[0]), like=n.input[0], **window)


def lp_pool(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = (Σ|x|^p)^(1/p) over each window: Σ g·y^(1-p)·|x|^(p-1)·sign x, 0 where y = 0."""
    w, x, y = window_of(b, n), n.input[0], b.value(n.output[0])
    power = attribute(n, "p", 2)
    share = _norm_share(b, g, y, power)
    spread = b.value_like(_spread(b, _single(b, share.name), x, w), x)
    return (spread * _powered(b.value(x), power)).name


def global_lp_pool(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = (Σ|x|^p)^(1/p) over each channel: g·y^(1-p)·|x|^(p-1)·sign x, 0 where y = 0."""
    power = attribute(n, "p", 2)
    share = _norm_share(b, g, b.value(n.output[0]), power)
    return (share * _powered(b.value(n.input[0]), power)).name


def _norm_share(b: Backward, g: str, y: Value, power: int) -> Value:
    share = b.value_like(g, y.name)
    if power == 1:
        return share
    return y.equals(0.0).where(y.constant(0.0), share / y ** float(power - 1))


def _powered(x: Value, power: int) -> Value:
    """Return |x|^(p-1)·sign x."""
    if power <= 2:
        return x.sign() if power == 1 else x
    return x.sign() * x.abs() ** float(power - 1)


def global_max_pool(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = max over each channel: g at its first maximum."""
    x = n.input[0]
    flat = b.op("Reshape", x, b.builder.integers(0, 0, -1))
    first = b.op("ArgMax", flat, axis=2, keepdims=1)
    cotangent = b.op("Reshape", g, b.builder.integers(0, 0, 1))
    zeros = b.zeros(b.op("Shape", flat), x)
    return b.reshape_like(b.op("ScatterElements", zeros, first, cotangent, axis=2), x)


def local_response(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """y = x·s^-β, s = b + (α/m)·Σx² over m channels: g·s^-β - (2αβ/m)·x·Σ' g·x·s^(-β-1).

    Σ' is over the channels whose sum x is in.
    """
    size, beta = attribute(n, "size"), attribute(n, "beta", 0.75)
    ratio = attribute(n, "alpha", 0.0001) / size
    x, given = b.value(n.input[0]), b.value_like(g, n.input[0])
    before, after = (size - 1) // 2, size // 2
    s = _over_channels(b, x * x, before, after) * ratio + attribute(n, "bias", 1.0)
    shares = _over_channels(b, given * x * s ** (-beta - 1.0), after, before)
    result: Value = given * s**-beta - x * shares * (2 * ratio * beta)
    return result.name


def _over_channels(b: Backward, x: Value, before: int, after: int) -> Value:
    """Return sums over neighboring channels of x (N, C, ...)."""
    integers, dimension = b.builder.integers, b.builder.dimension
    parts = [dimension(x.name, 0), integers(1), dimension(x.name, 1), integers(-1)]
    flat = x.op("Reshape", b.op("Concat", *parts, axis=0))
    size = before + after + 1
    mean = flat.op(
        "AveragePool", kernel_shape=[size, 1], pads=[before, 0, after, 0], count_include_pad=1
    )
    return (mean * float(size)).op("Reshape", x.shape())


def max_unpool(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = zeros with x at the positions that are given: g at these."""
    if len(n.input) > 2 and n.input[2]:
        raise NotImplementedError("output_shape, to which the positions do not refer")
    return b.op("Gather", b.op("Reshape", g, b.builder.integers(-1)), n.input[1])


def col2im(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = columns (N, C·k, L) summed where their elements belong: the columns of g."""
    block, one = n.input[2], b.builder.integers(1)
    size = b.op("ReduceProd", block, keepdims=1)
    eye = b.op("EyeLike", b.zeros(b.op("Concat", size, size, axis=0), n.input[0]))
    kernel = b.op("Reshape", eye, b.op("Concat", size, one, block, axis=0))
    return b.reshape_like(b.op("Conv", _single(b, g), kernel, **attributes(n)), n.input[0])
