"""Where pictures and other files go: what can be written, checked before and done as a whole."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ortist.engine.errors import InputError
from ortist.engine.images.encoding import PLAIN, Encoding
from ortist.engine.images.formats import find_format
from ortist.models.files import find_target, reason, whole_file, write_whole


def check_output(
    path: str | os.PathLike[str],
    force: bool = False,
    size: tuple[int, int] | None = None,
    encoding: Encoding = PLAIN,
) -> None:
    """Check that ``write_image`` will be able to write ``path``; leaves no trace.

    Args:
        path: where the picture is to go.
        force: whether an existing file may be replaced.
        size: (width, height) of the picture, to check the format's own limit too.
        encoding: what it is to be written with.

    Raises:
        InputError: if the extension is unknown, the folder is missing or not writable, the file
            exists and ``force`` is false, or the format cannot hold the size or the encoding.
    """
    file_format = find_format(path)
    encoding.check(path)
    if size is not None and max(size) > file_format.longest:
        raise InputError(
            f"output '{os.fspath(path)}': {file_format.name} holds at most {file_format.longest}"
            f" pixels a side, not {size[0]}x{size[1]}"
        )
    check_writable(path, force)


def check_writable(path: str | os.PathLike[str], force: bool = False) -> None:
    """Check that a file can be made at ``path``, of whatever kind; leaves no trace.

    Raises:
        InputError: if ``path`` leads to something else than a regular file, the file exists and
            ``force`` is false, or its folder is missing or not writable.
    """
    label = f"output '{os.fspath(path)}'"
    try:
        target = find_target(path)
    except IsADirectoryError:
        raise InputError(f"{label} is a directory") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{label} cannot be written: {reason(error)}") from error
    if target.exists():
        if not force:
            raise InputError(f"{label} exists; --force (force=True) replaces it")
        if not os.access(target, os.W_OK):
            raise InputError(f"{label} is write-protected")
    if not target.parent.is_dir():
        raise InputError(f"{label}: there is no directory '{target.parent}'")
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise InputError(
            f"{label}: cannot write to directory '{target.parent}': {reason(error)}"
        ) from error


@contextmanager
def written_whole(path: str | os.PathLike[str], streamed: bool = False) -> Iterator[IO[bytes]]:
    """Give a stream to write to; what is in it at the end becomes the file.

    Args:
        path: where it goes.
        streamed: whether the stream is that of the file already. Otherwise it is in memory, which
            Pillow's encoders need: they overlook it if a disk takes a part only.

    Raises:
        InputError: in place of the OSError or ValueError of a file that cannot be written.
    """
    try:
        if streamed:
            with whole_file(Path(path)) as file:
                yield file
        else:
            stream = io.BytesIO()
            yield stream
            write_whole(Path(path), stream.getbuffer())
    except (OSError, ValueError, RuntimeError) as error:  # the last from the encoder of AVIF
        message = f"output '{os.fspath(path)}' cannot be written: {reason(error)}"
        raise InputError(message) from error
