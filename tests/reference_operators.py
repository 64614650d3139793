"""Operators that onnx.reference computes otherwise than the specification says, made right.

What it computes rightly is left to it, unless that takes too long.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_causal_conv_with_state import CausalConvWithState as _CausalConv
from onnx.reference.ops.op_layer_normalization import LayerNormalization as _LayerNormalization
from onnx.reference.ops.op_rms_normalization import RMSNormalization as _RMSNormalization
from onnx.reference.ops.op_scatter_elements import ScatterElements

Array = NDArray[Any]


class Erf(OpRun):
    """The evaluator's is rounded to single precision."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        values = np.array([math.erf(value) for value in x.ravel()])
        return (values.reshape(x.shape).astype(x.dtype),)


class LayerNormalization(_LayerNormalization):
    """The evaluator's refuses to compute the statistics in double precision."""

    op_domain = ""

    def _run(self, *inputs: Array, stash_type: int = 1, **attributes: Any) -> tuple[Array, ...]:
        return tuple(super()._run(*inputs, stash_type=1, **attributes))


class RMSNormalization(_RMSNormalization):
    """The evaluator's refuses to compute the statistics in double precision."""

    op_domain = ""

    def _run(self, *inputs: Array, stash_type: int = 1, **attributes: Any) -> tuple[Array, ...]:
        return tuple(super()._run(*inputs, stash_type=1, **attributes))


class LRN(OpRun):
    """The evaluator's takes the number of images for that of channels."""

    op_domain = ""

    def _run(self, x: Array, alpha: float, beta: float, bias: float, size: int) -> tuple[Array]:
        below, above = (size - 1) // 2, size // 2
        channels = x.shape[1]
        sums = np.stack(
            [
                np.square(x[:, max(0, c - below) : min(channels, c + above + 1)]).sum(axis=1)
                for c in range(channels)
            ],
            axis=1,
        )
        return ((x / (bias + alpha / size * sums) ** beta).astype(x.dtype),)


class ConvTranspose(OpRun):
    """The evaluator's computes groups, auto_pad and output_shape wrongly."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        auto_pad: str = "NOTSET",
        dilations: Sequence[int] | None = None,
        group: int = 1,
        kernel_shape: Sequence[int] | None = None,
        output_padding: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        rank = x.ndim - 2
        strides, dilations = strides or [1] * rank, dilations or [1] * rank
        spans = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
        extra = list(output_padding or [0] * rank)[:rank]
        full = [
            s * (n - 1) + e + span
            for s, n, e, span in zip(strides, x.shape[2:], extra, spans, strict=True)
        ]
        begins, sizes = _cut(x.shape[2:], full, strides, auto_pad, pads, output_shape)
        # What an output_shape asks for beyond the full extent is 0, on either side.
        room = [max(f, begin + size) for f, begin, size in zip(full, begins, sizes, strict=True)]
        ahead = [max(0, -begin) for begin in begins]
        room = [r + a for r, a in zip(room, ahead, strict=True)]
        y = np.zeros((x.shape[0], w.shape[1] * group, *room), x.dtype)
        grouped = x.reshape(x.shape[0], group, -1, *x.shape[2:])
        kernels = w.reshape(group, -1, *w.shape[1:])
        for tap in itertools.product(*(range(k) for k in w.shape[2:])):
            where = tuple(
                slice(a + t * d, a + t * d + s * (n - 1) + 1, s)
                for a, t, d, s, n in zip(ahead, tap, dilations, strides, x.shape[2:], strict=True)
            )
            part = np.einsum("bgi...,gio->bgo...", grouped, kernels[(..., *tap)])
            y[(slice(None), slice(None), *where)] += part.reshape(x.shape[0], -1, *x.shape[2:])
        window = tuple(
            slice(begin + a, begin + a + size)
            for begin, a, size in zip(begins, ahead, sizes, strict=True)
        )
        y = y[(slice(None), slice(None), *window)]
        return (y if b is None else y + b.reshape(-1, *[1] * rank),)


def _cut(
    shape: Sequence[int],
    full: Sequence[int],
    strides: Sequence[int],
    auto_pad: str,
    pads: Sequence[int] | None,
    output_shape: Sequence[int] | None,
) -> tuple[list[int], list[int]]:
    """Return where an output begins in the full extent of its taps, and its size."""
    rank = len(shape)
    named = auto_pad in ("SAME_UPPER", "SAME_LOWER")
    if output_shape is None and not named:
        pads = pads or [0] * (2 * rank)
        return list(pads[:rank]), [f - pads[i] - pads[i + rank] for i, f in enumerate(full)]
    sizes = list(output_shape or [n * s for n, s in zip(shape, strides, strict=True)])[-rank:]
    totals = [f - size for f, size in zip(full, sizes, strict=True)]
    if auto_pad == "SAME_UPPER":
        return [total // 2 for total in totals], sizes
    return [total - total // 2 for total in totals], sizes


def _taps(
    shape: Sequence[int],
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Iterator[tuple[tuple[Array, ...], Array, Array]]:
    """Return, tap by tap, what it reads for each window, where that is data, where data or pads."""
    rank = len(kernel_shape)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    pads = list(pads or [0] * (2 * rank))
    axes = []
    for i, (n, k, s, d) in enumerate(zip(shape, kernel_shape, strides, dilations, strict=True)):
        span = (k - 1) * d + 1
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            count = -(-n // s)
            total = max(0, (count - 1) * s + span - n)
            begin = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            end = total - begin
        else:
            begin, end = pads[i], pads[i + rank]
            reach = n + begin + end - span
            count = (-(-reach // s) if ceil_mode else reach // s) + 1
            if ceil_mode and (count - 1) * s >= n + begin:
                count -= 1
        axes.append((np.arange(count) * s - begin, n, end, begin, d))
    for tap in itertools.product(*(range(k) for k in kernel_shape)):
        places = [first + t * d for t, (first, _, _, _, d) in zip(tap, axes, strict=True)]
        data = _product((p >= 0) & (p < n) for p, (_, n, *_) in zip(places, axes, strict=True))
        padded = _product(
            (p >= -begin) & (p < n + end)
            for p, (_, n, end, begin, _) in zip(places, axes, strict=True)
        )
        yield (
            np.ix_(*(place.clip(0, n - 1) for place, (_, n, *_) in zip(places, axes, strict=True))),
            data,
            padded,
        )


def _product(masks: Iterable[Array]) -> Array:
    """Return where all of some masks hold, one per axis."""
    return functools.reduce(np.logical_and.outer, masks)


class AveragePool(OpRun):
    """The evaluator's goes through windows one by one, and is as slow."""

    op_domain = ""

    def _run(self, x: Array, count_include_pad: int = 0, **attributes: Any) -> tuple[Array]:
        total, count = np.zeros((), x.dtype), np.zeros((), np.int64)
        for index, data, padded in _taps(x.shape[2:], **attributes):
            total = total + np.where(data, x[(..., *index)], 0)
            count = count + (padded if count_include_pad else data)
        return ((total / count).astype(x.dtype),)


class LpPool(OpRun):
    """The evaluator's goes through windows one by one, and is as slow."""

    op_domain = ""

    def _run(self, x: Array, p: int = 2, **attributes: Any) -> tuple[Array]:
        total = np.zeros((), x.dtype)
        for index, data, _ in _taps(x.shape[2:], **attributes):
            total = total + np.where(data, np.abs(x[(..., *index)]) ** p, 0)
        return ((total ** (1 / p)).astype(x.dtype),)


class LpNormalization(OpRun):
    """The evaluator's forgets that what odd powers are taken of are magnitudes."""

    op_domain = ""

    def _run(self, x: Array, axis: int = -1, p: int = 2) -> tuple[Array]:
        norm = (np.abs(x) ** p).sum(axis=axis, keepdims=True) ** (1 / p)
        return (np.where(norm == 0, 0, x / norm).astype(x.dtype),)


class MaxPool(OpRun):
    """The evaluator's indices are wrong with unit strides, and in three dimensions."""

    op_domain = ""

    def _run(self, x: Array, storage_order: int = 0, **attributes: Any) -> tuple[Array, Array]:
        spatial = x.shape[2:]
        places = np.arange(math.prod(spatial)).reshape(spatial, order="FC"[not storage_order])
        lead = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * len(spatial))
        indices = places + lead * math.prod(spatial)
        lowest = np.finfo(x.dtype).min if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        best, where = np.array(lowest, x.dtype), np.zeros((), np.int64)
        for index, data, _ in _taps(spatial, **attributes):
            value = np.where(data, x[(..., *index)], lowest)
            where = np.where(value > best, indices[(..., *index)], where)
            best = np.maximum(best, value)
        return best.astype(x.dtype), where


class MeanVarianceNormalization(OpRun):
    """The evaluator's takes its body, whose constants are of single precision."""

    op_domain = ""

    def _run(self, x: Array, axes: Sequence[int] = (0, 2, 3)) -> tuple[Array]:
        centered = x - x.mean(axis=tuple(axes), keepdims=True)
        deviation = np.sqrt(np.square(centered).mean(axis=tuple(axes), keepdims=True))
        return ((centered / (deviation + 1e-9)).astype(x.dtype),)


class CausalConvWithState(_CausalConv):
    """The evaluator's activation is of single precision."""

    op_domain = ""

    def _run(
        self, *inputs: Array | None, activation: str = "none", **attributes: Any
    ) -> tuple[Array, Array]:
        y, state = super()._run(*inputs, activation="none", **attributes)
        return (y if activation in (None, "none") else y / (1 + np.exp(-y))), state


class Scatter(ScatterElements):
    """The evaluator has none: it is what ScatterElements was called first."""

    op_domain = ""

    def _run(self, *inputs: Array, axis: int = 0) -> tuple[Array]:
        (y,) = super()._run(*inputs, axis=axis, reduction="none")
        return (y,)


OPERATORS: list[type[OpRun]] = [
    AveragePool,
    CausalConvWithState,
    ConvTranspose,
    Erf,
    LRN,
    LayerNormalization,
    LpNormalization,
    LpPool,
    MaxPool,
    MeanVarianceNormalization,
    RMSNormalization,
    Scatter,
]


class Evaluator(ReferenceEvaluator):
    """The reference evaluator with these operators, within functions too."""

    def __init__(self, proto: Any, **options: Any) -> None:
        super().__init__(proto, **{**options, "new_ops": OPERATORS})
