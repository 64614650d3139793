"""Which workers of a cluster are there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from ortist.engine.cluster import RESOURCE, Cluster
from ortist.models.errors import OrtistError

NO_WORKERS_SECONDS = 60.0
"""How long work waits for a worker where there is none, and for a scheduler that says nothing."""
_LOOK_SECONDS = 0.5
"""Between looks at who is there."""


class Roster:
    """Those of the workers that take part.

    Args:
        cluster: whose workers.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._looking: Future[Any] | None = None
        self._looked = 0.0
        self._deserted: float | None = None
        self._ready: Sequence[str] = ()

    def look(self) -> Sequence[str]:
        """Return their addresses as they were a moment ago; does not wait.

        Raises:
            OrtistError: if the scheduler is gone, or all workers have been for some time.
        """
        if not self._cluster.is_connected:
            raise self._cluster.lost()
        now = time.monotonic()
        if self._looking is None and (now - self._looked > _LOOK_SECONDS or not self._ready):
            scheduler = self._cluster.client.scheduler
            self._looking = self._cluster.begin(lambda: scheduler.identity(n_workers=-1))
            self._looked = now
        if self._looking is not None and self._looking.done():
            self._take_in(self._looking, now)
            self._looking = None
        elif now - self._looked > NO_WORKERS_SECONDS:
            raise self._cluster.lost()
        return self._ready

    def _take_in(self, answer: Future[Any], now: float) -> None:
        try:
            workers = answer.result()["workers"]
        except (OSError, CancelledError) as error:
            raise self._cluster.lost() from error
        self._ready = [
            address
            for address, facts in workers.items()
            if facts["resources"].get(RESOURCE) and facts["status"] == "running"
        ]
        self._deserted = None if self._ready else self._deserted or now
        if self._deserted is not None and now - self._deserted > NO_WORKERS_SECONDS:
            others = f"; {len(workers)} have not" if workers else ""
            raise OrtistError(
                f"cluster {self._cluster.name} has had no running worker with --resources"
                f" {RESOURCE}=1 for {NO_WORKERS_SECONDS:g} s{others}"
            )
