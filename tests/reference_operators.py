"""Operators that onnx.reference computes otherwise than the specification says, made right.

They are handed to the evaluator as ``new_ops``; what it computes rightly is left to it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_layer_normalization import LayerNormalization as _LayerNormalization
from onnx.reference.ops.op_rms_normalization import RMSNormalization as _RMSNormalization

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
                for a, t, d, s, n in zip(
                    ahead, tap, dilations, strides, x.shape[2:], strict=True
                )
            )
            part = np.einsum("bgi...,gio->bgo...", grouped, kernels[(..., *tap)])
            y[(slice(None), slice(None), *where)] += part.reshape(
                x.shape[0], -1, *x.shape[2:]
            )
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


OPERATORS: list[type[OpRun]] = [
    ConvTranspose,
    Erf,
    LRN,
    LayerNormalization,
    RMSNormalization,
]
