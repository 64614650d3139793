"""A run: from a start over all scales to the last step, one evaluation at a time."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ortist.engine.adam import Adam
from ortist.engine.canvas import Canvas
from ortist.engine.errors import InputError, NonFiniteCostError
from ortist.engine.lbfgs import LBFGS
from ortist.engine.objective import Evaluation, Objective
from ortist.engine.optimizer import Optimizer, State, Tensor, part_of
from ortist.engine.options import Options
from ortist.engine.results import Costs, Result, Step
from ortist.engine.scales import Scale
from ortist.engine.starts import GRAIN_STEPS, grained
from ortist.engine.storage import IN_MEMORY, Storage, blocks

SHAKING = 16.0
"""Standard deviation of the noise with which sizes of gradients are measured, in pixel values."""
_OPTIMIZER = "optimizer/"
_UNREADABLE = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What reading a state that is none raises."""


class Run(Iterator[Step], AsyncIterable[Step]):
    """An iterator over the steps of a run, one per evaluation, whose state can be kept.

    The run of a plan that is interrupted, kept as :meth:`state` and restored elsewhere ends with
    the same bytes as one that was not. Not safe to use from several threads at once.

    Args:
        scales: the sizes to paint in, in order.
        objective_at: returns what is minimized at a scale, given its number and the picture that
            came of the scale before, in the size of this one, None at the first; called when the
            scale is reached.
        canvas_at: returns what is seen of what is optimized at a scale, given its number.
        start: float32 (1, 3, H, W) in the size of the first scale.
        parts: how many costs J is the sum of.
        options: how to optimize.
        cancel: ends the evaluation under way.
        storage_at: returns where pictures, and what the optimizer keeps of their size, are at a
            scale, given its number. That does not change what comes out.

    Raises:
        NonFiniteCostError: by a step, if there is no finite picture to go on from; carries the last
            good one.
        CanceledError: by a step, if :meth:`cancel` was called.
    """

    def __init__(
        self,
        scales: Sequence[Scale],
        objective_at: Callable[[int, Tensor | None], Objective],
        canvas_at: Callable[[int], Canvas],
        start: Tensor,
        parts: int,
        options: Options,
        cancel: Callable[[], None],
        storage_at: Callable[[int], Storage] = lambda index: IN_MEMORY,
    ) -> None:
        self.scales = scales
        self.history: list[Costs] = []
        """The costs at the start of each step so far."""
        self.seconds = 0.0
        """Wall-clock time of all steps so far."""
        self.cancel = cancel
        """End the run, amid an evaluation; any thread may call this. ``picture`` stays."""
        self._objective_at = objective_at
        self._canvas_at = canvas_at
        self._canvas = canvas_at(0)
        self._parts = parts
        self._storage_at = storage_at
        self._start = storage_at(0).kept(start)  # of the scale
        self._options = options
        names = ("alpha", "beta", "learning_rate")
        self._schedules = {name: options.schedule(name) for name in names}
        self._total = sum(scale.steps for scale in scales)
        self._optimizer = _make(options, self._start, storage_at(0))
        self._objective: Objective | None = None
        self._factors: NDArray[np.float64] | None = None
        self._iteration = 0
        self._scale = 0
        self._left = scales[0].steps
        self._last_good, self._last_good_step = self._start, 0

    def __aiter__(self) -> AsyncIterator[Step]:
        """Iterate over the same steps with ``async for``; the event loop is free meanwhile.

        Canceling the task cancels the run, and waits until no thread computes it any more.
        """
        from ortist.engine.asynchronous import each_step  # imported late: so does asyncio

        return each_step(self)

    @property
    def picture(self) -> Tensor:
        """The picture so far, float32 (1, 3, H, W), RGB, nominally 0..255, not clipped."""
        return self._canvas.picture(self._optimizer.picture)

    @property
    def iteration(self) -> int:
        """Steps so far."""
        return self._iteration

    @property
    def done(self) -> bool:
        """Whether there are no steps left."""
        return not self._left and self._scale + 1 == len(self.scales)

    def __next__(self) -> Step:
        """Evaluate once and let the optimizer step."""
        if not self._left:
            self._grow()
        progress = self._iteration / max(1, self._total - 1)
        values = {name: schedule.at(progress) for name, schedule in self._schedules.items()}
        objective = self._reached()
        begin = time.perf_counter()
        costs = self._advance(objective, values)
        seconds = time.perf_counter() - begin
        self.seconds += seconds
        self._left = 0 if self._optimizer.done else self._left - 1
        if not self._left:
            # With its memory, before anything else asks for more.
            self._objective = None
        return Step(
            **vars(costs),
            iteration=self._iteration,
            seconds=seconds,
            pixels=self.picture,
            scale=self._scale + 1,
            scales=len(self.scales),
        )

    def state(self) -> State:
        """Return where the run is: arrays by name, as ``np.savez`` takes them."""
        kept = {
            "iteration": np.array(self._iteration),
            "scale": np.array(self._scale),
            "left": np.array(self._left),
            "seconds": np.array(self.seconds),
            "history": np.array(json.dumps([asdict(costs) for costs in self.history])),
            "start": self._start,
            "last_good": self._last_good,
            "last_good_step": np.array(self._last_good_step),
        }
        if self._factors is not None:
            kept["factors"] = self._factors
        optimizer = self._optimizer.state()
        return kept | {_OPTIMIZER + name: value for name, value in optimizer.items()}

    def restore(self, state: State) -> None:
        """Go on from a state that a run of the same pictures and options was in.

        Raises:
            InputError: if it is that of another run.
        """
        try:
            state = {name: np.asarray(value) for name, value in state.items()}
            scale, left = int(state["scale"]), int(state["left"])
            if not (0 <= scale < len(self.scales) and 0 <= left <= self.scales[scale].steps):
                raise ValueError(f"it has {left} steps left at scale {scale + 1}")
            self._check_pictures(state, self.scales[scale])
            optimizer = copy.copy(self._optimizer)  # which stays as it is if this fails
            storage = self._storage_at(scale)
            optimizer.restore(part_of(state, _OPTIMIZER), storage)
            iteration, seconds = int(state["iteration"]), float(state["seconds"])
            if not 0 <= iteration <= self._total:
                raise ValueError(f"it is at step {iteration}")
            history = [_costs(costs) for costs in json.loads(str(state["history"]))]
            last_good_step = int(state["last_good_step"])
            last_good, start = (storage.kept(state[name]) for name in ("last_good", "start"))
        except _UNREADABLE as error:
            raise InputError(f"the state is not one of this run: {error}") from error
        self._optimizer, self._iteration = optimizer, iteration
        self._scale, self._left = scale, left
        self.seconds, self.history = seconds, history
        self._last_good, self._last_good_step = last_good, last_good_step
        self._factors, self._start = state.get("factors"), start
        self._objective = None
        self._canvas = self._canvas_at(scale)

    def _check_pictures(self, state: State, scale: Scale) -> None:
        """Raise ValueError unless all pictures of a state have the type and size of the scale's."""
        height, width = state[f"{_OPTIMIZER}point"].shape[2:]
        if (width, height) != (scale.width, scale.height):
            raise ValueError(f"its picture has {width}x{height} pixels")
        for name, value in state.items():
            picture = name == "last_good" or (value.ndim and name != "factors")
            if picture and (value.dtype != np.float32 or value.shape != (1, 3, height, width)):
                raise ValueError(f"{name} is {value.dtype} {list(value.shape)}")
        factors = state.get("factors")
        if factors is not None and (factors.dtype != np.float64 or factors.shape != (self._parts,)):
            raise ValueError("factors are not one number for each cost")

    def _grow(self) -> None:
        """Go on to the next scale."""
        if self.done:
            raise StopIteration
        self._scale += 1
        scale = self.scales[self._scale]
        self._left = scale.steps
        self._canvas = self._canvas_at(self._scale)
        optimizer = self._optimizer
        storage = self._storage_at(self._scale)
        optimizer.resize(scale.width, scale.height, storage)
        if self._options.optimizer == "lbfgs" and scale.steps >= GRAIN_STEPS:
            # The picture stays without it until the first step.
            optimizer.point = grained(optimizer.point, self._options.seed, storage)
        self._start = self._last_good = optimizer.picture
        self._last_good_step = self._iteration

    def _reached(self) -> Objective:
        """Return what is minimized at this scale."""
        if self._objective is None:
            painted = self._canvas.seen(self._start) if self._scale else None
            self._objective = self._objective_at(self._scale, painted)
            if self._options.normalize:
                if self._factors is None:
                    storage = self._storage_at(self._scale)
                    shaken = _shaken(self._start, self._options.seed, storage)
                    self._factors = self._objective.balancing_factors(shaken)
                self._objective.factors = self._factors
        return self._objective

    def _advance(self, objective: Objective, values: Mapping[str, float]) -> Costs:
        """Evaluate once and let the optimizer step; return the costs of what it took last."""
        optimizer = self._optimizer
        optimizer.learning_rate = values["learning_rate"]
        before = optimizer.picture
        evaluation = objective.evaluate(optimizer.point, values["alpha"], values["beta"])
        finite = math.isfinite(evaluation.value)
        if finite:
            self._last_good, self._last_good_step = before, self._iteration
        self._iteration += 1
        going_on = optimizer.step(evaluation.value, evaluation.gradient)
        # A trial that went wrong tells nothing of the picture.
        taken = optimizer.accepted or not self.history
        costs = evaluation.costs if taken else self.history[-1]
        if finite or going_on:
            self.history.append(costs)
        # The picture too: the last one is not evaluated, and a bad gradient makes a bad picture.
        if not going_on:
            raise self._failure(evaluation, finite)
        return costs

    def _failure(self, evaluation: Evaluation, finite: bool) -> NonFiniteCostError:
        what = "the gradient or a pixel is not finite after"
        return NonFiniteCostError(
            f"{what if finite else f'the cost is {evaluation.value} at'} step {self._iteration};"
            f" the picture is that of step {self._last_good_step}:"
            " try a smaller learning rate or smaller weights",
            Result(self._canvas.picture(self._last_good), tuple(self.history), self.seconds),
        )


def _make(options: Options, start: Tensor, storage: Storage) -> Optimizer:
    if options.optimizer == "lbfgs":
        return LBFGS(start, storage)
    rate = options.schedule("learning_rate").at(0.0)
    return Adam(start, rate, options.averaging, storage=storage)


def _costs(values: Mapping[str, Any]) -> Costs:
    """Return the costs that some JSON has; TypeError if there are others than numbers in it."""
    for value in values.values():
        for number in value.values() if isinstance(value, dict) else [value]:
            if type(number) not in (int, float):
                raise TypeError(f"a cost is {number!r}")
    return Costs(**values)


def _shaken(picture: Tensor, seed: int, storage: Storage) -> Tensor:
    """Return a picture with noise: at the content itself the content cost has no derivative."""
    generator = np.random.default_rng(seed)
    shaken: Tensor = storage.empty(picture.shape)
    for new, old in blocks(shaken, picture):
        new[:] = generator.normal(0, SHAKING, new.size)
        new += old
    return shaken
