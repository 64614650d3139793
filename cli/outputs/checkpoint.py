"""The checkpoint: a file from which ``ortist resume`` goes on, there while the run is not done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ortist.cli.outputs.file import Output, OutputFile
from ortist.engine import InputError, Record, Run, Step
from ortist.engine.checkpoint import Checkpoint
from ortist.engine.follow import Observer
from ortist.engine.images import check_writable
from ortist.engine.results import Painting

SECONDS = 30.0
"""Between checkpoints, unless steps are told.

No more is lost, and writing, a fraction of a second for most pictures, takes next to no time of it.
"""


class CheckpointFile(Observer):
    """A checkpoint, written before the first step, every so often, and where a signal ends the run.

    Args:
        path: where it goes.
        every: steps between checkpoints; 0 for one every :data:`SECONDS`.
        record: of what the picture is made of and with.
        settings: what the command was told besides.
        files: whose states it keeps too.
        force: whether an existing file is replaced.
    """

    def __init__(
        self,
        path: Path,
        every: int,
        record: Record,
        settings: Mapping[str, Any],
        files: Sequence[OutputFile],
        force: bool,
    ) -> None:
        self.path = path
        self._every = every
        self._record = record
        self._settings = settings
        self._files = files
        self._force = force
        self._run: Run | None = None
        self._written = 0.0

    def check(self) -> None:
        """Raise InputError unless the file can be written."""
        if self.path.exists() and not self._force:
            raise InputError(
                f"checkpoint '{self.path}' exists: ortist resume {self.path} goes on with that run,"
                " --force begins anew"
            )
        check_writable(self.path, self._force)

    def outputs(self) -> Iterator[Output]:
        """Yield the file."""
        yield "the checkpoint", self.path

    def begin(self, run: Run) -> None:
        """Write the checkpoint of the start of a run; one that goes on has its own."""
        self._run = run
        self._written = time.monotonic()
        if not run.iteration:
            self._write(run)

    def step(self, step: Step) -> None:
        """Write the checkpoint if one is due."""
        by_steps = self._every and step.iteration % self._every == 0
        by_time = not self._every and time.monotonic() - self._written > SECONDS
        # There is no going on from the end: whoever is killed there does the last steps again.
        if self._run is not None and not self._run.done and (by_steps or by_time):
            self._write(self._run)

    def keep(self, painting: Painting) -> None:
        """Write the checkpoint of a run that has ended before its time."""
        run = self._run
        # What failed amid a step may be anywhere; the checkpoint of before is good.
        if run is not None and not run.done and _is_at(run, painting):
            self._write(run)

    def remove(self) -> None:
        """Remove the file: the run is done."""
        with suppress(OSError):  # it does no harm
            self.path.unlink()

    def _write(self, run: Run) -> None:
        files = {
            f"{file.key()}/{name}": value
            for file in self._files
            for name, value in file.state().items()
        }
        Checkpoint(self._record, run.state(), self._settings, files).write(self.path)
        self._written = time.monotonic()


def _is_at(run: Run, painting: Painting) -> bool:
    return isinstance(painting, Step) and painting.iteration == run.iteration
