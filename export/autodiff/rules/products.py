"""Derivative rules of matrix products."""

from __future__ import annotations

import re

from onnx import NodeProto

from ortist.export.autodiff.backward import Backward
from ortist.export.autodiff.rules.elementwise import broadcast
from ortist.export.builder import attribute


def matmul(b: Backward, n: NodeProto, g: str, i: int) -> str | None:
    """Y = A·B: G·Bᵀ for A, Aᵀ·G for B; both at once for Y = A·Aᵀ: (G + Gᵀ)·A."""
    left, right = n.input
    if _is_own_transpose(b, left, right):
        return b.op("MatMul", b.op("Add", g, _swap_last(b, g)), left) if i == 0 else None
    ranks = [b.rank(name) for name in n.input]
    # A vector is a matrix of one row on the left, of one column on the right.
    if ranks[1] == 1:
        right, g = (b.op("Unsqueeze", t, b.builder.integers(-1)) for t in (right, g))
    if ranks[0] == 1:
        left, g = (b.op("Unsqueeze", t, b.builder.integers(-2)) for t in (left, g))
    if i == 0:
        product = b.op("MatMul", g, _swap_last(b, right, max(ranks[1], 2)))
    else:
        product = b.op("MatMul", _swap_last(b, left, max(ranks[0], 2)), g)
    summed = product if ranks == [2, 2] else b.sum_to(product, (left, right)[i])
    return b.reshape_like(summed, n.input[i]) if ranks[i] == 1 else summed


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
        and right not in b.ends.held
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


def einsum(b: Backward, n: NodeProto, g: str, i: int) -> str:
    """Y = Σ A_a·B_b·...: for A, Σ G·B_b·... over what A has no letters for, with Einsum again.

    Letters that only A has were summed: there the result is spread. Of letters that A has twice
    only the diagonal was taken: there it goes.
    """
    terms, result = _terms(attribute(n, "equation"))
    own, x = terms[i], n.input[i]
    others = [position for position in range(len(terms)) if position != i]
    known = set(result).union(*(terms[position] for position in others))
    wanted = list(dict.fromkeys(own))
    left = ",".join("".join(term) for term in (result, *(terms[p] for p in others)))
    right = "".join(letter for letter in wanted if letter in known)
    product = b.op("Einsum", g, *(n.input[p] for p in others), equation=f"{left}->{right}")
    diagonal = b.positions(x)
    if len(wanted) < len(own):
        equation = f"{''.join(own)}->{''.join(wanted)}"
        diagonal = b.op("Einsum", diagonal, equation=equation)
    spread = _spread(b, product, diagonal, wanted, known)
    sizes = b.builder.shape(x) or [None]
    if "..." in own or not all(isinstance(size, int) and size != 1 for size in sizes):
        spread = b.sum_to(spread, diagonal)  # what has a size of 1 may have been broadcast
    return spread if len(wanted) == len(own) else b.scatter(diagonal, spread, x)


def _spread(b: Backward, product: str, like: str, wanted: list[str], known: set[str]) -> str:
    """Return a product spread along the letters that are not known, to the shape of ``like``."""
    missing = [position for position, letter in enumerate(wanted) if letter not in known]
    if "..." in wanted:
        if any(position < wanted.index("...") for position in missing):
            raise NotImplementedError("a letter before an ellipsis that no other term has")
        missing = [position - len(wanted) for position in missing]
    if missing:
        product = b.op("Unsqueeze", product, b.builder.integers(*missing))
        return b.op("Expand", product, b.op("Shape", like))
    return product


def _terms(equation: str) -> tuple[list[list[str]], list[str]]:
    """Return the letters of the operands and of the result; an ellipsis is one of them."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [re.findall(r"\.\.\.|.", term) for term in left.split(",")]
    if arrow:
        return terms, re.findall(r"\.\.\.|.", right)
    letters = [letter for term in terms for letter in term]
    once = sorted(letter for letter in set(letters) if letters.count(letter) == 1)
    rest = [letter for letter in once if letter != "..."]
    return terms, ["..."] * ("..." in letters) + rest
