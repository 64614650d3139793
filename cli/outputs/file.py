"""What all files that a run leaves behind have in common."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import ClassVar, TypeAlias

from ortist.engine import InputError
from ortist.engine.follow import Observer
from ortist.engine.images import check_extension, check_writable
from ortist.engine.optimizer import State
from ortist.engine.results import Painting

Output: TypeAlias = tuple[str, Path]
"""What messages call a file, and where it goes."""


def check_distinct(outputs: Iterable[Output]) -> None:
    """Raise InputError if two files are one, unless they are called the same."""
    seen: dict[tuple[str, str], Output] = {}
    resolved = cache(os.path.realpath)  # most files have the same folder
    for name, path in outputs:
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        place = resolved(target.parent), target.name
        first = seen.setdefault(place, (name, path))
        if first != (name, path) and first[0] != name:
            raise InputError(f"output '{first[1]}' is both {first[0]} and {name}")


class OutputFile(Observer):
    """A file that a run leaves behind if it is asked for, by a flag with its path.

    Attributes:
        name: what messages call it, after "the".
        flag: as the command writes it.
        about: what it is for, for the command's help.
        extensions: those accepted; any if there are none.

    Args:
        path: where it goes.
        steps: of the whole run.
        force: whether an existing file is replaced.
    """

    name: ClassVar[str]
    flag: ClassVar[str]
    about: ClassVar[str]
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: Path, steps: int, force: bool) -> None:
        self._path = path
        self._steps = steps
        self._force = force

    @classmethod
    def key(cls) -> str:
        """Return what files of settings call it."""
        return cls.flag.strip("-")

    def check(self) -> None:
        """Raise InputError unless the file can be written."""
        if self.extensions:
            check_extension(self._path, self.extensions)
        check_writable(self._path, self._force)

    def outputs(self) -> Iterator[Output]:
        """Yield the files that may be written."""
        yield f"the {self.name}", self._path

    def state(self) -> State:
        """Return what a checkpoint is to keep of the steps so far: arrays by name."""
        return {}

    def restore(self, state: State, iteration: int) -> None:
        """Go on after ``iteration`` steps, from the state of then; called after ``check``.

        Raises:
            InputError: if the file there is not that of the run.
            LookupError, TypeError, ValueError: for a state that is none.
        """

    def finish(self, painting: Painting) -> None:
        """Write what takes longer, once the picture is kept and the run has ended in order."""
