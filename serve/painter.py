"""A process that paints jobs: it tells of their steps, keeps them, and can be told to halt."""

from __future__ import annotations

import io
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from ortist.engine import (
    CanceledError,
    Engine,
    InputError,
    NonFiniteCostError,
    Plan,
    Record,
    Run,
    Step,
)
from ortist.engine.checkpoint import Checkpoints, read_checkpoint
from ortist.engine.follow import Observer, follow
from ortist.engine.images import to_image
from ortist.engine.processes import Child, Line, reason_of
from ortist.engine.results import Painting
from ortist.engine.workers import Setup
from ortist.models.files import reason, whole_file
from ortist.serve.order import Order
from ortist.serve.task import START, Files, record_of, sources_of

Halt: TypeAlias = Literal["pause", "cancel"]
PREVIEW_SIDE = 1024
_PREVIEW_QUALITY = 85
_PREVIEW_SECONDS = 0.2
"""Between previews: more nobody sees."""
_START_SECONDS, _LEAVE_SECONDS = 120.0, 30.0
"""How long it may take to get ready, and to leave a job."""
_FEW = 3
"""Evaluations after which the time of the rest can be told."""
_NICE = 5
"""How much less urgent painting is than answering."""


@dataclass(frozen=True)
class Task:
    """A job to paint.

    Attributes:
        id: of the job.
        files: of it.
        order: what was asked for, with the names that a job has for pictures.
        record: of the picture, as JSON has it.
    """

    id: str
    files: Files
    order: Order
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Ready:
    """The process can paint."""


@dataclass(frozen=True)
class Stepped:
    """A step of a job.

    Attributes:
        id: of the job.
        progress: as JSON has it.
        preview: JPEG of the picture arrived at; None if there was one just before.
    """

    id: str
    progress: dict[str, Any]
    preview: bytes | None


@dataclass(frozen=True)
class Kept:
    """The picture of a job was written.

    Attributes:
        id: of the job.
        preview: JPEG of it.
        step: evaluations that it is made in.
        record: of it, as JSON has it.
    """

    id: str
    preview: bytes
    step: int
    record: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """The end of a job, or of its painting for now.

    Attributes:
        id: of the job.
        state: what it is then.
        error: why it failed, in one line.
    """

    id: str
    state: Literal["done", "failed", "canceled", "paused"]
    error: str | None = None


class Painter(Child):
    """The process, seen from the service.

    Attributes:
        task: what it paints; None if it has nothing to do.
        ready: whether it can paint.
        until: when it has to be ready, or to have left a job, by the monotonic clock.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(_serve, setup)
        self.task: Task | None = None
        self.ready = False
        self.until = time.monotonic() + _START_SECONDS

    def begin(self, task: Task) -> None:
        """Give it a job."""
        self.task = task
        self.send(task)

    def halt(self, task: Task, how: Halt) -> None:
        """Have it leave a job; it tells when it has."""
        self.until = time.monotonic() + _LEAVE_SECONDS
        self.send((task.id, how))


def _serve(line: Line, setup: Setup) -> None:
    if hasattr(os, "nice"):
        os.nice(_NICE)
    inbox = _Inbox(line)
    engines = _Engines(setup)
    line.send(Ready())
    while True:
        task = inbox.task()
        line.send(_ended(task, engines, inbox, line))


class _Inbox:
    """What the process is told, heard by a thread so that it can be halted amid an evaluation."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        self._lock = threading.Lock()
        self._halts: dict[str, Halt] = {}
        self._run: Run | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def task(self) -> Task:
        """Return the next task, when there is one."""
        return self._tasks.get()

    def running(self, run: Run, task: Task) -> None:
        """Tell which run is to be canceled by a halt, which may have come before."""
        with self._lock:
            self._run = run
            if task.id in self._halts:
                run.cancel()

    def halted(self, task: Task) -> Halt | None:
        """Return how a task is to be left, if it is."""
        with self._lock:
            return self._halts.get(task.id)

    def left(self, task: Task) -> None:
        """Tell that a task is left."""
        with self._lock:
            self._run = None
            self._halts.pop(task.id, None)

    def _listen(self) -> None:
        while True:
            try:
                message = self._line.receive()
            except SystemExit:  # the service is gone: so are its jobs' listeners
                os._exit(0)
            if isinstance(message, Task):
                with self._lock:  # of a sitting before
                    self._halts.pop(message.id, None)
                self._tasks.put(message)
                continue
            with self._lock:
                name, how = message
                self._halts[name] = how
                if self._run is not None:
                    self._run.cancel()


class _Engines:
    """The engine of most jobs, and those of jobs that were planned otherwise."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._usual = replace(setup, tile=0).engine()

    def of(self, record: Record) -> Engine:
        """Return an engine that paints as it was planned, whatever the memory is now."""
        asked = replace(self._setup, threads=record.threads, kernel=record.kernel, tile=record.tile)
        return self._usual if asked == replace(self._setup, tile=0) else asked.engine()


def _ended(task: Task, engines: _Engines, inbox: _Inbox, line: Line) -> Ended:
    """Paint a task and return how that ended."""
    try:
        record = record_of(task.record)
        options = record.to_options({START: str(task.files.picture("start"))})
        engine = engines.of(record)
        names = [name for name, _ in task.order.pictures()]
        pictures = {name: str(task.files.picture(name)) for name in names}
        sources = sources_of(task.order, pictures)
        plan = engine.plan(**sources, options=options)
        # The inputs are those that the client has; where this service is another one by now than
        # the one that took the job in, all else is as it is now.
        now = engine.record(**sources, options=options)
        now = replace(now, inputs=record.inputs, tile=record.tile)
        run = _begun(task, plan, now)
        inbox.running(run, task)
        return _followed(task, plan, run, now, line, inbox)
    except Exception as error:  # of whatever kind: the next one is to be painted
        return Ended(task.id, "failed", reason_of(error))
    finally:
        inbox.left(task)


def _begun(task: Task, plan: Plan, record: Record) -> Run:
    """Return the run of a task, from its checkpoint on if there is one of the same record."""
    run = plan.run()
    if task.files.checkpoint.exists():
        # From the start it ends with the same bytes, only later.
        with suppress(InputError):
            checkpoint = read_checkpoint(task.files.checkpoint)
            if not record.differences(checkpoint.record):
                run.restore(checkpoint.state)
    return run


def _followed(task: Task, plan: Plan, run: Run, record: Record, line: Line, inbox: _Inbox) -> Ended:
    keeper = _Keeper(task.files.checkpoint, record, lambda: inbox.halted(task))
    keeper.begin(run)
    teller = _Teller(task, line, record, plan, run)
    failed = None
    try:
        follow(run, [teller, keeper], lambda: inbox.halted(task) is not None)
    except NonFiniteCostError as error:
        failed = str(error)
    except CanceledError:
        pass
    how = None if run.done else inbox.halted(task)
    if failed is None and how == "pause":
        return Ended(task.id, "paused")
    keeper.remove()
    if failed is None and how == "cancel":
        return Ended(task.id, "canceled")
    failed = failed or teller.problem
    return Ended(task.id, "failed" if failed else "done", failed)


class _Keeper(Checkpoints):
    """Keeps a job, unless nobody will go on with it."""

    def __init__(self, path: Path, record: Record, halted: Callable[[], Halt | None]) -> None:
        super().__init__(path, record)
        self._halted = halted

    def step(self, step: Step) -> None:
        """Write the checkpoint if one is due and there is room; the one before is good too."""
        with suppress(InputError):
            super().step(step)

    def keep(self, painting: Painting) -> None:
        """Write the checkpoint of a job that is paused, likewise."""
        if self._halted() == "pause":
            with suppress(InputError):
                super().keep(painting)


class _Teller(Observer):
    """Tells the service of steps, with previews, and writes the picture that is kept."""

    def __init__(self, task: Task, line: Line, record: Record, plan: Plan, run: Run) -> None:
        self._task = task
        self._line = line
        self._record = record
        self._plan = plan
        self._pace = _Pace(plan, run.iteration)
        self._shown = -math.inf
        self.problem: str | None = None
        """Why there is no picture, if it could not be written."""

    def step(self, step: Step) -> None:
        """Tell of a step."""
        preview = None
        now = time.monotonic()
        if now - self._shown >= _PREVIEW_SECONDS:
            self._shown, preview = now, encoded_preview(step)
        height, width = step.pixels.shape[2:]
        progress = {
            "step": step.iteration,
            "steps": self._plan.evaluations,
            "scale": step.scale,
            "scales": step.scales,
            "width": width,
            "height": height,
            "costs": {
                "total": step.total,
                "content": step.content,
                "style": step.style,
                "variation": step.total_variation,
            },
            "seconds_left": self._pace.seconds_left(step.iteration),
        }
        self._line.send(Stepped(self._task.id, progress, preview))

    def keep(self, painting: Painting) -> None:
        """Write the picture, and tell what is seen of it."""
        try:
            with whole_file(self._task.files.result) as stream:
                np.save(stream, painting.pixels)
        except OSError as error:
            self.problem = f"the picture cannot be written: {reason(error)}"
            return
        preview, record = encoded_preview(painting), self._record.to_value()
        self._line.send(Kept(self._task.id, preview, painting.steps, record))


class _Pace:
    """How long the rest of a run takes, by the pixels that it evaluates.

    Args:
        plan: of the run.
        done: evaluations that were done before.
    """

    def __init__(self, plan: Plan, done: int) -> None:
        each = [scale.pixels for scale in plan.scales for _ in range(scale.steps)]
        self._work = list(accumulate(each, initial=0))
        self._first, self._done = done, self._work[done]
        self._begin = time.monotonic()

    def seconds_left(self, done: int) -> float | None:
        """Return it after so many evaluations; the first ones say nothing."""
        if done < self._first + _FEW:
            return None
        work = self._work[done]
        seconds = (time.monotonic() - self._begin) / (work - self._done)
        return round(seconds * (self._work[-1] - work), 1)


def encoded_preview(painting: Painting) -> bytes:
    """Return a JPEG of a picture, made smaller if it is large."""
    image = Image.fromarray(to_image(painting.pixels))
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_PREVIEW_QUALITY)
    return stream.getvalue()
