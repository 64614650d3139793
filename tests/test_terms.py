"""Terms of J: those of the package in pieces and fused, and one that comes from outside."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from threadpoolctl import threadpool_info

from ortist.engine import Engine, InputError, Options
from ortist.engine.evaluators import Fused, Pieces
from ortist.engine.images import to_tensor
from ortist.engine.objective import Evaluation, weighted_parts
from ortist.engine.optimizer import Tensor
from ortist.engine.scene import Area, Scene, Style
from ortist.engine.targets import Measuring, as_arrays, settle_targets
from ortist.engine.targets import measured as measure_whole
from ortist.export.builder import GraphBuilder
from ortist.export.costs import STATISTICS, TERMS
from ortist.export.costs.term import Comparison, Part, Shape, Term
from ortist.export.graphs import gradient_graph

Pixels = NDArray[np.uint8]


def picture(height: int, width: int, seed: int) -> Pixels:
    """Coarse and fine noise, (H, W, 3)."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(40, 210, (height // 6 + 1, width // 6 + 1, 3))
    coarse = coarse.repeat(6, axis=0).repeat(6, axis=1)[:height, :width]
    return (coarse + random.uniform(-40, 40, coarse.shape)).astype(np.uint8)


CONTENT, STYLE = picture(43, 57, 0), picture(37, 49, 1)
IMAGE = to_tensor(picture(43, 57, 2))


class MeanColor(Term):
    """The squared distance of the mean of a layer from that of the style."""

    name = "mean_color"
    source = "style"

    def measure(self, b: GraphBuilder, activation: str) -> Mapping[str, str]:
        return {"mean": b.op("ReduceMean", activation, b.integers(2, 3), keepdims=0)}

    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        difference = b.op("Sub", statistics["mean"], targets["mean"])
        return Comparison(b.op("ReduceSumSquare", difference, b.integers(1), keepdims=0))


def evaluate(options: Options) -> Evaluation:
    return Engine("cpu", 2)._objective(Scene.whole(CONTENT, [STYLE]), options).evaluate(IMAGE)


@pytest.mark.parametrize("kernel", ["direct", "winograd"])
@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_pieces_compute_what_the_fused_graph_does(
    statistic: str, pooling: str, kernel: str
) -> None:
    options = Options(statistic=statistic, pooling=pooling, tv=20)
    engine = Engine("cpu", 2, kernel=kernel, pieces=True)
    parts = [weighted.part for weighted in weighted_parts(options)]
    choice = engine._graphs.choices(43 * 57, options, parts).j
    measure, compare, pullback, gradient = (
        engine._graphs.get(kind, choice, 43 * 57)
        for kind in ("measure", "compare", "pullback", "gradient")
    )
    styles = [Style(to_tensor(STYLE), 0.75), Style(to_tensor(CONTENT), 0.25)]
    scene = Scene(to_tensor(CONTENT), [Area("", styles)])
    measuring = Measuring(partial(measure_whole, measure))
    targets = as_arrays(settle_targets(measuring, choice.parts, scene, options))
    weights = np.linspace(1, 3, len(choice.parts)).astype(np.float32)
    expected, slope = Fused(gradient, targets, IMAGE)(IMAGE, weights)
    costs, found = Pieces(measure, compare, pullback, targets, IMAGE)(IMAGE, weights)
    # Lowered graphs run as they are written. In others the runtime chooses layouts, and so orders
    # of sums, by what is around, and distances are small differences of large traces.
    tolerance = 1e-3 if (statistic, kernel) == ("w2", "direct") else 1e-6
    np.testing.assert_allclose(costs, expected, rtol=tolerance)
    size = np.sqrt(np.mean(slope.astype(np.float64) ** 2))
    assert size > 0
    assert np.median(np.abs(found - slope)) <= tolerance * size


def test_a_run_in_pieces_ends_with_the_same_picture() -> None:
    options = Options(size=40, steps=4, optimizer="lbfgs", init="content")
    fused, pieces = (
        Engine("cpu", 1, pieces=pieces).stylize(CONTENT, STYLE, options).image.astype(int)
        for pieces in (False, True)
    )
    assert np.abs(fused - pieces).max() <= 1


def test_a_term_from_outside_is_painted_with() -> None:
    """Alone, at the pixels, it gives the picture the mean color of the style."""
    style = np.full((24, 24, 3), (200, 40, 90), np.uint8)
    options = Options(
        size=40,
        steps=30,
        optimizer="lbfgs",
        init="content",
        style_layers=(),
        content_layers={"conv1_1": 1.0},
        alpha=0,
        terms={MeanColor(): {"image": 1.0}},
    )
    result = Engine("cpu", 1).stylize(CONTENT, style, options)
    mean = result.image.mean(axis=(0, 1))
    before = CONTENT.mean(axis=(0, 1))
    assert np.abs(before - [200, 40, 90]).max() > 40
    np.testing.assert_allclose(mean, [200, 40, 90], atol=3)
    first, last = result.history[0], result.history[-1]
    assert first.total == pytest.approx(first.own_terms["mean_color/image"])
    assert last.own_terms["mean_color/image"] < first.own_terms["mean_color/image"] / 100


def test_a_term_from_outside_adds_to_the_others() -> None:
    options = Options(terms={MeanColor(): {"conv1_1": 0.5, "conv2_1": 2.0}})
    plain, more = evaluate(replace(options, terms={})), evaluate(options)
    own = more.costs.own_terms
    assert list(own) == ["mean_color/conv1_1", "mean_color/conv2_1"]
    expected = plain.costs.total + 0.5 * own["mean_color/conv1_1"] + 2 * own["mean_color/conv2_1"]
    assert more.costs.total == pytest.approx(expected, rel=1e-6)
    assert not np.allclose(more.gradient, plain.gradient)


def small_features() -> onnx.ModelProto:
    """Layers ``conv1_1``, (1, 2, H, W), and ``image``, in float64."""
    return onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["": 18]>
    features (double[1, 2, 4, 5] image) => (double[1, 2, 4, 5] conv1_1) { conv1_1 = Tanh (image) }
    """)


def test_the_gradient_of_a_term_from_outside_agrees_with_central_differences() -> None:
    parts = [Part(MeanColor(), "conv1_1"), Part(MeanColor(), "image")]
    model = gradient_graph(small_features(), parts)
    onnx.checker.check_model(model, full_check=True)
    evaluator = ReferenceEvaluator(model)
    random = np.random.default_rng(0)
    x, weights = random.normal(0, 1, (1, 2, 4, 5)), np.array([3.0, 0.5])
    targets = {f"target/{part.name}/mean": random.normal(0, 1, (1, 2)) for part in parts}

    def total(image: NDArray[np.float64]) -> float:
        (costs,) = evaluator.run(["costs"], {"image": image, "weights": weights, **targets})
        return float(np.dot(costs, weights))

    (gradient,) = evaluator.run(["gradient"], {"image": x, "weights": weights, **targets})
    expected = np.empty_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 1e-5
        expected[index] = (total(x + step) - total(x - step)) / 2e-5
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9)


class Scalar(MeanColor):
    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        cost = super().compare(b, statistics, targets).cost
        return Comparison(b.op("Squeeze", cost))


class Several(MeanColor):
    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        difference = b.op("Sub", statistics["mean"], targets["mean"])
        return Comparison(b.op("Squeeze", b.op("Mul", difference, difference), b.integers(0)))


@pytest.mark.parametrize(("term", "shape"), [(Scalar(), r"\(\)"), (Several(), r"\(3,\)")])
def test_a_cost_of_another_shape_is_named(term: Term, shape: str) -> None:
    message = rf"the cost of mean_color/image has shape {shape}, accepted is \(1,\)"
    with pytest.raises(InputError, match=message):
        evaluate(Options(terms={term: {"image": 1.0}}))


class Sliced(MeanColor):
    """Its cost is one number, which shape inference does not find out."""

    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        cost = super().compare(b, statistics, targets).cost
        size = b.op(
            "Cast",
            b.op("Add", b.op("Mul", cost, b.constant(0, "float32")), b.constant(1, "float32")),
            to=7,
        )
        return Comparison(b.op("Slice", cost, b.integers(0), size, b.integers(0)))


def test_a_cost_whose_shape_is_not_known_may_be_one_number() -> None:
    sliced, plain = (
        evaluate(Options(terms={term: {"image": 1.0}})).costs.own_terms
        for term in (Sliced(), MeanColor())
    )
    assert sliced == plain


class Wasteful(MeanColor):
    """Measures more than it compares, and what follows from no pixel; settles in float64."""

    def measure(self, b: GraphBuilder, activation: str) -> Mapping[str, str]:
        more = {"unused": b.op("ReduceMax", activation), "size": b.count(b.op("Size", activation))}
        return {**super().measure(b, activation), **more}

    def statistic_shapes(self, channels: int) -> Mapping[str, Shape]:
        return {"mean": [1, channels], "unused": [1, 1, 1, 1], "size": []}

    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        cost = super().compare(b, statistics, targets).cost
        return Comparison(b.op("Mul", cost, b.op("Div", statistics["size"], statistics["size"])))

    def settle(self, statistics: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: value.astype(float) for name, value in statistics.items()}


@pytest.mark.parametrize("pieces", [False, True])
def test_a_term_may_measure_more_than_it_compares_and_settle_in_float64(pieces: bool) -> None:
    def cost(term: Term) -> float:
        engine = Engine("cpu", 2, pieces=pieces)
        objective = engine._objective(
            Scene.whole(CONTENT, [STYLE]), Options(terms={term: {"image": 1.0}})
        )
        return objective.evaluate(IMAGE).costs.own_terms["mean_color/image"]

    assert cost(Wasteful()) == cost(MeanColor())


class Nameless(MeanColor):
    name = "mean color"


class Aimless(MeanColor):
    source = "stile"  # type: ignore[assignment]


class Matchless(MeanColor):
    source = "match"  # type: ignore[assignment]


class Double(MeanColor):
    name = "gram"


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([MeanColor()], "terms is .*, accepted is a mapping from terms"),
        ({MeanColor: {"image": 1}}, "terms has <class .*MeanColor.*, accepted are instances of"),
        ({Nameless(): {"image": 1}}, "terms has one named 'mean color', accepted are letters"),
        ({Aimless(): {"image": 1}}, "source of mean_color is 'stile', accepted are None, content"),
        ({Double(): {"image": 1}}, "terms has one named 'gram', accepted are letters, digits and"),
        ({MeanColor(): {}, MeanColor(): {}}, "terms has one named 'mean_color', accepted are"),
        ({MeanColor(): {"pixels": 1}}, "layers of mean_color has unknown layer 'pixels', accepted"),
        ({Matchless(): {"image": 1}}, "mean_color has source 'match', which needs a method match"),
        ({MeanColor(): {"image": -1}}, "layers of mean_color weight of image is -1, accepted are"),
        ({MeanColor(): "image"}, "layers of mean_color is 'image', accepted are several layers"),
    ],
)
def test_terms_that_cannot_be_used_are_named(terms: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(terms=terms)


def test_the_terms_of_the_package_have_names_of_their_own() -> None:
    assert {name: term.name for name, term in TERMS.items()} == {name: name for name in TERMS}


def threads_of_numpys() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_what_settles_a_target_has_one_thread_of_numpys() -> None:
    """Several wait for one another without rest, for seconds where other work has the cores."""
    seen: list[int] = []

    class Witness(MeanColor):
        def settle(self, statistics: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            seen.extend(threads_of_numpys())
            time.sleep(0.02)  # others are here, were they let in
            return super().settle(statistics)

    before = threads_of_numpys()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(evaluate, [Options(terms={Witness(): {"image": 1.0}}) for _ in range(4)]))
    # The number is the process's, and what it was before.
    assert threads_of_numpys() == before
    assert seen
    assert set(seen) == {1}


def test_a_timeout_of_a_term_ends_the_run() -> None:
    class Late(Term):
        name = "late"
        source = "style"

        def measure(self, b: GraphBuilder, activation: str) -> Mapping[str, str]:
            return {"mean": b.op("ReduceMean", activation, b.integers(2, 3), keepdims=0)}

        def settle(self, statistics: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            raise TimeoutError("the disk does not answer")

        def compare(
            self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
        ) -> Comparison:
            difference = b.op("Sub", statistics["mean"], targets["mean"])
            return Comparison(b.op("ReduceSumSquare", difference, b.integers(1), keepdims=0))

    run = Engine("cpu", 1).iterate(CONTENT, STYLE, Options(size=32, terms={Late(): ["conv1_1"]}))
    with pytest.raises(TimeoutError, match="does not answer"):
        next(run)
