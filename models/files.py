"""How files are read and written: within a limit, whole or not at all, and nothing but files.

Devices, pipes and sockets are refused: they may block, never end, or be damaged by a replacement.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeAlias

Bytes: TypeAlias = bytes | bytearray | memoryview
_CHUNK = 1 << 20
"""Bytes read at once."""
# Without waiting for the other side of a pipe, nor making a terminal that of this process.
_READING = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY")
)


class TooLongError(OSError):
    """A file or stream has more bytes than are accepted."""


def reason(error: Exception) -> str:
    """Return what went wrong, without number and path, which may be that of a scratch file."""
    return getattr(error, "strerror", None) or str(error)


def open_regular(path: str | os.PathLike[str]) -> io.FileIO:
    """Return a regular file, open for reading.

    Raises:
        OSError: if this is no regular file, or it cannot be read.
        ValueError: if no file can have this name.
    """
    # Before it is opened, which wakes who waits at a pipe; and after, since it may be another now.
    _check_regular(Path(path).stat().st_mode)
    stream = io.FileIO(os.open(path, _READING), closefd=True)
    try:
        _check_regular(os.fstat(stream.fileno()).st_mode)
    except BaseException:
        stream.close()
        raise
    return stream


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes.

    Raises:
        TooLongError: if there are more bytes.
        OSError: if this is no regular file, or it cannot be read.
        ValueError: if no file can have this name.
    """
    with open_regular(path) as stream:
        return read_limited(stream.read, limit)


def digest_regular(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a regular file, in hexadecimal digits.

    Raises:
        OSError: if this is no regular file, or it cannot be read.
        ValueError: if no file can have this name.
    """
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_limited(read: Callable[[int], Bytes], limit: int) -> bytes:
    """Return all that ``read`` gives, called with a number of bytes until it gives none.

    Raises:
        TooLongError: if that is more than ``limit`` bytes.
        TypeError: if it gives something else than bytes.
    """
    content = io.BytesIO()
    while True:
        chunk = read(min(_CHUNK, limit + 1 - content.tell()))
        if not isinstance(chunk, Bytes):
            raise TypeError(f"reading gave {type(chunk).__name__} in place of bytes")
        if not chunk:
            return content.getvalue()
        content.write(chunk)
        if content.tell() > limit:
            raise TooLongError(errno.EFBIG, f"it has more than {limit} bytes")


def find_target(path: str | os.PathLike[str]) -> Path:
    """Return where a file written to ``path`` goes: symbolic links are followed to their end.

    Raises:
        OSError: if something else than a regular file is there, the links lead in a circle, or the
            path is relative to a folder that was deleted.
        ValueError: if no file can have this name.
    """
    try:
        target = Path(os.path.realpath(path))
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "the working directory was deleted") from None
    with suppress(FileNotFoundError, NotADirectoryError):
        mode = target.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        _check_regular(mode)
    return target


def write_whole(path: Path, data: Bytes) -> None:
    """Write a file whole or not at all, as :func:`whole_file` does."""
    with whole_file(path) as stream:
        stream.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Give a stream; what is written to it becomes the file, whole or not at all.

    It replaces what is there, unless an exception comes out of the block. It is made beside its
    place and moved there once it is on the disk, so that nobody sees half of it, and the older file
    stays if the disk is full. That file's permissions are kept, and a symbolic link keeps pointing
    to the file written.

    Raises:
        OSError: if the file cannot be written, or ``path`` leads to something else than a file.
        ValueError: if no file can have this name.
    """
    target = find_target(path)
    # Unlike one of tempfile's, a file opened in the usual way gets the permissions of the umask.
    scratch = target.with_name(f".ortist-{secrets.token_hex(8)}.tmp")
    try:
        with scratch.open("xb") as stream:
            if target.exists():
                scratch.chmod(stat.S_IMODE(target.stat().st_mode))
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(target)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def locked(stream: IO[bytes]) -> bool:
    """Lock a file for this process, where that can be done; False if another one has."""
    try:
        import fcntl
    except ImportError:  # on Windows
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # on disks that have no locks
        return True
    return True


def _check_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file")
