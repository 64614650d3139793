"""Checkpoints: all that a run needs to go on in another process, in one file."""

from __future__ import annotations

import io
import json
import math
import os
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ortist.engine.optimizer import State, part_of
from ortist.engine.record import Record
from ortist.models.errors import InputError
from ortist.models.files import open_regular, reason, whole_file
from ortist.models.json_values import Value, parse_json

MAX_ARRAYS = 1000
MAX_JSON = 1_000_000
"""Bytes of the record, and of the settings."""
_KINDS = "biufU"
"""Of types that arrays may have: numbers and texts."""
_RECORD, _SETTINGS = "record", "settings"
_RUN, _FILES = "run/", "files/"
_UNREADABLE = (
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,  # of encrypted files
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)
"""What reading a file that is no checkpoint raises."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is, and what it is of.

    Attributes:
        record: of what the picture is made of and with.
        state: of the run, as :meth:`Run.state <ortist.engine.Run.state>` returns it.
        settings: what else the program that keeps it wants to know again, as JSON has it.
        files: likewise, arrays by name.
    """

    record: Record
    state: State
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: State = field(default_factory=dict)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a file that :func:`read_checkpoint` reads, whole or not at all.

        It is an uncompressed .npz: arrays ``run/*`` and ``files/*``, and JSON as bytes, ``record``
        and ``settings``.

        Raises:
            InputError: if it cannot be written.
        """
        arrays = {_RUN + name: value for name, value in self.state.items()}
        arrays |= {_FILES + name: value for name, value in self.files.items()}
        texts = {_RECORD: self.record.to_json(), _SETTINGS: json.dumps(self.settings)}
        arrays |= {name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()}
        try:
            with whole_file(Path(path)) as stream:
                np.savez(stream, allow_pickle=False, **arrays)
        except (OSError, ValueError) as error:
            message = f"checkpoint '{os.fspath(path)}' cannot be written: {reason(error)}"
            raise InputError(message) from error


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Return what a file has that :meth:`Checkpoint.write` wrote, or anybody else.

    Of the file no more is made than it has bytes, and nothing in it is run.

    Raises:
        InputError: if it cannot be read or is no checkpoint.
    """
    label = f"checkpoint '{os.fspath(path)}'"
    try:
        stream = open_regular(path)
    except FileNotFoundError:
        raise InputError(f"{label} does not exist: there is nothing to go on from") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{label} cannot be read: {reason(error)}") from error
    with stream:
        try:
            arrays = _read_arrays(stream)
            record, settings = (_json(arrays[name], label) for name in (_RECORD, _SETTINGS))
        except InputError:
            raise
        except zipfile.BadZipFile as error:
            raise InputError(f"{label} is no checkpoint, or is damaged: {error}") from error
        except _UNREADABLE as error:
            raise InputError(f"{label} is damaged: {error}") from error
    return Checkpoint(
        Record.from_value(record),
        part_of(arrays, _RUN),
        settings.mapping(),
        part_of(arrays, _FILES),
    )


def _read_arrays(stream: IO[bytes]) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file; ValueError if it has more than its size."""
    size = stream.seek(0, os.SEEK_END)
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if len(members) > MAX_ARRAYS or not stored:
            raise ValueError(f"accepted are up to {MAX_ARRAYS} arrays, not compressed")
        if sum(member.file_size for member in members) > size:
            raise ValueError("its parts have more bytes than it has")
        return {
            member.filename.removesuffix(".npy"): _array(archive.read(member)) for member in members
        }


def _array(data: bytes) -> NDArray[Any]:
    """Return the array of an .npy file, which must be as long as its header says."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array has another format than 1.0")
    shape, fortran, kind = np.lib.format.read_array_header_1_0(stream)
    values = data[stream.tell() :]
    if kind.kind not in _KINDS or math.prod(shape) * kind.itemsize != len(values):
        raise ValueError(f"an array of {kind} {list(shape)} has {len(values)} bytes")
    if not values:
        return np.empty(shape, kind)
    return np.frombuffer(values, kind).reshape(shape, order="F" if fortran else "C")


def _json(array: NDArray[Any], label: str) -> Value:
    if array.nbytes > MAX_JSON:
        raise ValueError(f"its JSON has more than {MAX_JSON} bytes")
    return Value(parse_json(array.tobytes().decode()), "", f"{label} is damaged", InputError)
