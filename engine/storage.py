"""Where large arrays are: in memory, or in temporary files that stand for it."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ortist.models.errors import OrtistError
from ortist.models.files import reason


class Storage:
    """Makes arrays.

    Args:
        mapped: whether they are in temporary files, without a name and gone with the array, that
            are mapped to memory. What is read of them or written takes memory until it is
            released, see :func:`release`. They are where Python's ``tempfile`` puts files, which
            the environment variable ``TMPDIR`` says.
    """

    def __init__(self, mapped: bool = False) -> None:
        self.mapped = mapped

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return an array; in files it is zero, in memory it is what happens to be there.

        Raises:
            OrtistError: if there is no file to be had of that size.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if not self.mapped or not size:
            return np.empty(shape, dtype)
        try:
            with tempfile.TemporaryFile(prefix="ortist-") as file:
                file.truncate(size)
                # Else a full disk would end the process when something is written.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                memory = mmap.mmap(file.fileno(), size)
        except (OSError, ValueError) as error:
            raise OrtistError(
                f"no file for {size / 1e9:.2f} GB in {tempfile.gettempdir()} (TMPDIR):"
                f" {reason(error)}"
            ) from error
        return np.frombuffer(memory, dtype).reshape(shape)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return an array of zeros; raises as :meth:`empty`."""
        return self.empty(shape, dtype) if self.mapped else np.zeros(shape, dtype)


IN_MEMORY = Storage()


def release(*arrays: NDArray[Any]) -> None:
    """Give back the memory that arrays in files take; what they hold stays in the files.

    Arrays in memory, and systems where this cannot be asked for, are left alone.
    """
    for array in arrays:
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        memory = base.obj if isinstance(base, memoryview) else base
        if isinstance(memory, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            memory.madvise(mmap.MADV_DONTNEED)
