"""Runs whose state is kept, and that go on from it in another process."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ortist.engine import CanceledError, Engine, InputError, NonFiniteCostError, Options
from ortist.engine import run as run_module
from ortist.engine.run import Run
from ortist.engine.scene import Area, Scene, Style
from ortist.engine.starts import GRAIN, GRAIN_STEPS, grained, starting_picture
from ortist.engine.storage import BLOCK, IN_MEMORY, Storage

Pixels = NDArray[np.uint8]
RANDOM = np.random.default_rng(8)
CONTENT = RANDOM.integers(0, 256, (36, 48, 3), np.uint8)
STYLE = RANDOM.integers(0, 128, (24, 32, 3), np.uint8)

CHOICES: dict[str, dict[str, Any]] = {
    "lbfgs": {"optimizer": "lbfgs", "init": "content", "statistic": "w2", "beta": 160.0},
    "adam": {"averaging": 0.9, "beta": "1,40@0.5", "learning_rate": "4,1", "init": "style"},
    "adam, normalized": {"normalize": True, "init": "normal", "seed": 3},
    "neighbors": {"content_cost": "neighbors", "optimizer": "lbfgs", "normalize": True},
}
STEPS = 12

# Goes on from each state that is named, and prints what the picture is at the end.
GO_ON = """
import hashlib, sys
import numpy as np
from test_run import resumed
for path in sys.argv[2:]:
    run = resumed(sys.argv[1])
    run.restore(dict(np.load(path)))
    for _ in run:
        pass
    print(hashlib.sha256(run.picture.tobytes()).hexdigest())
"""


@functools.cache
def engine() -> Engine:
    return Engine("cpu", 1)


def resumed(choice: str, **changed: Any) -> Run:
    options = Options(size=88, steps=STEPS, scales=3, **CHOICES[choice])
    return engine().iterate(CONTENT, STYLE, replace(options, **changed))


@pytest.mark.parametrize("choice", CHOICES)
def test_a_run_restored_in_another_process_ends_with_the_same_bytes(
    choice: str, tmp_path: Path
) -> None:
    """From its state at every step, the first and the last included."""
    run = resumed(choice)
    paths = []
    scales = set()
    for count in range(STEPS + 1):
        paths.append(tmp_path / f"{count}.npz")
        np.savez(paths[-1], **run.state())
        step = next(run, None)
        scales.add(step.scale if step else 0)
    assert scales == {0, 1, 2, 3}
    assert len(run.history) == STEPS
    expected = hashlib.sha256(run.picture.tobytes()).hexdigest()
    command = [sys.executable, "-c", GO_ON, choice, *map(str, paths)]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [expected] * (STEPS + 1)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_run_that_went_on_can_start_again(choice: str) -> None:
    run = resumed(choice)
    state = run.state()
    first = [step.pixels for step in run]
    run.restore(state)
    np.testing.assert_array_equal([step.pixels for step in run][-1], first[-1])


def test_a_state_has_what_was_done_before() -> None:
    run = resumed("adam")
    steps = [next(run) for _ in range(5)]
    other = resumed("adam")
    other.restore(run.state())
    assert other.history == run.history
    assert other.seconds == run.seconds == sum(step.seconds for step in steps)
    after = next(other)
    assert (after.iteration, after.scale) == (6, 2)
    assert after.total == next(run).total


def test_a_state_is_not_changed_by_going_on() -> None:
    run = resumed("adam")
    next(run)
    state = run.state()
    before = {name: value.copy() for name, value in state.items()}
    for _ in run:
        pass
    for name, value in state.items():
        np.testing.assert_array_equal(value, before[name])


def test_a_state_of_another_run_is_refused() -> None:
    run = resumed("lbfgs")
    next(run)
    for changed in ({"size": 96}, {"scales": 1}, {"optimizer": "adam"}):
        with pytest.raises(InputError, match="the state is not one of this run: "):
            resumed("lbfgs", **changed).restore(run.state())
    with pytest.raises(InputError, match="the state is not one of this run: 'scale'"):
        run.restore({})


@pytest.mark.parametrize(
    "damage",
    [
        {"scale": np.array(-1)},
        {"left": np.array(99)},
        {"iteration": np.array(np.inf)},
        {"history": np.array("[" * 100_000)},
        {"last_good": np.zeros(3, np.float32)},
        {"optimizer/mean": np.zeros((1, 3, 2, 2), np.float32)},
        {"optimizer/square": [1.0, 2.0]},
        {"optimizer/point": np.zeros((1, 2, 20, 24), np.float32)},
        {"factors": np.ones(3)},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_a_damaged_state_is_refused_and_changes_nothing(damage: dict[str, Any]) -> None:
    run = resumed("adam")
    next(run)
    state = dict(run.state())
    next(run)
    before, picture = run.state(), run.picture.copy()
    with pytest.raises(InputError, match="the state is not one of this run: "):
        run.restore({**state, **damage})
    assert np.array_equal(run.picture, picture)
    assert {name: value.tolist() for name, value in run.state().items()} == {
        name: value.tolist() for name, value in before.items()
    }


def test_the_last_good_picture_of_a_run_that_went_on_is_that_of_its_state() -> None:
    run = resumed("adam")
    first, _ = next(run), next(run)
    state = dict(run.state())
    state["optimizer/point"] = np.full_like(run.picture, np.nan)
    other = resumed("adam")
    other.restore(state)
    with pytest.raises(NonFiniteCostError, match="the picture is that of step 1") as caught:
        next(other)
    assert np.array_equal(caught.value.result.pixels, first.pixels)


def test_a_run_goes_back_to_an_earlier_scale() -> None:
    run = resumed("lbfgs")
    next(run)
    state, expected = run.state(), [step.total for step in run]
    run.restore(state)
    assert [step.total for step in run] == expected


def test_a_finished_run_stays_finished() -> None:
    run = resumed("adam")
    assert len(list(run)) == STEPS
    assert list(run) == []
    run.restore(run.state())
    assert list(run) == []


def grown(choice: str, steps: int) -> tuple[Run, NDArray[np.float32]]:
    """A run of two scales before its first step at the second, and the noise it goes on from."""
    run = resumed(choice, steps=2 * steps, scales=2, size=64)
    for _ in range(steps):
        next(run)
    run._grow()
    return run, run._optimizer.point - run.picture


def test_an_enlarged_picture_is_painted_on_from_gray_noise() -> None:
    run, added = grown("lbfgs", GRAIN_STEPS)
    inside = (run.picture > 60).all(axis=1) & (run.picture < 195).all(axis=1)
    noise = added.transpose(0, 2, 3, 1)[inside]
    assert len(noise) > 500
    assert np.abs(noise - noise[:, :1]).max() < 1e-3
    assert noise.std() == pytest.approx(GRAIN, rel=0.1)
    # Kept there, it goes on as it would have.
    other = resumed("lbfgs", steps=2 * GRAIN_STEPS, scales=2, size=64)
    other.restore(run.state())
    assert [step.total for step in other] == [step.total for step in run]


@pytest.mark.parametrize(("choice", "steps"), [("lbfgs", GRAIN_STEPS - 1), ("adam", GRAIN_STEPS)])
def test_what_could_not_make_detail_of_noise_gets_none(
    choice: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        run_module, "grained", lambda picture, seed, storage: asked.append(seed) or picture
    )
    grown(choice, steps)
    assert asked == []
    grown("lbfgs", GRAIN_STEPS)
    assert asked == [0]


def test_a_cancelled_run_has_the_picture_without_noise() -> None:
    run, _ = grown("lbfgs", GRAIN_STEPS)
    before = run.picture.copy()
    run.cancel()
    with pytest.raises(CanceledError):
        next(run)
    np.testing.assert_array_equal(run.picture, before)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("factors", np.array(["a", "b"])),
        ("iteration", np.array(-7)),
        ("iteration", np.array(10**6)),
        ("history", np.array('[{"total": "x"}]')),
        ("optimizer/_unit", np.array(0.0)),
        ("optimizer/_value", np.array("x")),
    ],
)
def test_a_state_that_would_fail_later_is_refused(name: str, value: object) -> None:
    options = Options(size=32, steps=4, scales=1, optimizer="lbfgs", init="content", normalize=True)
    noise = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    run = Engine("cpu", 1).iterate(noise[0], noise[1], options)
    next(run)
    state = dict(run.state())
    assert name in state
    with pytest.raises(InputError, match="the state is not one of this run"):
        run.restore({**state, name: value})
    run.restore(state)
    next(run)


def kept_in(storage: Storage, choice: str) -> Run:
    """A run that keeps its pictures there."""
    run = resumed(choice)
    run._storage_at = lambda scale: storage
    run.restore(run.state())
    return run


@pytest.mark.parametrize("choice", ["lbfgs", "adam", "adam, normalized"])
def test_a_run_in_files_has_the_same_steps(choice: str) -> None:
    run, other = kept_in(IN_MEMORY, choice), kept_in(Storage(mapped=True), choice)
    for count in range(STEPS):
        one, two = next(run), next(other)
        assert one.total == two.total
        np.testing.assert_array_equal(one.pixels, two.pixels)
        if count % 4 == 2:  # in other processes, as it were
            for each in (run, other):
                each.restore({name: value.copy() for name, value in each.state().items()})


def test_pictures_of_steps_stay() -> None:
    for choice in ("lbfgs", "adam"):
        steps = [(step, step.pixels.copy()) for step in kept_in(Storage(mapped=True), choice)]
        for step, pixels in steps:
            np.testing.assert_array_equal(step.pixels, pixels)


def test_equal_pictures_are_one_array() -> None:
    run = resumed("adam", averaging=0.0, init="content", scales=1)
    assert run._start is run._optimizer.point
    before = next(run).pixels
    assert next(run).pixels is run.picture
    assert run._last_good is before


HEIGHT, WIDTH = 260, 270
"""More than a block, and not a number of blocks."""


def start_of(init: str, storage: Storage) -> NDArray[np.float32]:
    content = np.random.default_rng(0).uniform(0, 255, (1, 3, HEIGHT, WIDTH)).astype(np.float32)
    scene = Scene(content, [Area("", [Style(content / 2), Style(content[:, ::-1])])])
    return starting_picture(scene, Options(init=init, seed=3), MEAN, storage)


MEAN = (100.0, 110.0, 120.0)


@pytest.mark.parametrize("storage", [IN_MEMORY, Storage(mapped=True)])
def test_noise_is_that_of_one_draw(storage: Storage) -> None:
    """Blocks do not change the numbers."""
    shape = (1, 3, HEIGHT, WIDTH)
    assert HEIGHT * WIDTH > BLOCK
    color = np.array(MEAN, np.float32).reshape(1, 3, 1, 1)
    content = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    ratio = np.float32(Options.noise_ratio)

    def random() -> np.random.Generator:
        return np.random.default_rng(3)

    def same(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
        np.testing.assert_array_equal(actual, expected)

    same(start_of("uniform", storage), random().uniform(0, 255, shape).astype(np.float32))
    normal = random().normal(0, 64, shape).astype(np.float32)
    same(start_of("normal", storage), color + normal)
    uniform = random().uniform(-20, 20, shape).astype(np.float32)
    same(start_of("noise", storage), ratio * (uniform + color) + (1 - ratio) * content)
    gray = random().normal(0, GRAIN, (1, 1, HEIGHT, WIDTH)).astype(np.float32)
    same(grained(content, 3, storage), np.clip(content + gray, 0, 255))
    shaken = random().normal(0, run_module.SHAKING, shape).astype(np.float32)
    same(run_module._shaken(content, 3, storage), content + shaken)


def test_colored_noise_is_that_of_one_draw() -> None:
    shape = (1, 3, HEIGHT, WIDTH)
    content = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    colors = np.concatenate([content[0] / 2, content[0, ::-1]], axis=1).reshape(3, -1)
    values, vectors = np.linalg.eigh(np.cov(colors.astype(np.float64)))
    noise = np.random.default_rng(3).normal(0, 1, shape)
    expected = np.einsum("ij,njhw->nihw", vectors * np.sqrt(values), noise)
    expected += colors.mean(axis=1, dtype=np.float64).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(start_of("style", IN_MEMORY), expected, rtol=0, atol=1e-3)
