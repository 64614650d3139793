"""Square roots of matrices as ONNX nodes, by a composition of polynomials: products only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ortist.export.builder import GraphBuilder

LEAST = 5e-4
"""Root of the smallest eigenvalue, relative to the Frobenius norm, that :data:`STEPS` are for."""
STEPS = (
    (7.526549, -73.30485, 241.8419, -307.9702, 132.7114),
    (7.520651, -73.22631, 243.2715, -312.4439, 135.8731),
    (7.190951, -64.66687, 209.6787, -266.1365, 114.9287),
    (5.180147, -26.40676, 67.78898, -75.8511, 30.28376),
    (2.669188, -4.176437, 4.396566, -2.440866, 0.5515502),
)
"""Coefficients of 1, g, g², g³ and g⁴ in p of each step x → x·p(x²), which brings x closer to 1.

Each step is the odd polynomial of degree 9 closest to 1 on the interval where those before leave x,
from [LEAST, 1.005] on, and shrunk so that half a percent is left to 1, which rounding may overstep:
beyond 1 they are steep. In this way the composition is the best there is (Amsel et al. 2025,
arXiv:2505.16932). Between LEAST and 1.005 it is within 2.5e-6 of 1.
"""


def roots(b: GraphBuilder, matrix: str, identity: str) -> tuple[str, str]:
    """Return the diagonal of M^½, (C, 1), and M^-½, (C, C), of a positive definite M, (C, C).

    Y and Z, from M/‖M‖ and I on, go to the roots of M/‖M‖ and its inverse (Higham 2008, section
    6.7): Z·Y has the squares x² of the roots of eigenvalues of M/‖M‖, all of which go to 1, as in

        T = p(Z·Y),  Y ← Y·T,  Z ← T·Z

    Five steps, 22 products, do what takes 30 with the cubic polynomials of Newton and Schulz at
    their best scaling. Where roots of eigenvalues are below :data:`LEAST`, relative to ‖M‖, they
    converge less far.

    Args:
        b: the graph.
        matrix: M, symmetric.
        identity: I, (C, C).
    """
    trace = b.op("ReduceSum", b.op("Mul", matrix, identity), keepdims=1)
    # Twice, as squares of the elements themselves may overflow.
    first = b.op("Div", matrix, trace)
    norm = b.op("ReduceL2", first, keepdims=1)
    y = last = b.op("Div", first, norm)
    # Z = I makes the first step two products less.
    step = z = _polynomial(b, y, identity, STEPS[0])
    for coefficients in STEPS[1:]:
        y = last = b.op("MatMul", y, step)
        step = _polynomial(b, b.op("MatMul", z, y), identity, coefficients)
        z = b.op("MatMul", step, z)
    # Y and T are symmetric and commute: of the last product only the diagonal is computed.
    diagonal = b.op("ReduceSum", b.op("Mul", last, step), b.integers(1), keepdims=1)
    scale = b.op("Sqrt", b.op("Mul", trace, norm))
    return b.op("Mul", diagonal, scale), b.op("Div", z, scale)


def _polynomial(
    b: GraphBuilder, matrix: str, identity: str, coefficients: tuple[float, ...]
) -> str:
    """Return c₀·I + c₁·G + ... + c₄·G⁴ of a matrix G with two products.

    It is c₄·H·(H + s·I) + t·(G + u·I) with H = G² + r·G.
    """
    zeroth, first, second, third, fourth = coefficients
    r = third / (2 * fourth)
    s = second / fourth - r**2
    t = first - fourth * r * s
    square = b.op("Gemm", matrix, matrix, matrix, beta=r)
    shifted = b.op("Add", square, _multiple(b, identity, s))
    rest = b.op("Add", matrix, _multiple(b, identity, zeroth / t))
    return b.op("Gemm", square, shifted, rest, alpha=fourth, beta=t)


def _multiple(b: GraphBuilder, matrix: str, factor: float) -> str:
    return b.op("Mul", matrix, b.constant(factor, "float32"))
