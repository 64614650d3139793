"""Derivative rules of normalizations.

Y = x̂·scale + bias, x̂ = (x - μ)·r, r = 1/√(v + ε): mean μ and variance v are of x, over some axes,
or given; no more than x̂ where there is no scale. What is less than float32 is computed in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from ortist.export.autodiff.backward import Backward, Rule
from ortist.export.autodiff.expressions import Value
from ortist.export.autodiff.preparation import opset_of
from ortist.export.builder import attribute


@dataclass(frozen=True)
class _Form:
    """What the node of a normalization computes."""

    hat: Value
    """x̂."""
    r: Value
    """As it is broadcast to x."""
    axes: Sequence[int]
    """Of x, those that mean and variance are over."""
    scale: Value | None = None
    """As it is broadcast to x."""
    repeated: Sequence[int] | None = None
    """Axes of x along which scale and bias repeat, None if that is to be found out."""
    centered: bool = True
    """Whether the mean is subtracted."""
    view: str | None = None
    """The shape that x is seen in, if not its own."""

    @property
    def slope(self) -> Value:
        """scale·r."""
        return self.scale * self.r if self.scale else self.r


Reader = Callable[[Backward, NodeProto], _Form]


def rules(read: Reader) -> tuple[Rule, Rule, Rule]:
    """Make the rules of x, scale and bias of a normalization by statistics of x."""

    def x(b: Backward, n: NodeProto, g: str, i: int) -> str:
        """r·(h - mean h - x̂·mean(h·x̂)), h = g·scale; without mean h if not centered."""
        form = read(b, n)
        axes, h = b.builder.integers(*form.axes), _seen(b, n, g, form)
        h = h * form.scale if form.scale else h
        inner = h - form.hat * (h * form.hat).mean(axes)
        result = form.r * (inner - h.mean(axes) if form.centered else inner)
        return _at_x(b, _with_statistics(b, n, result, form), n.input[0], form)

    def scale(b: Backward, n: NodeProto, g: str, i: int) -> str:
        """Σ g·x̂."""
        form = read(b, n)
        return _total(b, _seen(b, n, g, form) * form.hat, n.input[i], form)

    def bias(b: Backward, n: NodeProto, g: str, i: int) -> str:
        """Σ g."""
        form = read(b, n)
        return _total(b, _seen(b, n, g, form), n.input[i], form)

    return x, scale, bias


def layer(b: Backward, n: NodeProto) -> _Form:
    """Normalization over the last axes, by scale and bias that broadcast to X."""
    x, scale, axis = n.input[0], n.input[1], attribute(n, "axis", -1)
    axes = range(axis, 0 if axis < 0 else b.rank(x))
    shape = b.builder.shape(x)
    repeated = None
    if shape is not None and None not in shape[axis:] and shape[axis:] == b.builder.shape(scale):
        repeated = range(len(shape[:axis]))
    centered = n.op_type == "LayerNormalization"
    hat, r = _normalized(b, n, _wide(b, x), axes, centered=centered)
    return _Form(hat, r, axes, _wide(b, scale, x), repeated, centered)


def instance(b: Backward, n: NodeProto) -> _Form:
    """Normalization over space, by scale and bias of the channels."""
    x, space = n.input[0], range(2, b.rank(n.input[0]))
    hat, r = _normalized(b, n, _wide(b, x), space)
    return _Form(hat, r, space, _per_channel(b, n.input[1], x), [0, *space])


def group(b: Backward, n: NodeProto) -> _Form:
    """Normalization over groups of channels and space; X is seen as (N, groups, C/groups, -1).

    Scale and bias are of the groups up to opset 20, then of the channels.
    """
    integers, groups = b.builder.integers, attribute(n, "num_groups")
    channels = b.shape(n.input[0])[1]
    if isinstance(channels, int):
        view = integers(0, groups, channels // groups, -1)
    else:
        size = b.op("Div", b.builder.dimension(n.input[0], 1), integers(groups))
        view = b.op("Concat", integers(0, groups), size, integers(-1), axis=0)
    hat, r = _normalized(b, n, _wide(b, n.input[0]).op("Reshape", view), [2, 3])
    scale = _wide(b, n.input[1], n.input[0]).op("Reshape", integers(groups, -1, 1))
    repeated = [0, 3] if opset_of(b.builder.model) >= 21 else [0, 2, 3]
    return _Form(hat, r, [2, 3], scale, repeated, view=view)


def mean_variance(b: Backward, n: NodeProto) -> _Form:
    """Normalization over some axes, by r = 1/(√v + 1e-9), which is 1/√(v + 1e-18)."""
    axes = attribute(n, "axes", [0, 2, 3])
    return _Form(*_normalized(b, n, _wide(b, n.input[0]), axes, 1e-18), axes)


def batch(b: Backward, n: NodeProto) -> _Form:
    """Normalization over batch and space, by scale and bias of the channels."""
    x, rank = n.input[0], b.rank(n.input[0])
    others = [0, *range(2, rank)]
    if attribute(n, "training_mode", 0):
        if any(b.has_cotangent(name) for name in n.output[1:]):
            raise NotImplementedError("running statistics have no rule")
        hat, r = _normalized(b, n, _wide(b, x), others)
    else:
        mean, variance = (_per_channel(b, name, x) for name in n.input[3:5])
        r = _inverse(n, variance)
        hat = (_wide(b, x) - mean) * r
    # A tensor of rank 1 has one channel.
    repeated = others if rank > 1 else None
    return _Form(hat, r, others, _per_channel(b, n.input[1], x), repeated)


def batch_input(b: Backward, n: NodeProto, g: str, i: int) -> str | None:
    """Y = x̂·scale + bias by given statistics: g·scale·r; in training, as they follow from x."""
    if attribute(n, "training_mode", 0):
        return rules(batch)[0](b, n, g, i)
    form = batch(b, n)
    return _at_x(b, _seen(b, n, g, form) * form.slope, n.input[0], form)


def batch_mean(b: Backward, n: NodeProto, g: str, i: int) -> str | None:
    """Y = (x - μ)·r·scale + bias: -Σ g·scale·r; not used in training."""
    if attribute(n, "training_mode", 0):
        return None
    form = batch(b, n)
    return _total(b, -(_seen(b, n, g, form) * form.slope), n.input[i], form)


def batch_variance(b: Backward, n: NodeProto, g: str, i: int) -> str | None:
    """Y = (x - μ)/√(v + ε)·scale + bias: -Σ g·x̂·scale·r²/2; not used in training."""
    if attribute(n, "training_mode", 0):
        return None
    form = batch(b, n)
    slope = form.hat * (form.slope * form.r * -0.5)
    return _total(b, _seen(b, n, g, form) * slope, n.input[i], form)


def lp(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = x/‖x‖: (g - d·Σ g·y)/‖x‖, d the gradient of the norm: y, or sign x; 0 where ‖x‖ = 0."""
    order, axes = attribute(n, "p", 2), b.builder.integers(attribute(n, "axis", -1))
    x, y = b.value(n.input[0]), b.value(n.output[0])
    g_ = b.value_like(g, n.input[0])
    norm = x.op(f"ReduceL{order}", axes, keepdims=1)
    inverse = (norm > 0.0).where(1.0 / norm, 0.0)
    return ((g_ - (y if order == 2 else x.sign()) * (g_ * y).sum(axes)) * inverse).name


def _normalized(
    b: Backward,
    n: NodeProto,
    x: Value,
    axes: Sequence[int],
    epsilon: float | None = None,
    centered: bool = True,
) -> tuple[Value, Value]:
    """Return x̂ and r by statistics of x."""
    over = b.builder.integers(*axes)
    apart = x - x.mean(over) if centered else x
    r = _inverse(n, (apart * apart).mean(over), epsilon)
    return apart * r, r


def _inverse(n: NodeProto, variance: Value, epsilon: float | None = None) -> Value:
    """Return 1/√(v + ε)."""
    return 1.0 / (variance + (epsilon or attribute(n, "epsilon", 1e-5))).sqrt()


def _with_statistics(b: Backward, n: NodeProto, result: Value, form: _Form) -> Value:
    """Add what outputs Mean and InvStdDev contribute: g/m, and -g·r²·x̂/m."""
    mean, inverse = [*map(b.cotangent, n.output[1:]), None, None][:2]
    if not (mean or inverse):
        return result
    hat, r = form.hat, form.r
    count = b.op("Div", b.op("Size", hat.name), b.op("Size", r.name))
    m = Value(b.builder, count, TensorProto.INT64).cast(hat.kind)
    if mean:
        result = result + b.value_like(mean, n.output[1]).cast(hat.kind) / m
    if inverse:
        slope = b.value_like(inverse, n.output[2]).cast(hat.kind) * (r * r)
        result = result - hat * (slope / m)
    return result


def _wide(b: Backward, tensor: str, like: str | None = None) -> Value:
    """Return a tensor in the type in which what belongs to ``like`` is computed."""
    is_double = b.kind(like or tensor) == TensorProto.DOUBLE
    return b.value(tensor).cast(TensorProto.DOUBLE if is_double else TensorProto.FLOAT)


def _per_channel(b: Backward, vector: str, x: str) -> Value:
    """Return a vector of channels as it is broadcast to X."""
    after = range(1, b.rank(x) - 1)
    wide = _wide(b, vector, x)
    return wide.op("Unsqueeze", b.builder.integers(*after)) if after else wide


def _seen(b: Backward, n: NodeProto, g: str, form: _Form) -> Value:
    """Return g in the type and shape that x is seen in."""
    wide = b.value_like(g, n.output[0]).cast(form.hat.kind)
    return wide.op("Reshape", form.view) if form.view else wide


def _total(b: Backward, product: Value, like: str, form: _Form) -> str:
    """Return what belongs to an operand that was broadcast to x: a sum."""
    total = product.name
    if form.repeated is None:
        total = b.sum_to(total, like)
    elif form.repeated:
        total = b.op("ReduceSum", total, b.builder.integers(*form.repeated), keepdims=0)
    total = b.reshape_like(total, like) if form.view else total
    return Value(b.builder, total, product.kind).cast(b.kind(like)).name


def _at_x(b: Backward, cotangent: Value, x: str, form: _Form) -> str:
    """Return what belongs to x as it is, of what belongs to it as it is seen."""
    name = cotangent.cast(b.kind(x)).name
    return b.reshape_like(name, x) if form.view else name
