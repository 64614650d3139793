"""What a run shows while it goes on: lines of costs, and a bar where there is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ortist.cli.streams import print_line
from ortist.engine import Plan, Step
from ortist.engine.follow import Observer
from ortist.engine.scales import Scale

WORTH_TELLING = 5.0
"""Seconds from which on a run is announced to take so long."""


@contextmanager
def progress_bar(steps: int, quiet: bool) -> Iterator[Callable[[Step], None]]:
    """Show a bar with costs and time left on stderr, if that is a terminal.

    Yields the function to call with each step.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda step: None
        return
    with _bar(steps) as update:
        yield lambda step: update(
            step.iteration,
            f"J {step.total:.2e}  content {step.content:.2e}  style {step.style:.2e}",
        )


@contextmanager
def pictures_bar(pictures: int, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Show a bar with the time left for many pictures on stderr, if that is a terminal.

    Yields the function to call with how many are done, parts of them included.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    with _bar(pictures) as update:
        yield lambda done: update(done, "pictures")


@contextmanager
def _bar(total: int) -> Iterator[Callable[[float, str], None]]:
    """Show a bar on stderr; yields the function to call with what is done and a text."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        expand=True,
        transient=True,
        # Lines on the same terminal go above the bar; a pipe must get them untouched.
        redirect_stdout=sys.stdout.isatty(),
    )
    task = bar.add_task("getting ready", total=total)
    with bar:
        yield lambda done, text: bar.update(task, completed=done, description=text)


class Progress(Observer):
    """Shows costs, and how long the run will take once that is known.

    Args:
        plan: of the run.
        show: shows a step on the bar.
        every: steps between lines of costs, 0 for none.
        quiet: whether there are no lines.
    """

    def __init__(self, plan: Plan, show: Callable[[Step], None], every: int, quiet: bool) -> None:
        self._show = show
        self._every = every
        self._quiet = quiet
        self._estimate = Estimate(plan.scales)

    def step(self, step: Step) -> None:
        """Show a step."""
        self._show(step)
        if self._quiet:
            return
        seconds = self._estimate.after(step)
        if seconds > WORTH_TELLING:
            print_line(f"about {seconds:.0f} s in all")
        if self._every and step.iteration % self._every == 0:
            print_costs(step)


def print_costs(step: Step) -> None:
    """Print the iteration and its costs, style cost by region too, as one line on stdout."""
    regions = [f", region {name} = {cost:.6g}" for name, cost in step.regions.items()]
    print_line(
        f"Iteration {step.iteration}: total cost = {step.total:.6g},"
        f" content cost = {step.content:.6g}, style cost = {step.style:.6g}{''.join(regions)}"
    )


def describe_plan(plan: Plan) -> str:
    """Say in a line what a run will do."""
    width, height = plan.size
    plural = "s" if plan.evaluations > 1 else ""
    text = f"{width}x{height} pixels, {plan.evaluations} evaluation{plural}"
    if len(plan.scales) > 1:
        first = plan.scales[0]
        text += f" over {len(plan.scales)} scales from {first.width}x{first.height}"
    if plan.tile:
        text += f", in tiles of {plan.tile}x{plan.tile} from {_first_in_tiles(plan)} on"
    return text


def _first_in_tiles(plan: Plan) -> str:
    scale = next(scale for scale in plan.scales if scale.tile)
    return f"{scale.width}x{scale.height}"


class Estimate:
    """How long a run will take, told by its first evaluations.

    Args:
        scales: of the run.
    """

    _FIRST, _LAST = 2, 4  # the first evaluation of all has memory to get

    def __init__(self, scales: Sequence[Scale]) -> None:
        self._work = sum(scale.work for scale in scales)
        self._seconds: list[float] = []
        self._pixels = scales[0].pixels

    def after(self, step: Step) -> float:
        """Return the seconds that all evaluations take, once, when enough is known; else 0."""
        if step.scale > 1 or step.iteration > self._LAST:
            return 0.0
        if step.iteration >= self._FIRST:
            self._seconds.append(step.seconds)
        if step.iteration < self._LAST:
            return 0.0
        return sum(self._seconds) / len(self._seconds) * self._work / self._pixels
