"""Lowered graphs compute what the graphs they were made from compute."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from ortist.export.differentiate import differentiate
from ortist.export.lowering import lower
from ortist.export.operators import expand
from ortist.export.order import put_in_order
from ortist.models.blocks import Grid, Order, layout
from ortist.models.winograd import POINTS, TRANSFORMED_SUFFIX, transform_kernel

Array = NDArray[Any]
CHANNELS = {"W1": (12, 3), "W2": (16, 12), "W3": (12, 16), "W4": (3, 12)}


def network(pooling: str, between: str = "Relu") -> ModelProto:
    """A network with every operator that is lowered, its gradient at the image included.

    Two convolutions, pooling, two more; a Gram matrix, a squared difference and a mean.
    """
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["": 18, "ortist": 1]>
    g (float[1,3,height,width] image, float[1,12,"height/2","width/2"] target,
       float[12,3,3,3] W1, float[12] b1, float[16,12,3,3] W2, float[16] b2,
       float[12,16,3,3] W3, float[12] b3)
      => (float J, float[16,16] gram)
      <float[1,12,"height/2","width/2"] a3, float[1,16,height,width] a2,
       float[1,12,height,width] a1, float content>
    {{
        p1 = Conv <pads = [1, 1, 1, 1]> (image, W1, b1)
        a1 = {between} (p1)
        p2 = Conv <pads = [1, 1, 1, 1]> (a1, W2, b2)
        a2 = Relu (p2)
        h = {pooling} <kernel_shape = [2, 2], strides = [2, 2]> (a2)
        p3 = Conv <pads = [1, 1, 1, 1]> (h, W3, b3)
        a3 = Relu (p3)
        rows = Constant <value = int64[2] {{16, -1}}> ()
        flat = Reshape (a2, rows)
        turned = Transpose <perm = [1, 0]> (flat)
        products = MatMul (flat, turned)
        sizes = Shape <start = 1> (flat)
        count = Cast <to = 1> (sizes)
        gram = Div (products, count)
        style = ReduceSumSquare <keepdims = 0> (gram)
        difference = Sub (a3, target)
        content = ortist.SumSquares (difference)
        J = Add (style, content)
    }}""")
    return differentiate(model, "J", "image", expanded=False)


def inputs(height: int, width: int) -> dict[str, Array]:
    random = np.random.default_rng(height * width)
    values: dict[str, Array] = {
        "image": random.uniform(-1, 1, (1, 3, height, width)),
        "target": random.uniform(0, 1, (1, 12, height // 2, width // 2)),
    }
    for number, (name, shape) in enumerate(list(CHANNELS.items())[:3], start=1):
        values[name] = random.normal(0, 0.3, (*shape, 3, 3))
        # Large biases would show wherever something outside the picture is not zero.
        values[f"b{number}"] = random.uniform(1, 2, shape[0])
    return {name: value.astype(np.float32) for name, value in values.items()}


def run(model: ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        expand(model).SerializeToString(), options, ["CPUExecutionProvider"]
    )
    wanted = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    values = session.run(outputs, {name: feeds[name] for name in wanted})
    return dict(zip(outputs, values, strict=True))


def with_derived(model: ModelProto, feeds: dict[str, Array], block: int) -> dict[str, Array]:
    names = [value.name for value in model.graph.input]
    transformed = {
        name: transform_kernel(feeds[name.removesuffix(TRANSFORMED_SUFFIX)], block)
        for name in names
        if name.endswith(TRANSFORMED_SUFFIX)
    }
    return {**feeds, **transformed, **layout(names, feeds)}


def check_same(model: ModelProto, feeds: dict[str, Array], block: int) -> ModelProto:
    lowered = lower(model, block)
    put_in_order(lowered)
    onnx.checker.check_model(lowered, full_check=True)
    assert {node.domain for node in lowered.graph.node} == {""}
    expected, found = run(model, feeds), run(lowered, with_derived(lowered, feeds, block))
    assert list(found) == list(expected)
    for name, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=0, atol=2e-5 * scale, err_msg=name)
    return lowered


def restored(model: ModelProto, block: int) -> set[str]:
    """The maps, among the inputs, by which a matrix in block layout becomes a picture again."""
    grids = [Grid("image", halvings, block) for halvings in range(4)]
    orders: tuple[Order, ...] = get_args(Order)
    maps = {grid.rows(order, "everywhere").name for grid in grids for order in orders}
    return maps & {value.name for value in model.graph.input}


def convolutions(model: ModelProto) -> int:
    return sum(node.op_type == "Conv" for node in model.graph.node)


@pytest.mark.parametrize("size", [(16, 24), (17, 23), (4, 5), (35, 8)], ids=str)
@pytest.mark.parametrize("pooling", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("block", POINTS)
def test_lowered_graphs_compute_the_same(block: int, pooling: str, size: tuple[int, int]) -> None:
    lowered = check_same(network(pooling), inputs(*size), block)
    assert convolutions(lowered) == 0


def moments_of_l2_pooling() -> ModelProto:
    """A network with L2 pooling, rescaled, compared by its moments, and its gradient."""
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18, "ortist": 1]>
    g (float[1,3,height,width] image, float[12,3,3,3] W1, float[12] b1,
       float[16,12,3,3] W2, float[16] b2, float[12,16,3,3] W3, float[12] b3)
      => (float J, float[16,1] mean)
      <float[1,12,height,width] a1, float[1,16,height,width] a2, float[1,16,height,width] squares,
       float[1,16,"height/2","width/2"] means, float[1,16,"height/2","width/2"] shifted,
       float[1,16,"height/2","width/2"] roots, float[1,16,"height/2","width/2"] h,
       float[1,12,"height/2","width/2"] a3, float depth>
    {
        p1 = Conv <pads = [1, 1, 1, 1]> (image, W1, b1)
        a1 = Relu (p1)
        p2 = Conv <pads = [1, 1, 1, 1]> (a1, W2, b2)
        a2 = Relu (p2)
        squares = Mul (a2, a2)
        means = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (squares)
        epsilon = Constant <value = float {0.5}> ()
        shifted = Add (means, epsilon)
        roots = Sqrt (shifted)
        factor = Constant <value = float {1.25}> ()
        h = Mul (roots, factor)
        p3 = Conv <pads = [1, 1, 1, 1]> (h, W3, b3)
        a3 = Relu (p3)
        many = Constant <value = int64[2] {16, -1}> ()
        flat = Reshape (a2, many)
        along = Constant <value = int64[1] {1}> ()
        sums = ReduceSum (flat, along)
        sizes = Shape <start = 1> (flat)
        count = Cast <to = 1> (sizes)
        mean = Div (sums, count)
        turned = Transpose <perm = [1, 0]> (flat)
        products = MatMul (flat, turned)
        second = Div (products, count)
        back = Transpose <perm = [1, 0]> (mean)
        outer = MatMul (mean, back)
        covariance = Sub (second, outer)
        variance = ReduceSumSquare <keepdims = 0> (covariance)
        level = ReduceSumSquare <keepdims = 0> (mean)
        depth = ortist.SumSquares (a3)
        J = Sum (variance, level, depth)
    }""")
    return differentiate(model, "J", "image", expanded=False)


@pytest.mark.parametrize("size", [(16, 24), (17, 23), (35, 9)], ids=str)
@pytest.mark.parametrize("block", POINTS)
def test_moments_and_l2_pooling_are_computed_on_blocks(block: int, size: tuple[int, int]) -> None:
    lowered = check_same(moments_of_l2_pooling(), inputs(*size), block)
    assert convolutions(lowered) == 0
    assert restored(lowered, block) == set()


def test_one_lowered_graph_serves_all_sizes() -> None:
    model = network("AveragePool")
    lowered = lower(model, 4)
    for size in ((16, 16), (19, 41), (16, 16)):
        feeds = inputs(*size)
        found = run(lowered, with_derived(lowered, feeds, 4))["gradient/image"]
        expected = run(model, feeds)["gradient/image"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_operators_that_are_not_lowered_get_their_tensors_as_they_were() -> None:
    lowered = check_same(network("AveragePool", between="Sigmoid"), inputs(18, 21), 4)
    assert convolutions(lowered) == 0
    assert restored(lowered, 4)


def test_convolutions_of_another_kind_stay() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
    g (float[1,12,height,width] image, float[16,12,3,3] W2, float[12,16,1,1] V)
      => (float J) {
        a = Conv <pads = [1, 1, 1, 1]> (image, W2)
        b = Conv (a, V)
        c = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (b, W2)
        J = ReduceSumSquare <keepdims = 0> (c)
    }""")
    feeds = {
        **inputs(14, 15),
        "image": np.random.default_rng(0).uniform(-1, 1, (1, 12, 14, 15)).astype(np.float32),
        "V": np.random.default_rng(1).normal(0, 0.3, (12, 16, 1, 1)).astype(np.float32),
    }
    lowered = check_same(differentiate(model, "J", "image", expanded=False), feeds, 4)
    # The 1×1 and the strided one, and the backward of the 1×1 and, its size unknown, of the first.
    assert convolutions(lowered) == 4


def test_of_tied_maxima_only_one_gets_the_gradient() -> None:
    # On a flat picture rounding decides which one; were it all four, the norm would be 4 times.
    feeds = inputs(64, 64)
    feeds["image"] = np.full_like(feeds["image"], 0.5)
    model = network("MaxPool")
    lowered = lower(model, 4)
    found = run(lowered, with_derived(lowered, feeds, 4))["gradient/image"]
    expected = run(model, feeds)["gradient/image"]
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(expected), rel=0.3)


CONV = "Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"
BACK = "<kernel_shape = [3, 3], pads = [1, 1, 1, 1], dilations = [1, 1]>"
HALF = "<kernel_shape = [2, 2], strides = [2, 2]>"
EDGES = {
    "a pre-activation that is asked for": (
        "float[1,16,h,w] p, float[1,16,h,w] y",
        "p = CONV (x, W, b) y = Relu (p)",
    ),
    "pooling with dilations": (
        "float[1,16,i,j] y",
        "p = CONV (x, W, b) y = MaxPool <kernel_shape = [2, 2], strides = [2, 2],"
        " dilations = [2, 2]> (p)",
    ),
    "a Gram matrix of what is pooled": (
        "float[16,16] y",
        "p = CONV (x, W, b) a = AveragePool HALF (p) f = Reshape (a, rows)"
        " t = Transpose <perm = [1, 0]> (f) y = MatMul (f, t)",
    ),
    "a Gram matrix of what is not zero outside": (
        "float[16,16] y",
        "p = CONV (x, W, b) f = Reshape (p, rows) s = Add (f, one)"
        " t = Transpose <perm = [1, 0]> (s) y = MatMul (f, t)",
    ),
    "pooling of what is pooled": (
        "float[1,16,i,j] y, float[1,16,i,j] z",
        "p = CONV (x, W, b) m = AveragePool HALF (p) y = AveragePool HALF (m) z = MaxPool HALF (m)",
    ),
    "a transposed matrix rolled up": (
        "float[1,16,h,w] y",
        "p = CONV (x, W, b) f = Reshape (p, rows) t = Transpose <perm = [1, 0]> (f)"
        " s = Shape (p) y = Reshape (t, s)",
    ),
    "few channels between many": (
        "float[1,16,h,w] y",
        "p = CONV (x, W, b) q = CONV (p, V) y = CONV (q, U)",
    ),
    "a computed kernel": ("float[1,16,h,w] y", "k = Mul (W, minus) y = CONV (x, k, b)"),
    "a part of a shape": (
        "float[16,h,w] y",
        "p = CONV (x, W, b) s = Shape <start = 1> (p) y = Reshape (p, s)",
    ),
    "a number added before a convolution": (
        "float[1,16,h,w] y",
        "p = CONV (x, W, b) q = Add (p, one) y = CONV (q, W)",
    ),
    "a root of what is negative outside": (
        "float[1,16,h,w] y, float z",
        "u = Mul (x, x) v = Add (u, hundred) p = CONV (x, W, b) a = Mul (p, p) d = Sub (v, a)"
        " r = Sqrt (d) y = CONV (r, W) z = ortist.SumSquares (r)",
    ),
    "a quotient of zeros outside": (
        "float y",
        "p = CONV (x, W, b) a = Mul (p, p) q = Add (a, one) r = Sqrt (q) d = Div (p, r)"
        " f = Sub (d, x) y = ortist.SumSquares (f)",
    ),
    "a quotient of pictures in two layouts": (
        "float[1,16,i,j] y",
        "p = CONV (x, W, b) a = AveragePool HALF (p) c = CONV (a, W, b) q = Mul (a, a)"
        " e = Add (q, one) d = Div (c, e) y = CONV (d, W)",
    ),
    "a sum over positions without their axis": (
        "float[16] y",
        "p = CONV (x, W, b) f = Reshape (p, rows) y = ReduceSum <keepdims = 0> (f, along)",
    ),
    "a mean added everywhere": (
        "float[16,n] y, float[1,16,h,w] z",
        "p = CONV (x, W, b) f = Reshape (p, rows) s = ReduceSum (f, along) t = Shape (f)"
        " e = Expand (s, t) y = Add (e, f) u = Shape (p) v = Reshape (y, u) z = CONV (v, W)",
    ),
    "a mean added to a product": (
        "float[1,16,h,w] y",
        "p = CONV (x, W, b) f = Reshape (p, rows) s = ReduceSum (f, along) t = Shape (f)"
        " e = Expand (s, t) m = MatMul (M, f) n = Add (m, e) u = Shape (p) v = Reshape (n, u)"
        " w = Add (v, p) y = CONV (w, W)",
    ),
    "the backward of ReLU, with a gradient that is not in blocks": (
        "float[1,16,h,w] y",
        "p = CONV (x, W, b) a = Relu (p) y = ortist.ReluGrad (x, a)",
    ),
    "the backward of ReLU, with a mask that is not in blocks": (
        "float[1,16,h,w] y",
        "p = CONV (x, W, b) y = ortist.ReluGrad (p, x)",
    ),
    "the backward of ReLU, with a gradient for each 2×2": (
        "float[1,16,h,w] y",
        "p = CONV (x, W, b) a = Relu (p) m = AveragePool HALF (a)"
        " g = ortist.SumPoolGrad <kernel_shape = [2, 2]> (m, a) y = ortist.ReluGrad (g, a)",
    ),
    "the backward of sums over 3×3": (
        "float[1,16,h,w] y",
        "p = CONV (x, W, b) m = AveragePool <kernel_shape = [3, 3], strides = [3, 3]> (p)"
        " y = ortist.SumPoolGrad <kernel_shape = [3, 3]> (m, p)",
    ),
    "the backward of sums, of what is not in blocks": (
        "float[1,16,h,w] y",
        "m = AveragePool HALF (x) y = ortist.SumPoolGrad <kernel_shape = [2, 2]> (m, x)",
    ),
    "the backward of maxima over windows that overlap": (
        "float[1,16,h,w] y",
        "p = CONV (x, W, b) m = MaxPool HALF (p)"
        " y = ortist.MaxPoolGrad <kernel_shape = [3, 3], strides = [2, 2]> (m, p)",
    ),
    "the backward of maxima, with what pooling makes of another convolution": (
        "float[1,16,h,w] y",
        "p = CONV (x, W, b) m = MaxPool HALF (p) c = CONV (m, W, b)"
        " y = ortist.MaxPoolGrad HALF (c, p)",
    ),
    "the backward of a convolution without padding": (
        "float[1,16,h,w] y",
        "c = Conv <kernel_shape = [3, 3]> (x, W)"
        " y = ortist.ConvInputGrad <kernel_shape = [3, 3], pads = [0, 0, 0, 0],"
        " dilations = [1, 1]> (c, W)",
    ),
    "the backward of a convolution with a computed kernel": (
        "float[1,16,h,w] y",
        "k = Mul (W, minus) y = ortist.ConvInputGrad BACK (x, k)",
    ),
    "the backward of convolutions with few channels": (
        "float[1,16,h,w] y, float[1,3,h,w] z",
        "p = CONV (x, W, b) z = ortist.ConvInputGrad BACK (p, U)"
        " y = ortist.ConvInputGrad BACK (z, V)",
    ),
    "a sum of squares of what is pooled": (
        "float y",
        "p = CONV (x, W, b) m = AveragePool HALF (p) y = ortist.SumSquares (m)",
    ),
    "positions weighted, with what is outside": (
        "float[16,16] y, float[16,1] z",
        "p = CONV (x, W, b) f = ortist.Weighted (p, weights) q = Reshape (f, rows)"
        " t = Transpose <perm = [1, 0]> (q) y = MatMul (q, t)"
        " g = ortist.Weighted (f, weights) r = Reshape (g, rows)"
        " z = ReduceSum <keepdims = 1> (r, along)",
    ),
    "positions weighted, each 2×2 the same": (
        "float[1,16,h,w] y",
        "p = CONV (x, W, b) m = AveragePool HALF (p)"
        " g = ortist.SumPoolGrad <kernel_shape = [2, 2]> (m, p) y = ortist.Weighted (g, weights)",
    ),
    "positions weighted of what is pooled": (
        "float[1,16,i,j] y",
        "p = CONV (x, W, b) m = AveragePool HALF (p) n = AveragePool HALF (weights)"
        " y = ortist.Weighted (m, n)",
    ),
    "positions weighted of what is not in blocks": (
        "float[1,16,h,w] y",
        "y = ortist.Weighted (x, weights)",
    ),
    "a tensor that only a subgraph reads": (
        "float[1,16,h,w] y",
        "p = CONV (x, W, b) y = If (yes) <then_branch = t () => (float[1,16,h,w] o)"
        " { o = Neg (p) }, else_branch = e () => (float[1,16,h,w] o) { o = Abs (p) }>",
    ),
}


@pytest.mark.parametrize(("outputs", "body"), EDGES.values(), ids=EDGES)
def test_graphs_at_the_edges_of_what_is_lowered(outputs: str, body: str) -> None:
    text = body.replace("CONV", CONV).replace("HALF", HALF).replace("BACK", BACK)
    random = np.random.default_rng(5)
    feeds: dict[str, Array] = {
        "x": random.uniform(-1, 1, (1, 16, 19, 21)),
        "W": random.normal(0, 0.1, (16, 16, 3, 3)),
        "V": random.normal(0, 0.1, (3, 16, 3, 3)),
        "U": random.normal(0, 0.1, (16, 3, 3, 3)),
        "b": random.uniform(1, 2, 16),
        "weights": np.random.default_rng(6).uniform(0, 1, (1, 1, 19, 21)),
    }
    feeds = {name: value.astype(np.float32) for name, value in feeds.items()}
    constants: dict[str, Array] = {
        "minus": np.float32(-1) * np.ones((), np.float32),
        "rows": np.array([16, -1]),
        "last": np.array([-1]),
        "along": np.array([1]),
        "one": np.ones((), np.float32),
        "hundred": np.full((), 100, np.float32),
        "M": random.normal(0, 0.01, (16, 16)).astype(np.float32),
        "yes": np.array(True),
    }
    signature = (
        "float[1,16,h,w] x, float[16,16,3,3] W, float[3,16,3,3] V, float[16,3,3,3] U, float[16] b,"
        " float[1,1,h,w] weights"
    )
    versions = '<ir_version: 9, opset_import: ["": 18, "ortist": 1]>'
    model = onnx.parser.parse_model(f"{versions} g ({signature}) => ({outputs}) {{ {text} }}")
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    lowered = lower(model, 4)
    expected, found = run(model, feeds), run(lowered, with_derived(lowered, feeds, 4))
    for name, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=0, atol=2e-5 * scale, err_msg=name)


def test_batches_are_left_alone() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
    g (float[batch,12,8,8] image, float[16,12,3,3] W2) => (float[batch,16,8,8] y) {
        y = Conv <pads = [1, 1, 1, 1]> (image, W2)
    }""")
    assert lower(model, 4).SerializeToString() == model.SerializeToString()


def test_an_unknown_block_size_is_refused() -> None:
    with pytest.raises(ValueError, match="block is 5, accepted are 4, 6"):
        lower(network("AveragePool"), 5)
