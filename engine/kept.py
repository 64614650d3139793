"""Values that are made once, for all threads that ask for them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
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
        self._slots: OrderedDict[K, _Slot[V]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key; unless it is kept, make it, or wait for who is making it.

        Where that fails, or its thread is interrupted, who waits tries for itself.
        """
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            if len(self._slots) > self._limit:
                self._slots.popitem(last=False)
        with slot.lock:
            if not slot.made:
                slot.made = (make(),)
            return slot.made[0]


class _Slot(Generic[V]):
    """A place for a value; who makes it holds the lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: tuple[V, ...] = ()
