"""The pictures that a run is made of, as ``ortist stylize`` is told them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ortist.engine import Engine, InputError, Options, Plan, Record, Region
from ortist.models.json_values import Value

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Files of pictures.

    Attributes:
        content: what to paint.
        styles: whose style to take.
        regions: with styles of their own.
        protect: a mask of content to protect.
    """

    content: Path
    styles: tuple[Path, ...] = ()
    regions: tuple[Region, ...] = ()
    protect: Path | None = None

    def plan(self, engine: Engine, options: Options) -> Plan:
        """Return what will be painted."""
        regions, protect = self.regions, self.protect
        styles = list(self.styles)
        return engine.plan(self.content, styles, options, regions=regions, protect=protect)

    def record(self, engine: Engine, options: Options) -> Record:
        """Return what the picture is made of and with."""
        regions, protect = self.regions, self.protect
        styles = list(self.styles)
        return engine.record(self.content, styles, options, regions=regions, protect=protect)

    def files(self) -> Iterator[Path]:
        """Yield all of them."""
        yield self.content
        yield from self.styles
        for region in self.regions:
            yield from (Path(source) for source in _files(region) if source is not None)
        if self.protect is not None:
            yield self.protect

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_value` reads, with absolute paths: it may be read elsewhere."""
        return {
            "content": absolute(self.content),
            "styles": [absolute(path) for path in self.styles],
            "regions": [[absolute(source) for source in _files(one)] for one in self.regions],
            "protect": absolute(self.protect),
        }

    @classmethod
    def from_value(cls, value: Value) -> Sources:
        """Return the sources that some JSON has; InputError if it has others."""
        fields = value.fields(tuple(cls.__dataclass_fields__))
        return cls(
            content=Path(fields["content"].text()),
            styles=tuple(Path(style.text()) for style in fields["styles"].items()),
            regions=tuple(_region(region) for region in fields["regions"].items()),
            protect=path_or_none(fields["protect"]),
        )


def parse_regions(entries: Sequence[str]) -> list[Region]:
    """Return regions of ``MASK=STYLE`` or ``MASK=STYLE:STYLE_MASK`` each.

    Without a style, ``MASK=``, the content stays as it is. Names of styles may have colons in them
    if there are such files.

    Raises:
        InputError: for an entry without ``=`` or without a mask.
    """
    return [_parsed(entry) for entry in entries]


def absolute(path: Any) -> str | None:
    """Return a path as it is from anywhere, links in it not followed; None stays."""
    return None if path is None else os.path.abspath(path)  # noqa: PTH100


def path_or_none(value: Value) -> Path | None:
    """Return the path that some JSON has, or its null."""
    return optional(value, lambda text: Path(text.text()))


def optional(value: Value, read: Callable[[Value], T]) -> T | None:
    """Return what ``read`` makes of some JSON, or its null."""
    return None if value.value is None else read(value)


def _files(region: Region) -> tuple[Any, ...]:
    return region.mask, region.style, region.style_mask


def _parsed(entry: str) -> Region:
    mask, equals, style = entry.partition("=")
    if not (mask and equals):
        raise InputError(f"--region is '{entry}', accepted is MASK=STYLE or MASK=STYLE:STYLE_MASK")
    name, colon, style_mask = style.rpartition(":")
    for at in (at for at, letter in enumerate(style) if letter == ":"):
        if os.path.lexists(style[:at]) and os.path.lexists(style[at + 1 :]):
            name, style_mask = style[:at], style[at + 1 :]
    # What has one letter before the colon is on a drive of Windows.
    if not colon or len(name) < 2 or os.path.lexists(style):
        return Region(mask, style or None)
    return Region(mask, name, style_mask)


def _region(value: Value) -> Region:
    """Return the region that a list of mask, style and mask of the style is."""
    sources = value.items()
    if len(sources) != 3:
        value.refuse("a list of a mask, a style and its mask")
    mask, style, style_mask = sources
    return Region(mask.text(), optional(style, Value.text), optional(style_mask, Value.text))
