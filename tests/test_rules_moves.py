"""Rules of what moves elements about and of products against central differences, in float64."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from derivatives import POSITIVE, Case, check_gradient, check_runtime, integers, model_of, reals
from onnx.reference import ReferenceEvaluator

from ortist.export.differentiate import differentiate

PLACES = np.array([[0, 2], [1, 1]])


def pad(mode: str, *pads: int, static: bool = True) -> Case:
    return Case("Pad", (reals(3, 5), integers(*pads)), {"mode": mode}, static=static)


def einsum(equation: str, *shapes: tuple[int, ...]) -> Case:
    return Case("Einsum", tuple(reals(*shape) for shape in shapes), {"equation": equation})


def scatter(op_type: str, reduction: str, places: np.ndarray, *shape: int) -> Case:
    inputs = (reals(3, 4, **POSITIVE), places, reals(*shape, low=0.6, high=1.9))
    return Case(op_type, inputs, {"reduction": reduction})


ELEMENTS, ROWS = np.array([[0, 1, 2, 0], [2, 0, 1, 1]]), np.array([[2], [0]])
CASES: dict[str, Case] = {
    "Compress": Case("Compress", (reals(3, 2), np.array([True, False, True])), {"axis": 0}),
    "Compress, flat": Case("Compress", (reals(3, 2), np.array([False, True, True, False, True]))),
    "CumSum": Case("CumSum", (reals(2, 4), np.array(1))),
    "CumSum, exclusive": Case("CumSum", (reals(2, 4), np.array(0)), {"exclusive": 1}),
    "CumSum, reverse": Case("CumSum", (reals(2, 4), np.array(-1)), {"reverse": 1, "exclusive": 1}),
    "CumProd": Case("CumProd", (reals(2, 4, **POSITIVE), np.array(1)), opset=26),
    "CumProd, exclusive": Case(
        "CumProd", (reals(2, 4, **POSITIVE), np.array(1)), {"exclusive": 1}, opset=26
    ),
    "Concat, negative axis": Case("Concat", (reals(2, 3), reals(2, 1)), {"axis": -1}),
    "DepthToSpace CRD, unknown": Case(
        "DepthToSpace", (reals(1, 8, 2, 3),), {"blocksize": 2, "mode": "CRD"}, static=False
    ),
    "Dropout": Case("Dropout", (reals(2, 3),), outputs=2),
    "Einsum, product": einsum("ij,jk->ik", (2, 3), (3, 2)),
    "Einsum, implicit": einsum("ij,jk", (2, 3), (3, 2)),
    "Einsum, transposed": einsum("ij->ji", (2, 3)),
    "Einsum, sum": einsum("ij->i", (2, 3)),
    "Einsum, all": einsum("i,j->", (2,), (3,)),
    "Einsum, alone": einsum("ij,k->k", (2, 3), (3,)),
    "Einsum, diagonal": einsum("ii->i", (3, 3)),
    "Einsum, trace": einsum("ii", (3, 3)),
    "Einsum, diagonal of a stack": einsum("bii,bi->b", (2, 3, 3), (2, 3)),
    "Einsum, ellipsis": einsum("...ij,...jk->...ik", (2, 2, 3), (2, 3, 2)),
    "Einsum, three": einsum("i,ij,j->ij", (2,), (2, 3), (3,)),
    "Gather, scalar": Case("Gather", (reals(4, 3), np.array(1)), {"axis": 1}),
    "Gather, negative scalar": Case("Gather", (reals(4, 3), np.array(-1)), static=False),
    "Gather, range": Case("Gather", (reals(4, 5), integers(1, 2, 3)), {"axis": 1}),
    "Gather, negative range": Case("Gather", (reals(4, 5), integers(-3, -2)), {"axis": -1}),
    "Gather, second axis": Case("Gather", (reals(2, 4, 2), PLACES), {"axis": 1}),
    "Gather, last axis": Case("Gather", (reals(2, 4), integers(3, 0, -1, 3)), {"axis": -1}),
    "GatherND, batch": Case("GatherND", (reals(2, 3, 2), ROWS), {"batch_dims": 1}),
    "Gemm, scalar": Case("Gemm", (reals(2, 3), reals(3, 2), np.array(0.3)), {"beta": 0.5}),
    "Gemm, column": Case("Gemm", (reals(2, 3), reals(3, 2), reals(2, 1))),
    "MatMul, vector left": Case("MatMul", (reals(3), reals(3, 2))),
    "MatMul, vector left of a stack": Case("MatMul", (reals(3), reals(2, 3, 2))),
    "MatMul, vector right": Case("MatMul", (reals(2, 3), reals(3))),
    "MatMul, vector right of a stack": Case("MatMul", (reals(2, 2, 3), reals(3))),
    "MatMul, vectors": Case("MatMul", (reals(3), reals(3))),
    "OneHot": Case("OneHot", (integers(2, 0, 2), np.array(4), reals(2)), {"axis": 0}),
    "Pad, reflect": pad("reflect", 2, 1, 0, 3),
    "Pad, edge": pad("edge", 2, 1, 0, 3),
    "Pad, edge, unknown": pad("edge", 0, 1, 1, 3, static=False),
    "Pad, at run time": Case("Pad", (reals(3, 5), integers(1, 0, 2, 3)), static=False),
    "Pad, axes": Case("Pad", (reals(3, 5), integers(1, 2), None, integers(-1))),
    "Pad, value": Case("Pad", (reals(3, 5), integers(1, 0, 2, 3), np.array(0.7))),
    "Pad, wrap": Case("Pad", (reals(3, 5), integers(0, 2, 1, 3)), {"mode": "wrap"}, opset=19),
    "Range": Case("Range", (np.array(0.3), np.array(2.1), np.array(0.5))),
    "ReverseSequence": Case(
        "ReverseSequence", (reals(4, 2), integers(3, 2)), {"time_axis": 0, "batch_axis": 1}
    ),
    **{
        f"ScatterElements, {mode}": scatter("ScatterElements", mode, ELEMENTS, 2, 4)
        for mode in ("none", "add", "mul", "max", "min")
    },
    **{
        f"ScatterND, {mode}": scatter("ScatterND", mode, ROWS, 2, 4)
        for mode in ("none", "add", "mul", "max", "min")
    },
    "ScatterElements, axis": Case(
        "ScatterElements", (reals(2, 4), np.array([[0, 3], [2, 1]]), reals(2, 2)), {"axis": 1}
    ),
    "ScatterND, add twice": scatter("ScatterND", "add", np.array([[2], [2]]), 2, 4),
    "Slice, negative": Case("Slice", (reals(4, 5), integers(-3), integers(-1), integers(1))),
    "Slice, negative, beyond": Case(
        "Slice", (reals(4, 5), integers(-9, 2), integers(3, 99)), static=False
    ),
    "Split, unequal": Case("Split", (reals(5, 2),), {"num_outputs": 2}, outputs=2),
    "Tile": Case("Tile", (reals(2, 3), integers(2, 3))),
    "Tile, unknown": Case("Tile", (reals(2, 1, 2), integers(1, 2, 2)), static=False),
    "TopK": Case("TopK", (reals(3, 4), integers(2)), {"axis": 1}, outputs=2),
    "TopK, smallest": Case(
        "TopK", (reals(3, 4), integers(2)), {"axis": 0, "largest": 0}, outputs=2
    ),
    "Trilu": Case("Trilu", (reals(3, 4),)),
    "Trilu, lower": Case("Trilu", (reals(2, 3, 4), np.array(1)), {"upper": 0}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rule_agrees_with_central_differences(case: Case) -> None:
    check_gradient(*model_of(case))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_runtime_agrees(case: Case) -> None:
    check_runtime(case)


def test_rows_taken_often_are_added_up_in_the_runtime() -> None:
    """A table of embeddings: thousands of additions to few rows, by several threads."""
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
        g (float[16,64] table, int64[n] ids, float[n,64] weights) => (float[n,64] y) {
            rows = Gather (table, ids)
            y = Mul (rows, weights)
        }""")
    random = np.random.default_rng(0)
    ids = random.integers(-16, 16, 20000)
    weights = random.random((20000, 64), np.float32)
    session = onnxruntime.InferenceSession(differentiate(model, "y", "table").SerializeToString())
    feeds = {"table": np.ones((16, 64), np.float32), "ids": ids, "weights": weights}
    (gradient,) = session.run(["gradient/table"], feeds)
    expected = np.zeros((16, 64))
    np.add.at(expected, ids, weights)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4)


def test_dropout_that_trains_hands_on_what_its_mask_lets_through() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
        g (float[1000] x, bool training) => (float[1000] y) {
            ratio = Constant <value = float {0.25}> ()
            y = Dropout (x, ratio, training)
        }""")
    extended = differentiate(model, "y", "x")
    session = onnxruntime.InferenceSession(extended.SerializeToString())
    for training in (True, False):
        feeds = {"x": np.ones(1000, np.float32), "training": np.array(training)}
        y, gradient = session.run(None, feeds)
        assert (y == 0).any() == training
        np.testing.assert_allclose(gradient, y)


def test_ties_of_scattered_maxima_are_shared_as_in_pytorch() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
        g (double[3] x, int64[4] i, double[4] u) => (double[3] y) {
            y = ScatterElements <reduction = "max"> (x, i, u)
        }""")
    x, u = np.array([1.0, 2.0, 0.0]), np.array([1.0, 1.0, 1.5, 3.0])
    places = integers(0, 0, 1, 2)
    _, dx, du = ReferenceEvaluator(differentiate(model, "y", ["x", "u"])).run(
        None, {"x": x, "i": places, "u": u}
    )
    leaves = [torch.tensor(value, requires_grad=True) for value in (x, u)]
    leaves[0].scatter_reduce(0, torch.tensor(places), leaves[1], "amax").sum().backward()
    np.testing.assert_allclose(dx, leaves[0].grad)
    np.testing.assert_allclose(du, leaves[1].grad)


@pytest.mark.parametrize("static", [True, False])
def test_negative_pads_cut_and_get_zeros(static: bool) -> None:
    """By the runtime: the evaluator knows none."""
    pads = "int64[4] pads = {-1, 2, 1, -2}"
    inputs, constants = ("", f"<{pads}>") if static else (", int64[4] pads", "")
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["": 18]>
        g (float[3,5] x{inputs}) => (float[a,b] y) {constants} {{ y = Pad (x, pads) }}""")
    session = onnxruntime.InferenceSession(differentiate(model, "y", "x").SerializeToString())
    feeds = {"x": reals(3, 5).astype(np.float32), "pads": integers(-1, 2, 1, -2)}
    given = {value.name: feeds[value.name] for value in session.get_inputs()}
    y, gradient = session.run(None, given)
    assert y.shape == (3, 5)
    expected = np.zeros((3, 5))
    expected[1:, :3] = 1
    np.testing.assert_array_equal(gradient, expected)
