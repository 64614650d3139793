"""The picture, and numbered ones on the way to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ortist.cli.interrupt import interrupts
from ortist.cli.outputs.file import Output
from ortist.engine import InputError, Record, Step
from ortist.engine.follow import Observer
from ortist.engine.images import PLAIN, Encoding, check_output
from ortist.engine.record import with_record
from ortist.engine.results import Painting

MOST_NUMBERED = 100_000
"""Numbered pictures of a run, all of which are looked for before it starts."""


class PictureFile(Observer):
    """The picture, written when the run ends, whatever signals come.

    Args:
        path: where it goes; its extension names the format.
        every: steps between numbered pictures beside it, 0 for none.
        steps: steps of the whole run.
        force: whether existing files are replaced.
        encoding: bits, quality and alpha channel of all of them.
        record: what is to be in their metadata, if anything is.
    """

    def __init__(
        self,
        path: Path,
        *,
        every: int,
        steps: int,
        force: bool,
        encoding: Encoding = PLAIN,
        record: Record | None = None,
    ) -> None:
        self.path = path
        self._every = every
        self._steps = steps
        self._force = force
        self._encoding = encoding
        self._record = record

    def check(self, size: tuple[int, int]) -> None:
        """Raise InputError unless pictures of ``size`` (width, height) can all be written."""
        # With what it will say of itself, which may be too long for a file.
        check_output(self.path, self._force, size, self._told(self._steps))
        if self._every and self._steps // self._every > MOST_NUMBERED:
            raise InputError(
                f"save_every is {self._every}, which makes {self._steps // self._every} pictures;"
                f" accepted are {MOST_NUMBERED}"
            )
        # The others have names of the same length in the same folder, which may be taken.
        for index, (_, path) in enumerate(self._numbered()):
            if index == 0 or os.path.lexists(path):
                check_output(path, self._force, size, self._encoding)

    def outputs(self) -> Iterator[Output]:
        """Yield all files that may be written."""
        yield "the picture", self.path
        yield from self._numbered()

    def step(self, step: Step) -> None:
        """Write the numbered picture if this step is due one."""
        interrupts.defer()  # from now on there is something to keep
        if self._every and step.iteration % self._every == 0:
            step.save(self.numbered(step.iteration), self._told(step.iteration))

    def keep(self, painting: Painting) -> None:
        """Write the picture."""
        interrupts.defer()
        painting.save(self.path, self._told(painting.steps))
        interrupts.wrote(self.path)

    def numbered(self, iteration: int) -> Path:
        """Return where the picture after ``iteration`` steps goes: out-0020.png for out.png."""
        digits = max(4, len(str(self._steps)))
        return self.path.with_stem(f"{self.path.stem}-{iteration:0{digits}}")

    def _told(self, steps: int) -> Encoding:
        """Return the encoding of a picture that is made in so many steps, and says so."""
        return with_record(self._encoding, self._record, steps)

    def _numbered(self) -> Iterator[Output]:
        due = range(self._every, self._steps + 1, self._every) if self._every else ()
        for iteration in due:
            yield "a numbered picture", self.numbered(iteration)
