"""A record of what a picture is made of and with: what must be the same for the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ortist.engine.images import Encoding, ImageSource
from ortist.engine.options import OPTIONS, Options
from ortist.engine.pictures import Region
from ortist.engine.values import Start, json_value
from ortist.models.errors import InputError, printable, shown
from ortist.models.files import digest_regular, reason
from ortist.models.json_values import SHA256, Value, parse_json
from ortist.models.versions import installed_version

FORMAT = 2
MAX_CHARACTERS = 1_000_000
"""Of a record in JSON; most have some 2000."""
MAX_INPUTS = 1000
_LABEL = "the record is damaged"


@dataclass(frozen=True)
class Input:
    """A picture that a run reads.

    Attributes:
        role: what it is there for: ``content``, ``style``, or the option that it is the value of.
        name: of its file, without folder; empty for a picture in memory. It tells nothing.
        sha256: of the file, or of the pixels of a picture in memory, in hexadecimal digits.
    """

    role: str
    name: str
    sha256: str

    @classmethod
    def of(cls, role: str, source: ImageSource) -> Input:
        """Return what identifies a picture, whether or not it can be read as one.

        Raises:
            InputError: if its bytes cannot be read.
        """
        if isinstance(source, str | os.PathLike):
            return cls(role, printable(Path(source).name), _digest_of_file(role, source))
        if isinstance(source, np.ndarray):
            return cls(role, "", _digest(str((source.dtype, source.shape)), source.tobytes()))
        if isinstance(source, Image.Image):
            pixels = source.convert("RGBA")
            return cls(role, "", _digest(str(source.size), pixels.tobytes()))
        try:
            begin = source.tell()
            sha256 = _digest("", source.read())
            source.seek(begin)
        except Exception as error:  # a file object may raise anything
            message = f"{role} is {shown(source)}, which cannot be read twice: {error}"
            raise InputError(message) from error
        return cls(role, "", sha256)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a picture is made of and with; with the same, a machine makes the same bytes.

    Attributes:
        inputs: the content, the styles, and those that options are, in order.
        options: all fields of :class:`Options` as JSON has them; None for those that are inputs.
        versions: of ortist and what it computes with.
        provider: name of the onnxruntime execution provider.
        threads: CPU threads.
        kernel: how convolutions are computed, as :class:`Engine` is told.
        pieces: likewise.
        tile: most rows and columns of the tiles that it is painted in, 0 for none.
        models: sha256 of the manifest of the models, which has those of all their files.
    """

    inputs: tuple[Input, ...]
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    provider: str
    threads: int
    kernel: str
    pieces: bool
    tile: int
    models: str

    def to_value(self) -> dict[str, Any]:
        """Return what :meth:`from_value` reads, as JSON has it."""
        return {"format": FORMAT, **asdict(self), "inputs": list(map(asdict, self.inputs))}

    def to_json(self) -> str:
        """Return what :meth:`from_json` reads: one line of ASCII."""
        return json.dumps(self.to_value())

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Return the record that a text has, which nobody vouches for.

        Whether its options can be used is checked by :meth:`to_options`.

        Raises:
            InputError: if it is none.
        """
        return cls.from_value(_parsed(text))

    @classmethod
    def from_value(cls, value: Value) -> Record:
        """Return the record that a part of some JSON is; InputError if it is none."""
        fields = value.fields(("format", *cls.__dataclass_fields__))
        fields["format"].exactly(FORMAT)
        return cls(
            inputs=_inputs(fields["inputs"]),
            options=fields["options"].mapping(),
            versions={
                name: version.text() for name, version in fields["versions"].entries().items()
            },
            provider=fields["provider"].text(),
            threads=fields["threads"].integer(1),
            kernel=fields["kernel"].text(),
            pieces=fields["pieces"].one_of((False, True)),
            tile=fields["tile"].integer(0),
            models=fields["models"].matching(SHA256, "64 hexadecimal digits"),
        )

    def to_options(self, pictures: Mapping[str, ImageSource] | None = None) -> Options:
        """Return the options.

        Args:
            pictures: those that options are, by the names of these.

        Raises:
            InputError: if they are none, or a picture is missing.
        """
        values: dict[str, Any] = dict(self.options)
        for name, value in self.options.items():
            if name not in OPTIONS:
                accepted = ", ".join(OPTIONS)
                raise InputError(
                    f"the record has unknown option {shown(name)}, accepted are {accepted}"
                )
            kind = OPTIONS[name].kind
            if isinstance(kind, Start) and value is not None:
                # Another text would be the path of a picture.
                kind.check_word(name, value)
            elif isinstance(kind, Start):
                if name not in (pictures or {}):
                    raise InputError(f"{name} is a picture, which must be given beside the record")
                values[name] = (pictures or {})[name]
        return Options(**values)

    def differences(self, before: Record) -> list[str]:
        """Return in words how this, which is now, differs from the record of before.

        Names of files make no difference.
        """
        return [
            *_other_inputs(self.inputs, before.inputs),
            *_other_values("option ", self.options, before.options),
            *(
                f"{name} {self.versions.get(name, 'is gone')}, was {before.versions.get(name)}"
                for name in {**before.versions, **self.versions}
                if self.versions.get(name) != before.versions.get(name)
            ),
            *_other_values("", _machine(self), _machine(before)),
            *(["the models are others"] if self.models != before.models else []),
        ]


def with_record(encoding: Encoding, record: Record | None, steps: int) -> Encoding:
    """Return the encoding of a picture that was made in so many steps, and says so.

    Its comment is what :func:`read_made` reads; without a record it stays as it is.

    Raises:
        InputError: if that is too long.
    """
    if record is None:
        return encoding
    return replace(encoding, comment=json.dumps({"ortist": record.to_value(), "steps": steps}))


def read_made(text: str) -> tuple[Record, int]:
    """Return record and steps that the metadata of a picture have, for which nobody vouches.

    Raises:
        InputError: if they have others.
    """
    fields = _parsed(text).fields(("ortist", "steps"))
    return Record.from_value(fields["ortist"]), fields["steps"].integer(0)


def inputs_of(
    content: ImageSource,
    styles: Sequence[ImageSource],
    options: Options,
    regions: Sequence[Region] = (),
    protect: ImageSource | None = None,
) -> tuple[Input, ...]:
    """Return all pictures of a run, in order.

    Raises:
        InputError: if the bytes of one cannot be read.
    """
    starts = {name: getattr(options, name) for name in OPTIONS if is_picture(name, options)}
    return (
        Input.of("content", content),
        *(Input.of("style", style) for style in styles),
        *chain.from_iterable(map(_of_region, count(1), regions)),
        *([] if protect is None else [Input.of("protect", protect)]),
        *(Input.of(name, picture) for name, picture in starts.items()),
    )


def _of_region(number: int, region: Region) -> Iterator[Input]:
    sources = {"mask": region.mask, "style": region.style, "style mask": region.style_mask}
    for role, source in sources.items():
        if source is not None:
            yield Input.of(f"region {number} {role}", source)


def option_values(options: Options) -> dict[str, Any]:
    """Return all options as JSON has them, None for those that are pictures.

    Raises:
        InputError: if there are terms of one's own, which are Python.
    """
    if options.terms:
        names = ", ".join(term.name for term in options.terms)
        raise InputError(f"terms has {names}, accepted are none where a record is kept")
    return {
        name: None if is_picture(name, options) else json_value(getattr(options, name))
        for name in OPTIONS
    }


def is_picture(name: str, options: Options) -> bool:
    """Whether the value of an option is a picture, and not a word."""
    kind = OPTIONS[name].kind
    return isinstance(kind, Start) and not kind.is_word(getattr(options, name))


@cache
def installed_versions() -> dict[str, str]:
    """Return the versions of what pictures are computed with, by package."""
    import PIL

    from ortist.engine.sessions import import_runtime

    return {
        "ortist": installed_version("ortist") or "unknown",  # the sources, not installed
        "onnxruntime": import_runtime().__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
    }


def _digest_of_file(role: str, path: str | os.PathLike[str]) -> str:
    try:
        found = Path(path).stat()
        return _digest_of(os.fspath(path), found.st_ino, found.st_size, found.st_mtime_ns)
    except FileNotFoundError:
        raise InputError(f"{role} '{os.fspath(path)}' does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{role} '{os.fspath(path)}' cannot be read: {reason(error)}") from error


@lru_cache(4096)
def _digest_of(path: str, *_state: int) -> str:
    """Return the digest of a file, which in a batch is asked for with each of its pairs."""
    return digest_regular(path)


def _digest(kind: str, data: bytes) -> str:
    return hashlib.sha256(kind.encode() + data).hexdigest()


def _parsed(text: str) -> Value:
    """Return the JSON that a text has; InputError if it has none, or is too long."""
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        raise InputError(f"{_LABEL}: accepted are texts of up to {MAX_CHARACTERS} characters")
    try:
        return Value(parse_json(text), "", _LABEL, InputError)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{_LABEL}: {error}") from error


def _inputs(value: Value) -> tuple[Input, ...]:
    items = value.items()
    if len(items) > MAX_INPUTS:
        value.refuse(f"a list of at most {MAX_INPUTS}")
    inputs = [item.fields(tuple(Input.__dataclass_fields__)) for item in items]
    return tuple(
        Input(
            fields["role"].text(),
            fields["name"].text(),
            fields["sha256"].matching(SHA256, "64 hexadecimal digits"),
        )
        for fields in inputs
    )


def _machine(record: Record) -> dict[str, Any]:
    return {
        "provider": record.provider,
        "threads": record.threads,
        "kernel": record.kernel,
        "pieces": record.pieces,
        "tile": record.tile,
    }


def _other_inputs(now: Sequence[Input], before: Sequence[Input]) -> Iterator[str]:
    for role in dict.fromkeys(item.role for item in (*now, *before)):
        ours, theirs = ([item for item in items if item.role == role] for items in (now, before))
        if len(ours) != len(theirs):
            yield f"pictures as {role} are {len(ours)}, were {len(theirs)}"
            continue
        for new, old in zip(ours, theirs, strict=True):
            if new.sha256 != old.sha256 and new.name == old.name:
                yield f"{role} '{new.name}' has other content"
            elif new.sha256 != old.sha256:
                yield f"{role} is '{new.name}', was '{old.name}'"


def _other_values(what: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    for name in {**before, **now}:
        # In the order of their entries too: costs are summed in that of layers.
        new, old = (
            json.dumps(values[name]) if name in values else "not there" for values in (now, before)
        )
        if new != old:
            yield f"{what}{name} is {new}, was {old}"
