"""Where pictures come from, and how many bytes of it are read."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ortist.engine.errors import InputError
from ortist.models.files import Bytes, TooLongError, open_regular, read_limited, reason

ImageSource: TypeAlias = str | os.PathLike[str] | IO[bytes] | Image.Image | NDArray[np.uint8]
"""A path, a binary file object, a Pillow image, or an array uint8 (H, W, 3) in RGB."""

_BYTES_PER_PIXEL = 18
"""Most that a pixel takes in a file: three numbers of 16 bits as text, in a plain PPM."""
_BYTES_BESIDE = 64_000_000
"""Bytes of profiles, previews and further frames that a file may have besides."""


def label_of(source: ImageSource, name: str) -> str:
    """Return what messages call a picture: its name, and its path if it has one."""
    return f"{name} '{os.fspath(source)}'" if isinstance(source, str | os.PathLike) else name


class _File(io.BufferedReader):
    """A file whose number is kept back.

    Pillow would hand it to libtiff, which maps the file to memory; and a process that reads beyond
    the end of a mapped file, because someone cut it short, is ended.
    """

    def fileno(self) -> int:
        """Raise UnsupportedOperation."""
        raise io.UnsupportedOperation("fileno")


def encoded(source: str | os.PathLike[str] | IO[bytes], label: str, max_pixels: int) -> IO[bytes]:
    """Return a file, or what a file object has until its end, if a picture may be so long.

    Raises:
        InputError: if it is longer, or cannot be read.
    """
    limit = _BYTES_PER_PIXEL * max_pixels + _BYTES_BESIDE
    try:
        if isinstance(source, str | os.PathLike):
            return _open_file(source, limit)
        return io.BytesIO(read_limited(_reader(source, label), limit))
    except (InputError, MemoryError):
        raise
    except FileNotFoundError:
        raise InputError(f"{label} does not exist") from None
    except IsADirectoryError:
        raise InputError(f"{label} is a directory") from None
    except TooLongError:
        raise InputError(
            f"{label} has more than {limit} bytes, which is more than a picture of {max_pixels}"
            " pixels takes (raise max_pixels, --max-pixels)"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{label} cannot be read: {reason(error)}") from error
    except Exception as error:  # a file object may raise anything
        raise InputError(f"{label} cannot be read: {error}") from error


def _open_file(path: str | os.PathLike[str], limit: int) -> IO[bytes]:
    with ExitStack() as stack:
        file = stack.enter_context(open_regular(path))
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise TooLongError(errno.EFBIG, f"it has more than {limit} bytes")
        stream = _File(file)
        # Some have content and no size: those of the system.
        data = stream.peek(1)
        if data and not size:
            return io.BytesIO(read_limited(stream.read, limit))
        stack.pop_all()
        return stream


def _reader(source: IO[bytes], label: str) -> Callable[[int], Bytes]:
    read = getattr(source, "read", None)
    if not callable(read):
        raise InputError(
            f"{label} is of type {type(source).__name__}; accepted are a path, a binary file"
            " object, a Pillow image, or an array uint8 (height, width, 3)"
        )
    reader: Callable[[int], Bytes] = read
    return reader
