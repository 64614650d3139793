"""Values that are made once, for all threads that ask for them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """The values that were asked for last, by key; any number of threads may ask at once.

    Args:
        limit: how many to keep.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[K, Future[V]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key; unless it is kept, make it, or wait for who is making it.

        An error is raised to all who wait; who asks later tries again. What is no error but ends
        its thread, as a KeyboardInterrupt, ends that one only: another one makes the value then.
        """
        while True:
            future, known = self._find(key)
            if not known:
                return self._make(key, future, make)
            error = future.exception()
            if error is None:
                return future.result()
            if isinstance(error, Exception):
                raise error

    def _find(self, key: K) -> tuple[Future[V], bool]:
        """Return what will hold the value, and whether it was there already."""
        with self._lock:
            known = key in self._values
            future = self._values.setdefault(key, Future())
            self._values.move_to_end(key)
            if len(self._values) > self._limit:
                self._values.popitem(last=False)
            return future, known

    def _make(self, key: K, future: Future[V], make: Callable[[], V]) -> V:
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                if self._values.get(key) is future:
                    del self._values[key]
            future.set_exception(error)
            raise
        future.set_result(value)
        return value
