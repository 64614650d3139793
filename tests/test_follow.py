from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ortist.engine import InputError, NonFiniteCostError, Result, Step
from ortist.engine.follow import Observer, follow
from ortist.engine.results import Painting


def step(iteration: int) -> Step:
    return Step(
        total=1.0,
        content=1.0,
        style=1.0,
        content_layers={},
        style_layers={},
        total_variation=0.0,
        iteration=iteration,
        seconds=0.1,
        pixels=np.full((1, 3, 2, 2), iteration, np.float32),
    )


class Witness(Observer):
    """Writes down what it is told, and fails where it is asked to."""

    def __init__(self, failing_step: int = 0, failing_keep: bool = False) -> None:
        self.steps: list[int] = []
        self.kept: list[float] = []
        self.failing_step, self.failing_keep = failing_step, failing_keep

    def step(self, step: Step) -> None:
        self.steps.append(step.iteration)
        if step.iteration == self.failing_step:
            raise KeyError("a step")

    def keep(self, painting: Painting) -> None:
        self.kept.append(float(painting.pixels.max()))
        if self.failing_keep:
            raise ValueError("a picture")


def run(steps: int, then: Exception | None = None) -> Iterator[Step]:
    yield from map(step, range(1, steps + 1))
    if then is not None:
        raise then


def test_all_observers_are_told_of_all_steps_and_the_picture() -> None:
    first, second = Witness(), Witness()
    assert follow(run(3), [first, second]).iteration == 3
    for witness in (first, second):
        assert (witness.steps, witness.kept) == ([1, 2, 3], [3])


def test_a_run_is_stopped_after_a_step() -> None:
    witness = Witness()
    assert follow(run(9), [witness], lambda: len(witness.steps) == 2).iteration == 2
    assert witness.kept == [2]


def test_the_picture_so_far_is_kept_by_all_whatever_ends_the_run() -> None:
    first, failing, last = Witness(), Witness(failing_step=2), Witness()
    with pytest.raises(KeyError, match="a step"):
        follow(run(3), [first, failing, last])
    assert [witness.kept for witness in (first, failing, last)] == [[2], [2], [2]]
    with pytest.raises(MemoryError):
        follow(run(1, MemoryError()), [first])
    assert first.kept == [2, 1]


def test_of_a_cost_that_is_not_finite_the_last_good_picture_is_kept() -> None:
    good = Result(np.full((1, 3, 2, 2), 7, np.float32), (), 0.0)
    for steps in (0, 2):
        witness = Witness()
        with pytest.raises(NonFiniteCostError):
            follow(run(steps, NonFiniteCostError("not finite", good)), [witness])
        assert witness.kept == [7]


def test_without_a_step_there_is_nothing_to_keep() -> None:
    witness = Witness()
    with pytest.raises(KeyError):
        follow(run(0, KeyError()), [witness])
    with pytest.raises(InputError, match="no steps left"):
        follow([], [witness])
    assert witness.kept == []


def test_an_interrupted_one_does_not_keep_others_from_keeping_the_picture() -> None:
    class Interrupted(Witness):
        def keep(self, painting: Painting) -> None:
            raise KeyboardInterrupt

    other = Witness()
    with pytest.raises(KeyboardInterrupt):
        follow(run(1), [Interrupted(), other])
    assert other.kept == [1]
    # It comes before errors.
    with pytest.raises(KeyboardInterrupt):
        follow(run(1), [Witness(failing_keep=True), Interrupted()])


def test_one_that_cannot_keep_the_picture_does_not_keep_others_from_it() -> None:
    failing, other = Witness(failing_keep=True), Witness()
    with pytest.raises(ValueError, match="a picture"):
        follow(run(1), [failing, other])
    assert other.kept == [1]
