"""Where large arrays are: in memory, or in temporary files that stand for it."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ortist.models.errors import OrtistError
from ortist.models.files import reason

BLOCK = 1 << 16
"""Elements worked on at a time, few enough to stay in a core's cache between operations."""


class Storage:
    """Makes arrays.

    Args:
        mapped: whether they are in temporary files, without a name and gone with the array, that
            are mapped to memory. What is read of them or written takes memory until it is
            released, see :func:`release`. They are where Python's ``tempfile`` puts files, which
            the environment variable ``TMPDIR`` says.
        least: bytes from which on an array is in a file.
        must: whether it may not be in memory instead if there is no file to be had.
    """

    def __init__(self, mapped: bool = False, least: int = 1, must: bool = True) -> None:
        self.mapped = mapped
        self._least, self._must = least, must

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return an array; in files it is zero, in memory it is what happens to be there.

        Raises:
            OrtistError: if there is no file to be had of that size.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if not self.mapped or size < self._least:
            return np.empty(shape, dtype)
        try:
            memory = _file(size)
        except (OSError, ValueError) as error:
            if not self._must:
                return np.empty(shape, dtype)
            raise OrtistError(
                f"no temporary file of {size / 1e6:.0f} MB (TMPDIR): {reason(error)}"
            ) from error
        return np.frombuffer(memory, dtype).reshape(shape)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return an array of zeros; raises as :meth:`empty`."""
        array = self.empty(shape, dtype)
        if _mapping(array) is None:
            array[...] = 0
        return array

    def copy(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a copy, contiguous; raises as :meth:`empty`."""
        copied = self.empty(array.shape, array.dtype)
        for new, old in blocks(copied, array):
            new[:] = old
        return copied

    def kept(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array itself, or a copy in a file if it is not in one but is to be.

        Raises as :meth:`empty`.
        """
        return self.copy(array) if self.mapped and _mapping(array) is None else array


IN_MEMORY = Storage()
IN_FILES = Storage(mapped=True)
LARGE_IN_FILES = Storage(mapped=True, least=1 << 26, must=False)
"""For what may be small, too."""


def _file(size: int) -> mmap.mmap:
    """Return a file of so many bytes that has no name."""
    with tempfile.TemporaryFile(prefix="ortist-") as file:
        file.truncate(size)
        # Else a full disk would end the process when something is written.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        return mmap.mmap(file.fileno(), size)


def release(*arrays: NDArray[Any]) -> None:
    """Give back the memory that arrays in files take; what they hold stays in the files.

    Arrays in memory, and systems where this cannot be asked for, are left alone.
    """
    _release(_mappings(arrays))


def parts(length: int, step: int, *arrays: NDArray[Any]) -> Iterator[slice]:
    """Yield the parts of ``length`` in order, ``step`` long, and release arrays after each."""
    mappings = _mappings(arrays)
    for begin in range(0, length, step):
        yield slice(begin, min(begin + step, length))
        _release(mappings)


def blocks(*arrays: NDArray[Any]) -> Iterator[list[NDArray[Any]]]:
    """Yield the same elements of arrays of one size, flat, a block at a time.

    The arrays are released after each block. Those to write to must be contiguous.
    """
    flat = [array.reshape(-1) for array in arrays]
    for part in parts(flat[0].size, BLOCK, *arrays):
        yield [array[part] for array in flat]


def bands(*pictures: NDArray[Any]) -> Iterator[slice]:
    """Yield slices of the rows of pictures (..., H, W) of one size, about a block at a time.

    The pictures are released after each.
    """
    height, width = pictures[0].shape[-2:]
    return parts(height, max(1, BLOCK // max(1, width)), *pictures)


def _mapping(array: NDArray[Any]) -> mmap.mmap | None:
    """Return the file that an array is in; None if it is in memory."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    memory = base.obj if isinstance(base, memoryview) else base
    return memory if isinstance(memory, mmap.mmap) else None


def _mappings(arrays: Sequence[NDArray[Any]]) -> list[mmap.mmap]:
    found = (_mapping(array) for array in arrays)
    return [mapping for mapping in found if mapping is not None]


def _release(mappings: Sequence[mmap.mmap]) -> None:
    for mapping in mappings:
        if hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)
