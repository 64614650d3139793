"""Signals that ask a process to end: what each moment of a command's life makes of them.

This module and the package's ``__init__`` import little, so that the process answers soon after its
start.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable
from enum import Enum, auto
from types import FrameType

from ortist.models.errors import printable

INTERRUPTED = 130
"""Exit code of a process that Ctrl-C ended: 128 + SIGINT."""
# Ctrl-C, a service or scheduler that ends a process, and a terminal that goes away; Windows has no
# SIGHUP.
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGHUP", "SIGTERM") if hasattr(signal, name)
]
_PATIENCE_MS = 1000
"""How long a full pipe is waited for."""


def takes_more(number: int) -> bool:
    """Return whether a standard stream can be written to within a second; a full pipe cannot."""
    if not hasattr(select, "poll"):  # on Windows
        return True
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return bool(poll.poll(_PATIENCE_MS))


class Interrupted(BaseException):
    """A signal ended the command; the message says what became of its work.

    Not a KeyboardInterrupt, which the parser of the command line would take for its own.
    """


class _Reaction(Enum):
    EXIT = auto()
    RAISE = auto()
    WAIT = auto()
    IGNORE = auto()


class Interrupts:
    """What a signal does.

    While the program is loading, it ends the process on the spot: an exception amid imports may be
    swallowed or turned into another. While a command runs, it raises :class:`Interrupted`, so that
    scratch files go and the terminal gets its cursor back. From the first step until the picture is
    written it only sets ``requested``, however often it comes, so that no step and no picture is
    lost or torn. Once the end has begun it does nothing.

    Attributes:
        requested: whether a signal came.
        written: what the command has written; None before it has.
    """

    def __init__(self) -> None:
        self.requested = False
        self.written: object = None
        self._installed = False
        self._cancel: Callable[[], None] | None = None
        self._raised = False
        self._reaction = _Reaction.EXIT
        self._message = "interrupted"

    def install(self) -> None:
        """Take over the signals, but for those that the process was told to ignore (nohup)."""
        self._installed = True
        sys.unraisablehook = _unraisable
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def begin(self) -> None:
        """Tell that a command begins, with nothing written yet."""
        self.written = None
        self._message = "interrupted"
        self._reaction = _Reaction.RAISE

    def cancel_with(self, cancel: Callable[[], None]) -> None:
        """Tell how to end an evaluation, which :class:`Interrupted` reaches only when it is done.

        A thread does, woken by the first signal.
        """
        waiting, self._cancel = self._cancel is not None, cancel
        if waiting or not self._installed:
            return
        import threading

        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        threading.Thread(target=self._cancel_at_signal, args=(reading,), daemon=True).start()
        signal.set_wakeup_fd(writing)

    def _cancel_at_signal(self, reading: int) -> None:
        os.read(reading, 1)
        # Else the handler has raised, or there is something to keep and the step is finished.
        if self._reaction is _Reaction.RAISE and self._cancel is not None:
            self._cancel()

    def promise(self, product: str, hint: str = "") -> None:
        """Tell what the command is going to write: ``"the picture"``; and what to do without it."""
        self._message = f"interrupted; {product} was not written{hint}"

    def defer(self) -> None:
        """Tell that there is something to keep, which the caller writes soon after a request.

        Raises:
            Interrupted: if a signal has raised it before, and something swallowed it.
        """
        self.check()
        self._reaction = _Reaction.WAIT

    def wrote(self, path: object) -> None:
        """Tell that what there was to keep is written."""
        self.written = path
        self._message = f"interrupted after writing {path}"
        self._reaction = _Reaction.RAISE

    def check(self) -> None:
        """Raise Interrupted if a signal has: a library may swallow it or make an error of it."""
        if self._raised:
            raise Interrupted(self._message)

    def end(self) -> None:
        """Tell that the command has ended, however it did.

        Raises:
            Interrupted: as ``check`` does.
        """
        self._reaction = _Reaction.IGNORE
        self.check()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        reaction = self._reaction
        if reaction is _Reaction.RAISE:
            self._raised = True
            self._reaction = _Reaction.IGNORE
            raise Interrupted(self._message)
        if reaction is _Reaction.EXIT:
            # Not through sys.stderr, amid whose own work this may be.
            with contextlib.suppress(OSError):
                if takes_more(2):
                    os.write(2, f"{printable(self._message)}\n".encode(errors="replace"))
            os._exit(INTERRUPTED)


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    """Report what is raised where nothing can be, but not a signal's exception."""
    if not issubclass(args.exc_type, Interrupted):
        sys.__unraisablehook__(args)


interrupts = Interrupts()
"""Those of this process."""
