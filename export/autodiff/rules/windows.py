"""The window of a convolution or a pooling.

k, s, p, d are its kernel size, stride, padding and dilation along one axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto

from ortist.export.autodiff.backward import Backward
from ortist.export.builder import Dimension, attribute


@dataclass(frozen=True)
class Window:
    """The window of a node, one entry per spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    dilations: tuple[int, ...]
    group: int = 1
    is_open: bool = False
    """Whether windows may reach beyond the padding at the end (ceil_mode)."""

    @property
    def pads(self) -> list[int]:
        """The padding in ONNX's order."""
        return [*self.begin, *self.end]

    @property
    def reach(self) -> list[int]:
        """How far a window reaches from its first element, d·(k - 1)."""
        return [d * (k - 1) for d, k in zip(self.dilations, self.kernel, strict=True)]

    @property
    def is_disjoint(self) -> bool:
        """Whether windows neither overlap, nor leave gaps, nor reach into padding."""
        beyond = any(self.pads) or self.is_open or set(self.dilations) != {1}
        return self.kernel == self.strides and not beyond

    @property
    def grouped(self) -> dict[str, Any]:
        """The attribute ``group``, where there is more than one."""
        return {"group": self.group} if self.group > 1 else {}


def window_of(b: Backward, n: NodeProto) -> Window:
    """Return the window of a convolution, a transposed one or a pooling."""
    kernel = attribute(n, "kernel_shape")
    if kernel is None:
        kernel = (b.builder.shape(n.input[1]) or ())[2:] if len(n.input) > 1 else ()
    if not kernel or not all(isinstance(size, int) for size in kernel):
        raise NotImplementedError("the kernel size must be known")
    ones = [1] * len(kernel)
    strides, dilations = attribute(n, "strides", ones), attribute(n, "dilations", ones)
    given = attribute(n, "pads", [0] * 2 * len(kernel))
    window = Window(
        tuple(kernel),
        tuple(strides),
        tuple(given[: len(kernel)]),
        tuple(given[len(kernel) :]),
        tuple(dilations),
        attribute(n, "group", 1),
        bool(attribute(n, "ceil_mode", 0)) and max(strides) > 1,
    )
    mode = attribute(n, "auto_pad", "NOTSET")
    totals = None
    if n.op_type == "ConvTranspose":
        totals = _transposed_padding(b, n, window, mode)
    elif mode in _SAME:
        totals = _same_padding(b.shape(n.input[0])[2:], window)
    return window if totals is None else _padded(window, totals, upper=mode == "SAME_UPPER")


_SAME = ("SAME_UPPER", "SAME_LOWER")


def _padded(window: Window, totals: Sequence[int], *, upper: bool) -> Window:
    """Return a window with its padding shared out to both ends, the odd one to the end or not."""
    less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
    begin, end = (less, more) if upper else (more, less)
    w = window
    return Window(w.kernel, w.strides, tuple(begin), tuple(end), w.dilations, w.group)


def _same_padding(sizes: Sequence[Dimension], w: Window) -> list[int]:
    """Return how much padding makes ceil(size/s) windows."""
    totals = []
    for size, stride, reach in zip(sizes, w.strides, w.reach, strict=True):
        if not isinstance(size, int) and stride > 1:
            raise NotImplementedError("auto_pad with a stride needs a known size, or give pads")
        left = (size - 1) % stride if isinstance(size, int) else 0
        totals.append(max(reach - left, 0))
    return totals


def _transposed_padding(b: Backward, n: NodeProto, w: Window, mode: str) -> list[int] | None:
    """Return how much a ConvTranspose crops so that the output has the size that is asked for."""
    extra = attribute(n, "output_padding", [0] * len(w.kernel))
    sizes = attribute(n, "output_shape")
    if sizes is None:
        if mode not in _SAME:
            return None
        # Of a full size s·(in - 1) + reach + 1 + extra, s·in stay.
        totals = [r + 1 + e - s for r, e, s in zip(w.reach, extra, w.strides, strict=True)]
    else:
        inner = b.shape(n.input[0])[2:]
        if not all(isinstance(size, int) for size in inner):
            raise NotImplementedError("output_shape needs a known size of the input")
        full = [
            s * (int(size or 0) - 1) + r + 1 + e
            for s, size, r, e in zip(w.strides, inner, w.reach, extra, strict=True)
        ]
        totals = [f - size for f, size in zip(full, sizes[-len(full) :], strict=True)]
    if min(totals) < 0:
        raise NotImplementedError("an output larger than the windows reach")
    return totals
