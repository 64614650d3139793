"""The log: costs as JSON lines."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO

from ortist.cli.outputs.file import OutputFile
from ortist.engine import InputError, Step
from ortist.engine.optimizer import State
from ortist.engine.results import Painting
from ortist.models.errors import shown
from ortist.models.files import reason

_LONGEST_LINE = 1_000_000


class Log(OutputFile):
    """JSON lines, one per step, written through at once; the first makes the file, or the end."""

    name = "log"
    flag = "--log"
    about = "Write costs as JSON lines, one per step."

    def __init__(self, path: Path, steps: int, force: bool) -> None:
        super().__init__(path, steps, force)
        self._stream: IO[str] | None = None
        self._failed = False
        self._mode = "w"

    def step(self, step: Step) -> None:
        """Add the record of a step: its iteration, costs and seconds."""
        record = {
            "iteration": step.iteration,
            "total": step.total,
            "content": step.content,
            "style": step.style,
            "content_layers": dict(step.content_layers),
            "style_layers": dict(step.style_layers),
            "total_variation": step.total_variation,
            "seconds": step.seconds,
            **({"regions": dict(step.regions)} if step.regions else {}),
        }
        try:
            if self._stream is None:
                self._stream = self._path.open(self._mode, encoding="utf-8", buffering=1)
            self._stream.write(json.dumps(record) + "\n")
        except OSError as error:
            self._failed = True
            with suppress(OSError):
                if self._stream is not None:
                    self._stream.close()
            raise self._error(error) from error

    def state(self) -> State:
        """Return nothing, once all lines are on the disk: a checkpoint relies on them."""
        try:
            if self._stream is not None and not self._stream.closed:
                os.fsync(self._stream.fileno())
        except OSError as error:
            raise self._error(error) from error
        return {}

    def restore(self, state: State, iteration: int) -> None:
        """Drop the lines of later steps, which are done again."""
        try:
            with self._path.open("r+b") as stream:
                stream.truncate(self._end_of(stream, iteration))
            self._mode = "a"
        except FileNotFoundError:
            if iteration:
                raise InputError(f"log '{self._path}' of the run is gone") from None
        except OSError as error:
            raise self._error(error) from error

    def _end_of(self, stream: IO[bytes], iteration: int) -> int:
        """Return where the line of a step ends; InputError unless all lines are those of a run."""
        end = 0
        for number in count(1):
            line = stream.readline(_LONGEST_LINE)
            begin = f'{{"iteration": {number}, '.encode()
            # The last one may be torn.
            whole = line.endswith(b"}\n") and line.startswith(begin)
            torn = (
                number > iteration and begin.startswith(line[: len(begin)]) and line[-1:] != b"\n"
            )
            if not whole and not torn:
                raise InputError(
                    f"log '{self._path}' is not that of the run: its line {number} is"
                    f" {shown(line.decode(errors='replace'))}"
                )
            if number <= iteration:
                end = stream.tell()
            if not line:
                return end
        raise AssertionError

    def keep(self, painting: Painting) -> None:
        """Close the file, which has no lines if there was no step."""
        if self._failed:
            return
        try:
            if self._stream is None:
                self._stream = self._path.open(self._mode, encoding="utf-8")
            # Some disks tell only here that a line did not get there.
            with self._stream:
                os.fsync(self._stream.fileno())
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> InputError:
        return InputError(f"log '{self._path}' cannot be written: {reason(error)}")
