"""Regions, as ``ortist stylize --region`` takes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from ortist.engine import ImageSource, InputError, Region


def parse_regions(entries: Sequence[str]) -> list[Region]:
    """Return regions of ``MASK=STYLE`` or ``MASK=STYLE:STYLE_MASK`` each.

    Without a style, ``MASK=``, the content stays as it is. Names of styles may have colons in them
    if there are such files.

    Raises:
        InputError: for an entry without ``=`` or without a mask.
    """
    return [_parsed(entry) for entry in entries]


def sources_of(region: Region) -> tuple[ImageSource | None, ...]:
    """Return mask, style and mask of the style."""
    return region.mask, region.style, region.style_mask


def region_files(regions: Sequence[Region]) -> list[Path]:
    """Return the files that regions are read from."""
    sources = chain.from_iterable(map(sources_of, regions))
    return [Path(source) for source in sources if isinstance(source, str)]


def _parsed(entry: str) -> Region:
    mask, equals, style = entry.partition("=")
    if not (mask and equals):
        raise InputError(f"--region is '{entry}', accepted is MASK=STYLE or MASK=STYLE:STYLE_MASK")
    name, colon, style_mask = style.rpartition(":")
    if not colon or not name or os.path.lexists(style):
        return Region(mask, style or None)
    return Region(mask, name, style_mask)
