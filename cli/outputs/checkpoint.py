"""The checkpoint: a file from which ``ortist resume`` goes on, there while the run is not done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ortist.cli.outputs.file import Output, OutputFile
from ortist.engine import InputError, Record, Run
from ortist.engine.checkpoint import Checkpoints
from ortist.engine.images import check_writable
from ortist.engine.optimizer import State


class CheckpointFile(Checkpoints):
    """A checkpoint, written before the first step, every so often, and where a signal ends the run.

    Args:
        path: where it goes.
        every: steps between checkpoints; 0 for one every
            :data:`~ortist.engine.checkpoint.SECONDS`.
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
        super().__init__(path, record, every, settings, lambda: _states(files))
        self._force = force

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
        super().begin(run)
        if not run.iteration:
            self.write(run)


def _states(files: Sequence[OutputFile]) -> State:
    return {f"{file.key()}/{name}": value for file in files for name, value in file.state().items()}
