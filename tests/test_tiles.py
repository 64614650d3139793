"""J in tiles: the same costs and gradient as of the whole picture, for everything J may have."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, get_args

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from ortist.engine import Engine, InputError, Options, Region, find_recipe
from ortist.engine.images import resize_image, to_tensor
from ortist.engine.objective import Evaluation, weighted_parts
from ortist.engine.peaks import MIN_SIDE
from ortist.engine.pictures import read_pictures
from ortist.engine.scales import Scale, in_tiles
from ortist.engine.scene import Scene
from ortist.engine.storage import IN_FILES, IN_MEMORY
from ortist.engine.targets import as_arrays, settle_targets
from ortist.engine.tiles import GRID, Window, crop_pixels, cut, halo_of
from ortist.engine.tiling import Alone, Bench, Tiled, TilePieces, Tiling
from ortist.export.builder import GraphBuilder
from ortist.export.costs import TERMS
from ortist.export.costs.term import Comparison, Part, Target, Term, divided, mean_square
from ortist.export.graphs import derive
from ortist.models.errors import CanceledError
from ortist.models.keys import Kind
from ortist.models.layers import IMAGE, LAYERS, reach_of, stride_of

Pixels = NDArray[np.uint8]
Tensor = NDArray[np.float32]
HEIGHT, WIDTH = 150, 205
SIDE = 64


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Return blobs in random colors with some noise."""
    random = np.random.default_rng(seed)
    coarse = random.integers(40, 216, (9, 12, 3), np.uint8)
    noise = random.integers(-30, 30, (height, width, 3))
    return (resize_image(coarse, width, height) + noise).clip(0, 255).astype(np.uint8)


CONTENT, STYLE, OTHER, IMAGE_AT = (picture(seed) for seed in range(4))
MASK = np.zeros((HEIGHT, WIDTH), np.uint8)
MASK[30:, 50:170] = 255
SOFT = np.repeat(np.linspace(0, 255, WIDTH).astype(np.uint8)[None], HEIGHT, 0)
REGIONS = [Region(MASK, OTHER), Region(SOFT, STYLE, MASK)]


class Contrast(Term):
    """The mean square of what neighbors in a row of a layer differ by: pairs of positions."""

    name = "contrast"
    source = None
    overlap: ClassVar[Mapping[str, tuple[int, int]]] = {"square": (0, 1)}

    def measure(self, b: GraphBuilder, activation: str) -> Mapping[str, str]:
        after = b.op("Slice", activation, b.integers(1), b.integers(2**31), b.integers(3))
        before = b.op("Slice", activation, b.integers(0), b.integers(-1), b.integers(3))
        return {"square": mean_square(b, b.op("Sub", after, before))}

    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        return Comparison(statistics["square"])


GRAM = Options(
    width=WIDTH,
    height=HEIGHT,
    content_layers=("conv2_2", "conv4_2"),
    style_layers={"conv1_1": 0.5, "conv2_1": 0.2, "conv3_3": 0.3, "conv5_1": 1.0},
    tv=30.0,
)
NEIGHBORS = replace(find_recipe("standard").with_options(), width=WIDTH, height=HEIGHT)
CASES = {
    "gram": GRAM,
    "max": replace(GRAM, pooling="max", terms={Contrast(): ("conv1_1", "conv3_1", "image")}),
    "l2": replace(GRAM, pooling="l2", rescaled=True),
    "w2": replace(GRAM, statistic="w2"),
    "neighbors": NEIGHBORS,
    "content": replace(GRAM, style_layers=()),
}
RUN = Options(
    size=300,
    steps=6,
    optimizer="lbfgs",
    init="content",
    scales=2,
    content_layers=("conv2_2",),
    style_layers=("conv1_1", "conv2_1"),
)
TOLERANCE = {"w2": 1e-3, "neighbors": 1e-4}
"""Of median errors. Roots of covariances magnify what rounding does to statistics, most where there
are fewer positions than channels."""


def scene(options: Options, regions: list[Region], protect: Pixels | None = None) -> Scene:
    return read_pictures(CONTENT, STYLE, options, regions, protect).at(WIDTH, HEIGHT)


def halo(options: Options, here: Scene) -> int:
    return halo_of(weighted.part for weighted in weighted_parts(options, here.division))


def evaluations(
    options: Options, here: Scene, kernel: str = "winograd"
) -> tuple[Evaluation, Evaluation]:
    """Return what there is at IMAGE_AT as a whole and in tiles, for the same targets."""
    engine = Engine("cpu", 2, kernel=kernel)
    targets: list[Mapping[str, Target]] = []
    tiling = Tiling(SIDE, halo(options, here), IN_FILES)
    with pytest.MonkeyPatch.context() as patch:
        settle = functools.partial(_settled_once, targets)
        patch.setattr("ortist.engine.objectives.settle_targets", settle)
        whole, tiled = (engine._objective(here, options, cut) for cut in (None, tiling))
    return whole.evaluate(to_tensor(IMAGE_AT)), tiled.evaluate(to_tensor(IMAGE_AT))


def _settled_once(found: list[Mapping[str, Target]], *given: Any) -> Mapping[str, Target]:
    if not found:
        found.append(settle_targets(*given))
    return found[0]


def assert_same(whole: Evaluation, tiled: Evaluation, tolerance: float) -> None:
    """Compare, near the borders of tiles as much as elsewhere."""
    costs, found = whole.costs, tiled.costs
    assert found.total == pytest.approx(costs.total, rel=tolerance)
    for name in ("content_layers", "style_layers", "own_terms", "regions"):
        assert getattr(found, name) == pytest.approx(getattr(costs, name), rel=10 * tolerance)
    assert found.total_variation == pytest.approx(costs.total_variation, rel=1e-6)
    error = np.abs(tiled.gradient.astype(np.float64) - whole.gradient)[0]
    size = np.sqrt(np.mean(whole.gradient.astype(np.float64) ** 2))
    assert np.median(error) <= tolerance * size
    # Single ReLUs may take the other side.
    assert np.sqrt(np.mean(error**2)) <= max(3e-3, 3 * tolerance) * size
    border = np.zeros(error.shape[1:], bool)
    for edge in range(SIDE, max(border.shape) - SIDE + 1, SIDE):
        border[edge - 8 : edge + 8] = border[:, edge - 8 : edge + 8] = True
    assert np.median(error[:, border]) <= 3 * np.median(error[:, ~border]) + 1e-8 * size


@pytest.mark.parametrize("kernel", ["direct", "winograd"])
@pytest.mark.parametrize("case", CASES)
def test_tiles_give_costs_and_gradient_of_the_whole_picture(case: str, kernel: str) -> None:
    options = CASES[case]
    assert_same(*evaluations(options, scene(options, []), kernel), TOLERANCE.get(case, 1e-6))


@pytest.mark.parametrize("case", ["gram", "w2", "neighbors"])
def test_tiles_of_pictures_in_regions(case: str) -> None:
    options = CASES[case]
    here = scene(options, REGIONS, protect=MASK)
    assert_same(*evaluations(options, here), TOLERANCE.get(case, 1e-6))


@pytest.mark.parametrize("case", CASES)
def test_targets_measured_in_tiles_are_those_of_whole_pictures(case: str) -> None:
    """A style smaller than a tile among them, and one that counts in part."""
    options = replace(CASES[case], style_scale=(0.2, 1.0, 1.5))
    here = scene(options, REGIONS, protect=MASK)
    engine = Engine("cpu", 2)
    found: list[Mapping[str, Target]] = []
    tiling = Tiling(SIDE, halo(options, here), IN_FILES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "ortist.engine.objectives.settle_targets",
            lambda *given: found.append(settle_targets(*given)) or found[-1],
        )
        for cut in (None, tiling):
            engine._objective(here, options, cut)
    whole, tiled = map(as_arrays, found)
    assert whole.keys() == tiled.keys()
    for name, value in whole.items():
        if name.endswith("/root"):  # columns may have the other sign
            value, tiled[name] = value @ value.T, tiled[name] @ tiled[name].T
        # Of two that are alike, the other may match best.
        share = np.mean(np.abs(tiled[name] - value) > 1e-3 * np.abs(value).max())
        # Directions of next to no variance are rounding.
        most = {"neighbors": 0.01, "w2": 0.01}.get(name.split("/")[1], 0)
        assert share <= most, name


def test_a_run_in_tiles_ends_as_one_of_the_whole_picture() -> None:
    whole, tiled = (Engine("cpu", 2, tile=tile).stylize(CONTENT, STYLE, RUN) for tile in (0, 64))
    assert [costs.total for costs in tiled.history] == pytest.approx(
        [costs.total for costs in whole.history], rel=1e-3
    )
    assert np.abs(tiled.image.astype(int) - whole.image).mean() < 0.1


def double(model: ModelProto) -> ModelProto:
    """Return a graph in float32 as one in float64."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for value in (*copy.graph.input, *copy.graph.output, *copy.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in copy.graph.initializer:
        _double(tensor)
    for node in copy.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _double(attribute.t)
            elif attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
    return copy


def _double(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


class Reference:
    """A graph in float64, run by the reference evaluator as the engine's graphs are."""

    def __init__(self, model: ModelProto) -> None:
        self._evaluator = ReferenceEvaluator(double(model))
        self.inputs = [value.name for value in model.graph.input]
        self.outputs = [value.name for value in model.graph.output]

    def layout(self, images: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def placed(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        return dict(feeds)

    def run(
        self, outputs: list[str], feeds: Mapping[str, Any], last: bool = False
    ) -> dict[str, Any]:
        given = {
            name: value.astype(np.float64) if value.dtype == np.float32 else value
            for name, value in feeds.items()
            if name in self.inputs
        }
        return dict(zip(outputs, self._evaluator.run(outputs, given), strict=True))


def network(pooling: str) -> ModelProto:
    """Return VGG's first layers, up to conv3_1, with three to six channels."""
    random = np.random.default_rng(5)
    nodes, tensors, outputs, current, channels = [], [], [], IMAGE, 3
    for name in LAYERS[:5]:
        if name.endswith("_1") and name != "conv1_1":
            nodes.append(
                helper.make_node(
                    pooling, [current], [f"{name}/pool"], kernel_shape=[2, 2], strides=[2, 2]
                )
            )
            current = f"{name}/pool"
        wide = channels + (name.endswith("_1"))
        kernel = random.normal(0, (2 / 9 / channels) ** 0.5, (wide, channels, 3, 3))
        tensors.append(onnx.numpy_helper.from_array(kernel.astype(np.float32), f"{name}/kernel"))
        nodes.append(
            helper.make_node("Conv", [current, f"{name}/kernel"], [f"{name}/conv"], pads=[1] * 4)
        )
        nodes.append(helper.make_node("Relu", [f"{name}/conv"], [name]))
        current, channels = name, wide
        outputs.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, wide, None, None])
        )
    image = helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, [1, 3, "H", "W"])
    graph = helper.make_graph(nodes, "small", [image], outputs, tensors)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])


@pytest.mark.parametrize("pooling", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("statistic", ["gram", "w2"])
def test_tiles_are_exact_in_float64(statistic: str, pooling: str) -> None:
    """The gradient of a smaller network by the reference evaluator: 1e-12."""
    features = network(pooling)
    style, content = TERMS[statistic], TERMS["content"]
    layers = ("conv1_1", "conv2_1", "conv3_1")
    parts = [Part(content, "conv2_2"), *(Part(style, name) for name in layers)]
    parts.append(Part(TERMS["variation"], IMAGE))
    near, far = divided(parts)
    graphs = {kind: Reference(derive(kind, features, parts, 0)) for kind in get_args(Kind)[1:]}
    comparing = [Reference(derive("compare", features, own, 0)) for own in (near, far)]
    random = np.random.default_rng(1)
    at, other = random.normal(0, 60, (2, 1, 3, 133, 150))
    targets = {}
    measured = graphs["measure"].run(graphs["measure"].outputs, {IMAGE: other})
    for part in parts:
        for name, value in part.term.settle(part.own(measured)).items() if part.term.source else ():
            targets[f"target/{part.name}/{name}"] = value
    weights = np.array([10.0, 1.0, 2.0, 3.0, 0.1])
    gradient = graphs["gradient"]
    whole = gradient.run(["costs", "gradient"], {IMAGE: at, "weights": weights, **targets})
    tiles = cut(133, 150, 64, halo_of(parts))
    assert len(tiles) == 4
    bench: Any = Bench(graphs["measure_tile"], graphs["pullback_tile"], comparing[0], parts)
    pieces = TilePieces(tiles, (133, 150), parts, targets)
    tiled: Any = Tiled(Alone(bench, pieces), comparing[1], parts, targets, tiles, IN_MEMORY)
    costs, slope = tiled(at, weights)
    np.testing.assert_allclose(costs, whole["costs"], rtol=1e-11)
    error = np.linalg.norm(slope - whole["gradient"])
    assert error <= 1e-12 * np.linalg.norm(whole["gradient"])


@given(
    st.integers(16, 700),
    st.integers(16, 700),
    st.sampled_from([64, 128, 320]),
    st.sampled_from([0, 16, 80]),
)
def test_cores_make_up_the_picture(height: int, width: int, side: int, halo: int) -> None:
    counted = np.zeros((height, width), int)
    for tile in cut(height, width, side, halo):
        counted[tile.core.slices()] += 1
        assert tile.core.top % GRID == tile.core.left % GRID == 0
        assert tile.crop.top % 16 == tile.crop.left % 16 == 0
        assert tile.core.height < side + GRID
        assert tile.core.width < side + GRID
        assert tile.crop.height * tile.crop.width <= crop_pixels(side, halo)
        assert tile.seen.of(np.zeros((height, width))).size >= tile.core.height * tile.core.width
    assert (counted == 1).all()


@given(
    st.integers(16, 400),
    st.integers(16, 400),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.sampled_from([(0, 0), (1, 0), (0, 1)]),
)
def test_shares_add_up_to_one(
    height: int, width: int, stride: int, overlap: tuple[int, int]
) -> None:
    if min(height, width) < 2 * stride:
        overlap = (0, 0)
    tiles = cut(height, width, 64, 16)
    shares = [tile.core.share(height, width, stride, overlap) for tile in tiles]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0
    everything = Window(0, 0, height, width)
    assert everything.share(height, width, stride, overlap) == pytest.approx(1)


@pytest.mark.parametrize("layer", ["conv1_1", "conv2_2", "conv3_4", "conv4_1", "conv5_1"])
def test_a_position_sees_so_far_and_no_further(layer: str) -> None:
    stride, reach = stride_of(layer), reach_of(layer)
    place = 96 // stride
    seen = Window(96 - reach, 96 - reach, 96 + stride + reach, 96 + stride + reach)
    engine = Engine("cpu", 1, kernel="direct")
    other, inner = picture(9, 208, 208), picture(8, 208, 208)

    def at_place(window: Window) -> Tensor:
        pixels = other.copy()
        rows, columns = window.slices()[1:]
        pixels[rows, columns] = inner[rows, columns]
        found: Tensor = engine.activations(pixels, [layer])[layer][0, :, place, place]
        return found

    expected = engine.activations(inner, [layer])[layer][0, :, place, place]
    np.testing.assert_allclose(at_place(seen), expected, rtol=1e-4, atol=1e-3)
    if reach < 30:  # of what is seen at the rim of more, float32 keeps nothing
        less = Window(seen.top + 1, seen.left + 1, seen.bottom - 1, seen.right - 1)
        assert np.abs(at_place(less) - expected).max() > 1e-2


def test_scales_are_in_tiles_if_they_are_larger_than_one() -> None:
    scales = (Scale(200, 100, 5), Scale(400, 200, 5), Scale(800, 400, 5))
    assert [scale.tile for scale in in_tiles(scales, 128, 32)] == [0, 0, 128]
    assert [scale.tile for scale in in_tiles(scales, 0, 32)] == [0, 0, 0]


class Wide(Contrast):
    name = "wide"
    overlap: ClassVar[Mapping[str, tuple[int, int]]] = {"square": (0, 2)}

    def measure(self, b: GraphBuilder, activation: str) -> Mapping[str, str]:
        after = b.op("Slice", activation, b.integers(2), b.integers(2**31), b.integers(3))
        before = b.op("Slice", activation, b.integers(0), b.integers(-2), b.integers(3))
        return {"square": mean_square(b, b.op("Sub", after, before))}


def test_pairs_of_the_deepest_layer_are_seen_whole() -> None:
    options = replace(GRAM, style_layers=(), content_layers=("conv1_1",), alpha=0, tv=0)
    options = replace(options, terms={Wide(): ("conv4_1",)})
    assert halo(options, scene(options, [])) == 48
    assert_same(*evaluations(options, scene(options, [])), 1e-6)


def test_terms_that_look_at_other_layers_must_be_local() -> None:
    class Other(Contrast):
        name = "other"

        def layers(self, layer: str) -> tuple[str, ...]:
            return (layer, "conv2_1")

    options = replace(GRAM, terms={Other(): ("conv1_1",)})
    with pytest.raises(InputError, match="other/conv1_1 looks at other layers"):
        evaluations(options, scene(options, []))


def test_halos_follow_from_what_is_measured() -> None:
    options = [GRAM, replace(GRAM, style_layers=("conv1_1",), content_layers=()), NEIGHBORS]
    halos = [halo_of(weighted.part for weighted in weighted_parts(one)) for one in options]
    assert halos == [80, 16, 32]


@pytest.mark.parametrize("tile", [-64, 100, 64.0, True, "64"])
def test_tiles_that_cannot_be(tile: Any) -> None:
    with pytest.raises(InputError, match=r"tile is .*, accepted are 0 and multiples of 64"):
        Engine("cpu", 1, tile=tile)


def test_the_memory_says_whether_there_are_tiles_and_how_large() -> None:
    options = replace(NEIGHBORS, width=3000, height=2000, steps=30)
    plans = [
        Engine("cpu", 1, memory=memory).plan(CONTENT, STYLE, options)
        for memory in (1.2e9, 2e9, 4e9, float("inf"))
    ]
    sides = [plan.tile for plan in plans]
    assert sides == [*sorted(sides[:3]), 0]
    assert MIN_SIDE < sides[0] < sides[1] < sides[2]
    for plan, memory in zip(plans, (1.2e9, 2e9, 4e9, float("inf")), strict=True):
        assert plan.peak_bytes <= memory
        assert plan.scales[0].tile == 0
        assert plan.evaluations == 30


def test_where_no_tile_is_small_enough_nothing_is_painted() -> None:
    options = replace(GRAM, width=3000, height=2000)
    plan = Engine("cpu", 1, memory=3e8).plan(CONTENT, STYLE, options)
    assert plan.tile == MIN_SIDE
    with pytest.raises(InputError, match=r"^3000x2000 pixels take some .*, accepted are 0\.30 GB"):
        plan.run()


def test_a_run_in_tiles_can_be_kept_and_goes_on_with_the_same_bytes() -> None:
    plan = Engine("cpu", 1, tile=64).plan(CONTENT, STYLE, RUN)
    assert [scale.tile for scale in plan.scales] == [0, 64]
    whole, first, second = (plan.run() for _ in range(3))
    *_, last = whole
    for _ in range(5):
        next(first)
    second.restore(first.state())
    np.testing.assert_array_equal(next(second).pixels, last.pixels)


def test_a_run_in_tiles_is_canceled_at_once() -> None:
    run = Engine("cpu", 1, tile=64).iterate(CONTENT, STYLE, replace(RUN, scales=1))
    next(run)
    run.cancel()
    with pytest.raises(CanceledError):
        next(run)


def test_terms_that_measure_maps_must_say_so() -> None:
    """Of one that does not, maps of tiles would be taken for sums."""

    class Map(Contrast):
        name = "map"
        overlap: ClassVar[Mapping[str, tuple[int, int]]] = {}

        def measure(self, b: GraphBuilder, activation: str) -> Mapping[str, str]:
            return {"square": activation}

        def compare(
            self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
        ) -> Comparison:
            return Comparison(mean_square(b, statistics["square"]))

    options = replace(GRAM, terms={Map(): ("conv1_1",)})
    with pytest.raises(InputError, match=r"map/conv1_1 .* local"):
        evaluations(options, scene(options, []))
