"""Standard streams that never end a run, and what is said on them."""

from __future__ import annotations

import errno
import io
import json
import os
import select
import sys
from typing import Any, TextIO

from ortist.cli.interrupt import interrupts, takes_more
from ortist.models.errors import printable

_SURE_BYTES = getattr(select, "PIPE_BUF", None)
"""As much as a pipe is sure to take that takes more at all; no limit on Windows."""


class Stream(io.RawIOBase):
    """A standard stream for writing, whose failures are remembered in place of raised.

    Args:
        number: the file descriptor, 1 or 2.

    Attributes:
        failure: the first error; a reader that has left, as ``head`` does, is none.
    """

    def __init__(self, number: int) -> None:
        self._file = os.fdopen(number, "wb", buffering=0, closefd=False)
        self.name = self._file.name
        self.failure: OSError | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._file.fileno()

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._file.isatty()

    def write(self, data: Any) -> int:
        """Write bytes, all of them unless that fails, and return how many they are."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._write_some(rest) :]
        except OSError as error:
            if error.errno != errno.EPIPE and self.failure is None:
                self.failure = error
        return len(data)

    def _write_some(self, data: memoryview) -> int:
        while not takes_more(self._file.fileno()):
            # Nobody reads, and may be waiting for this process to end.
            if interrupts.requested:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return self._file.write(data[:_SURE_BYTES]) or 0


def guard_streams() -> Stream:
    """Make stdout and stderr ones that never raise; return what is beneath the former.

    To be called early: what is opened while a standard stream is closed gets its number, and
    whatever writes to that stream then writes into a picture.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Gets this number, since it is the lowest that is free. Writing still fails.
            os.open(os.devnull, os.O_RDONLY)
    output = Stream(1)
    sys.stdout, sys.stderr = _text(output, sys.stdout), _text(Stream(2), sys.stderr)
    return output


def _text(stream: Stream, replaced: TextIO | None) -> TextIO:
    encoding = "utf-8" if replaced is None else replaced.encoding  # None stands for a closed one
    # Names of files may have what the terminal's encoding has not.
    return io.TextIOWrapper(stream, encoding, errors="replace", write_through=True)


def print_line(line: str) -> None:
    """Print a line on stdout, while a bar may be shown."""
    _print(sys.stdout, line)


def print_error(line: str) -> None:
    """Print a line on stderr."""
    _print(sys.stderr, line)


def print_json(value: Any) -> None:
    """Print what JSON can hold on stdout, indented."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _print(stream: TextIO, line: str) -> None:
    # At once and in one piece. Not typer.echo: it would write past the bar and into it.
    stream.write(printable(line) + "\n")
    stream.flush()
