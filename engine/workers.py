"""Processes that paint, one picture after the other, and end without harm to the others."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ortist.engine.cluster import Where
from ortist.engine.engine import Engine
from ortist.engine.errors import OrtistError
from ortist.engine.jobs import Job
from ortist.engine.signals import signals_held

T = TypeVar("T")
KEPT_STYLES = 4
"""As many as there are scales of one picture: a process gets pairs of a style one by one."""
_PATIENCE = 0.2
"""Seconds between questions whether to stop."""


@dataclass(frozen=True)
class Setup:
    """How the engines of all processes are made; see :class:`~ortist.engine.Engine`.

    Attributes:
        threads: of each process.
        memory: most bytes that all of them may take together; None for what there is.
        tile: see there.
        cluster: whose workers paint, in place of processes here; the rest is of each of these.
    """

    device: str = "auto"
    threads: int = 1
    models: Path | None = None
    kernel: str = "auto"
    memory: float | None = None
    tile: int | None = None
    cluster: Where | None = None

    def engine(self) -> Engine:
        """Return an engine of one process; who gives it work shares the memory out."""
        return Engine(
            self.device,
            self.threads,
            self.models,
            self.kernel,
            kept_styles=KEPT_STYLES,
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


class Worker:
    """A process that paints, seen from outside. It ends when this one does.

    Attributes:
        job: what it paints; None if it has nothing to do.
        styles: of what it paints, or painted last.
        needs: the memory that this takes, once that is known; it may go on if ``granted``.
        granted: likewise.
    """

    def __init__(self, setup: Setup) -> None:
        # Not forked: a process with threads, as the runtime has, cannot be.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, setup), daemon=True)
        try:
            with signals_held():
                self._process.start()
        except BaseException:  # of a signal that was held: the process would wait for ever
            if self._process.pid is not None:
                self.kill()
            raise
        theirs.close()
        self.job: Job | None = None
        self.styles: tuple[Path, ...] = ()
        self.needs: Needs | None = None
        self.granted = False

    def begin(self, job: Job) -> None:
        """Give it a picture to paint."""
        self.job, self.styles, self.needs, self.granted = job, job.styles, None, False
        self._send(job)

    def grant(self) -> None:
        """Let it go on with a picture whose needs it told."""
        self.granted = True
        self._send(True)

    def refuse(self) -> None:
        """Have it leave a picture whose needs it told."""
        self._send(False)

    def receive(self) -> Message | None:
        """Return what it says, None if it has died."""
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            return None
        return message

    def ending(self) -> str:
        """Say how it died."""
        self._process.join()
        code = self._process.exitcode or 0
        if hasattr(signal, "SIGKILL") and code == -signal.SIGKILL:
            return "its process was killed, as where memory runs out"
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"its process ended {how}"

    def kill(self) -> None:
        """End it at once: it writes no files."""
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # it has died, which receiving tells
            self.connection.send(message)


def ready(workers: Sequence[Worker]) -> list[Worker]:
    """Return those that have something to say, after a short time if there are none."""
    found = wait([worker.connection for worker in workers], _PATIENCE)
    return [worker for worker in workers if worker.connection in found]


def attempted(call: Callable[[], T]) -> T | Failed:
    """Return what a call for a picture does, or why it fails."""
    try:
        return call()
    except OrtistError as error:
        return Failed(str(error))
    except MemoryError:
        return Failed("not enough memory")
    except Exception as error:  # of whatever kind: the others are to be painted
        return Failed(f"{type(error).__name__}: {error}")


def _serve(connection: Connection, setup: Setup) -> None:
    """Be a process that paints what it is told, until nobody tells it any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = _Line(connection)
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


class _Line:
    """A connection to the process that gives the work; SystemExit when that has ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, message: Message) -> None:
        try:
            self._connection.send(message)
        except OSError:
            raise SystemExit from None

    def receive(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            raise SystemExit from None


def _painted(engine: Engine, job: Job, line: _Line) -> Painted | None:
    """Return a picture, None if it is not to be painted."""
    plan = engine.plan(job.content, list(job.styles), job.options)
    line.send(Needs(plan.peak_bytes, *plan.size))
    if not line.receive():
        return None
    begin = time.perf_counter()
    for step in plan.run():
        line.send(Progress(step.iteration / plan.evaluations))
    return Painted(step.pixels, step.iteration, time.perf_counter() - begin, plan.tile)
