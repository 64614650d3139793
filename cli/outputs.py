"""The files a run leaves behind: the picture, numbered pictures on the way, and the log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeAlias

from ortist.engine import InputError, Step
from ortist.engine.images import check_extension, check_output, check_writable, write_image
from ortist.models.files import reason

MOST_NUMBERED = 100_000
"""Numbered pictures of a run, all of which are looked for before it starts."""
Output: TypeAlias = tuple[str, Path]
"""What messages call a file, and where it goes."""


def check_distinct(outputs: Iterable[Output]) -> None:
    """Raise InputError if two of the files to be written are one."""
    seen: dict[tuple[str, str], Output] = {}
    resolved = cache(os.path.realpath)  # most files have the same folder
    for name, path in outputs:
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        place = resolved(target.parent), target.name
        first = seen.setdefault(place, (name, path))
        if first != (name, path):
            raise InputError(f"output '{first[1]}' is both {first[0]} and {name}")


class OptionalFile:
    """A file that a run leaves behind if it is asked for.

    Args:
        name: what messages call it.
        path: where it goes; None for no file.
        force: whether an existing file is replaced.
        extensions: those accepted; any if there are none.
    """

    def __init__(
        self, name: str, path: Path | None, force: bool, extensions: Sequence[str] = ()
    ) -> None:
        self._name = name
        self._path = path
        self._force = force
        self._extensions = extensions

    def check(self) -> None:
        """Raise InputError unless the file can be written."""
        if self._path is None:
            return
        if self._extensions:
            check_extension(self._path, self._extensions)
        check_writable(self._path, self._force)

    def outputs(self) -> Iterator[Output]:
        """Yield the file that may be written."""
        if self._path is not None:
            yield self._name, self._path


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Where the picture goes, and how often the picture so far is kept beside it.

    Attributes:
        path: the picture; its extension names the format.
        every: steps between numbered pictures, 0 for none.
        steps: steps of the whole run.
        force: whether existing files are replaced.
    """

    path: Path
    every: int
    steps: int
    force: bool

    def check(self, size: tuple[int, int]) -> None:
        """Raise InputError unless pictures of ``size`` (width, height) can all be written."""
        check_output(self.path, self.force, size)
        if self.every and self.steps // self.every > MOST_NUMBERED:
            raise InputError(
                f"save_every is {self.every}, which makes {self.steps // self.every} pictures;"
                f" accepted are {MOST_NUMBERED}"
            )
        if self.every:
            # The others have names of the same length in the same folder, which may be taken.
            for index, (_, path) in enumerate(self._numbered()):
                if index == 0 or os.path.lexists(path):
                    check_output(path, self.force, size)

    def outputs(self) -> Iterator[Output]:
        """Yield all files that may be written."""
        yield "the picture", self.path
        if self.every:
            yield from self._numbered()

    def _numbered(self) -> Iterator[Output]:
        for iteration in range(self.every, self.steps + 1, self.every):
            yield "a numbered picture", self.numbered(iteration)

    def numbered(self, iteration: int) -> Path:
        """Return where the picture after ``iteration`` steps goes: out-0020.png for out.png."""
        digits = max(4, len(str(self.steps)))
        return self.path.with_stem(f"{self.path.stem}-{iteration:0{digits}}")

    def save(self, step: Step) -> None:
        """Write the numbered picture if this step is due one."""
        if self.every and step.iteration % self.every == 0:
            write_image(step.image(), self.numbered(step.iteration))


class Log(OptionalFile):
    """JSON lines, one per step, written through at once; the file is made by the first step."""

    def __init__(self, path: Path | None, force: bool) -> None:
        super().__init__("the log", path, force)
        self._stream: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stream is None:
            return
        try:
            # Some disks tell only here that a line did not get there.
            with self._stream:
                os.fsync(self._stream.fileno())
        except OSError as failure:
            if error is None:  # else of a line whose writing failed before
                raise self._failed(failure) from failure

    def write(self, step: Step) -> None:
        """Add the record of ``step``: its iteration, costs and seconds."""
        if self._path is None:
            return
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
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> InputError:
        return InputError(f"log '{self._path}' cannot be written: {reason(error)}")
