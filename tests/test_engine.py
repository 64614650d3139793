"""The engine with the real weights, on small pictures."""

from __future__ import annotations

import io
import logging
import pickle
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ortist.engine import (
    LAYERS,
    ArtifactError,
    CanceledError,
    Costs,
    DeviceError,
    Engine,
    InputError,
    NonFiniteCostError,
    Options,
    OrtistError,
    Result,
    Step,
    sessions,
)
from ortist.engine.artifacts import Choice, cache_directory
from ortist.engine.images import resize_image, to_image, to_tensor
from ortist.engine.objective import weighted_parts
from ortist.engine.sessions import Device, Graph, Placed
from ortist.models.blocks import Map
from ortist.models.keys import Kind
from ortist.models.layers import POOLINGS

Pixels = NDArray[np.uint8]

MEAN = np.array([123.68, 116.779, 103.939], np.float32).reshape(1, 3, 1, 1)
SHORT = Options(size=32, steps=3)


def waves(height: int, width: int, seed: int) -> Pixels:
    """A picture of colored waves, uint8 (height, width, 3)."""
    random = np.random.default_rng(seed)
    y, x = np.arange(height).reshape(-1, 1, 1), np.arange(width).reshape(1, -1, 1)
    slopes, phases = random.uniform(-0.6, 0.6, (2, 3)), random.uniform(0, 6, 3)
    heights: NDArray[np.float64] = np.sin(slopes[0] * y + slopes[1] * x + phases)
    return np.rint(127.5 + 127.5 * heights).astype(np.uint8)


CONTENT = waves(24, 32, seed=1)
STYLE = waves(40, 28, seed=2)
OTHER_STYLE = waves(32, 32, seed=3)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """With the kernel that is the faster one for small pictures."""
    return Engine("cpu", threads=2, kernel="direct")


def start_of(engine: Engine, **options: Any) -> NDArray[np.float32]:
    """The picture that a run starts from: a step of a length that is 0 in float32 stays there."""
    still = Options(size=32, steps=1, learning_rate=1e-300, **options)
    return next(iter(engine.iterate(CONTENT, STYLE, still))).pixels


def test_the_same_run_gives_the_same_bytes(engine: Engine) -> None:
    first, again = (engine.stylize(CONTENT, STYLE, SHORT) for _ in range(2))
    elsewhere = Engine("cpu", threads=2, kernel="direct").stylize(CONTENT, STYLE, SHORT)
    for other in (again, elsewhere):
        assert first.image.tobytes() == other.image.tobytes()
        assert first.history == other.history


def test_every_kernel_gives_the_same_costs() -> None:
    direct, winograd, default = (
        Engine("cpu", 2, kernel=kernel).stylize(CONTENT, STYLE, SHORT).history
        for kernel in ("direct", "winograd", "auto")
    )
    for one, other in zip(direct, winograd, strict=True):
        assert one.total == pytest.approx(other.total, rel=1e-4)
    assert default in (direct, winograd)


def test_an_unknown_kernel_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="kernel is 'fft', accepted are auto, direct, winograd"):
        Engine(kernel="fft")


def test_another_seed_gives_another_picture(engine: Engine) -> None:
    first = engine.stylize(CONTENT, STYLE, SHORT)
    other = engine.stylize(CONTENT, STYLE, replace(SHORT, seed=1))
    assert (first.image != other.image).any()


def test_the_cost_falls(engine: Engine) -> None:
    result = engine.stylize(CONTENT, STYLE, Options(size=32, steps=30, learning_rate=4))
    totals = [costs.total for costs in result.history]
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] < totals[0] / 5


@pytest.mark.parametrize(("ratio", "seed"), [(0.6, 0), (0.25, 7), (0.0, 0), (1.0, 0)])
def test_the_noise_start_mixes_as_the_notebook(engine: Engine, ratio: float, seed: int) -> None:
    """On pixels less the mean color: ratio · uniform(-20, 20) + (1 - ratio) · content."""
    content = to_tensor(CONTENT) - MEAN
    noise = np.random.default_rng(seed).uniform(-20, 20, content.shape)
    start = start_of(engine, init="noise", noise_ratio=ratio, seed=seed)
    np.testing.assert_allclose(start - MEAN, ratio * noise + (1 - ratio) * content, atol=1e-4)


def test_the_noise_start_is_the_default(engine: Engine) -> None:
    expected = start_of(engine, init="noise", noise_ratio=0.6, seed=0)
    np.testing.assert_array_equal(start_of(engine), expected)


def test_the_other_starts(engine: Engine) -> None:
    np.testing.assert_array_equal(start_of(engine, init="content"), to_tensor(CONTENT))
    blank = np.broadcast_to(MEAN, (1, 3, 24, 32))
    np.testing.assert_array_equal(start_of(engine, init="blank"), blank)
    resized = to_tensor(resize_image(STYLE, 32, 24))
    np.testing.assert_array_equal(start_of(engine, init=STYLE), resized)


def test_a_run_can_start_from_a_file(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "start.png"
    Image.fromarray(OTHER_STYLE).save(path)
    expected = start_of(engine, init=OTHER_STYLE)
    np.testing.assert_array_equal(start_of(engine, init=str(path)), expected)
    np.testing.assert_array_equal(start_of(engine, init=path), expected)


def test_steps_carry_on_from_an_earlier_result(engine: Engine) -> None:
    result = engine.stylize(CONTENT, STYLE, SHORT)
    second = engine.stylize(CONTENT, STYLE, replace(SHORT, init=result.image, steps=1))
    assert second.history[0].total < result.history[-1].total


def test_a_step_records_costs_and_where_it_arrived(engine: Engine) -> None:
    options = Options(
        size=32,
        steps=2,
        alpha=3,
        beta=5,
        tv=7,
        content_layers={"conv4_2": 0.5},
        style_layers={"conv5_1": 1, "conv4_1": 1, "conv3_1": 2, "conv2_1": 1, "conv1_1": 4},
    )
    steps = list(engine.iterate(CONTENT, STYLE, options))
    assert [step.iteration for step in steps] == [1, 2]
    for step in steps:
        assert list(step.content_layers) == ["conv4_2"]
        assert list(step.style_layers) == list(options.style_layers)
        assert step.content == pytest.approx(0.5 * step.content_layers["conv4_2"])
        weights = dict(options.style_layers)  # type: ignore[arg-type]
        assert step.style == pytest.approx(
            sum(weights[layer] * cost for layer, cost in step.style_layers.items())
        )
        parts = 3 * step.content + 5 * step.style + 7 * step.total_variation
        assert step.total == pytest.approx(parts)
        assert step.seconds > 0
        assert step.pixels.dtype == np.float32
        assert step.pixels.shape == (1, 3, 24, 32)
        np.testing.assert_array_equal(step.image(), to_image(step.pixels))
        assert step.image().dtype == np.uint8
        assert step.image().shape == (24, 32, 3)
    assert (steps[0].pixels != steps[1].pixels).any()


def test_costs_are_those_of_the_picture_that_a_step_starts_from(engine: Engine) -> None:
    first = next(iter(engine.iterate(CONTENT, STYLE, Options(size=32, init="content"))))
    assert first.content < 1e-12 * first.style
    neighbors = [np.diff(CONTENT.astype(float), axis=axis) for axis in (0, 1)]
    variation = sum(np.mean(difference**2) for difference in neighbors)
    assert first.total_variation == pytest.approx(variation, rel=1e-6)


def test_a_step_moves_each_pixel_by_the_learning_rate(engine: Engine) -> None:
    start = start_of(engine)
    first = next(iter(engine.iterate(CONTENT, STYLE, Options(size=32, learning_rate=3))))
    np.testing.assert_allclose(np.abs(first.pixels - start), 3, atol=1e-3)


def test_the_result_is_what_the_steps_were(engine: Engine) -> None:
    seen: list[Step] = []
    result = engine.stylize(CONTENT, STYLE, SHORT, on_step=seen.append)
    assert [step.iteration for step in seen] == [1, 2, 3]
    np.testing.assert_array_equal(result.image, seen[-1].image())
    assert [costs.total for costs in result.history] == [step.total for step in seen]
    assert all(type(costs) is Costs for costs in result.history)
    assert result.seconds == pytest.approx(sum(step.seconds for step in seen))


def test_the_result_can_be_saved(engine: Engine, tmp_path: Path) -> None:
    result = engine.stylize(CONTENT, STYLE, SHORT)
    result.save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        np.testing.assert_array_equal(np.asarray(image), result.image)


def test_a_run_can_be_stopped_early(engine: Engine) -> None:
    expected = engine.stylize(CONTENT, STYLE, replace(SHORT, steps=2))
    for step in engine.iterate(CONTENT, STYLE, Options(size=32, steps=10**9)):
        if step.iteration == 2:
            break
    np.testing.assert_array_equal(step.image(), expected.image)


def test_an_exception_of_the_callback_ends_the_run(engine: Engine) -> None:
    class StopError(Exception):
        pass

    seen: list[Step] = []

    def stop(step: Step) -> None:
        seen.append(step)
        raise StopError

    with pytest.raises(StopError):
        engine.stylize(CONTENT, STYLE, SHORT, on_step=stop)
    assert len(seen) == 1


def test_runs_can_take_turns(engine: Engine) -> None:
    alone = engine.stylize(CONTENT, STYLE, SHORT)
    runs = [engine.iterate(CONTENT, STYLE, SHORT) for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.image(), alone.image)


def test_threads_can_share_an_engine() -> None:
    """Sessions are made by whichever thread comes first; results are those of runs alone."""
    choices = [
        (CONTENT, STYLE, SHORT),
        (waves(16, 33, seed=4), OTHER_STYLE, replace(SHORT, init="content", seed=3)),
        (OTHER_STYLE, CONTENT, replace(SHORT, size=40, style_layers=("conv1_1", "conv2_2"))),
    ]
    shared, own = Engine("cpu", threads=1), Engine("cpu", threads=1)
    with ThreadPoolExecutor(2 * len(choices)) as pool:
        together = list(pool.map(lambda choice: shared.stylize(*choice), choices * 2))
    for choice, *results in zip(choices, together[:3], together[3:], strict=True):
        expected = own.stylize(*choice)
        for result in results:
            assert result.image.tobytes() == expected.image.tobytes()
            assert result.history == expected.history


def test_every_kind_of_input_gives_the_same_picture(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "content.png"
    Image.fromarray(CONTENT).save(path)
    expected = engine.stylize(CONTENT, STYLE, SHORT).image
    with path.open("rb") as file, Image.open(path) as image:
        kinds: list[Any] = [
            str(path),
            path,
            file,
            io.BytesIO(path.read_bytes()),
            image,
            CONTENT[:, :, :],
        ]
        for kind in kinds:
            np.testing.assert_array_equal(engine.stylize(kind, STYLE, SHORT).image, expected)


def test_arrays_need_not_be_contiguous_and_are_left_as_they_are(engine: Engine) -> None:
    flipped = np.asfortranarray(CONTENT[::-1, ::-1])
    before, style = flipped.copy(), STYLE.copy()
    flipped.setflags(write=False)
    result = engine.stylize(flipped, style, replace(SHORT, init=flipped))
    copied = engine.stylize(before, STYLE, replace(SHORT, init=before))
    np.testing.assert_array_equal(result.image, copied.image)
    np.testing.assert_array_equal(flipped, before)
    np.testing.assert_array_equal(style, STYLE)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (37, 53), (17, 31), (64, 48)])
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_any_size_from_16_pixels_works(
    engine: Engine, width: int, height: int, pooling: str
) -> None:
    options = Options(width=width, height=height, steps=2, pooling=pooling)
    result = engine.stylize(CONTENT, STYLE, options)
    assert result.image.shape == (height, width, 3)
    assert result.history[1].total < result.history[0].total


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (Options(size=40), (40, 30)),
        (Options(size=512, width=24), (24, 18)),
        (Options(height=48), (64, 48)),
        (Options(width=50, height=20), (50, 20)),
    ],
)
def test_the_picture_has_the_size_asked_for(
    engine: Engine, options: Options, size: tuple[int, int]
) -> None:
    content = waves(60, 80, seed=5)
    result = engine.stylize(content, STYLE, replace(options, steps=1))
    assert result.image.shape == (size[1], size[0], 3)


def test_the_style_is_scaled_to_the_area_of_the_picture(engine: Engine) -> None:
    large, options = waves(64, 64, seed=6), Options(width=32, height=32, steps=2)
    expected = engine.stylize(OTHER_STYLE, resize_image(large, 32, 32), options)
    result = engine.stylize(OTHER_STYLE, large, options)
    np.testing.assert_array_equal(result.image, expected.image)
    double = engine.stylize(OTHER_STYLE, large, replace(options, style_scale=2))
    assert (double.image != expected.image).any()


def test_equal_styles_count_as_one(engine: Engine) -> None:
    one = engine.stylize(CONTENT, STYLE, SHORT)
    for styles in ([STYLE], (STYLE, STYLE), [STYLE, STYLE, STYLE, STYLE]):
        blended = engine.stylize(CONTENT, styles, SHORT)
        assert blended.history[-1].total == pytest.approx(one.history[-1].total, rel=1e-4)


def test_styles_are_blended_by_their_weights(engine: Engine) -> None:
    styles = [STYLE, OTHER_STYLE]
    first, second = (engine.stylize(CONTENT, style, SHORT) for style in styles)
    for weights, alone in (((1, 0), first), ((0, 2.5), second)):
        result = engine.stylize(CONTENT, styles, replace(SHORT, style_weights=weights))
        assert result.history == alone.history
    even, third, scaled = (
        engine.stylize(CONTENT, styles, replace(SHORT, style_weights=weights)).history[0].style
        for weights in (None, (1, 3), (0.5, 1.5))
    )
    assert third == scaled
    assert len({even, third, first.history[0].style, second.history[0].style}) == 4


@pytest.mark.parametrize("weights", [(1e39, 1e39), (1e-46, 1e-46)])
def test_only_the_ratio_of_style_weights_matters(
    engine: Engine, weights: tuple[float, float]
) -> None:
    even, extreme = (
        engine.stylize(CONTENT, [STYLE, OTHER_STYLE], replace(SHORT, style_weights=pair))
        for pair in ((1, 1), weights)
    )
    assert even.history == extreme.history


def test_total_variation_smooths(engine: Engine) -> None:
    plain, smooth = (
        engine.stylize(CONTENT, STYLE, Options(size=32, steps=10, learning_rate=8, tv=weight))
        for weight in (0, 1e9)
    )
    last_plain, last_smooth = plain.history[-1], smooth.history[-1]
    assert last_smooth.total_variation < last_plain.total_variation / 2
    assert plain.history[0].total_variation == smooth.history[0].total_variation > 0


def test_costs_with_weight_0_pull_at_nothing(engine: Engine) -> None:
    still = engine.stylize(CONTENT, STYLE, replace(SHORT, alpha=0, beta=0, init="content"))
    np.testing.assert_array_equal(still.image, CONTENT)
    reached = engine.stylize(
        CONTENT, STYLE, Options(size=32, steps=40, beta=0, learning_rate=6, noise_ratio=0.2)
    )
    assert reached.history[-1].content < reached.history[0].content / 10


def test_layers_may_be_left_out_on_either_side(engine: Engine) -> None:
    texture = engine.stylize(CONTENT, STYLE, replace(SHORT, content_layers=()))
    assert texture.history[0].content == 0
    assert texture.history[-1].total < texture.history[0].total
    picture = engine.stylize(CONTENT, STYLE, replace(SHORT, style_layers={}))
    assert picture.history[0].style == 0
    assert picture.history[-1].total < picture.history[0].total


def test_layers_without_a_shipped_graph_are_derived_and_cached(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = replace(SHORT, content_layers=("conv1_1",), style_layers=("conv2_1", "conv1_2"))
    result = engine.stylize(CONTENT, STYLE, options)
    assert list(result.history[0].style_layers) == ["conv2_1", "conv1_2"]
    files = {path: path.stat().st_mtime_ns for path in cache_directory().iterdir()}
    assert len(files) == 2
    again = Engine("cpu", threads=2, kernel="direct").stylize(CONTENT, STYLE, options)
    assert again.history == result.history
    assert {path: path.stat().st_mtime_ns for path in cache_directory().iterdir()} == files


def test_activations_come_by_layer(engine: Engine) -> None:
    activations = engine.activations(waves(37, 53, seed=7), LAYERS)
    assert list(activations) == list(LAYERS)
    assert activations["conv1_2"].shape == (1, 64, 37, 53)
    assert activations["conv3_4"].shape == (1, 256, 9, 13)
    assert activations["conv5_4"].shape == (1, 512, 2, 3)
    for activation in activations.values():
        assert activation.dtype == np.float32
        assert activation.min() == 0
    assert engine.activations(CONTENT, []) == {}


def test_activations_have_the_pooling_asked_for(engine: Engine) -> None:
    average, largest = (
        engine.activations(CONTENT, ["conv1_1", "conv2_1"], pooling)
        for pooling in ("average", "max")
    )
    np.testing.assert_array_equal(average["conv1_1"], largest["conv1_1"])
    assert largest["conv2_1"].mean() > average["conv2_1"].mean()


def test_the_network_takes_red_green_blue(engine: Engine) -> None:
    """Filter 0 at an inner pixel, with the weights that are published."""
    from torch_reference import shipped_weights

    layer = shipped_weights().layers["conv1_1"]
    patch = (to_tensor(CONTENT) - MEAN)[0, :, 9:12, 19:22].astype(np.float64)
    sums = (layer.decoded() * patch).sum(axis=(1, 2, 3)) + layer.bias
    actual = engine.activations(CONTENT, ["conv1_1"])["conv1_1"][0, :, 10, 20]
    np.testing.assert_allclose(actual, sums.clip(0), rtol=1e-5, atol=1e-3)


def test_the_engine_does_not_print(engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    engine.stylize(CONTENT, STYLE, SHORT)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("rate", [1e6, 1e12, 1e20, 1e38, 1e300])
def test_numbers_that_overflow_end_the_run_with_the_last_good_picture(
    engine: Engine, rate: float
) -> None:
    """The last one of which the costs are finite; step 0 is the start."""
    pictures = [to_image(start_of(engine))]
    options = Options(size=32, steps=9, learning_rate=rate)
    with pytest.raises(NonFiniteCostError, match=r"step \d+; the picture is that of") as caught:
        engine.stylize(CONTENT, STYLE, options, on_step=lambda step: pictures.append(step.image()))
    result = caught.value.result
    last_good = len(result.history) - 1
    assert f"the picture is that of step {last_good}: " in str(caught.value)
    np.testing.assert_array_equal(result.image, pictures[last_good])
    assert all(np.isfinite(costs.total) for costs in result.history)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_picture_that_is_not_finite_is_never_the_result(engine: Engine, steps: int) -> None:
    """The costs of the picture after the last step are not computed."""
    options = Options(size=32, steps=steps, learning_rate=1e39)
    with pytest.raises(NonFiniteCostError, match="a pixel is not finite after step 1; ") as caught:
        engine.stylize(CONTENT, STYLE, options)
    np.testing.assert_array_equal(caught.value.result.image, to_image(start_of(engine)))


@pytest.mark.parametrize("option", ["alpha", "beta", "tv"])
def test_a_weight_that_overflows_ends_the_run_with_the_start(engine: Engine, option: str) -> None:
    weight: dict[str, Any] = {option: 1e39}
    options = replace(SHORT, **weight)
    with pytest.raises(NonFiniteCostError, match=r"step 1; the picture is that of step 0: "):
        engine.stylize(CONTENT, STYLE, options)


def test_the_error_with_the_picture_can_be_sent_to_another_process(engine: Engine) -> None:
    with pytest.raises(NonFiniteCostError) as caught:
        engine.stylize(CONTENT, STYLE, Options(size=32, steps=5, learning_rate=1e20))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert isinstance(copy.result, Result)
    np.testing.assert_array_equal(copy.result.image, caught.value.result.image)


def test_an_unknown_device_lists_the_known_ones() -> None:
    message = r"unknown device 'tpu', accepted are auto, cpu, cuda, .*CPUExecutionProvider"
    with pytest.raises(DeviceError, match=message):
        Engine("tpu")


def test_cuda_needs_its_provider() -> None:
    message = r"the installed onnxruntime has no CUDAExecutionProvider \(it has .*\): "
    with pytest.raises(DeviceError, match=message + r".*pip install 'ortist\[gpu\]'"):
        Engine("cuda")


def test_auto_falls_back_to_the_cpu_and_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="ortist"):
        engine = Engine()
    assert engine.provider == "CPUExecutionProvider"
    assert caplog.messages == ["onnxruntime has no CUDA provider; using the CPU"]


def test_a_provider_that_does_not_start_is_an_error_or_gives_way_to_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sessions, "_provider", lambda *_: "AbacusExecutionProvider")
    with pytest.raises(DeviceError, match=r"^AbacusExecutionProvider did not start: ") as caught:
        Engine("abacus")
    assert "\n" not in str(caught.value)
    engine = Engine("auto")
    assert engine.provider == "CPUExecutionProvider"
    assert caplog.messages == [f"{caught.value}; using the CPU"]
    assert engine.activations(CONTENT, ["conv1_1"])["conv1_1"].shape == (1, 64, 24, 32)
    assert capfd.readouterr() == ("", "")


def test_a_run_that_fails_is_one_line(engine: Engine) -> None:
    graph = engine._graphs.get("features", Choice.of("average"), CONTENT.size)
    with pytest.raises(OrtistError, match=r"cannot run .*average-features\.onnx: ") as caught:
        graph.run(["conv1_1"], {"image": np.zeros((3, 24, 32), np.float32)})
    assert "\n" not in str(caught.value)


def test_a_run_can_be_canceled_within_an_evaluation() -> None:
    engine = Engine(threads=1)
    options = Options(size=384, steps=9)
    run = engine.iterate(waves(256, 384, seed=1), STYLE, options)
    other = engine.iterate(CONTENT, STYLE, replace(SHORT, steps=2))
    first, whole = next(run), next(run).seconds
    threading.Timer(whole / 4, run.cancel).start()
    begin = time.perf_counter()
    with pytest.raises(CanceledError, match=r"^the run was canceled$"):
        next(run)
    assert time.perf_counter() - begin < whole * 3 / 4
    with pytest.raises(CanceledError, match=r"^the run was canceled$"):
        next(run)
    assert not np.array_equal(run.picture, first.pixels)  # that of the second step
    assert len(list(other)) == 2


def test_a_run_can_be_canceled_before_it_has_begun() -> None:
    run = Engine(threads=1).iterate(CONTENT, STYLE, SHORT)
    run.cancel()
    with pytest.raises(CanceledError):
        next(run)


def test_the_graphs_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ortist.engine.graphs.MAX_GRAPHS", 2)
    engine = Engine("cpu", 1)
    for pooling in POOLINGS:
        engine.activations(CONTENT, ["conv1_1"], pooling)
    engine.stylize(CONTENT, STYLE, replace(SHORT, steps=1))
    assert {kind for kind, _ in engine._graphs._kept._slots} == {"measure", "gradient"}


def test_graphs_for_large_pictures_go_with_their_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ortist.engine.graphs.SMALL_PIXELS", 24 * 32 - 1)
    engine = Engine("cpu", 1)
    alive = weakref.WeakSet[Graph]()
    load = engine._graphs.load

    def watched(kind: Kind, choice: Choice, pixels: int) -> Graph:
        # Of the graphs of the scale before, none is left when those of the next are loaded.
        assert len(alive) < 2
        graph = load(kind, choice, pixels)
        alive.add(graph)
        return graph

    monkeypatch.setattr(engine._graphs, "load", watched)
    engine.activations(CONTENT, ["conv1_1"])
    assert not alive
    steps = engine.iterate(CONTENT, STYLE, replace(SHORT, steps=4, scales=2, width=64, height=48))
    assert [step.scale for step in steps] == [1, 1, 2, 2]
    assert not engine._graphs._kept._slots
    del steps
    assert not alive


@pytest.mark.parametrize("pieces", [False, True])
def test_targets_are_placed_where_graphs_run_once(
    monkeypatch: pytest.MonkeyPatch, pieces: bool
) -> None:
    placed: list[tuple[int, ...]] = []
    place = Device.place

    def counted(device: Device, array: Map) -> Placed:
        placed.append(array.shape)
        return place(device, array)

    monkeypatch.setattr(Device, "place", counted)
    run = Engine("cpu", 1, kernel="winograd", pieces=pieces).iterate(CONTENT, STYLE, SHORT)
    next(run)
    ready = len(placed)
    next(run)
    (height, width), costs = run.picture.shape[2:], len(weighted_parts(SHORT))
    statistics = 8 if pieces else 0  # content, five Gram matrices, two sums of variation
    moved = placed[ready:]
    assert moved.count((1, 3, height, width)) == 1 + pieces
    assert moved.count((costs,)) == 1
    assert len(moved) == 2 + pieces + 2 * statistics


def test_what_a_graph_returns_does_not_keep_its_memory() -> None:
    (activation,) = Engine("cpu", 1).activations(CONTENT, ["conv1_1"]).values()
    assert activation.base is None


def test_sparing_memory_makes_no_difference_to_the_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = replace(SHORT, statistic="w2", steps=2)

    def pictures() -> list[Pixels]:
        engines = (Engine("cpu", 1, kernel=kernel) for kernel in ("direct", "winograd"))
        return [engine.stylize(CONTENT, STYLE, options).image for engine in engines]

    plain = pictures()
    monkeypatch.setattr("ortist.engine.graphs.SMALL_PIXELS", 0)
    monkeypatch.setattr("ortist.engine.sessions.FEW_PIXELS", 0)
    monkeypatch.setattr("ortist.engine.sessions.MANY_PIXELS", 0)
    assert np.array_equal(plain, pictures())


def test_a_graph_that_failed_to_load_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine("cpu", 1)
    load = engine._graphs.load
    attempts = []

    def failing_once(kind: Kind, choice: Choice, pixels: int) -> Graph:
        attempts.append(kind)
        if len(attempts) == 1:
            raise ArtifactError("not now")
        return load(kind, choice, pixels)

    monkeypatch.setattr(engine._graphs, "load", failing_once)
    with pytest.raises(ArtifactError, match="not now"):
        engine.activations(CONTENT, ["conv1_1"])
    assert "conv1_1" in engine.activations(CONTENT, ["conv1_1"])


@pytest.mark.parametrize("device", ["cpu", "CPUExecutionProvider"])
def test_a_device_can_be_named_by_its_provider(device: str) -> None:
    assert Engine(device).provider == "CPUExecutionProvider"


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_threads_are_whole_numbers_from_1(threads: Any) -> None:
    with pytest.raises(
        DeviceError, match=f"threads is {threads}, accepted are whole numbers from 1"
    ):
        Engine("cpu", threads)


def test_a_models_folder_may_be_elsewhere(engine: Engine, tmp_path: Path) -> None:
    folder = shutil.copytree(str(resources.files("ortist.models")), tmp_path / "models")
    elsewhere = Engine("cpu", threads=2, models=folder, kernel="direct")
    expected, actual = (one.stylize(CONTENT, STYLE, SHORT) for one in (engine, elsewhere))
    assert actual.image.tobytes() == expected.image.tobytes()
    # It is that folder's files which are used.
    (Path(folder) / "vgg19.weights").write_bytes(b"other weights")
    with pytest.raises(ArtifactError, match=r"models/vgg19\.weights is corrupt"):
        Engine("cpu", models=folder).stylize(CONTENT, STYLE, SHORT)


def test_a_missing_models_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot read .*none/manifest\.json"):
        Engine(models=tmp_path / "none")


def test_a_relative_models_folder_is_found_after_a_change_of_directory(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(str(resources.files("ortist.models"))).parent)
    moved = Engine("cpu", threads=2, models="models")
    monkeypatch.chdir(tmp_path)
    expected, actual = (one.activations(CONTENT, ["conv1_1"]) for one in (engine, moved))
    np.testing.assert_array_equal(actual["conv1_1"], expected["conv1_1"])


BAD_INPUTS: dict[str, tuple[Any, Any, str]] = {
    "missing file": ("none.png", STYLE, "content image 'none.png' does not exist"),
    "missing style": (CONTENT, "none.png", "style image 'none.png' does not exist"),
    "second style": (CONTENT, [STYLE, "none.png"], "style image 'none.png' does not exist"),
    "no styles": (CONTENT, [], "no style image given"),
    "small content": (waves(15, 40, 1), STYLE, "content image is 40x15 pixels; each side needs"),
    "small style": (CONTENT, waves(40, 15, 1), "style image is 15x40 pixels; each side needs"),
    "thin": (waves(16, 80, 1), STYLE, "the picture is 32x6 pixels; each side needs at least 16"),
    "floats": (CONTENT / 255, STYLE, r"content image is an array of float64 \(24, 32, 3\); uint8"),
    "gray array": (CONTENT, STYLE[..., 0], r"style image is an array of uint8 \(40, 28\); uint8"),
    "none": (None, STYLE, "content image is of type NoneType; accepted are a path"),
    "bytes": (CONTENT, b"no path", "style image is of type bytes; accepted are a path"),
    "text file": (io.BytesIO(b"text"), STYLE, "content image is not an image in a known format"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_pictures_are_errors_before_the_first_step(engine: Engine, name: str) -> None:
    content, style, message = BAD_INPUTS[name]
    with pytest.raises(InputError, match=message):
        engine.iterate(content, style, SHORT)


def test_pictures_over_the_limit_are_errors(engine: Engine) -> None:
    limited = Options(size=32, steps=1, max_pixels=900)
    with pytest.raises(InputError, match=r"content image has 1024 pixels .*raise max_pixels"):
        engine.iterate(OTHER_STYLE, STYLE, limited)
    with pytest.raises(InputError, match="the picture has 3072 pixels"):
        engine.iterate(CONTENT, CONTENT, replace(limited, size=64))
    with pytest.raises(InputError, match="style image has 1120 pixels"):
        engine.iterate(CONTENT, STYLE, limited)
    with pytest.raises(InputError, match="scaled style image has 3072 pixels"):
        engine.iterate(CONTENT, CONTENT, replace(limited, style_scale=2))
    with pytest.raises(InputError, match="init image has 1024 pixels"):
        engine.iterate(CONTENT, CONTENT, replace(limited, init=OTHER_STYLE))


def test_a_bad_start_is_an_error(engine: Engine) -> None:
    with pytest.raises(InputError, match=r"^init is none of noise, .* 'noise\.png' does not exist"):
        engine.plan(CONTENT, STYLE, replace(SHORT, init="noise.png"))


def test_style_weights_must_match_the_styles(engine: Engine) -> None:
    options = replace(SHORT, style_weights=(1, 2, 3))
    with pytest.raises(InputError, match="style_weights has 3 weights for 2 style images"):
        engine.iterate(CONTENT, [STYLE, STYLE], options)


def test_unknown_layers_and_poolings_have_no_activations(engine: Engine) -> None:
    with pytest.raises(
        InputError, match="layers has unknown layer 'conv6_1', accepted are conv1_1, "
    ):
        engine.activations(CONTENT, ["conv1_1", "conv6_1"])
    with pytest.raises(InputError, match="layers is 'conv4_2', accepted are several layers"):
        engine.activations(CONTENT, "conv4_2")
    with pytest.raises(InputError, match="pooling is 'sum', accepted are average, max, l2"):
        engine.activations(CONTENT, ["conv1_1"], "sum")


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 15}, "size is 15, accepted are whole numbers from 16"),
        ({"size": 32.0}, "size is 32.0, accepted are whole numbers from 16"),
        ({"size": None}, "size is None, accepted are whole numbers from 16"),
        ({"width": 0}, "width is 0, accepted are whole numbers from 16"),
        ({"height": "64"}, "height is '64', accepted are whole numbers from 16"),
        ({"steps": 0}, "steps is 0, accepted are whole numbers from 1"),
        ({"steps": -5}, "steps is -5, accepted are whole numbers from 1"),
        ({"seed": -1}, "seed is -1, accepted are whole numbers from 0"),
        ({"max_pixels": 255}, "max_pixels is 255, accepted are whole numbers from 256"),
        ({"learning_rate": 0}, "learning_rate is 0, accepted are numbers above 0"),
        ({"learning_rate": -2.0}, r"learning_rate is -2\.0, accepted are numbers above 0"),
        ({"learning_rate": INFINITY}, "learning_rate is inf, accepted are numbers above 0"),
        ({"style_scale": NAN}, "style_scale is nan, accepted are numbers above 0"),
        ({"alpha": -1}, "alpha is -1, accepted are numbers from 0, or over the run '1,10'"),
        ({"beta": NAN}, "beta is nan, accepted are numbers from 0"),
        ({"tv": INFINITY}, "tv is inf, accepted are finite numbers from 0"),
        ({"noise_ratio": 1.5}, r"noise_ratio is 1\.5, accepted are 0 to 1"),
        (
            {"noise_ratio": 0.5, "init": "content"},
            "noise_ratio is for noise, but init is 'content'",
        ),
        ({"noise_ratio": 0.5, "init": CONTENT}, "noise_ratio is for noise, but init is array"),
        ({"noise_ratio": NAN}, "noise_ratio is nan, accepted are 0 to 1"),
        ({"pooling": "sum"}, "pooling is 'sum', accepted are average, max, l2"),
        (
            {"style_layers": ("conv1_1", "relu1_1")},
            "style_layers has unknown layer 'relu1_1', accepted are conv1_1, conv1_2, .*conv5_4",
        ),
        ({"content_layers": {"fc6": 1.0}}, "content_layers has unknown layer 'fc6', accepted are"),
        ({"style_layers": ("conv1_1", "conv2_1", "conv1_1")}, "style_layers has conv1_1 twice"),
        (
            {"style_layers": {"conv1_1": -0.5}},
            r"style_layers weight of conv1_1 is -0\.5, accepted are finite numbers from 0",
        ),
        (
            {"content_layers": {"conv4_2": NAN}},
            "content_layers weight of conv4_2 is nan, accepted are finite numbers from 0",
        ),
        (
            {"content_layers": (), "style_layers": {}},
            "content_layers and style_layers are both empty",
        ),
        ({"style_weights": (1, -1)}, "style_weights is -1, accepted are finite numbers from 0"),
        ({"learning_rate": "0,1"}, "learning_rate is '0,1', accepted are numbers above 0"),
        ({"beta": "1,2@0.5,3@0.4"}, "beta is '1,2@0.5,3@0.4', accepted are numbers from 0"),
        ({"beta": "1,2", "optimizer": "lbfgs"}, "beta changes over the run, for which optimizer"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd', accepted are adam, lbfgs"),
        ({"averaging": 1}, "averaging is 1, accepted are 0 to below 1"),
        ({"scales": 0}, "scales is 0, accepted are whole numbers from 1"),
        ({"learning_rate": 10**400}, "learning_rate is 10+…, accepted are numbers above 0"),
        ({"optimizer": "lbfgs", "learning_rate": 3}, "learning_rate is for adam, but optimizer is"),
        (
            {"optimizer": "lbfgs", "averaging": 0.9},
            "averaging is for adam, but optimizer is 'lbfgs'",
        ),
        ({"alpha": None}, "alpha is None, accepted are numbers from 0"),
        ({"noise_ratio": "1"}, "noise_ratio is '1', accepted are 0 to 1"),
        ({"style_scale": 1e200}, r"style_scale is 1e\+200, accepted are .* above 0 up to 1000"),
        ({"style_layers": "conv1_1"}, "style_layers is 'conv1_1', accepted are several layers"),
        ({"content_layers": None}, "content_layers is None, accepted are several layers"),
        ({"style_layers": (["conv1_1"],)}, r"style_layers has unknown layer \['conv1_1'\], "),
        ({"style_layers": {"conv1_1": "1"}}, "style_layers weight of conv1_1 is '1', accepted"),
        ({"style_weights": 1}, "style_weights is 1, accepted is a sequence of numbers"),
        ({"style_weights": (1e308, 1e308)}, "style_weights have an infinite sum"),
        ({"style_weights": (0, 0)}, "style_weights are all 0, accepted is a sum above 0"),
    ],
)
def test_options_out_of_range_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**options)


def test_options_take_numpys_integers() -> None:
    sizes: Any = np.array([64, 48])
    options = Options(width=sizes[0], height=sizes[1])
    assert (options.width, options.height) == (64, 48)


def test_options_are_immutable() -> None:
    with pytest.raises(AttributeError):
        Options().steps = 3  # type: ignore[misc]


def test_the_defaults_are_the_notebooks_recipe() -> None:
    options = Options()
    assert (options.alpha, options.beta, options.learning_rate) == (10, 40, 2)
    assert (options.steps, options.init, options.noise_ratio) == (200, "noise", 0.6)
    assert options.pooling == "average"
    assert options.content_layers == ("conv4_2",)
    assert options.style_layers == ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")


def test_options_are_no_mapping(engine: Engine) -> None:
    options: Any = {"size": 48}
    with pytest.raises(InputError, match=r"options is {'size': 48}, accepted are Options"):
        engine.iterate(CONTENT, STYLE, options)


@pytest.mark.parametrize("rate", [2, 2.0, "2", "2.0"])
def test_the_default_learning_rate_in_any_form_suits_every_optimizer(rate: float | str) -> None:
    assert Options(optimizer="lbfgs", learning_rate=rate).learning_rate == rate


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"steps": np.uint8(200), "scales": 2}, {"steps": 200, "scales": 2}),
        ({"max_pixels": np.int32(120_000_000)}, {"max_pixels": 120_000_000}),
        ({"style_scale": np.float16(2)}, {"style_scale": 2.0}),
        ({"style_weights": np.array([200, 200], np.uint8)}, {"style_weights": (200.0, 200.0)}),
        ({"style_layers": {"conv1_1": np.float16(2)}}, {"style_layers": {"conv1_1": 2.0}}),
        ({"style_layers": ["conv1_1"]}, {"style_layers": ("conv1_1",)}),
    ],
)
def test_options_keep_values_of_pythons_own_types(
    given: dict[str, Any], plain: dict[str, Any]
) -> None:
    options = Options(**given)
    assert options == Options(**plain)
    for name, value in plain.items():
        assert type(getattr(options, name)) is type(value)


class Word(str, Enum):  # noqa: UP042
    """As web frameworks have choices; str() of one is its name."""

    LBFGS = "lbfgs"
    W2 = "w2"
    LAYER = "conv1_1"


def test_options_take_enums_of_words() -> None:
    options = Options(optimizer=Word.LBFGS, statistic=Word.W2, style_layers=[Word.LAYER])
    assert options == Options(optimizer="lbfgs", statistic="w2", style_layers=["conv1_1"])
    assert Options(style_layers={Word.LAYER: 2}).style_layers == {"conv1_1": 2.0}
    values = (options.optimizer, options.statistic, *options.style_layers)
    assert {type(value) for value in values} == {str}


def test_options_do_not_change_with_what_they_were_made_of() -> None:
    weights = {"conv1_1": 1.0}
    options = Options(style_layers=weights)
    weights["conv9_9"] = 1.0
    assert options.style_layers == {"conv1_1": 1.0}
