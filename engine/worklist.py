"""Lists of pictures to paint in a file, as CSV or as lines of JSON."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ortist.engine.images import OUTPUT_EXTENSIONS
from ortist.engine.jobs import Job, default_stem, unique_names
from ortist.engine.options import OPTIONS
from ortist.engine.recipes import find_recipe
from ortist.engine.values import Start
from ortist.models.errors import InputError, shown
from ortist.models.files import read_regular, reason
from ortist.models.json_values import parse_json

MAX_BYTES = 64_000_000
"""Of a list."""
COLUMNS = ("content", "style", "output", "recipe")
"""What a line has beside options."""
_Row = dict[str, Any]


def read_worklist(path: Path, chosen: Mapping[str, Any], recipe: str, extension: str) -> list[Job]:
    """Return what a list says is to be painted.

    Each line has a ``content`` and a ``style``, several separated by semicolons or, in JSON, as a
    list; an ``output`` if it is not to be called as in a batch without a list; a ``recipe``; and
    any fields of :class:`Options`, in CSV written as after the flags of the command, several layers
    joined by ``+``. Cells that are empty are not given. Paths are relative to the list.

    Args:
        path: a file named .csv, whose first line names the columns, or .jsonl.
        chosen: options of lines that do not have them.
        recipe: that of lines that have none.
        extension: of outputs without one.

    Raises:
        InputError: if the list cannot be read or a line is wrong; it says which one.
    """
    label = f"manifest '{path}'"
    if path.suffix.lower() not in _READERS:
        raise InputError(f"{label} has an unknown extension, accepted are {', '.join(_READERS)}")
    try:
        text = read_regular(path, MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{label} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{label} cannot be read: {reason(error)}") from error
    jobs = []
    try:
        for number, row in _READERS[path.suffix.lower()](text):
            try:
                jobs.append(_job(row, path.parent, chosen, recipe))
            except InputError as error:
                raise _at(number, error) from error
        jobs = _named(jobs, extension)
    except InputError as error:
        raise InputError(f"{label}: {error}") from error
    if not jobs:
        raise InputError(f"{label} lists no pictures; of CSV the first line names columns")
    return jobs


def _csv_rows(text: str) -> Iterator[tuple[int, _Row]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restkey="", restval="")
    try:
        columns = [_name(column) for column in reader.fieldnames or ()]
        for column in columns:
            if columns.count(column) > 1:
                raise InputError(f"column {shown(column)} is there twice")
        for row in reader:
            if "" in row:
                raise _at(reader.line_num, "a cell has no column with a name")
            yield reader.line_num, {_name(name): cell.strip() for name, cell in row.items() if cell}
    except csv.Error as error:
        raise _at(reader.line_num, error) from error


def _json_rows(text: str) -> Iterator[tuple[int, _Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except (ValueError, RecursionError) as error:
            raise _at(number, error) from error
        if not isinstance(row, dict):
            raise _at(number, f"it is {shown(row)}, accepted is an object")
        yield number, {_name(name): value for name, value in row.items() if value is not None}


_READERS = {".csv": _csv_rows, ".jsonl": _json_rows}


def _at(number: int, problem: object) -> InputError:
    return InputError(f"line {number}: {problem}")


def _name(column: str) -> str:
    return column.strip().removeprefix("--").replace("-", "_")


def _job(row: _Row, folder: Path, chosen: Mapping[str, Any], recipe: str) -> Job:
    """Return what a line says, without a name where it says none."""
    for name in row:
        if name not in (*COLUMNS, *OPTIONS) or name == "terms":
            known = ", ".join((*COLUMNS, *OPTIONS)).removesuffix(", terms")
            raise InputError(f"unknown column {shown(name)}, accepted are {known}")
    for name in ("content", "style"):
        if not row.get(name):
            raise InputError(f"there is no {name}")
    content, styles = row["content"], row["style"]
    if isinstance(styles, str):
        styles = [part.strip() for part in styles.split(";") if part.strip()]
    paths = [content, *styles] if isinstance(styles, list) else [None]
    if not all(isinstance(path, str) and path for path in paths) or not styles:
        raise InputError("content and style are not names of files")
    options = {name: _value(name, row[name], folder) for name in row if name in OPTIONS}
    named = row.get("recipe", recipe)
    if isinstance(named, str) and "recipe" in row and Path(named).suffix == ".toml":
        named = str(folder / named)
    made = find_recipe(named).with_options(**{**chosen, **options})
    output = _output(row["output"]) if row.get("output") else ""
    return Job(folder / content, tuple(folder / style for style in styles), output, made)


def _value(name: str, value: Any, folder: Path) -> Any:
    """Return the value of an option, which may be its text."""
    kind = OPTIONS[name].kind
    if isinstance(value, str):
        value = kind.read_joined(name, value)
    if isinstance(kind, Start) and isinstance(value, str) and not kind.is_word(value):
        return str(folder / value)
    return value


def _output(name: object) -> str:
    plain = isinstance(name, str) and name == Path(name).name and not name.startswith(".")
    if not (isinstance(name, str) and plain and "\\" not in name and "\0" not in name):
        raise InputError(f"output is {shown(name)}, accepted is the name of a file, no folder")
    return name


def _named(jobs: Sequence[Job], extension: str) -> list[Job]:
    """Return jobs that have names of their own, those that are given with an extension."""
    given = [
        job.output
        if not job.output or Path(job.output).suffix.lower() in OUTPUT_EXTENSIONS
        else f"{job.output}{extension}"
        for job in jobs
    ]
    folded = Counter(name.casefold() for name in given if name)
    for name in given:
        if name and folded[name.casefold()] > 1:
            raise InputError(f"output '{name}' is that of two lines")
    stems = [
        default_stem(job.content, job.styles)
        for job, name in zip(jobs, given, strict=True)
        if not name
    ]
    made = iter(unique_names(stems, extension, folded))
    return [replace(job, output=name or next(made)) for job, name in zip(jobs, given, strict=True)]
