"""Pictures to paint, many of them: which contents in which styles, and what they are called."""

from __future__ import annotations

import glob
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ortist.engine.images import OUTPUT_EXTENSIONS
from ortist.engine.options import Options
from ortist.models.errors import InputError, shown
from ortist.models.files import reason

PICTURE_EXTENSIONS = (*OUTPUT_EXTENSIONS, ".gif", ".ppm", ".pgm", ".pbm", ".pnm")
"""Of the files that are taken from folders and for patterns."""
_LONGEST_STEM = 100
"""Bytes of a name that those of outputs are made of; most disks take 255 in all."""


@dataclass(frozen=True)
class Job:
    """A picture to paint.

    Attributes:
        content: what to paint.
        styles: whose style to take; several are blended.
        output: name of the file, without folder; each has its own.
        options: how to paint.
    """

    content: Path
    styles: tuple[Path, ...]
    output: str
    options: Options


def find_pictures(what: str, entries: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the pictures that some entries stand for, each once, in their order.

    An entry is a file, whether or not it is there; a folder, which stands for the pictures in it,
    by their extensions and in the order of their names; or a pattern, as in ``photos/**/*.jpg``.

    Args:
        what: what messages call them.
        entries: of the above.

    Raises:
        InputError: if a folder cannot be read, or there are no pictures in it or of a pattern.
    """
    return list(dict.fromkeys(path for entry in entries for path in _pictures(what, entry)))


def pair_jobs(
    contents: Sequence[Path], styles: Sequence[Path], options: Options, extension: str
) -> list[Job]:
    """Return every content in every style, those of a style one after the other.

    Args:
        contents: what to paint.
        styles: whose style to take.
        options: how to paint.
        extension: of the files, which says their format.
    """
    pairs = [(content, (style,)) for style in styles for content in contents]
    names = unique_names([default_stem(*pair) for pair in pairs], extension, taken=())
    return [Job(*pair, name, options) for pair, name in zip(pairs, names, strict=True)]


def default_stem(content: Path, styles: Sequence[Path]) -> str:
    """Return what a picture is called, ``photo_painting``."""
    style = "+".join(path.stem for path in styles)
    return f"{_cut(content.stem, _LONGEST_STEM)}_{_cut(style, _LONGEST_STEM)}"


def _cut(text: str, most: int) -> str:
    """Return as much of a text as has so many bytes."""
    return os.fsencode(text)[:most].decode(errors="ignore")


def unique_names(stems: Iterable[str], extension: str, taken: Iterable[str]) -> list[str]:
    """Return names of files of their own: the second of a name is numbered, ``photo_painting_2``.

    Names that differ only in upper and lower case are the same: on some disks they are.
    """
    used, names = {name.casefold() for name in taken}, []
    numbers: dict[str, int] = defaultdict(lambda: 1)
    for stem in stems:
        name = f"{stem}{extension}"
        while name.casefold() in used:
            numbers[stem] += 1
            name = f"{stem}_{numbers[stem]}{extension}"
        used.add(name.casefold())
        names.append(name)
    return names


def checked_extension(file_format: str) -> str:
    """Return the extension of a format; InputError if pictures are not written in it."""
    extension = f".{file_format.removeprefix('.')}".lower()
    if extension not in OUTPUT_EXTENSIONS:
        accepted = ", ".join(known[1:] for known in OUTPUT_EXTENSIONS)
        raise InputError(f"format is {shown(file_format)}, accepted are {accepted}")
    return extension


def _pictures(what: str, entry: str | os.PathLike[str]) -> Iterator[Path]:
    path = Path(entry)
    try:
        if path.is_dir():
            found = [child for child in path.iterdir() if _looks_like_one(child)]
        elif os.path.lexists(path) or not glob.has_magic(os.fspath(entry)):
            yield path
            return
        else:
            matches = map(Path, glob.glob(os.fspath(entry), recursive=True))  # noqa: PTH207
            found = [match for match in matches if _looks_like_one(match)]
    except (OSError, ValueError) as error:
        raise InputError(f"{what} '{os.fspath(entry)}' cannot be read: {reason(error)}") from error
    if not found:
        raise InputError(
            f"{what} '{os.fspath(entry)}' stands for no pictures, accepted are"
            f" {', '.join(PICTURE_EXTENSIONS)}"
        )
    yield from sorted(found)


def _looks_like_one(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in PICTURE_EXTENSIONS and not hidden and path.is_file()
