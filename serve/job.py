"""What is known of a job, and how it is kept on the disk."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ortist.serve.order import Order
from ortist.serve.painter import Task
from ortist.serve.task import Files
from ortist.serve.views import FINAL, JobPlan, JobView, Progress, State

_LOG = logging.getLogger("ortist.serve")


@dataclass(eq=False)
class Job:
    """What is known of a job.

    Attributes:
        id: which nobody can guess.
        client: who asked for it.
        key: by which the client may ask again; empty for none.
        digest: of all that was sent with a key, so that another job with the same is noticed.
        order: what is asked for, with the job's names for pictures.
        plan: as JSON has it.
        record: of the picture, likewise.
        created: seconds since the epoch, as all times.
        turn: jobs are painted in the order of these.
        spent: seconds of painting in sittings that have ended.
        sittings: how often it was begun.
        touched: when its state changed last.
        sat_down: when this sitting began, by the monotonic clock.
        progress: the last step, as JSON has it; None if there is none.
        preview_step: the step that the preview shows; None if there is none.
        result: whether there is a picture to keep.
        result_step: evaluations that it is made in.
        leaving: the state that it was told to leave for; None if it was not.
        steps: all steps so far, as JSON has them; those of one that has ended are on the disk.
        preview: JPEG of the picture so far, likewise.
        listeners: called whenever anything changes, by any thread; must not wait.
    """

    id: str
    order: Order
    plan: dict[str, Any]
    record: dict[str, Any]
    created: float
    turn: float
    touched: float
    client: str = ""
    key: str = ""
    digest: str = ""
    state: State = "queued"
    error: str | None = None
    started: float | None = None
    ended: float | None = None
    spent: float = 0.0
    sittings: int = 0
    progress: dict[str, Any] | None = None
    preview_step: int | None = None
    result: bool = False
    result_step: int = 0
    sat_down: float | None = None
    leaving: State | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    preview: bytes | None = None
    listeners: list[Callable[[], None]] = field(default_factory=list)

    @property
    def final(self) -> bool:
        """Whether it has ended for good."""
        return self.state in FINAL

    @property
    def peak_bytes(self) -> int:
        """Memory that it takes."""
        return int(self.plan["peak_bytes"])

    def changed(self) -> None:
        """Tell who listens."""
        for listener in self.listeners:
            try:
                listener()
            except Exception:  # of whoever listens: painting goes on
                _LOG.exception("a listener failed")

    def task(self, files: Files) -> Task:
        """Return what a painter is told."""
        return Task(self.id, files, self.order, self.record)

    def view(self, position: int | None) -> JobView:
        """Return what clients see, given how many jobs are before it if it waits."""
        return JobView(
            id=self.id,
            state=self.state,
            error=self.error,
            position=position,
            created=_time(self.created),
            started=None if self.started is None else _time(self.started),
            ended=None if self.ended is None else _time(self.ended),
            recipe=self.order.recipe,
            options=self.order.options,
            inputs=[name for name, _ in self.order.pictures()],
            regions=list(self.order.regions),
            plan=JobPlan(**self.plan),
            progress=None if self.progress is None else Progress(**self.progress),
            preview=self.preview_step,
            result=self.result,
        )

    def to_json(self) -> str:
        """Return what is kept on the disk, but for steps and preview."""
        value = {name: getattr(self, name) for name in _KEPT}
        return json.dumps({**value, "order": self.order.model_dump(mode="json")})


_KEPT = tuple(
    name
    for name in Job.__dataclass_fields__
    if name not in ("sat_down", "steps", "preview", "listeners")
)


def read_job(files: Files) -> Job | None:
    """Return the job of a folder; None if it was being taken in, or is no job's."""
    try:
        value = json.loads(files.job.read_bytes())
        value["order"] = Order(**value["order"])
        job = Job(**{name: value[name] for name in _KEPT})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if job.final:
        return job
    job.steps = read_steps(files)
    with suppress(OSError), files.steps.open("r+b") as stream:
        if stream.seek(0, os.SEEK_END):  # what is torn is ended, else the next step joins it
            stream.write(b"\n")
    with suppress(OSError):
        job.preview = files.preview.read_bytes()
    if job.preview is None:
        job.preview_step = None
    return job


def read_steps(files: Files) -> list[dict[str, Any]]:
    """Return the steps that are kept of a job, but for those that are torn."""
    steps = []
    with suppress(OSError):
        for line in files.steps.read_bytes().splitlines():
            with suppress(ValueError):
                steps.append(json.loads(line))
    return steps


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
