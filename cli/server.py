"""The HTTP server of ``ortist serve``."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from ortist.cli.interrupt import SIGNALS
from ortist.engine import InputError
from ortist.models.files import reason

_GRACE = 3
"""Seconds that answers may take when the service is told to stop: events have no end."""
_CONNECTIONS = 500
_BACKLOG = 128


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Give a socket that is bound to an address, before anything else is done.

    Raises:
        InputError: if it cannot be, as where another program has the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot bind to {host} port {port}: {reason(error)}") from error
    with listening:
        yield listening


class Server(uvicorn.Server):
    """Uvicorn, which leaves signals to the command once it has stopped.

    Args:
        app: what it serves.
        root_path: where a proxy has it.
        on_stop: called before it waits for answers to end.
    """

    def __init__(
        self, app: FastAPI, root_path: str = "", on_stop: Callable[[], None] = lambda: None
    ) -> None:
        config = uvicorn.Config(
            app,
            root_path=root_path,
            log_level="warning",
            access_log=False,
            lifespan="off",  # there is nothing to start, and a second Ctrl-C would be told of it
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE,
        )
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Have answers end that would go on, and stop."""
        self._on_stop()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, within some seconds; uvicorn's own would break off at a second signal."""
        self.should_exit = True

    def run_on(self, listening: socket.socket) -> None:
        """Serve until a signal comes."""
        self.run(sockets=[listening])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at signals; unlike uvicorn's own, do not raise them again: they have been heard."""
        if threading.current_thread() is not threading.main_thread():  # which alone may have them
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
