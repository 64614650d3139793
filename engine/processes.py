"""Processes that work for this one, each at the other end of a connection."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from ortist.engine.errors import OrtistError
from ortist.engine.signals import signals_held
from ortist.models.files import reason

C = TypeVar("C", bound="Child")
_JOIN_SECONDS = 5.0


class Line:
    """A connection to the process that gives the work; SystemExit when that has ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, message: Any) -> None:
        """Say something."""
        try:
            self._connection.send(message)
        except OSError:
            raise SystemExit from None

    def receive(self) -> Any:
        """Return what is said next, when it is."""
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            raise SystemExit from None


class Child:
    """A process, seen from outside. It ends when this one does.

    Args:
        serve: what it does, given its line and the arguments; of a module, and importable there.
        arguments: of that.

    Attributes:
        connection: becomes readable when it says something, or dies.
    """

    def __init__(self, serve: Callable[..., None], *arguments: Any) -> None:
        # Not forked: a process with threads, as the runtime has, cannot be.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_begin, args=(serve, theirs, *arguments), daemon=True
        )
        try:
            with signals_held():
                self._process.start()
        except BaseException:  # of a signal that was held: the process would wait for ever
            if self._process.pid is not None:
                self.kill()
            raise
        theirs.close()

    def send(self, message: Any) -> None:
        """Say something, which one that has died does not hear."""
        with suppress(OSError):  # which receiving tells
            self.connection.send(message)

    def receive(self) -> Any:
        """Return what it says, None if it has died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def end(self) -> None:
        """End it at once; that is heard as a death."""
        self._process.kill()

    def ending(self) -> str:
        """Say how it died."""
        self._process.join(_JOIN_SECONDS)
        if self._process.is_alive():  # it has closed the connection and goes on
            self.end()
            self._process.join()
        code = self._process.exitcode or 0
        if hasattr(signal, "SIGKILL") and code == -signal.SIGKILL:
            return "its process was killed, as where memory runs out"
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"its process ended {how}"

    def kill(self) -> None:
        """End it at once: what it does not write as a whole is torn."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def ready(children: Sequence[C], patience: float) -> list[C]:
    """Return those that have something to say, after so many seconds if there are none."""
    found = wait([child.connection for child in children], patience)
    return [child for child in children if child.connection in found]


def reason_of(error: Exception) -> str:
    """Return in words why work failed, for those who asked for it."""
    if isinstance(error, OrtistError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError):  # without the name of a file
        return reason(error)
    return f"{type(error).__name__}: {error}"


def _begin(serve: Callable[..., None], connection: Connection, *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(Line(connection), *arguments)
