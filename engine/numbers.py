"""What is computed by NumPy for a run: with which threads, and until when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ortist.engine.storage import IN_MEMORY, Storage, release
from ortist.export.costs.neighbors import working

_limiting = threading.Lock()
"""Held while NumPy has one thread: the number is the process's, and is set back to what it was."""


@contextmanager
def computing(
    threads: int, canceled: Callable[[], bool] = lambda: False, storage: Storage = IN_MEMORY
) -> Iterator[None]:
    """Give products and decompositions of NumPy one thread, and the search for matches several.

    NumPy's threads wait for one another without rest: to decompose a matrix of 512 columns takes
    them 20 ms, but tens of seconds where other work has the cores.

    Args:
        threads: by how many matches are looked for.
        canceled: asked whether to give that up, with a CanceledError.
        storage: makes the arrays that the targets are looked up in.
    """
    from threadpoolctl import threadpool_limits  # imported late: it looks at all libraries

    with (
        _limiting,
        threadpool_limits(limits=1, user_api="blas"),
        working(threads, canceled, storage.empty, release),
    ):
        yield
