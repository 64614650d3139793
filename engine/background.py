"""Work that is done in threads beside that of a caller who may stop waiting for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from ortist.models.errors import CanceledError

T = TypeVar("T")
_PATIENCE = 0.05
"""Seconds between two looks at whether to go on waiting."""


def in_background(call: Callable[[], T]) -> Future[T]:
    """Start a call in a thread of its own and return what it will return."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    # Not an executor: those stop when the main thread ends, though others still paint.
    threading.Thread(target=run).start()
    return future


def awaited(work: Future[T], canceled: Callable[[], bool]) -> T:
    """Return what is worked on; where that is canceled, do not wait for what cannot be."""
    while True:
        try:
            return work.result(timeout=_PATIENCE)
        except TimeoutError:
            if work.done():  # it is an error of the work itself
                raise
            if canceled():
                raise CanceledError("the run was canceled") from None
