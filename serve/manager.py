"""The jobs of a service: taken in, queued, painted by processes, and kept on the disk."""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ortist.engine import Encoding
from ortist.engine.images import write_image
from ortist.engine.memory import available_bytes
from ortist.engine.record import with_record
from ortist.engine.workers import Setup
from ortist.models.files import reason, write_whole
from ortist.serve.errors import (
    BusyError,
    ConflictError,
    TooManyError,
    UnknownJobError,
)
from ortist.serve.floor import Floor
from ortist.serve.intake import Intake
from ortist.serve.job import Job, read_steps
from ortist.serve.limits import Limits
from ortist.serve.order import Order
from ortist.serve.painter import Ended, Kept, Stepped
from ortist.serve.reception import Reception, digest_of
from ortist.serve.shelf import Shelf, write_if_there
from ortist.serve.task import Files, record_of
from ortist.serve.views import JobView, State

_LOG = logging.getLogger("ortist.serve")
_PATIENCE = 0.5
"""Seconds between looks at what is due."""
_STOP_SECONDS = 10.0
"""How long painters may take to keep their jobs when the service stops."""
_SURVIVED_SECONDS = 60.0
"""Of painting, after which a job is none of those."""
_SITTINGS = 3
"""How often a job is begun that never ends: it may be what ends the service."""
_PRUNE_SECONDS = 30.0
_SHARE = 0.9
"""Of the memory that there is at the start, what painting may take."""


class Manager:
    """The jobs of a service. Any number of threads may use it; to be used in a ``with``.

    Jobs are in a folder each. What was waiting or being painted when the service ended, however it
    did, goes on when it starts again, and ends with the same bytes.

    Programs that use it must be importable, as :mod:`multiprocessing` asks: what they do at once
    stands below ``if __name__ == "__main__":``.

    Args:
        folder: of the jobs; it is made if there is none.
        setup: of the engines that paint.
        painters: processes that paint at once, as far as there is memory for their jobs.
        limits: of what is taken on.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        setup: Setup | None = None,
        painters: int = 1,
        limits: Limits | None = None,
    ) -> None:
        self._shelf = Shelf(folder)
        self.closing = False
        """Whether the service is going to stop."""
        self.limits = limits or Limits()
        setup = setup or Setup()
        self.memory = _SHARE * available_bytes() if setup.memory is None else setup.memory
        setup = replace(setup, memory=self.memory, kept_styles=0)
        self._intake = Intake(setup, self.limits)
        self._reception = Reception(self._intake, self.limits, self.memory)
        self._floor = Floor(setup, painters)
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._turns = WeakValueDictionary[tuple[str, str], threading.Lock]()
        self._stack = ExitStack()
        self._ending = threading.Event()
        self._dirty: set[str] = set()
        self._taking = Counter[str]()
        self._pruned = time.monotonic()
        self._thread: threading.Thread | None = None
        self.counts = Counter[str]()
        """How many jobs were taken in, and ended by state; and how many steps were done."""

    def __enter__(self) -> Manager:
        """Start.

        Raises:
            InputError: if the folder cannot be used, or another service has it.
            ServiceError: if the processes cannot work, in words.
        """
        with ExitStack() as stack:
            stack.enter_context(self._shelf.held())
            self._intake.start()
            stack.callback(self._intake.stop)
            self._read()
            self._ending.clear()
            self.closing = False
            self._thread = threading.Thread(target=self._work)
            self._thread.start()
            stack.callback(self._thread.join)
            stack.callback(self._floor.ring)
            stack.callback(self._ending.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop: what is being painted is kept and goes on when the service starts again."""
        self._stack.close()

    def submit(
        self, order: Order, pictures: Mapping[str, Path], client: str = "", key: str = ""
    ) -> JobView:
        """Take in a job.

        Args:
            order: what is asked for.
            pictures: the files of its pictures, by the names that the order has for them; they are
                not needed any more when this returns.
            client: who asks.
            key: if the client has asked with the same one before, this returns that job.

        Raises:
            InputError: for pictures or options that cannot be used.
            ServiceError: if it is refused for another reason, which it says.
        """
        with self.room(client, key):
            return self.take(order, pictures, client, key)

    @contextmanager
    def room(self, client: str, key: str = "") -> Iterator[None]:
        """Have room for a job of a client, whose pictures may be on their way.

        Raises:
            ServiceError: if there is none, unless it was asked for with the same key before.
        """
        with self._lock:
            if not (key and self._known(client, key)):
                self._check_room(client)
            self._taking[client] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taking[client] -= 1
                self._taking += Counter()  # without those at zero

    def take(
        self, order: Order, pictures: Mapping[str, Path], client: str = "", key: str = ""
    ) -> JobView:
        """Take in a job that there is :meth:`room` for, as :meth:`submit` does."""
        digest = digest_of(order, pictures) if key else ""
        with self._turn_of(client, key):
            with self._lock:
                job = self._known(client, key) if key else None
            job = job or self._taken_in(order, pictures, client, key, digest)
        if job.digest != digest:
            raise ConflictError("another job has been asked for with the same idempotency key")
        return self.view(job.id)

    def _turn_of(self, client: str, key: str) -> AbstractContextManager[object]:
        """Return what keeps others waiting who ask with the same key."""
        if not key:
            return nullcontext()
        with self._lock:
            return self._turns.setdefault((client, key), threading.Lock())

    def _check_room(self, client: str) -> None:
        waiting = [job for job in self._jobs.values() if job.state == "queued"]
        if len(waiting) + self._taking.total() >= self.limits.queued:
            raise BusyError(f"{len(waiting)} jobs are waiting, which is all that is taken")
        own = [job for job in self._jobs.values() if job.client == client and not job.final]
        if len(own) + self._taking[client] >= self.limits.jobs_per_client:
            raise TooManyError(
                f"{len(own)} of your jobs have not ended, accepted are"
                f" {self.limits.jobs_per_client}"
            )

    def view(self, name: str) -> JobView:
        """Return a job as it is now; UnknownJobError if there is none."""
        with self._lock:
            job = self._job(name)
            position = None
            if job.state == "queued":
                position = sum(
                    other.state == "queued" and other.turn < job.turn
                    for other in self._jobs.values()
                )
            return job.view(position)

    def cancel(self, name: str) -> JobView:
        """End a job, which keeps its last picture; one that has ended stays as it is."""
        return self._leave(name, "canceled")

    def pause(self, name: str) -> JobView:
        """Have a job wait until :meth:`resume`.

        Raises:
            ConflictError: if it has ended.
        """
        return self._leave(name, "paused")

    def resume(self, name: str) -> JobView:
        """Have a job that was paused go on, after those that wait.

        Raises:
            ConflictError: if it was not paused.
        """
        with self._lock:
            job = self._job(name)
            if job.state != "paused":
                raise ConflictError(f"the job is {job.state}, accepted is one that is paused")
            job.turn = time.time()
            self._become(job, "queued")
            return self.view(name)

    def remove(self, name: str) -> None:
        """End a job if it has not, and remove it with all its files."""
        with self._lock:
            job = self._job(name)
            del self._jobs[name]
            if job.state == "running":
                self._shelf.forget(name)  # removed when it has ended
                self._floor.halt(name, "cancel")
            else:
                self._shelf.remove(name)
            job.state, job.leaving = "canceled", None
            job.changed()
            self._floor.ring()

    def steps(self, name: str, after: int = 0) -> Sequence[Mapping[str, Any]]:
        """Return the steps of a job but for the first ones, as JSON has them."""
        with self._lock:
            job = self._job(name)
            if not job.final:
                return job.steps[after:]
        return read_steps(self._shelf.files(name))[after:]

    @contextmanager
    def listening(self, name: str, listener: Callable[[], None]) -> Iterator[None]:
        """Have a listener called, by any thread, whenever anything of a job changes.

        It must not wait.
        """
        with self._lock:
            job = self._job(name)
            job.listeners.append(listener)
        try:
            yield
        finally:
            with self._lock:
                job.listeners.remove(listener)

    def end_listening(self) -> None:
        """Have all who follow jobs stop: the service is going to."""
        with self._lock:
            self.closing = True
            for job in self._jobs.values():
                job.changed()

    def preview(self, name: str) -> tuple[int, bytes]:
        """Return the step that is seen of a job, and a JPEG; UnknownJobError if there is none."""
        with self._lock:
            job = self._job(name)
            step, preview = job.preview_step, job.preview
        with suppress(FileNotFoundError):
            if step is not None:
                return step, preview or self._shelf.files(name).preview.read_bytes()
        raise UnknownJobError("the job has no preview yet")

    def picture(self, name: str, picture: str) -> Path:
        """Return the file of one of a job's pictures, PNG; UnknownJobError if there is none."""
        with self._lock:
            names = [known for known, _ in self._job(name).order.pictures()]
            if picture not in names:
                raise UnknownJobError(f"there is no such picture, accepted are {', '.join(names)}")
            return self._shelf.files(name).picture(picture)

    def write_result(
        self, name: str, path: Path, bits: int = 8, quality: int | None = None
    ) -> None:
        """Write the picture that a job ended with, or has so far, which says how it was made.

        Args:
            name: of the job.
            path: where it goes; the extension says in which format.
            bits: of each channel, 8 or 16.
            quality: of formats that have it, 1..100.

        Raises:
            ConflictError: if there is none.
            InputError: if the format cannot hold that.
        """
        encoding = Encoding(bits=bits, quality=quality)
        with self._lock:
            job = self._job(name)
            if not job.result:
                raise ConflictError(f"the job is {job.state} and has no picture yet")
            record, steps = job.record, job.result_step
        try:
            pixels = np.load(self._shelf.files(name).result)
        except FileNotFoundError:
            raise UnknownJobError("the job is gone") from None
        told = with_record(encoding, record_of(record), steps)
        write_image(pixels, path, told)

    def state_counts(self) -> Counter[str]:
        """Return how many jobs there are by state."""
        with self._lock:
            return Counter(job.state for job in self._jobs.values())

    @property
    def incoming(self) -> Path:
        """A folder for files that are soon gone; what is left there when it starts is removed."""
        return self._shelf.incoming

    @property
    def taken_bytes(self) -> int:
        """Memory that the jobs that are painted take, as it was predicted."""
        return self._floor.taken

    @property
    def ready(self) -> bool:
        """Whether jobs are painted."""
        works = self._thread is not None and self._thread.is_alive()
        return works and self._floor.ready and not self._ending.is_set()

    def _taken_in(
        self, order: Order, pictures: Mapping[str, Path], client: str, key: str, digest: str
    ) -> Job:
        name = secrets.token_hex(16)
        try:
            with self._shelf.added(name) as files:
                job = self._reception.take(name, files, order, pictures, self._floor.taken)
                job.client, job.key, job.digest = client, key, digest
                write_whole(files.job, job.to_json().encode())
        except OSError as error:
            raise BusyError(f"the job cannot be kept: {reason(error)}") from error
        # Not all of the id: who knows that may do with the job what they like.
        _LOG.info("job %s: taken in for %s", name[:8], client or "this program")
        with self._lock:
            self._jobs[name] = job
            self.counts["taken"] += 1
        self._floor.ring()
        return job

    def _known(self, client: str, key: str) -> Job | None:
        """Return the job that a client asked for with a key."""
        for job in self._jobs.values():
            if (job.client, job.key) == (client, key):
                return job
        return None

    def _job(self, name: str) -> Job:
        if name not in self._jobs:
            raise UnknownJobError("there is no such job, or not any more")
        return self._jobs[name]

    def _leave(self, name: str, state: State) -> JobView:
        with self._lock:
            job = self._job(name)
            if job.final and state == "paused":
                raise ConflictError(f"the job is {job.state}, accepted is one that has not ended")
            if job.state == "running":
                if job.leaving is None or state == "canceled":
                    job.leaving = state
                    self._dirty.add(name)
                    self._floor.halt(name, "pause" if state == "paused" else "cancel")
            elif not job.final:
                self._become(job, state)
            return self.view(name)

    def _become(self, job: Job, state: State) -> None:
        """Change the state of a job, and tell who listens."""
        job.state, job.leaving, job.touched = state, None, time.time()
        if job.final:
            job.ended = job.touched
            _LOG.info("job %s: %s%s", job.id[:8], state, f", {job.error}" if job.error else "")
            job.steps, job.preview = [], None  # which are on the disk
            self.counts[state] += 1
        self._dirty.add(job.id)
        self._floor.ring()
        for other in self._jobs.values():
            # Those that wait have come nearer.
            if other is job or other.state == "queued":
                other.changed()

    def _work(self) -> None:
        """Have jobs painted until the end."""
        try:
            while not self._ending.is_set():
                try:
                    self._turn()
                except Exception:  # of whatever kind: the service goes on
                    _LOG.exception("a turn of the service failed")
                    self._ending.wait(_PATIENCE)
        finally:
            for message in self._floor.stop(_STOP_SECONDS):
                self._hear(message)
            self._keep()

    def _turn(self) -> None:
        """Do what is due, and wait for what is said."""
        self._floor.start()
        self._hand_out()
        self._keep()
        for message in self._floor.hear(_PATIENCE):
            self._hear(message)
        self._halt_late()
        if time.monotonic() - self._pruned > _PRUNE_SECONDS:
            self._pruned = time.monotonic()
            self.prune()

    def _hand_out(self) -> None:
        """Give jobs to painters, in their order: a large one is not passed by smaller ones."""
        with self._lock:
            waiting = [job for job in self._jobs.values() if job.state == "queued"]
            for job in sorted(waiting, key=lambda job: job.turn):
                if job.peak_bytes > self.memory:  # which may be less than when it was taken in
                    needed, there = job.peak_bytes / 1e9, self.memory / 1e9
                    job.error = f"it takes {needed:.2f} GB of memory, there are {there:.2f} GB now"
                    self._become(job, "failed")
                    continue
                if not self._floor.begin(job.task(self._shelf.files(job.id)), job.peak_bytes):
                    return
                job.sittings += 1
                job.sat_down = time.monotonic()
                job.started = job.started or time.time()
                self._become(job, "running")

    def _hear(self, message: Stepped | Kept | Ended) -> None:
        """Take in what a painter says."""
        files = self._shelf.files(message.id)
        with self._lock:
            job = self._jobs.get(message.id)
        if job is None:  # it was removed
            if isinstance(message, Ended):
                self._shelf.remove(message.id)
            return
        if isinstance(message, Stepped):
            self._stepped(job, message, files)
        elif isinstance(message, Kept):
            with self._lock:
                job.preview, job.preview_step = message.preview, message.step
                job.result, job.result_step, job.record = True, message.step, message.record
        else:
            self._ended(job, message, files)

    def _stepped(self, job: Job, message: Stepped, files: Files) -> None:
        with self._lock:
            if message.preview is not None:
                job.preview, job.preview_step = message.preview, message.progress["step"]
            progress = {**message.progress, "preview": job.preview_step}
            job.steps.append(progress)
            job.progress = progress
            if job.sat_down and time.monotonic() - job.sat_down > _SURVIVED_SECONDS:
                job.sittings = 0
            self.counts["steps"] += 1
            job.changed()
        with suppress(OSError), files.steps.open("a") as stream:
            stream.write(json.dumps(progress) + "\n")

    def _ended(self, job: Job, message: Ended, files: Files) -> None:
        if job.preview is not None:  # the last one: it is on the disk from now on
            write_if_there(files.preview, job.preview)
        with self._lock:
            job.sittings = 0
            job.spent += time.monotonic() - (job.sat_down or time.monotonic())
            state: State = message.state
            if state in ("paused", "canceled"):
                # Or the service ends, and the job goes on when it starts again.
                state = job.leaving or "queued"
            elif state == "failed" and job.leaving in ("paused", "canceled"):
                state = job.leaving  # it was ended, since it did not leave
            late = state == "failed" and job.leaving == "failed"
            job.error = self._late if late else message.error
            if job.id in self._jobs:
                self._become(job, state)
        if job.id not in self._jobs:  # it was removed just now
            self._shelf.remove(job.id)
        elif job.final:
            with suppress(OSError):
                files.checkpoint.unlink(missing_ok=True)

    @property
    def _late(self) -> str:
        return f"it took more than {self.limits.seconds:g} s"

    def _halt_late(self) -> None:
        """Halt jobs that have been painted for too long."""
        with self._lock:
            for job in self._jobs.values():
                if job.state != "running" or job.leaving or job.sat_down is None:
                    continue
                if job.spent + time.monotonic() - job.sat_down > self.limits.seconds:
                    job.leaving = "failed"
                    self._floor.halt(job.id, "cancel")

    def _keep(self) -> None:
        """Write what has changed, not within the lock: others do not wait for the disk."""
        self._shelf.sweep()
        with self._lock:
            dirty = [self._jobs[name] for name in self._dirty if name in self._jobs]
            self._dirty.clear()
            texts = [(job.id, job.to_json()) for job in dirty]
        for name, text in texts:
            if not write_if_there(self._shelf.files(name).job, text.encode()):
                self._dirty.add(name)  # to be tried again

    def prune(self) -> None:
        """Remove jobs that ended, or were paused, long ago, and the oldest ones if too many."""
        with self._lock:
            kept = [job for job in self._jobs.values() if job.final or job.state == "paused"]
            kept.sort(key=lambda job: job.touched)
            oldest = kept[: max(0, len(kept) - self.limits.kept)]
            until = time.time() - self.limits.kept_seconds
            for job in dict.fromkeys([*oldest, *(one for one in kept if one.touched < until)]):
                self.remove(job.id)

    def _read(self) -> None:
        """Read the jobs that there are."""
        for job in self._shelf.read():
            self._jobs[job.id] = job
            if job.final or job.state == "paused":
                continue
            if job.sittings >= _SITTINGS:
                job.error = f"it was begun {job.sittings} times and never ended"
                self._become(job, "failed")
            else:
                job.error = self._late if job.leaving == "failed" else None
                # What it was told to be, if it was told just before the end.
                self._become(job, job.leaving or "queued")
