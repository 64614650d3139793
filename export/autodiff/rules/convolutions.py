"""Derivative rules of convolutions and transposed ones."""

from __future__ import annotations

from onnx import NodeProto

from ortist.export.autodiff.backward import Backward
from ortist.export.autodiff.rules.windows import Window, window_of


def conv_input(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = W * x: g correlated with the flipped W, in and out channels swapped.

    With a stride, a transposed convolution that also reaches the rows left over at the end.
    """
    w, x = window_of(b, n), n.input[0]
    is_plain = set(w.strides) == {1} and w.group in (1, _channels(b, n.input[1]))
    if is_plain and all(p <= r for p, r in zip(w.pads, w.reach * 2, strict=True)):
        window = {"kernel_shape": w.kernel, "pads": w.pads, "dilations": w.dilations}
        return b.own("ConvInputGrad", g, n.input[1], like=x, **window, **w.grouped)
    return adjoint(b, g, n.input[1], x, w)


def _channels(b: Backward, weight: str) -> int | None:
    """Return the number of groups that a weight (K, C/groups, ...) has if it is depthwise."""
    out, inner = b.shape(weight)[:2]
    return out if inner == 1 and isinstance(out, int) else None


def adjoint(b: Backward, g: str, kernel: str, x: str, w: Window) -> str:
    """Return the adjoint of a convolution (kernel (K, C, ...)) applied to g, shaped as x."""
    spread = b.op(
        "ConvTranspose",
        g,
        kernel,
        kernel_shape=w.kernel,
        strides=w.strides,
        pads=[*w.begin, *[0] * len(w.end)] if w.is_open else w.pads,
        dilations=w.dilations,
        output_padding=[s - 1 for s in w.strides],
        **w.grouped,
    )
    return spread if set(w.strides) == {1} else b.cut_spatial(spread, x)


def conv_weight(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = W * x: x correlated with g, batch and channels swapped, strides as dilations."""
    return _correlate(b, n.input[0], g, n.input[1], window_of(b, n))


def conv_bias(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = W * x + c: g summed over batch and space."""
    axes = len(window_of(b, n).kernel)
    return b.op("ReduceSum", g, b.builder.integers(0, *range(2, 2 + axes)), keepdims=0)


def conv_transpose_input(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = Wᵀ * x: the convolution W * g."""
    w = window_of(b, n)
    return b.op(
        "Conv",
        g,
        n.input[1],
        kernel_shape=w.kernel,
        strides=w.strides,
        pads=w.pads,
        dilations=w.dilations,
        **w.grouped,
    )


def conv_transpose_weight(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = Wᵀ * x: as for a convolution, with x and g in each other's place."""
    return _correlate(b, g, n.input[0], n.input[1], window_of(b, n))


def _correlate(b: Backward, large: str, small: str, weight: str, w: Window) -> str:
    """Return the gradient at W for small = W * large, shaped as W."""
    swap = [1, 0, *range(2, 2 + len(w.kernel))]
    correlated = b.op(
        "Conv",
        _by_group(b, large, weight, w) if w.group > 1 else b.op("Transpose", large, perm=swap),
        b.op("Transpose", small, perm=swap),
        strides=w.dilations,
        pads=w.pads,
        dilations=w.strides,
        **w.grouped,
    )
    # Rows that a stride leaves over at the end of `large` make the result longer than W.
    return b.cut_spatial(b.op("Transpose", correlated, perm=swap), weight)


def _by_group(b: Backward, large: str, weight: str, w: Window) -> str:
    """Return (N, G·C, ...) as (C, G·N, ...), for W (K, C, ...) of G groups."""
    space = b.op("Shape", large, start=2)
    channels = b.builder.dimension(weight, 1)
    join, integers = b.op, b.builder.integers
    apart = join("Concat", integers(0, w.group), channels, space, axis=0)
    split = b.op("Reshape", large, apart)
    turned = b.op("Transpose", split, perm=[2, 1, 0, *range(3, 3 + len(w.kernel))])
    return b.op("Reshape", turned, join("Concat", channels, integers(-1), space, axis=0))
