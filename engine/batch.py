"""Many pictures, painted by several processes; what is done stays done, whatever happens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from ortist.engine.cluster.away import Away
from ortist.engine.engine import Engine
from ortist.engine.images import PLAIN, Encoding, check_output, write_image
from ortist.engine.jobs import Job
from ortist.engine.ledger import Ledger
from ortist.engine.memory import available_bytes, check_memory
from ortist.engine.processes import ready
from ortist.engine.record import Record, with_record
from ortist.engine.workers import Failed, Needs, Painted, Progress, Setup, Worker
from ortist.models.errors import InputError, printable
from ortist.models.files import reason

Status: TypeAlias = Literal["done", "skipped", "failed", "open"]
_PATIENCE = 0.2
"""Seconds between questions whether to stop."""


@dataclass(frozen=True)
class Outcome:
    """What became of a picture.

    Attributes:
        job: what was to be painted.
        status: ``done``; ``skipped``, since it was done before; ``failed``; or ``open``, if the
            batch was stopped before.
        reason: why it failed, in one line.
        seconds: that its painting took.
    """

    job: Job
    status: Status
    reason: str = ""
    seconds: float = 0.0


class Batch:
    """Pictures that are to be in a folder.

    What was written there before is skipped: by its record, of inputs, options, versions and
    models, and if the file is still what was written. No other file there is replaced.

    Args:
        jobs: what to paint.
        folder: where the pictures go; it is made if there is none.
        setup: of the processes.
        encoding: how pictures are written.
        metadata: whether they say how they were made.
        force: whether files that are in the way, which were not written here, are replaced.

    Raises:
        InputError: if an input is in the folder.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        folder: Path,
        setup: Setup,
        *,
        encoding: Encoding = PLAIN,
        metadata: bool = True,
        force: bool = False,
    ) -> None:
        self.jobs = jobs
        self.folder = folder
        self._setup = setup
        self._encoding = encoding
        self._metadata = metadata
        self._written = {
            "bits": encoding.bits,
            "quality": encoding.quality,
            "metadata": metadata,
        }
        self._force = force
        self._ledger = Ledger(folder)
        self._check_inputs()

    def plan(self) -> list[Outcome]:
        """Return what is skipped, what cannot be painted as far as can be told, and what is open.

        Writes nothing.

        Raises:
            InputError: if what was painted before cannot be read.
        """
        self._ledger.read()
        return [outcome for outcome, _ in self._sorted_out(lambda: False)]

    def paint(
        self,
        workers: int = 1,
        *,
        tell: Callable[[Outcome], object] = lambda outcome: None,
        show: Callable[[float], object] = lambda pictures: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[Outcome]:
        """Paint what is open, and return what became of all jobs, in their order.

        Programs that call this must be importable, as :mod:`multiprocessing` asks: what they do at
        once stands below ``if __name__ == "__main__":``.

        Args:
            workers: processes that paint at once, as far as there is memory for them; on a cluster
                most pictures that are under way.
            tell: called with each outcome but those that are open.
            show: called with the number of pictures done, parts of them included.
            stop: asked several times a second whether to leave the rest open.

        Raises:
            InputError: if the folder cannot be written to, or another batch is at work there.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"folder '{self.folder}' cannot be made: {reason(error)}"
            raise InputError(message) from error
        with self._ledger:
            found = self._sorted_out(stop)
            outcomes = {outcome.job.output: outcome for outcome, _ in found}
            for outcome, _ in found:
                if outcome.status != "open":
                    tell(outcome)
            todo = {outcome.job.output: record for outcome, record in found if record is not None}

            def done(outcome: Outcome) -> None:
                outcomes[outcome.job.output] = outcome
                tell(outcome)

            floor = (_Floor if self._setup.cluster is None else Away)(
                [job for job in self.jobs if job.output in todo],
                self._setup,
                lambda job, message: done(self._kept(job, todo[job.output], message)),
                lambda parts: show(len(outcomes) - len(todo) + parts),
            )
            floor.work(workers, stop)
        return [outcomes[job.output] for job in self.jobs]

    def _check_inputs(self) -> None:
        """Raise InputError for an input in the folder: the next batch would paint the outputs."""
        folder = os.path.realpath(self.folder)
        for path in dict.fromkeys(path for job in self.jobs for path in (job.content, *job.styles)):
            try:
                inside = os.path.realpath(path.parent) == folder
            except (OSError, ValueError):  # no file has this name, which is told of its picture
                continue
            if inside:
                raise InputError(
                    f"folder '{self.folder}' has the input '{path.name}', accepted is one without"
                    " inputs"
                )

    def _sorted_out(self, stop: Callable[[], bool]) -> list[tuple[Outcome, Record | None]]:
        """Return the outcome of each job so far, with its record if it is to be painted."""
        engine = self._setup.engine()
        return [
            (Outcome(job, "open"), None) if stop() else self._state(job, engine)
            for job in self.jobs
        ]

    def _state(self, job: Job, engine: Engine) -> tuple[Outcome, Record | None]:
        try:
            record = engine.record(job.content, list(job.styles), job.options)
            if self._ledger.has(job.output, record, self._written):
                return Outcome(job, "skipped"), None
            with_record(self._encoding, record if self._metadata else None, job.options.steps)
            if self.folder.is_dir():
                owned = self._ledger.owns(job.output)
                force = self._force or owned
                check_output(self.folder / job.output, force, encoding=self._encoding)
            else:
                self._encoding.check(job.output)
        except InputError as error:
            return Outcome(job, "failed", str(error)), None
        return Outcome(job, "open"), record

    def _kept(self, job: Job, record: Record, message: Painted | Failed) -> Outcome:
        """Write a picture and return what became of it."""
        if isinstance(message, Failed):
            return Outcome(job, "failed", printable(message.reason))
        self._ledger.begin(job.output)
        try:
            told = replace(record, tile=message.tile) if self._metadata else None
            encoding = with_record(self._encoding, told, message.steps)
            write_image(message.pixels, self.folder / job.output, encoding)
            self._ledger.end(job.output, record, self._written)
        except (InputError, OSError) as error:
            return Outcome(job, "failed", str(error))
        return Outcome(job, "done", seconds=message.seconds)


class _Floor:
    """Where several processes work.

    Args:
        jobs: what is to be painted.
        setup: of the processes.
        finish: called with a job and what came of it.
        show: called with the number of jobs done, parts of them included.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        setup: Setup,
        finish: Callable[[Job, Painted | Failed], object],
        show: Callable[[float], object],
    ) -> None:
        self._jobs = list(jobs)
        self._limit = available_bytes() if setup.memory is None else setup.memory
        self._setup = replace(setup, memory=self._limit)
        self._finish = finish
        self._show = show
        self._workers: list[Worker] = []
        self._shares: dict[str, float] = {}
        self._done = 0

    def work(self, most: int, stop: Callable[[], bool]) -> None:
        """Have at most so many processes paint all jobs, or until asked to stop."""
        try:
            while not stop():
                self._hand_out(most)
                if not any(worker.job for worker in self._workers):
                    break
                for worker in ready(self._workers, _PATIENCE):
                    self._hear(worker)
                self._grant()
        finally:
            for worker in self._workers:
                worker.kill()

    def _hand_out(self, most: int) -> None:
        """Give jobs to those that have none, and start more of them while there are jobs."""
        while self._jobs:
            worker = next((worker for worker in self._workers if worker.job is None), None)
            if worker is None:
                if len(self._workers) >= most:
                    return
                worker = Worker(self._setup)
                self._workers.append(worker)
            worker.begin(self._next(worker))

    def _next(self, worker: Worker) -> Job:
        """Take a job in the style that a process had, else in one that no other has."""
        taken = {other.styles for other in self._workers if other is not worker}
        own = (job for job in self._jobs if job.styles == worker.styles)
        free = (job for job in self._jobs if job.styles not in taken)
        job = next(own, None) or next(free, None) or self._jobs[0]
        self._jobs = [other for other in self._jobs if other is not job]
        return job

    def _hear(self, worker: Worker) -> None:
        """Take in what a process says."""
        message, job = worker.receive(), worker.job
        if message is None:
            self._workers.remove(worker)
            message = Failed(worker.ending())
            worker.kill()
        if job is None:
            return
        if isinstance(message, Needs):
            worker.needs = message
            return
        if isinstance(message, Progress):
            self._shares[job.output] = message.share
        else:
            self._end(worker, job, message)
        self._show(self._done + sum(self._shares.values()))

    def _end(self, worker: Worker, job: Job, message: Painted | Failed) -> None:
        worker.job = worker.needs = None
        self._shares.pop(job.output, None)
        self._done += 1
        self._finish(job, message)

    def _grant(self) -> None:
        """Let those go on for whose pictures there is memory, in the order in which they asked."""
        taken = sum(
            worker.needs.peak_bytes for worker in self._workers if worker.granted and worker.needs
        )
        for worker in self._workers:
            needs = worker.needs
            if needs is None or worker.granted:
                continue
            try:
                check_memory(needs.peak_bytes, self._limit, needs.width, needs.height)
            except InputError as error:
                self._refuse(worker, str(error))
                continue
            if taken + needs.peak_bytes <= self._limit:
                taken += needs.peak_bytes
                worker.grant()

    def _refuse(self, worker: Worker, why: str) -> None:
        """Tell a process, which waits, to take another job."""
        assert worker.job is not None
        worker.refuse()
        self._end(worker, worker.job, Failed(why))


def report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return all outcomes as JSON has them: how many there are of each status, and each output."""
    statuses = [outcome.status for outcome in outcomes]
    return {
        **{name: statuses.count(name) for name in get_args(Status)},
        "outputs": [
            {
                "output": printable(outcome.job.output),
                "content": printable(str(outcome.job.content)),
                "styles": [printable(str(style)) for style in outcome.job.styles],
                "status": outcome.status,
                "reason": outcome.reason,
                "seconds": round(outcome.seconds, 3),
            }
            for outcome in outcomes
        ],
    }
