"""A run: from a start over all scales to the last step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ortist.engine.adam import Adam
from ortist.engine.errors import NonFiniteCostError
from ortist.engine.images import to_image
from ortist.engine.lbfgs import LBFGS
from ortist.engine.objective import Objective
from ortist.engine.optimiser import Optimiser, Tensor
from ortist.engine.options import Options
from ortist.engine.results import Costs, Result, Step
from ortist.engine.scales import Scale

SHAKING = 16.0
"""Standard deviation of the noise with which sizes of gradients are measured, in pixel values."""


def paint(
    scales: Sequence[Scale],
    objective_at: Callable[[Scale], Objective],
    start: Tensor,
    options: Options,
) -> Iterator[Step]:
    """Yield the steps of a run, one per evaluation.

    Args:
        scales: the sizes to paint in, in order.
        objective_at: returns what is minimised at a scale; called when the scale is reached.
        start: float32 (1, 3, H, W) in the size of the first scale.
        options: how to optimise.

    Raises:
        NonFiniteCostError: if there is no finite picture to go on from; carries the last good one.
    """
    optimiser = _make(options, start)
    schedules = {name: options.schedule(name) for name in ("alpha", "beta", "learning_rate")}
    total = sum(scale.steps for scale in scales)
    iteration = 0
    run = _Record(start)
    factors = None
    for number, scale in enumerate(scales, start=1):
        if number > 1:
            optimiser.resize(scale.width, scale.height)
            run.last_good = optimiser.picture
        objective = objective_at(scale)
        if options.normalise:
            if factors is None:
                factors = objective.balancing_factors(_shaken(start, options.seed))
            objective.factors = factors
        for _ in range(scale.steps):
            progress = iteration / max(1, total - 1)
            iteration += 1
            values = {name: schedule.at(progress) for name, schedule in schedules.items()}
            optimiser.learning_rate = values["learning_rate"]
            begin = time.perf_counter()
            costs = _advance(optimiser, objective, values, run, iteration)
            seconds = time.perf_counter() - begin
            run.seconds += seconds
            yield Step(
                **vars(costs),
                iteration=iteration,
                seconds=seconds,
                pixels=optimiser.picture,
                scale=number,
                scales=len(scales),
            )
            if optimiser.done:
                break
        # With its memory, before the next one asks for more.
        del objective


class _Record:
    """What is kept of a run for the case that it fails."""

    def __init__(self, start: Tensor) -> None:
        self.last_good = start
        self.last_good_step = 0
        self.history: list[Costs] = []
        self.seconds = 0.0


def _make(options: Options, start: Tensor) -> Optimiser:
    if options.optimiser == "lbfgs":
        return LBFGS(start)
    return Adam(start, options.schedule("learning_rate").at(0.0), options.averaging)


def _advance(
    optimiser: Optimiser,
    objective: Objective,
    values: dict[str, float],
    run: _Record,
    iteration: int,
) -> Costs:
    """Evaluate once and let the optimiser step; return the costs of what it took last."""
    before = optimiser.picture
    evaluation = objective.evaluate(optimiser.point, values["alpha"], values["beta"])
    finite = math.isfinite(evaluation.value)
    if finite:
        run.last_good, run.last_good_step = before, iteration - 1
    going_on = optimiser.step(evaluation.value, evaluation.gradient)
    # A trial that went wrong tells nothing of the picture.
    costs = evaluation.costs if optimiser.accepted or not run.history else run.history[-1]
    if finite or going_on:
        run.history.append(costs)
    # The picture too: the last one is not evaluated, and a bad gradient makes a bad picture.
    if not going_on:
        what = "the gradient or a pixel is not finite after"
        raise NonFiniteCostError(
            f"{what if finite else f'the cost is {evaluation.value} at'} step {iteration};"
            f" the picture is that of step {run.last_good_step}:"
            " try a smaller learning rate or smaller weights",
            Result(to_image(run.last_good), tuple(run.history), run.seconds),
        )
    return costs


def _shaken(picture: Tensor, seed: int) -> Tensor:
    """Return a picture with noise: at the content itself the content cost has no derivative."""
    noise = np.random.default_rng(seed).normal(0, SHAKING, picture.shape)
    return picture + noise.astype(np.float32)
