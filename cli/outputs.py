"""The files a run leaves behind: the picture, numbered pictures on the way, and the log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ortist.engine import InputError, Step
from ortist.engine.images import check_output, check_writable, write_image


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
        if self.every and not self.force:
            for iteration in range(self.every, self.steps + 1, self.every):
                check_output(self.numbered(iteration), size=size)

    def numbered(self, iteration: int) -> Path:
        """Return where the picture after ``iteration`` steps goes: out-0020.png for out.png."""
        digits = max(4, len(str(self.steps)))
        return self.path.with_stem(f"{self.path.stem}-{iteration:0{digits}}")

    def save(self, step: Step) -> None:
        """Write the numbered picture if this step is due one."""
        if self.every and step.iteration % self.every == 0:
            write_image(step.image(), self.numbered(step.iteration))


class Log:
    """JSON lines, one per step, written through at once; the file is made by the first step."""

    def __init__(self, path: Path | None, force: bool) -> None:
        self._path = path
        self._force = force
        self._stream: IO[str] | None = None

    def check(self, picture: Path) -> None:
        """Raise InputError unless the log can be written, and not in place of the picture."""
        if self._path is None:
            return
        check_writable(self._path, self._force)
        if self._path.resolve() == picture.resolve():
            raise InputError(f"output '{picture}' is both the picture and the log")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()

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
            raise InputError(f"log '{self._path}' cannot be written: {error.strerror}") from error
