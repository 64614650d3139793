"""The log: costs as JSON lines."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

from ortist.cli.outputs.file import OutputFile
from ortist.engine import InputError, Step
from ortist.engine.results import Painting
from ortist.models.files import reason


class Log(OutputFile):
    """JSON lines, one per step, written through at once; the first makes the file, or the end."""

    name = "log"
    flag = "--log"
    about = "Write costs as JSON lines, one per step."

    def __init__(self, path: Path, steps: int, force: bool) -> None:
        super().__init__(path, steps, force)
        self._stream: IO[str] | None = None
        self._failed = False

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
        }
        try:
            if self._stream is None:
                self._stream = self._path.open("w", encoding="utf-8", buffering=1)
            self._stream.write(json.dumps(record) + "\n")
        except OSError as error:
            self._failed = True
            with suppress(OSError):
                if self._stream is not None:
                    self._stream.close()
            raise self._error(error) from error

    def keep(self, painting: Painting) -> None:
        """Close the file, which has no lines if there was no step."""
        if self._failed:
            return
        try:
            if self._stream is None:
                self._stream = self._path.open("w", encoding="utf-8")
            # Some disks tell only here that a line did not get there.
            with self._stream:
                os.fsync(self._stream.fileno())
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> InputError:
        return InputError(f"log '{self._path}' cannot be written: {reason(error)}")
