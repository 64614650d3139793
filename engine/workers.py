"""Processes that paint, one picture after the other, and end without harm to the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ortist.engine.cluster import Where
from ortist.engine.engine import Engine
from ortist.engine.jobs import Job
from ortist.engine.processes import Child, Line, reason_of

T = TypeVar("T")
KEPT_STYLES = 4
"""As many as there are scales of one picture: a process gets pairs of a style one by one."""


@dataclass(frozen=True)
class Setup:
    """How the engines of all processes are made; see :class:`~ortist.engine.Engine`.

    Attributes:
        threads: of each process.
        memory: most bytes that all of them may take together; None for what there is.
        tile: see there.
        cluster: whose workers paint, in place of processes here; the rest is of each of these.
        kept_styles: see there.
    """

    device: str = "auto"
    threads: int = 1
    models: Path | None = None
    kernel: str = "auto"
    memory: float | None = None
    tile: int | None = None
    cluster: Where | None = None
    kept_styles: int = KEPT_STYLES

    def engine(self) -> Engine:
        """Return an engine of one process; who gives it work shares the memory out."""
        return Engine(
            self.device,
            self.threads,
            self.models,
            self.kernel,
            kept_styles=self.kept_styles,
            memory=self.memory,
            tile=self.tile,
        )


@dataclass(frozen=True)
class Needs:
    """What a picture will take: a process waits for the word to go on."""

    peak_bytes: int
    width: int
    height: int


@dataclass(frozen=True)
class Progress:
    """Which share of the evaluations of a picture is done."""

    share: float


@dataclass(frozen=True)
class Painted:
    """A picture, float32 (1, 3, H, W), and how it was painted.

    Attributes:
        pixels: the picture.
        steps: evaluations.
        seconds: that it took.
        tile: most rows and columns of its tiles, 0 if there were none.
    """

    pixels: NDArray[np.float32]
    steps: int
    seconds: float
    tile: int


@dataclass(frozen=True)
class Failed:
    """Why there is no picture."""

    reason: str


Message: TypeAlias = Needs | Progress | Painted | Failed


class Worker(Child):
    """A process that paints, seen from outside.

    Attributes:
        job: what it paints; None if it has nothing to do.
        styles: of what it paints, or painted last.
        needs: the memory that this takes, once that is known; it may go on if ``granted``.
        granted: likewise.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(_serve, setup)
        self.job: Job | None = None
        self.styles: tuple[Path, ...] = ()
        self.needs: Needs | None = None
        self.granted = False

    def begin(self, job: Job) -> None:
        """Give it a picture to paint."""
        self.job, self.styles, self.needs, self.granted = job, job.styles, None, False
        self.send(job)

    def grant(self) -> None:
        """Let it go on with a picture whose needs it told."""
        self.granted = True
        self.send(True)

    def refuse(self) -> None:
        """Have it leave a picture whose needs it told."""
        self.send(False)


def attempted(call: Callable[[], T]) -> T | Failed:
    """Return what a call for a picture does, or why it fails: the others are to be painted."""
    try:
        return call()
    except Exception as error:
        return Failed(reason_of(error))


def _serve(line: Line, setup: Setup) -> None:
    """Be a process that paints what it is told, until nobody tells it any more."""
    engine: Engine | None = None
    while True:
        job: Job = line.receive()

        def paint(job: Job = job) -> Painted | None:
            nonlocal engine
            engine = engine or setup.engine()
            return _painted(engine, job, line)

        answer = attempted(paint)
        if answer is not None:
            line.send(answer)


def _painted(engine: Engine, job: Job, line: Line) -> Painted | None:
    """Return a picture, None if it is not to be painted."""
    plan = engine.plan(job.content, list(job.styles), job.options)
    line.send(Needs(plan.peak_bytes, *plan.size))
    if not line.receive():
        return None
    begin = time.perf_counter()
    for step in plan.run():
        line.send(Progress(step.iteration / plan.evaluations))
    return Painted(step.pixels, step.iteration, time.perf_counter() - begin, plan.tile)
