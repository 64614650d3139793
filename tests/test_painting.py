"""Optimizers, scales, schedules and starts with the real weights, on small pictures."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ortist.engine import ArtifactError, Engine, InputError, NonFiniteCostError, Options, Step
from ortist.engine.options import INITS
from ortist.engine.pictures import read_pictures
from ortist.engine.scene import Scene
from ortist.engine.starts import starting_picture

Pixels = NDArray[np.uint8]
RANDOM = np.random.default_rng(8)
CONTENT = RANDOM.integers(0, 256, (24, 32, 3), np.uint8)
STYLE = RANDOM.integers(0, 128, (24, 32, 3), np.uint8)
SHORT = Options(size=32, steps=6, init="content", scales=1)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("cpu", 1)


def run(engine: Engine, **changed: Any) -> list[Step]:
    return list(engine.iterate(CONTENT, STYLE, replace(SHORT, **changed)))


def cost(engine: Engine, image: Pixels) -> float:
    """J of a finished picture."""
    step = next(engine.iterate(CONTENT, STYLE, replace(SHORT, init=image)))
    return step.total


def test_lbfgs_gets_further_than_adam_and_never_back(engine: Engine) -> None:
    quick, slow = run(engine, optimizer="lbfgs", steps=12), run(engine, steps=12)
    assert cost(engine, quick[-1].image()) < 0.7 * cost(engine, slow[-1].image())
    reached = [cost(engine, step.image()) for step in quick]
    # Rounding to 8 bits moves the cost a little.
    assert all(later < earlier * 1.02 for earlier, later in itertools.pairwise(reached))
    assert quick[-1].pixels.min() >= 0
    assert quick[-1].pixels.max() <= 255


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_scales_are_painted_one_after_the_other(engine: Engine, optimizer: str) -> None:
    steps = run(engine, optimizer=optimizer, scales=2, steps=7, size=48)
    assert [step.iteration for step in steps] == list(range(1, 8))
    assert [(step.scale, step.scales) for step in steps] == [(1, 2)] * 3 + [(2, 2)] * 4
    assert [step.pixels.shape[2:] for step in steps] == [(18, 24)] * 3 + [(36, 48)] * 4
    # The finer picture starts from the coarser one, not from the start.
    assert steps[3].total < run(engine, optimizer=optimizer, steps=1, size=48)[0].total


def test_the_mean_of_the_iterates_is_the_picture(engine: Engine) -> None:
    plain, averaged = run(engine, steps=4), run(engine, steps=4, averaging=0.5)
    weights = [0.5**4, 0.5**3, 0.5**2, 0.5]
    mean = sum(w * step.pixels for w, step in zip(weights, plain, strict=True)) / sum(weights)
    np.testing.assert_allclose(averaged[-1].pixels, mean, rtol=0, atol=1e-2)


def test_weights_change_over_the_run(engine: Engine) -> None:
    steps = run(engine, beta="0,40@0.5", alpha="10|20@0.5", steps=5, learning_rate="1,3")
    for step, alpha, beta in zip(steps, (10, 10, 20, 20, 20), (0, 20, 40, 40, 40), strict=True):
        assert step.total == pytest.approx(alpha * step.content + beta * step.style)
    moves = [
        np.abs(after.pixels - before.pixels).max() for before, after in itertools.pairwise(steps)
    ]
    assert moves[-1] > moves[0]


def test_normalized_costs_have_gradients_of_one_size(engine: Engine) -> None:
    options = replace(SHORT, normalize=True, init="noise")
    scene = read_pictures(CONTENT, STYLE, options).at(32, 24)
    start = starting_picture(scene, options, (120.0, 120.0, 120.0))
    for weighted in ("conv1_1", "conv4_1"):
        # Only one cost counts: its gradient, whatever its size was, has the size of its weight.
        one = replace(options, alpha=0, beta=1, style_layers={weighted: 3.0})
        objective = engine._objective(scene, one)
        objective.factors = objective.balancing_factors(start)
        evaluation = objective.evaluate(start)
        assert np.abs(evaluation.gradient).mean() == pytest.approx(3.0, rel=1e-4)
        assert evaluation.value != evaluation.costs.total


def test_normalized_weights_are_measured_off_the_content(engine: Engine) -> None:
    """At the content itself the content cost has no derivative that its size could be taken of."""
    layers = {"content_layers": ("conv2_1",), "style_layers": ("conv1_1",)}
    plain, equal = (
        run(engine, **layers, normalize=True, optimizer="lbfgs", scales=2, steps=16, alpha=alpha)
        for alpha in (0.0, 40.0)
    )
    assert equal[-1].content < plain[-1].content / 2


@pytest.mark.parametrize("init", INITS)
def test_every_start_is_repeatable_and_has_the_size(engine: Engine, init: str) -> None:
    options = replace(SHORT, init=init)
    both, one = Scene.whole(CONTENT, [STYLE, CONTENT]), Scene.whole(CONTENT, [STYLE])
    first, again = (starting_picture(both, options, (123.0, 117.0, 104.0)) for _ in range(2))
    assert first.shape == (1, 3, 24, 32)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    other = starting_picture(one, replace(options, seed=1), (123.0, 117.0, 104.0))
    assert np.array_equal(first, other) == (init in ("content", "blank"))


def test_noise_in_the_colors_of_the_style_has_their_statistics() -> None:
    big = np.repeat(np.repeat(CONTENT, 8, 0), 8, 1)
    style = np.zeros((40, 50, 3), np.uint8) + np.array([200, 30, 90], np.uint8)
    style[:20] += np.array([20, 40, 0], np.uint8)
    scene = Scene.whole(big, [style])
    noise = starting_picture(scene, replace(SHORT, init="style"), (0.0, 0.0, 0.0))[0]
    colors = style.reshape(-1, 3).astype(float)
    np.testing.assert_allclose(noise.mean(axis=(1, 2)), colors.mean(axis=0), atol=0.5)
    np.testing.assert_allclose(np.cov(noise.reshape(3, -1)), np.cov(colors.T), atol=8)


def test_a_run_that_overflows_keeps_the_last_good_picture(engine: Engine) -> None:
    with pytest.raises(NonFiniteCostError, match="not finite after step 1") as caught:
        run(engine, optimizer="lbfgs", alpha=1e38, beta=1e38)
    np.testing.assert_array_equal(caught.value.result.image, CONTENT)


def test_a_trial_that_goes_wrong_is_not_told_as_the_cost(engine: Engine) -> None:
    steps = run(engine, optimizer="lbfgs", steps=25)
    totals = [step.total for step in steps]
    assert totals == sorted(totals, reverse=True)
    assert cost(engine, steps[-1].image()) == pytest.approx(totals[-1], rel=0.02)


def test_weights_of_any_size_give_the_same_picture(engine: Engine) -> None:
    usual, tiny = (
        run(engine, optimizer="lbfgs", steps=8, alpha=10 * factor, beta=40 * factor)
        for factor in (1.0, 2.0**-100)
    )
    np.testing.assert_array_equal(usual[-1].image(), tiny[-1].image())


def test_arrays_may_change_while_the_run_goes_on(engine: Engine) -> None:
    content, style = CONTENT.copy(), STYLE.copy()
    options = replace(SHORT, scales=2, steps=4)
    steps = [next(running := engine.iterate(content, style, options))]
    content[:], style[:] = 0, 255
    steps += running
    expected = list(engine.iterate(CONTENT, STYLE, options))
    np.testing.assert_array_equal(steps[-1].pixels, expected[-1].pixels)


def test_a_picture_to_start_from_is_not_made_small_first(engine: Engine) -> None:
    content = np.repeat(np.repeat(CONTENT, 20, 0), 20, 1)
    large = Options(size=640, steps=8)
    assert len(read_pictures(content, STYLE, large).scales(large)) > 1
    large = replace(large, init=content)
    assert len(read_pictures(content, STYLE, large).scales(large)) == 1
    large = replace(large, scales=2)
    assert len(read_pictures(content, STYLE, large).scales(large)) == 2


def test_threads_paint_on_when_the_main_one_has_ended() -> None:
    code = (
        "import threading, numpy as np\n"
        "from ortist.engine import Engine, Options\n"
        "picture = np.zeros((24, 32, 3), np.uint8)\n"
        "paint = lambda: print(len(Engine('cpu', 1).stylize(picture, picture + 9,"
        " Options(size=32, steps=2, scales=2)).history))\n"
        "threading.Thread(target=paint).start()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_graphs_of_all_scales_are_found_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(str(resources.files("ortist.models")), tmp_path / "models")
    (tmp_path / "models" / "vgg19-average-gradient-gram-winograd4.onnx").write_bytes(b"")
    monkeypatch.setattr("ortist.engine.graphs.WINOGRAD_MIN_PIXELS", 24 * 32)
    damaged = Engine("cpu", 1, tmp_path / "models")
    with pytest.raises(ArtifactError, match=r"gradient-gram-winograd4\.onnx is corrupt"):
        damaged.iterate(CONTENT, STYLE, replace(SHORT, scales=2))


def test_errors_come_before_the_first_step(engine: Engine) -> None:
    with pytest.raises(InputError):
        engine.iterate(CONTENT, STYLE, replace(SHORT, style_scale=0.5, init="nowhere.png"))


@pytest.mark.parametrize("changed", [{"statistic": "w2"}, {"pooling": "l2", "rescaled": True}])
def test_other_statistics_and_poolings_are_minimized(
    engine: Engine, changed: dict[str, Any]
) -> None:
    steps = run(engine, optimizer="lbfgs", steps=8, alpha=0, **changed)
    assert steps[-1].total < 0.5 * steps[0].total
    # The statistics of a picture are as far from themselves as rounding makes them.
    same = next(engine.iterate(STYLE, STYLE, replace(SHORT, alpha=0, **changed)))
    assert same.total < 1e-2 * steps[0].total
