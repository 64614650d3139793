"""The costs of neural style transfer, written forwards only, as ONNX nodes.

Equations are those of Gatys et al. 2015 (arXiv:1508.06576) with the normalisation of the reference
notebook. Each cost compares a statistic of the picture with its target. :func:`differentiate
<ortist.export.differentiate.differentiate>` supplies the gradients.
"""

from __future__ import annotations

from onnx import TensorProto

from ortist.engine.statistics import NOISE
from ortist.export.builder import GraphBuilder
from ortist.export.roots import roots


def gram_matrix(b: GraphBuilder, activation: str, channels: int) -> str:
    """Return G = A·Aᵀ/(H·W), float32 (C, C), of an activation (1, C, H, W) unrolled to (C, H·W).

    Dividing by the number of positions makes pictures of different sizes comparable.
    """
    unrolled = b.op("Reshape", activation, b.integers(channels, -1))
    products = b.op("MatMul", unrolled, b.op("Transpose", unrolled, perm=[1, 0]))
    return _per_position(b, products, unrolled)


def mean_vector(b: GraphBuilder, activation: str, channels: int) -> str:
    """Return E[a], float32 (C, 1), the mean over the positions of an activation (1, C, H, W)."""
    unrolled = b.op("Reshape", activation, b.integers(channels, -1))
    return _per_position(b, _row_sums(b, unrolled), unrolled)


def _per_position(b: GraphBuilder, sums: str, unrolled: str) -> str:
    """Return sums over the positions of an unrolled activation as means."""
    positions = b.op("Cast", b.op("Shape", unrolled, start=1), to=TensorProto.FLOAT)
    return b.op("Div", sums, positions)


def content_cost(b: GraphBuilder, activation: str, target: str) -> str:
    """Return J_C = 1/(4·H·W·C)·Σ(a_G - a_C)², float32 (1,); equation 1 of the notebook."""
    return _quarter_mean_square(b, b.op("Sub", activation, target))


def style_cost(b: GraphBuilder, gram: str, target: str) -> str:
    """Return J_S = 1/(4·C²)·Σ(G_G - G_S)², float32 (1,), of Gram matrices divided by H·W.

    For pictures of equal size this is equation 2 of the notebook, which divides by (2·C·H·W)².
    """
    return _quarter_mean_square(b, b.op("Sub", gram, target))


def gaussian_cost(
    b: GraphBuilder, second_moment: str, mean: str, target_mean: str, target_root: str
) -> tuple[str, list[str]]:
    """Return W₂² / C, float32 (1,), of two Gaussians, and what to hold when differentiating it.

    The squared 2-Wasserstein distance (Dowson & Landau 1982) of normal distributions with means
    μ, ν and covariances S, T, both with white noise of variance δ added, is

        W₂² = |μ - ν|² + tr(S + δI) + tr(T + δI) - 2·tr M^½,  M = Rᵀ·(S + δI)·R,  R·Rᵀ = T + δI

    whichever root R is. It is computed with tr M^½ = min over Z of ½·tr(M·Z + Z⁻¹), which is at
    Z = M^-½. As it is a minimum, Z need not be differentiated, and an error of Z changes the
    distance by its square only. Dividing by C makes layers of different width comparable.

    Args:
        b: the graph.
        second_moment: E[a·aᵀ], (C, C).
        mean: μ = E[a], (C, 1).
        target_mean: ν, (C, 1).
        target_root: any R, (C, C); δ = NOISE·(tr T + |ν|²), see :mod:`ortist.engine.statistics`.
    """
    identity = b.op("EyeLike", target_root)
    target_variances = _row_sums(b, b.op("Mul", target_root, target_root))
    noise = _noise(b, target_variances, target_mean)
    outer = b.op("MatMul", mean, b.op("Transpose", mean, perm=[1, 0]))
    covariance = b.op("Sub", second_moment, outer)
    covariance = b.op("Add", covariance, b.op("Mul", identity, noise))
    turned = b.op("Transpose", target_root, perm=[1, 0])
    matrix = b.op("MatMul", b.op("MatMul", turned, covariance), target_root)
    root_diagonal, inverse_root = roots(b, matrix, identity)
    difference = b.op("Sub", mean, target_mean)
    # By channel, so that large traces cancel before they are summed.
    variances = b.op("Add", _row_sums(b, b.op("Mul", covariance, identity)), target_variances)
    shared = b.op("Add", _row_sums(b, b.op("Mul", matrix, inverse_root)), root_diagonal)
    distances = b.op("Add", b.op("Mul", difference, difference), b.op("Sub", variances, shared))
    cost = b.op("ReduceMean", distances, b.integers(0), keepdims=0)
    return cost, [root_diagonal, inverse_root]


def _noise(b: GraphBuilder, variances: str, mean: str) -> str:
    """Return δ = NOISE·(tr T + |ν|²), float32 (1, 1), given the diagonal of T + δI, and ν."""
    squares = b.op("Add", variances, b.op("Mul", mean, mean))
    channels = b.op("Cast", b.op("Shape", mean, end=1), to=TensorProto.FLOAT)
    # The sum over channels is tr T + C·δ + |ν|².
    portion = b.constant(NOISE, "float32")
    divisor = b.op("Add", b.op("Mul", channels, portion), b.constant(1, "float32"))
    total = b.op("ReduceSum", squares, b.integers(0), keepdims=1)
    return b.op("Div", b.op("Mul", total, portion), divisor)


def _row_sums(b: GraphBuilder, matrix: str) -> str:
    return b.op("ReduceSum", matrix, b.integers(1), keepdims=1)


def total_variation_cost(b: GraphBuilder, image: str) -> str:
    """Return the mean squared difference of neighbours, float32 (1,), in an image (1, 3, H, W).

    The sum over both directions of their means, in units of squared pixel values; the β = 2 norm
    of Mahendran & Vedaldi 2014 (arXiv:1412.0035), divided by the number of pixels.
    """
    costs = []
    for axis in (2, 3):
        after = b.op("Slice", image, b.integers(1), b.integers(2**31), b.integers(axis))
        before = b.op("Slice", image, b.integers(0), b.integers(-1), b.integers(axis))
        # Known to be equal, the two shapes need no test for broadcasting in the backward pass.
        shape: list[int | str] = [1, 3, "height", "width"]
        shape[axis] = f"{shape[axis]}-1"
        for part in (after, before):
            b.state_shape(part, shape, TensorProto.FLOAT)
        costs.append(_mean_square(b, b.op("Sub", after, before)))
    return b.op("Add", *costs)


def weighted_sum(b: GraphBuilder, costs: str, weights: str, name: str) -> str:
    """Return J = Σ weight·cost, a float32 scalar, of two vectors of equal length."""
    return b.op("ReduceSum", b.op("Mul", costs, weights), keepdims=0, name=name)


def _quarter_mean_square(b: GraphBuilder, difference: str) -> str:
    return b.op("Mul", _mean_square(b, difference), b.constant(0.25, "float32"))


def _mean_square(b: GraphBuilder, values: str) -> str:
    """Return the mean of the squares, float32 (1,).

    Rows are summed first: a single float32 sum over all elements loses 1e-5 of the cost.
    """
    rows = b.op("ReduceSumSquare", values, b.integers(-1), keepdims=0)
    count = b.op("Cast", b.op("Size", values), to=TensorProto.FLOAT)
    mean = b.op("Div", b.op("ReduceSum", rows, keepdims=0), count)
    return b.op("Reshape", mean, b.integers(1))
