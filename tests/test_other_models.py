"""Models as they come: old opsets, functions, weights outside, half precision, large ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from derivatives import Array, central_differences, reals
from onnx import ModelProto, TensorProto, external_data_helper, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ortist.export.differentiate import DifferentiationError, differentiate, obstacles, vjp

OLD = """<ir_version: 6, opset_import: ["": 11]>
g (double[n,4] x, bool c) => (double J) <double[4,4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}> {
    a = MatMul (x, w)
    s = Softmax <axis = 1> (a)
    z = If (c) <
        then_branch = t () => (double[n,4] o) {
            r = ReduceSum <axes = [1], keepdims = 1> (s)
            o = Mul (a, r)
        },
        else_branch = e () => (double[n,4] o) {
            u = Unsqueeze <axes = [0]> (s)
            q = Squeeze <axes = [0]> (u)
            o = Mul (q, q)
        }>
    J = ReduceMean <axes = [0, 1], keepdims = 0> (z)
}"""


@pytest.mark.parametrize("taken", [True, False])
def test_old_opsets_are_converted_in_branches_too(taken: bool) -> None:
    old = onnx.parser.parse_model(OLD)
    extended = differentiate(old, "J", ["x", "w"])
    onnx.checker.check_model(extended, full_check=True)
    assert [entry.version for entry in extended.opset_import] == [18]
    w = numpy_helper.to_array(old.graph.initializer[0])
    feeds = {"x": reals(1, 4), "c": np.array(taken)}
    _, dx, dw = ReferenceEvaluator(extended).run(None, feeds)
    new = onnx.version_converter.convert_version(old, 18)
    np.testing.assert_allclose(dx, central_differences(new, feeds, "x"), atol=1e-8)
    del new.graph.initializer[:]
    new.graph.input.append(helper.make_tensor_value_info("w", TensorProto.DOUBLE, [4, 4]))
    np.testing.assert_allclose(dw, central_differences(new, {**feeds, "w": w}, "w"), atol=1e-8)


def test_initializers_that_old_models_list_as_inputs_are_constants() -> None:
    text = OLD.replace("ir_version: 6", "ir_version: 3").replace(
        "x, bool c", "x, bool c, double[4,4] w"
    )
    extended = differentiate(onnx.parser.parse_model(text), "J", "x")
    assert [value.name for value in extended.graph.input] == ["x", "c"]
    assert "w" in [tensor.name for tensor in extended.graph.initializer]


def test_opsets_older_than_7_are_refused() -> None:
    model = onnx.parser.parse_model(OLD)
    model.opset_import[0].version = 6
    with pytest.raises(DifferentiationError, match="opset 6 is older than 7"):
        differentiate(model, "J", "x")


def test_functions_of_a_model_are_differentiated_by_their_bodies() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18, "mine": 1]>
        g (double[3] x) => (double[3] y) { h = mine.twice <by = 3.0> (x) y = mine.twice (h) }
        <domain: "mine", opset_import: ["": 18, "mine": 1]>
        twice <by: float = 2.0> (a) => (b) {
            f = Constant <value_float: float = @by> ()
            k = CastLike (f, a)
            s = mine.squared (a)
            b = Mul (s, k)
        }
        <domain: "mine", opset_import: ["": 18]>
        squared (a) => (b) { b = Mul (a, a) }""")
    _, gradient = ReferenceEvaluator(differentiate(model, "y", "x")).run(
        None, {"x": np.arange(3.0)}
    )
    np.testing.assert_allclose(gradient, 2 * 9 * 4 * np.arange(3.0) ** 3)


def test_operators_without_a_rule_are_differentiated_by_onnx_s_bodies() -> None:
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 20]>
        g (float[2,3] x, int64[2] labels) => (float loss) {
            loss = SoftmaxCrossEntropyLoss (x, labels)
        }""")
    extended = differentiate(model, "loss", "x")
    assert "SoftmaxCrossEntropyLoss" not in {node.op_type for node in extended.graph.node}
    onnx.checker.check_model(extended, full_check=True)
    x, labels = reals(2, 3).astype(np.float32), np.array([2, 0])
    session = onnxruntime.InferenceSession(extended.SerializeToString())
    _, gradient = session.run(None, {"x": x, "labels": labels})
    likely = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    np.testing.assert_allclose(gradient, (likely - np.eye(3)[labels]) / 2, atol=1e-6)


def test_weights_outside_stay_there(tmp_path: Path) -> None:
    """Nor are they read: the derivation works without their file."""
    weights = reals(256, 128).astype(np.float32)
    model = _product(weights)
    external_data_helper.convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "w.bin").rename(tmp_path / "elsewhere")
    outside = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    extended = differentiate(outside, "y", ["x", "w"])
    (tmp_path / "gradient.onnx").write_bytes(extended.SerializeToString())
    (tmp_path / "elsewhere").rename(tmp_path / "w.bin")
    session = onnxruntime.InferenceSession(tmp_path / "gradient.onnx")
    x = reals(2, 256).astype(np.float32)
    y, dx, dw = session.run(None, {"x": x})
    np.testing.assert_allclose(y, x @ weights, atol=1e-4)
    np.testing.assert_allclose(dx, np.ones((2, 128)) @ weights.T, atol=1e-4)
    np.testing.assert_allclose(dw, x.T @ np.ones((2, 128)), atol=1e-4)


def _product(weights: Array) -> ModelProto:
    kind = helper.np_dtype_to_tensor_dtype(weights.dtype)
    rows, columns = weights.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", rows])],
        [helper.make_tensor_value_info("y", kind, ["n", columns])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])


def test_initializers_keep_their_order_and_values() -> None:
    large, small = reals(256, 128), reals(128)
    model = _product(large)
    model.graph.initializer.insert(0, numpy_helper.from_array(small, "bias"))
    model.graph.node.append(helper.make_node("Add", ["y", "bias"], ["z"]))
    model.graph.output[0].name = "z"
    extended = differentiate(model, "z", "x")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in extended.graph.initializer}
    assert list(stored)[:2] == ["bias", "w"]
    np.testing.assert_array_equal(stored["w"], large)
    assert [value.name for value in extended.graph.input] == ["x"]


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_gradients_have_the_type_of_their_tensor_in_mixed_precision(kind: int) -> None:
    name = TensorProto.DataType.Name(kind).lower()
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["": 18]>
        g ({name}[2,3] x, {name}[3] b) => (float J) {{
            a = Add (x, b)
            h = Mul (a, a)
            f = Cast <to = 1> (h)
            J = ReduceSum <keepdims = 0> (f)
        }}""")
    extended = differentiate(model, "J", ["x", "b"])
    onnx.checker.check_model(extended, full_check=True)
    assert [value.type.tensor_type.elem_type for value in extended.graph.output[1:]] == [kind] * 2
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    x, b = np.arange(6).reshape(2, 3).astype(dtype), np.ones(3, dtype)
    _, dx, db = ReferenceEvaluator(extended).run(None, {"x": x, "b": b})
    assert dx.dtype == db.dtype == dtype
    np.testing.assert_array_equal(dx.astype(float), 2 * (x.astype(float) + 1))
    np.testing.assert_array_equal(db.astype(float), dx.astype(float).sum(0))


def test_ranks_may_be_unknown() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
        g (double[n,m] x, int64[k] shape) => (double J) {
            y = Reshape (x, shape)
            t = Tanh (y)
            s = Mul (t, y)
            J = ReduceSum <keepdims = 0> (s)
        }""")
    feeds: dict[str, Any] = {"x": reals(2, 6), "shape": np.array([3, 2, 2])}
    _, gradient = ReferenceEvaluator(differentiate(model, "J", "x")).run(None, feeds)
    np.testing.assert_allclose(gradient, central_differences(model, feeds, "x"), atol=1e-8)


def test_all_that_stands_in_the_way_is_listed_at_once() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18, "other": 1]>
        g (double[3,3] x) => (double J) {
            a = Tanh (x)
            [first] d = Det (a)
            e = Exp (d)
            [second] f = other.Strange (e)
            s = Shape (f)
            [third] r = Det (a)
            J = Add (f, r)
        }""")
    found = obstacles(model, "J", "x")
    assert {(o.op_type, o.node) for o in found} >= {("Det", "third"), ("other.Strange", "second")}
    with pytest.raises(DifferentiationError, match=r"other\.Strange node 'second'") as error:
        differentiate(model, "J", "x")
    assert error.value.obstacles == found
    assert obstacles(model, "a", "x") == ()


def test_what_jumps_has_a_gradient_of_zero_as_in_pytorch() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
        g (double[3] x) => (double J) { y = Floor (x) J = ReduceSum <keepdims = 0> (y) }""")
    for extended in (differentiate(model, "J", "x"), vjp(model, "J", "x")):
        feeds = {"x": reals(3), "cotangent/J": np.ones(())}
        feeds = {value.name: feeds[value.name] for value in extended.graph.input}
        np.testing.assert_array_equal(ReferenceEvaluator(extended).run(None, feeds)[1], np.zeros(3))


MEASURE = """
import resource, sys
import numpy as np
from onnx import helper, numpy_helper
import onnx
from ortist.export.differentiate import differentiate
sys.path.insert(0, sys.argv[1])
from test_other_models import _product
small, side = _product(np.ones((4, 4), np.float32)), int(sys.argv[2])
differentiate(small, "y", ["x", "w"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = _product(np.ones((2, 2), np.float32))
tensor = model.graph.initializer[0]
tensor.dims[:] = [side, side]
tensor.raw_data = bytes(4 * side * side)
extended = differentiate(model, "y", ["x", "w"])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (4 * side * side))
"""


def test_large_models_take_twice_their_size() -> None:
    """The model and the result: nothing else has the weights."""
    command = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), "8192"]
    sizes = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert sizes < 2.2


ODD = {
    "x over x": "y = Div (x, x) z = Mul (y, x)",
    "x joined with x": "y = Concat <axis = 0> (x, x) z = Mul (y, y)",
    "x times x": "y = MatMul (x, x) z = Tanh (y)",
    "the larger of x and x": "y = Max (x, x) z = Tanh (y)",
    "names that are ours": "mul = Mul (x, x) constant = Exp (mul) z = Mul (constant, mul)",
    "nothing joined on": """n = Constant <value = int64[2] {0, 3}> ()
        e = ConstantOfShape <value = double[1] {1.0}> (n) y = Concat <axis = 0> (x, e)
        z = Tanh (y)""",
    "If as the result of a branch": """c = Constant <value = bool {1}> () z = If (c)
        <then_branch = a () => (double[3,3] o) {
            o = If (c) <then_branch = b () => (double[3,3] q) { z1 = Mul (x, x) q = Add (z1, x) },
                        else_branch = d () => (double[3,3] q) { z1 = Exp (x) q = Add (z1, z1) }>
         }, else_branch = e () => (double[3,3] o) { z1 = Sin (x) o = Add (z1, z1) }>""",
    "sizes of -1": """one = Constant <value_ints = [1]> () m = ReduceMean (x, one) y = Sub (x, m)
        t = Transpose <perm = [1, 0]> (y) u = Concat <axis = 0> (t, t) z = Mul (u, u)""",
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
@pytest.mark.parametrize("opset", [18, 21, 26])
def test_odd_graphs(body: str, opset: int) -> None:
    sizes = "-1,3" if "ReduceMean" in body else "3,3"
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["": {opset}]>
        g (double[{sizes}] x) => (double J) {{ {body} J = ReduceSum <keepdims = 0> (z) }}""")
    extended = differentiate(model, "J", "x")
    onnx.checker.check_model(extended, full_check=True)
    feeds = {"x": reals(3, 3)}
    (gradient,) = ReferenceEvaluator(extended).run(["gradient/x"], feeds)
    expected = central_differences(model, feeds, "x")
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)
    session = onnxruntime.InferenceSession(extended.SerializeToString())
    np.testing.assert_allclose(session.run(["gradient/x"], feeds)[0], gradient, atol=1e-9)


def test_the_domain_of_onnx_has_two_names() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["ai.onnx": 18]>
        g (double[3] x) => (double J) {
            y = ai.onnx.Mul (x, x)
            J = ai.onnx.ReduceSum <keepdims = 0> (y)
        }""")
    extended = differentiate(model, "J", "x")
    onnx.checker.check_model(extended, full_check=True)
    _, gradient = ReferenceEvaluator(extended).run(None, {"x": np.arange(3.0)})
    np.testing.assert_array_equal(gradient, [0, 2, 4])


@pytest.mark.parametrize("op_type", ["RandomNormalLike", "RandomUniformLike"])
def test_of_what_only_the_shape_is_read_has_no_part_in_the_gradient(op_type: str) -> None:
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["": 18]>
        g (float[3] x) => (float J, float[3] r) {{
            r = {op_type} (x)
            y = Mul (x, r)
            J = ReduceSum <keepdims = 0> (y)
        }}""")
    session = onnxruntime.InferenceSession(differentiate(model, "J", "x").SerializeToString())
    _, noise, gradient = session.run(None, {"x": np.ones(3, np.float32)})
    np.testing.assert_array_equal(gradient, noise)


FOUND = {
    "indices past the start": """i = Constant <value_ints = [-1, 0]> ()
        a = Gather (x, i) z = Mul (a, a)""",
    "starts of int32": """s = Constant <value = int32[2] {-2, -1}> ()
        e = Constant <value = int32[2] {9, 5}> () at = Constant <value = int32[2] {-1, 0}> ()
        y = Slice (x, s, e, at) z = Mul (y, y)""",
    "einsum of a size of 1": """r = Constant <value_ints = [0]> ()
        m = ReduceMean (x, r) y = Einsum <equation = "ij,ij->ij"> (m, x) z = Mul (y, y)""",
}


@pytest.mark.parametrize("body", FOUND.values(), ids=FOUND)
def test_what_was_once_wrong(body: str) -> None:
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["": 18]>
        g (double[3,3] x) => (double J) {{ {body} J = ReduceSum <keepdims = 0> (z) }}""")
    extended = differentiate(model, "J", "x")
    onnx.checker.check_model(extended, full_check=True)
    feeds = {"x": reals(3, 3)}
    (gradient,) = ReferenceEvaluator(extended).run(["gradient/x"], feeds)
    np.testing.assert_allclose(gradient, central_differences(model, feeds, "x"), atol=1e-7)
    session = onnxruntime.InferenceSession(extended.SerializeToString())
    np.testing.assert_allclose(session.run(["gradient/x"], feeds)[0], gradient, atol=1e-9)


def test_old_pictures_are_sampled_as_they_were() -> None:
    """Upsample and the first Resize knew one grid only; the converter leaves out which."""
    for operator in ("Upsample", "Resize"):
        old = onnx.parser.parse_model(f"""<ir_version: 5, opset_import: ["": 10]>
            g (float[1,1,2,3] x) => (float[1,1,a,b] y) <float[4] s = {{1, 1, 2, 2}}> {{
                y = {operator} <mode = "linear"> (x, s)
            }}""")
        if operator == "Upsample":
            old.opset_import[0].version = 9
        x = reals(1, 1, 2, 3).astype(np.float32)
        (before,) = onnxruntime.InferenceSession(old.SerializeToString()).run(None, {"x": x})
        session = onnxruntime.InferenceSession(differentiate(old, "y", "x").SerializeToString())
        after, gradient = session.run(None, {"x": x})
        np.testing.assert_allclose(after, before, atol=1e-6)
        np.testing.assert_allclose((gradient * x).sum(), before.sum(), rtol=1e-5)


BRANCH = """<ir_version: 9, opset_import: ["": 18]> g (double[3] x, bool c) => (double J) {
    z = If (c) <then_branch = t () => (double[3] o) { u = %s o = Mul (u, x) },
                else_branch = e () => (double[3] o) { o = Neg (x) }>
    J = ReduceSum <keepdims = 0> (z)
}"""


def test_tensors_of_branches_can_be_held() -> None:
    model = onnx.parser.parse_model(BRANCH % "Exp (x)")
    extended = differentiate(model, "J", "x", held=["u"])
    x = reals(3)
    _, gradient = ReferenceEvaluator(extended).run(None, {"x": x, "c": np.array(True)})
    np.testing.assert_allclose(gradient, np.exp(x))


def test_the_transpose_in_a_gram_matrix_can_be_held() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
        g (double[2,2] x) => (double J) {
            t = Transpose <perm = [1, 0]> (x)
            y = MatMul (x, t)
            J = ReduceSum <keepdims = 0> (y)
        }""")
    x = reals(2, 2)
    _, gradient = ReferenceEvaluator(differentiate(model, "J", "x", held=["t"])).run(None, {"x": x})
    np.testing.assert_allclose(gradient, np.ones((2, 2)) @ x)


def test_what_a_branch_draws_at_random_is_not_drawn_again() -> None:
    model = onnx.parser.parse_model(BRANCH % "RandomNormalLike (x)")
    with pytest.raises(DifferentiationError, match="RandomNormalLike in a branch"):
        differentiate(model, "J", "x")


def test_all_inputs_stay_and_titles_are_free() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
        g (double[3] x, double[3] u) => (double J) {
            y = Mul (x, x)
            J = ReduceSum <keepdims = 0> (y)
        }""")
    model.graph.node[0].name = "gradient/x"
    assert [v.name for v in differentiate(model, "J", "x").graph.input] == ["x", "u"]
    extended = vjp(model, "J", {"x": "mul"})
    assert [v.name for v in extended.graph.input] == ["x", "u", "cotangent/J"]
    onnx.checker.check_model(extended, full_check=True)


@pytest.mark.parametrize("body", ["Gather <axis = 1> (x, i)", "GatherElements (x, e)"])
def test_half_precision_is_added_up_by_the_runtime(body: str) -> None:
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["": 18]>
        g (float16[2,3] x, int64[3] i, int64[2,3] e) => (float16[a,b] y) {{ y = {body} }}""")
    session = onnxruntime.InferenceSession(differentiate(model, "y", "x").SerializeToString())
    places = np.array([2, 0, 2])
    feeds = {"x": np.ones((2, 3), np.float16), "i": places, "e": np.zeros((2, 3), np.int64)}
    (gradient,) = session.run(["gradient/x"], feeds)
    assert gradient.dtype == np.float16
    expected = [[1, 0, 2]] * 2 if body.startswith("Gather ") else [[2, 2, 2], [0, 0, 0]]
    np.testing.assert_array_equal(gradient, expected)
