"""The folder of the jobs, each of which has one of its own there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ortist.engine import InputError
from ortist.models.files import locked, reason, write_whole
from ortist.serve.job import Job, read_job
from ortist.serve.task import Files

_ID = re.compile(r"[0-9a-f]{32}")
_INCOMING, _LOCK, _REMOVED = ".incoming", ".lock", ".removed"


class Shelf:
    """The folder of the jobs.

    Args:
        folder: which is made if there is none.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)

    @property
    def incoming(self) -> Path:
        """Where files are that are soon gone."""
        return self._folder / _INCOMING

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have it for this process, with nothing incoming.

        Raises:
            InputError: if it cannot be used, or another service has it.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self._folder / _LOCK).open("ab")
        except OSError as error:
            raise self._unusable(error) from error
        with lock:
            if not locked(lock):
                raise InputError(f"another service is at work in '{self._folder}'")
            shutil.rmtree(self.incoming, ignore_errors=True)
            try:
                self.incoming.mkdir(mode=0o700)
            except OSError as error:
                raise self._unusable(error) from error
            yield

    def files(self, name: str) -> Files:
        """Return the files of a job."""
        return Files(self._folder / name)

    def read(self) -> Iterator[Job]:
        """Yield the jobs that are there."""
        for folder in self._folder.iterdir():
            files = Files(folder)
            job = read_job(files)
            if job is not None and job.id == folder.name:
                yield job
            elif _ID.fullmatch(folder.name) and not files.job.exists():
                self.remove(folder.name)

    @contextmanager
    def added(self, name: str) -> Iterator[Files]:
        """Give the files of a new job, which is there at the end of the block, or not at all."""
        files = Files(self.incoming / name)
        files.folder.mkdir(mode=0o700)
        try:
            yield files
            files.folder.rename(self._folder / name)
        finally:
            shutil.rmtree(files.folder, ignore_errors=True)

    def forget(self, name: str) -> None:
        """Have a job, whose files are in use, not be there when the service starts again."""
        self.files(name).job.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a job: all of it at once, whatever ends the service; see :meth:`sweep`."""
        with suppress(OSError):
            (self._folder / name).rename(self.incoming / f"{name}{_REMOVED}")

    def sweep(self) -> None:
        """Delete what was removed, which may take some time."""
        for folder in self.incoming.glob(f"*{_REMOVED}"):
            shutil.rmtree(folder, ignore_errors=True)

    def _unusable(self, error: OSError) -> InputError:
        return InputError(f"folder '{self._folder}' cannot be used: {reason(error)}")


def write_if_there(path: Path, data: bytes) -> bool:
    """Write a file of a job, which may have been removed; return whether that is done with."""
    try:
        write_whole(path, data)
    except OSError:  # of a full disk, which does not end the service
        return not path.parent.exists()
    return True
