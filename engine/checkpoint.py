"""Checkpoints: all that a run needs to go on in another process, in one file."""

from __future__ import annotations

import json
import math
import os
import struct
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ortist.engine.follow import Observer
from ortist.engine.optimizer import State, part_of
from ortist.engine.record import Record
from ortist.engine.results import Painting, Step
from ortist.engine.run import Run
from ortist.engine.storage import BLOCK, IN_MEMORY, Storage, blocks, parts
from ortist.models.errors import InputError
from ortist.models.files import open_regular, reason, whole_file
from ortist.models.json_values import Value, parse_json

SECONDS = 30.0
"""Between checkpoints, unless steps are told.

No more is lost, and writing, a fraction of a second for most pictures, takes next to no time of it.
"""
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
                _write_arrays(stream, arrays)
        except (OSError, ValueError) as error:
            message = f"checkpoint '{os.fspath(path)}' cannot be written: {reason(error)}"
            raise InputError(message) from error


class Checkpoints(Observer):
    """Keeps a run in a file while it goes on: every so often, and where it ends before its time.

    Args:
        path: where it goes.
        record: of what the picture is made of and with.
        every: steps between checkpoints; 0 for one every :data:`SECONDS`.
        settings: what else is to be in it.
        files: returns likewise, arrays by name.
    """

    def __init__(
        self,
        path: Path,
        record: Record,
        every: int = 0,
        settings: Mapping[str, Any] | None = None,
        files: Callable[[], State] = dict,
    ) -> None:
        self.path = path
        self._record = record
        self._every = every
        self._settings = settings or {}
        self._files = files
        self._run: Run | None = None
        self._written = 0.0

    def begin(self, run: Run) -> None:
        """Tell which run it is."""
        self._run = run
        self._written = time.monotonic()

    def step(self, step: Step) -> None:
        """Write the checkpoint if one is due."""
        by_steps = self._every and step.iteration % self._every == 0
        by_time = not self._every and time.monotonic() - self._written > SECONDS
        # There is no going on from the end: whoever is killed there does the last steps again.
        if self._run is not None and not self._run.done and (by_steps or by_time):
            self.write(self._run)

    def keep(self, painting: Painting) -> None:
        """Write the checkpoint of a run that has ended before its time."""
        run = self._run
        # What failed amid a step may be anywhere; the checkpoint of before is good.
        if run is not None and not run.done and _is_at(run, painting):
            self.write(run)

    def write(self, run: Run) -> None:
        """Write the checkpoint."""
        self._written = time.monotonic()  # also if it fails: it is not tried at every step
        Checkpoint(self._record, run.state(), self._settings, self._files()).write(self.path)

    def remove(self) -> None:
        """Remove the file: the run is done."""
        with suppress(OSError):  # it does no harm
            self.path.unlink()


def read_checkpoint(path: str | os.PathLike[str], storage: Storage = IN_MEMORY) -> Checkpoint:
    """Return what a file has that :meth:`Checkpoint.write` wrote, or anybody else.

    Of the file no more is made than it has bytes, and nothing in it is run.

    Args:
        path: of the file.
        storage: makes the arrays.

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
            arrays = _read_arrays(stream, storage)
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


def _write_arrays(stream: IO[bytes], arrays: State) -> None:
    """Write an .npz file as ``np.savez`` does; what is in files takes the memory of a block."""
    with zipfile.ZipFile(stream, "w") as archive:
        for name, value in arrays.items():
            array = np.asarray(value, order="C")
            if array.dtype.kind not in _KINDS:
                raise ValueError(f"{name} is an array of {array.dtype}")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = np.lib.format.header_data_from_array_1_0(array)
                np.lib.format.write_array_header_1_0(member, header)
                for (block,) in blocks(array):
                    member.write(block.tobytes())


def _read_arrays(stream: IO[bytes], storage: Storage) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file; ValueError if it has more than its size."""
    size = stream.seek(0, os.SEEK_END)
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if len(members) > MAX_ARRAYS or not stored:
            raise ValueError(f"accepted are up to {MAX_ARRAYS} arrays, not compressed")
        if sum(member.file_size for member in members) > size:
            raise ValueError("its parts have more bytes than it has")
        arrays = {}
        for member in members:
            with archive.open(member) as part:
                name = member.filename.removesuffix(".npy")
                arrays[name] = _array(part, member.file_size, storage)
        return arrays


def _array(stream: IO[bytes], size: int, storage: Storage) -> NDArray[Any]:
    """Return the array of an .npy file, which must be as long as its header says."""
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array has another format than 1.0")
    shape, fortran, kind = np.lib.format.read_array_header_1_0(stream)
    left = size - stream.tell()
    if kind.kind not in _KINDS or math.prod(shape) * kind.itemsize != left:
        raise ValueError(f"an array of {kind} {list(shape)} has {left} bytes")
    if not left:
        return np.empty(shape, kind)
    # Numbers and texts by themselves are not worth a file.
    values = (storage if shape else IN_MEMORY).empty((left,), np.uint8)
    for part in parts(left, BLOCK, values):
        data = stream.read(part.stop - part.start)
        values[part] = np.frombuffer(data, np.uint8)
    return values.view(kind).reshape(shape, order="F" if fortran else "C")


def _is_at(run: Run, painting: Painting) -> bool:
    return isinstance(painting, Step) and painting.iteration == run.iteration


def _json(array: NDArray[Any], label: str) -> Value:
    if array.nbytes > MAX_JSON:
        raise ValueError(f"its JSON has more than {MAX_JSON} bytes")
    return Value(parse_json(array.tobytes().decode()), "", f"{label} is damaged", InputError)
