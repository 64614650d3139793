"""Derivative rules of matrix products."""

from __future__ import annotations

from onnx import NodeProto

from ortist.export.autodiff.backward import Backward
from ortist.export.autodiff.rules.elementwise import broadcast
from ortist.export.builder import attribute


def matmul(b: Backward, n: NodeProto, g: str, i: int) -> str | None:
    """Y = A·B: G·Bᵀ for A, Aᵀ·G for B; both at once for Y = A·Aᵀ: (G + Gᵀ)·A."""
    left, right = n.input
    if _is_own_transpose(b, left, right):
        return b.op("MatMul", b.op("Add", g, _swap_last(b, g)), left) if i == 0 else None
    ranks = [len(b.builder.shape(name) or ()) for name in n.input]
    if min(ranks) < 2:
        raise NotImplementedError("operands must have a known rank of at least 2")
    if i == 0:
        product = b.op("MatMul", g, _swap_last(b, right, ranks[1]))
    else:
        product = b.op("MatMul", _swap_last(b, left, ranks[0]), g)
    return product if ranks == [2, 2] else b.sum_to(product, n.input[i])


def _is_own_transpose(b: Backward, left: str, right: str) -> bool:
    """Tell whether ``right`` is the transpose of the matrix ``left``, and of no other interest."""
    producer = b.builder.producer(right)
    return (
        producer is not None
        and producer.op_type == "Transpose"
        and producer.input[0] == left
        and len(b.builder.shape(left) or ()) == 2
        and list(attribute(producer, "perm", [1, 0])) == [1, 0]
        and right not in b.wrt
    )


def _swap_last(b: Backward, matrix: str, rank: int = 2) -> str:
    """Return the transpose of a matrix, or of a stack of them."""
    return b.op("Transpose", matrix, perm=[*range(rank - 2), rank - 1, rank - 2])


def gemm_left(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = α·A'·B' + β·C, ' for transposed or not: α·G·B'ᵀ for A', transposed again for A."""
    flip_a, flip_b = attribute(n, "transA", 0), attribute(n, "transB", 0)
    alpha = attribute(n, "alpha", 1.0)
    if flip_a:
        return b.op("Gemm", n.input[1], g, alpha=alpha, transA=flip_b, transB=1)
    return b.op("Gemm", g, n.input[1], alpha=alpha, transB=1 - flip_b)


def gemm_right(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = α·A'·B' + β·C: α·A'ᵀ·G for B', transposed again for B."""
    flip_a, flip_b = attribute(n, "transA", 0), attribute(n, "transB", 0)
    alpha = attribute(n, "alpha", 1.0)
    if flip_b:
        return b.op("Gemm", g, n.input[0], alpha=alpha, transA=1, transB=flip_a)
    return b.op("Gemm", n.input[0], g, alpha=alpha, transA=1 - flip_a)


@broadcast
def gemm_bias(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = α·A'·B' + β·C: β·G."""
    return b.scale(g, attribute(n, "beta", 1.0), n.input[2])
