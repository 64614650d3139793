"""Many pictures, painted by the workers of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ortist.engine.artifacts import Artifacts
from ortist.engine.cluster import Cluster
from ortist.engine.cluster.roster import Roster
from ortist.engine.images.source import encoded, label_of
from ortist.engine.jobs import Job
from ortist.engine.options import Options
from ortist.engine.record import installed_versions
from ortist.engine.starts import read_start
from ortist.engine.workers import Failed, Painted, Setup, attempted
from ortist.models.errors import OrtistError

_AT_ONCE = 2
"""Pictures for each worker: while it paints one, the next is on its way."""
_TRIES = 3
"""How often a picture is sent, if it is lost with its worker."""
_PATIENCE = 0.2
"""Seconds between questions whether to stop."""


@dataclass(eq=False)
class _Sent:
    """A picture under way: future of Dask, what will come of it, and how often it was sent."""

    job: Job
    future: Any
    answer: Future[Any]
    times: int


class Away:
    """Has workers of a cluster paint, in place of processes here.

    Args:
        jobs: what is to be painted.
        setup: of the workers; there is a cluster in it.
        finish: called with a job and what came of it.
        show: called with the number of jobs done.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        setup: Setup,
        finish: Callable[[Job, Painted | Failed], object],
        show: Callable[[float], object],
    ) -> None:
        assert setup.cluster is not None
        self._jobs = list(jobs)
        self._finish, self._show = finish, show
        self._cluster = Cluster(setup.cluster, setup.threads)
        self._setup = replace(setup, cluster=None)
        self._models = Artifacts(setup.models).digest
        self._versions = installed_versions()
        self._sent: list[_Sent] = []
        self._done = 0

    def work(self, most: int, stop: Callable[[], bool]) -> None:
        """Have at most so many pictures painted at once until all are, or until asked to stop."""
        try:
            roster = Roster(self._cluster)
            while (self._jobs or self._sent) and not stop():
                room = min(most, _AT_ONCE * len(roster.look())) - len(self._sent)
                for _ in range(min(room, len(self._jobs))):
                    self._begin(self._jobs.pop(0))
                if not self._take_in():
                    time.sleep(_PATIENCE)
        except OrtistError as error:
            # None of those that are left will be painted.
            for job in [*(sent.job for sent in self._sent), *self._jobs]:
                self._end(job, Failed(str(error)))
        finally:
            for sent in self._sent:
                sent.future.release()

    def _begin(self, job: Job, times: int = 1) -> None:
        """Send a picture, for the first time or again."""
        from ortist.engine.cluster.errands import Errand, paint

        options = job.options
        made = attempted(
            lambda: Errand(
                _content("content image", job.content, options),
                tuple(_content("style image", style, options) for style in job.styles),
                read_start(options),
                self._models,
                self._versions,
            )
        )
        if isinstance(made, Failed):
            self._end(job, made)
        else:
            future, answer = self._cluster.ask(paint, self._setup, made)
            self._sent.append(_Sent(job, future, answer, times))

    def _take_in(self) -> bool:
        """Take in what is painted; return whether anything is."""
        found = [sent for sent in self._sent if sent.answer.done()]
        for sent in found:
            self._sent.remove(sent)
            message = self._message(sent)
            sent.future.release()
            if message is not None:
                self._end(sent.job, message)
        return bool(found)

    def _message(self, sent: _Sent) -> Painted | Failed | None:
        """Return what came of a picture; if it was lost, send it again and return None."""
        from distributed import KilledWorker

        try:
            message: Painted | Failed = sent.answer.result()
        except KilledWorker:
            # Dask has had several try it.
            return Failed("its workers were killed, as where memory runs out")
        except (CancelledError, OSError) as error:
            if not self._cluster.is_connected:
                self._sent.append(sent)
                raise self._cluster.lost() from error
            if sent.times == _TRIES:
                return Failed(f"it was lost with its worker: {error}")
            self._begin(sent.job, sent.times + 1)
            return None
        except Exception as error:  # of whatever kind: the others are to be painted
            return Failed(f"{type(error).__name__}: {error}")
        return message

    def _end(self, job: Job, message: Painted | Failed) -> None:
        self._done += 1
        self._finish(job, message)
        self._show(self._done)


def _content(name: str, path: Path, options: Options) -> bytes:
    with encoded(path, label_of(path, name), options.max_pixels) as stream:
        return stream.read()
