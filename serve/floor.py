"""The processes that paint, and the memory that they share."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import wait

from ortist.engine.workers import Setup
from ortist.models.files import reason
from ortist.serve.painter import Ended, Halt, Kept, Painter, Ready, Stepped, Task

_LOG = logging.getLogger("ortist.serve")
_REST_SECONDS = 5.0
"""Before processes are started again that cannot be."""


class Floor:
    """Processes that paint, as many as were asked for: see :meth:`start`.

    Args:
        setup: of their engines; says the memory that they may take together.
        most: how many there are.
    """

    def __init__(self, setup: Setup, most: int) -> None:
        assert setup.memory is not None
        self._setup, self._most = setup, most
        self._memory = setup.memory
        self._peaks: dict[str, int] = {}
        self.taken = 0
        """Bytes of memory that the jobs that are painted take."""
        self._painters: list[Painter] = []
        self._rest_until = 0.0
        self._bell, self._ring = Pipe(duplex=False)
        self._rung = threading.Event()

    def start(self) -> None:
        """Start the processes, and those that died again, though not as fast as they do."""
        if time.monotonic() < self._rest_until:
            return
        while len(self._painters) < self._most:
            try:
                self._painters.append(Painter(self._setup))
            except OSError as error:
                self._rest(f"no process that paints can be started: {reason(error)}")
                return

    def ring(self) -> None:
        """End the waiting of :meth:`hear`; any thread may call this."""
        if not self._rung.is_set():
            self._rung.set()
            self._ring.send_bytes(b"!")

    @property
    def ready(self) -> bool:
        """Whether a process can paint."""
        return any(painter.ready for painter in self._painters)

    def begin(self, task: Task, peak_bytes: int) -> bool:
        """Have a job painted; False if no process is free, or too little memory."""
        idle = (painter for painter in self._painters if painter.ready and painter.task is None)
        free = next(idle, None)
        if free is None or self.taken + peak_bytes > self._memory:
            return False
        self._peaks[task.id] = peak_bytes
        self.taken += peak_bytes
        free.begin(task)
        return True

    def halt(self, name: str, how: Halt) -> None:
        """Have a job left; its end is heard."""
        for painter in list(self._painters):  # which others may change meanwhile
            task = painter.task
            if task is not None and task.id == name:
                painter.halt(task, how)

    def hear(self, patience: float) -> Iterator[Stepped | Kept | Ended]:
        """Yield what is said, after at most so many seconds.

        Who does not leave a job when told to, or does not become ready, is ended.
        """
        for painter in self._painters:
            if time.monotonic() > painter.until:
                painter.end()
        by_connection = {painter.connection: painter for painter in self._painters}
        found = wait([self._bell, *by_connection], patience)
        if self._bell in found:
            self._rung.clear()  # first: who rings now is heard the next time
            self._bell.recv_bytes()
        for connection, painter in by_connection.items():
            if connection in found:
                yield from self._said(painter)

    def stop(self, seconds: float) -> Iterator[Stepped | Kept | Ended]:
        """Have all jobs paused, yield what is said, and end the processes."""
        for painter in self._painters:
            if painter.task is not None:
                painter.halt(painter.task, "pause")
        until = time.monotonic() + seconds
        while self._peaks and time.monotonic() < until:
            yield from self.hear(0.1)
        for painter in self._painters:
            painter.kill()
        self._painters.clear()

    def _said(self, painter: Painter) -> Iterator[Stepped | Kept | Ended]:
        message: Ready | Stepped | Kept | Ended | None = painter.receive()
        task = painter.task
        if message is None:
            self._painters.remove(painter)
            why = painter.ending()
            painter.kill()
            if not painter.ready:
                self._rest(f"a process that paints does not start: {why}")
            if task is None:
                return
            message = Ended(task.id, "failed", why)
        if isinstance(message, Ready):
            painter.ready, painter.until = True, math.inf
            return
        if isinstance(message, Ended):
            painter.task, painter.until = None, math.inf
            self.taken -= self._peaks.pop(message.id)
        yield message

    def _rest(self, why: str) -> None:
        _LOG.error(why)
        self._rest_until = time.monotonic() + _REST_SECONDS
