"""Winograd's minimal filtering F(m×m, 3×3) (Winograd 1980; Lavin & Gray 2015, arXiv:1509.09308).

A block of m×m outputs of a 3×3 correlation is Y = A·[(G·w·Gᵀ) ⊙ (B·d·Bᵀ)]·Aᵀ, with d the n×n
inputs that it sees, n = m + 2: n² products in place of 9·m². The matrices follow from n - 1
interpolation points and infinity (Cook-Toom): the products are values of polynomials there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ortist.models.layers import LAYERS

Matrix = NDArray[np.float64]

TRANSFORMED_SUFFIX = "/winograd"
"""What a graph input that takes a transformed kernel adds to the kernel's name."""
_TRANSFORMED = "/kernel" + TRANSFORMED_SUFFIX

WINOGRAD_BLOCK = 4
"""Block size of the shipped graphs.

6 is faster by a few per cent on large pictures, but rounds so that more ReLU signs flip.
"""

_ROOT = 2**-0.5
POINTS: dict[int, tuple[float, ...]] = {
    4: (0.0, _ROOT, -_ROOT, 1 / _ROOT, -1 / _ROOT),
    6: (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5),
}
"""Block size m to its finite interpolation points.

They make small rounding errors, and with infinity they are closed under x → 1/x, so that a kernel
and its mirror image, which the backward convolution needs, share one transform.
"""


@dataclass(frozen=True)
class Transforms:
    """The matrices of one block size, float64.

    Attributes:
        output: A, (m, n).
        kernel: G, (n, 3).
        input: B, (n, n).
    """

    output: Matrix
    kernel: Matrix
    input: Matrix

    def mirrored(self) -> Transforms:
        """Return transforms that take the same transformed kernel as that of its mirror image.

        Row p of G, mirrored, is s·(row q of G) with q the place of the point 1/p: the factors s
        and the exchange of places move to B and A.
        """
        mirror = self.kernel[:, ::-1]
        scale = (mirror @ self.kernel.T) / np.sum(self.kernel**2, axis=1)
        fits = np.isclose(mirror[:, None], scale[..., None] * self.kernel).all(axis=2)
        places = np.argmax(fits, axis=1)
        factors = scale[np.arange(len(places)), places]
        exchanged = np.argsort(places)
        scaled_input = (factors[:, None] * self.input)[exchanged]
        return Transforms(self.output[:, exchanged], self.kernel, scaled_input)


def transforms(block: int) -> Transforms:
    """Return the matrices for blocks of ``block`` outputs a side, one of :data:`POINTS`."""
    points = POINTS[block]
    powers = np.array(points)[:, None] ** np.arange(block)
    output = np.vstack([powers, np.eye(block)[-1]]).T
    basis = np.array([_coefficients([q for q in points if q != p], block + 2) for p in points])
    norms = np.array([np.prod([p - q for q in points if q != p]) for p in points])
    kernel = np.vstack([np.array(points)[:, None] ** np.arange(3) / norms[:, None], np.eye(3)[-1]])
    return Transforms(output, kernel, np.vstack([basis, _coefficients(points, block + 2)]))


def transformed_layer(name: str) -> str | None:
    """Return the layer whose kernel, transformed, a graph input of that name takes, if any."""
    layer = name.removesuffix(_TRANSFORMED)
    return layer if name.endswith(_TRANSFORMED) and layer in LAYERS else None


def transform_kernel(kernel: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Return U = G·w·Gᵀ of a kernel (K, C, 3, 3), float32 (n², C, K): one matrix per product."""
    outputs, inputs = kernel.shape[:2]
    matrix = transforms(block).kernel
    both_axes = np.kron(matrix, matrix).astype(np.float32)
    taps = kernel.transpose(2, 3, 1, 0).reshape(9, inputs * outputs)
    # Not a product by BLAS, whose last bits depend on how many threads it happens to have.
    transformed: NDArray[np.float32] = np.einsum("ij,jk->ik", both_axes, taps)
    return transformed.reshape(-1, inputs, outputs)


def _coefficients(roots: tuple[float, ...] | list[float], length: int) -> Matrix:
    """Return the coefficients of Π(x - root), constant term first, filled up with zeros."""
    polynomial = np.polynomial.polynomial.polyfromroots(roots)
    return np.pad(polynomial, (0, length - len(polynomial)))
