"""The one loop over the steps of a run, and those that are told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ortist.engine.errors import InputError, NonFiniteCostError
from ortist.engine.results import Painting, Step


class Observer:
    """Is told of a run. What it is told of does nothing unless a method says otherwise."""

    def step(self, step: Step) -> None:
        """Take in a step."""

    def keep(self, painting: Painting) -> None:
        """Keep the picture so far: the run has ended, however it did, after a step at least."""


def follow(
    steps: Iterable[Step],
    observers: Sequence[Observer],
    stop: Callable[[], bool] = lambda: False,
) -> Step:
    """Tell observers, in their order, of all steps and of the last picture; return the last step.

    Args:
        steps: of a run.
        observers: what one of them raises ends the run, and is raised once all have kept what there
            is to keep; if one fails at that, it is this failure.
        stop: asked after each step whether to end the run.

    Raises:
        NonFiniteCostError: by the run; observers keep the last good picture.
        InputError: if there is no step.
    """
    painting: Painting | None = None
    last: Step | None = None
    try:
        for step in steps:
            painting = last = step
            for observer in observers:
                observer.step(step)
            if stop():
                break
    except NonFiniteCostError as error:
        painting = error.result
        raise
    finally:
        if painting is not None:
            keeping = [partial(observer.keep, painting) for observer in observers]
            attempt_all(keeping, BaseException)
    if last is None:
        raise InputError("the run has no steps left")
    return last


def attempt_all(calls: Iterable[Callable[[], object]], expected: type[BaseException]) -> None:
    """Make all calls, though some fail as expected; raise the first failure after that.

    What is no error, as a KeyboardInterrupt, comes before all errors.
    """
    failures: list[BaseException] = []
    for call in calls:
        try:
            call()
        except expected as error:
            failures.append(error)
    if failures:
        raise min(failures, key=lambda failure: isinstance(failure, Exception))
