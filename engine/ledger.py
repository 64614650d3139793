"""What was painted in a folder, kept in a file there that survives any end of the process."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ortist.engine.record import Record
from ortist.models.errors import InputError
from ortist.models.files import digest_regular, find_target, locked, open_regular, reason
from ortist.models.json_values import SHA256, Value, parse_json

LEDGER = "ortist-batch.jsonl"
_LONGEST_LINE = 4_000_000
_FIELDS = ("output", "sha256", "record", "encoding")


@dataclass
class _Entry:
    """What is known of an output."""

    record: Record | None = None
    encoding: Mapping[str, Any] = field(default_factory=dict)
    sha256: set[str] = field(default_factory=set)
    begun: bool = False


class Ledger:
    """The outputs in a folder that are ours, and what they were made of.

    Of each there is a line before it is written, and one after that with its record and checksum.
    Lines are only added; one that is torn or damaged tells nothing. To be used in a ``with``, in
    which no other process may have it.

    Args:
        folder: where the outputs are.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LEDGER
        self._folder = folder
        self._entries: dict[str, _Entry] = {}
        self._stream: IO[bytes] | None = None

    def read(self) -> None:
        """Read what there is; changes nothing.

        Raises:
            InputError: if the file cannot be read.
        """
        try:
            with open_regular(self.path) as file, io.BufferedReader(file) as stream:
                for line in iter(lambda: stream.readline(_LONGEST_LINE), b""):
                    with suppress(ValueError, RecursionError):  # InputError among them
                        self._take(parse_json(line.decode()))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._error("read", error) from error

    def __enter__(self) -> Ledger:
        """Read what there is, and keep others away.

        Raises:
            InputError: if the file cannot be read or written, or another process has it.
        """
        with ExitStack() as stack:
            try:
                stream = stack.enter_context(find_target(self.path).open("ab"))
                if not locked(stream):
                    raise InputError(f"another batch is at work in '{self._folder}'")
                self.read()
                if stream.tell() and not self._ends_a_line():
                    stream.write(b"\n")
            except OSError as error:
                raise self._error("written", error) from error
            self._stream = stream
            stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let others have it."""
        if self._stream is not None:
            self._stream.close()

    def has(self, output: str, record: Record, encoding: Mapping[str, Any]) -> bool:
        """Whether an output of this record is there, written so, and as it was written."""
        entry = self._entries.get(output)
        if entry is None or entry.begun or entry.record is None:
            return False
        same = not record.differences(entry.record) and entry.encoding == encoding
        return same and self._digest(output) in entry.sha256

    def owns(self, output: str) -> bool:
        """Whether what is there under the name of an output was written here, and not changed."""
        entry = self._entries.get(output)
        return entry is not None and (entry.begun or self._digest(output) in entry.sha256)

    def begin(self, output: str) -> None:
        """Tell that an output is going to be written."""
        self._add({"output": output})

    def end(self, output: str, record: Record, encoding: Mapping[str, Any]) -> None:
        """Tell that an output was written, and how."""
        self._add(
            {
                "output": output,
                "sha256": digest_regular(self._folder / output),
                "record": record.to_value(),
                "encoding": encoding,
            }
        )

    def _digest(self, output: str) -> str | None:
        with suppress(OSError, ValueError):
            return digest_regular(self._folder / output)
        return None

    def _take(self, line: Any) -> None:
        """Take in a line; ValueError if it is none."""
        value = Value(line, "", "the ledger is damaged", InputError)
        begins = isinstance(line, dict) and len(line) == 1
        fields = value.fields(("output",) if begins else _FIELDS)
        output = fields["output"].text()
        if begins:
            self._entries.setdefault(output, _Entry()).begun = True
            return
        sha256 = fields["sha256"].matching(SHA256, "64 hexadecimal digits")
        record = Record.from_value(fields["record"])
        self._entries[output] = _Entry(record, fields["encoding"].mapping(), {sha256})

    def _add(self, line: dict[str, Any]) -> None:
        """Write a line, which is on the disk then."""
        assert self._stream is not None
        try:
            self._stream.write(json.dumps(line).encode() + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise self._error("written", error) from error
        self._take(line)

    def _ends_a_line(self) -> bool:
        with open_regular(self.path) as stream:
            stream.seek(-1, os.SEEK_END)
            return stream.read() == b"\n"

    def _error(self, done: str, error: OSError) -> InputError:
        return InputError(f"'{self.path}' cannot be {done}: {reason(error)}")
