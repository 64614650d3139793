"""``ortist stylize --like``: what an earlier picture was made of and with, by its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ortist.cli.sources import Sources
from ortist.engine import InputError, Options, Record, Region
from ortist.engine.images import read_comment
from ortist.engine.jobs import PICTURE_EXTENSIONS
from ortist.engine.options import OPTIONS
from ortist.engine.recipes import Recipe
from ortist.engine.record import Input, read_made

_MOST_LOOKED_AT = 1000
"""Files that are compared with an input without a name."""


@dataclass(frozen=True)
class Earlier:
    """A picture that was painted before.

    Attributes:
        path: where it is.
        record: of what it was made.
        steps: that it was made in.
    """

    path: Path
    record: Record
    steps: int

    @classmethod
    def read(cls, path: Path) -> Earlier:
        """Return what a picture says of itself; InputError if it says nothing."""
        comment = read_comment(path)
        try:
            if comment is None:
                raise InputError("there is no record of ortist in it")
            return cls(path, *read_made(comment))
        except InputError as error:
            raise InputError(f"'{path}' does not say how it was made: {error}") from error

    def options(self, chosen: Mapping[str, Any]) -> Options:
        """Return its options, but for those that are chosen."""
        roles = [item.role for item in self.record.inputs if item.role in OPTIONS]
        pictures = {role: str(self._all(role)[0]) for role in roles}
        values = vars(self.record.to_options(pictures))
        return Recipe(f"'{self.path}'", "", values).with_options(**chosen)

    def sources(
        self,
        content: Path | None,
        styles: tuple[Path, ...],
        regions: tuple[Region, ...],
        protect: Path | None,
    ) -> Sources:
        """Return its pictures, but for those that are given."""
        return Sources(
            content=content or self._content(),
            styles=styles or tuple(self._all("style")),
            regions=regions or tuple(self._regions()),
            protect=protect or next(iter(self._all("protect")), None),
        )

    def differences(self, now: Record, steps: int) -> list[str]:
        """Return in words what is not as it was."""
        found = now.differences(self.record)
        if steps != self.steps:
            found.append(f"{steps} steps, it has {self.steps}")
        return found

    def _regions(self) -> list[Region]:
        regions: list[Region] = []
        while masks := self._all(f"region {len(regions) + 1} mask"):
            role = f"region {len(regions) + 1} style"
            own = [next(map(str, self._all(name)), None) for name in (role, f"{role} mask")]
            regions.append(Region(str(masks[0]), *own))
        return regions

    def _content(self) -> Path:
        for path in self._all("content"):
            return path
        raise InputError(f"'{self.path}' names no content: give it")

    def _all(self, role: str) -> list[Path]:
        return [self._path(item) for item in self.record.inputs if item.role == role]

    def _path(self, item: Input) -> Path:
        """Return where an input is: here or beside the picture, the same content first."""
        name = Path(item.name).name  # whatever it says
        if not name:
            return self._by_content(item)
        there = [place for place in (Path(name), self.path.parent / name) if place.is_file()]
        for place in there:
            if Input.of(item.role, place).sha256 == item.sha256:
                return place
        if there:
            return there[0]
        raise InputError(
            f"{item.role} of '{self.path}' was '{item.name}', which is neither here nor beside it:"
            " give it"
        )

    def _by_content(self, item: Input) -> Path:
        """Return where an input without a name is, as those of services are: here or beside it."""
        folders = dict.fromkeys((Path(), self.path.parent))
        files = [path for folder in folders for path in sorted(folder.iterdir())]
        pictures = [path for path in files if path.suffix.lower() in PICTURE_EXTENSIONS]
        for path in pictures[:_MOST_LOOKED_AT]:
            if path.is_file() and Input.of(item.role, path).sha256 == item.sha256:
                return path
        raise InputError(
            f"{item.role} of '{self.path}' has no name there, and no picture here or beside it is"
            " the one: give it"
        )
