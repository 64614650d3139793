"""Ctrl-C, and a request to terminate, that wait for the step under way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code of a process that Ctrl-C ended: 128 + SIGINT."""
_SIGNALS = signal.SIGINT, signal.SIGTERM


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Within the block the first Ctrl-C sets the event, and only a second one interrupts.

    So no step and no file is torn. SIGTERM, by which services and schedulers end a process, does
    the same. A process told to ignore Ctrl-C (nohup) keeps ignoring it.
    """
    requested = threading.Event()
    previous = {number: signal.getsignal(number) for number in _SIGNALS}

    def request(number: int, _frame: FrameType | None) -> None:
        requested.set()
        signal.signal(number, previous[signal.Signals(number)])

    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, request)
    try:
        yield requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
