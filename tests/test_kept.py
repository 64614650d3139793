"""Values that are made once for all threads."""

from __future__ import annotations

import itertools
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ortist.engine.kept import Kept

WAIT = 20.0


def test_a_value_is_made_once_for_all_who_ask_at_once() -> None:
    kept: Kept[str, object] = Kept(2)
    made: list[object] = []
    started, go = threading.Event(), threading.Event()

    def make() -> object:
        started.set()
        assert go.wait(WAIT)
        made.append(object())
        return made[-1]

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(kept.get, "a", make)
        assert started.wait(WAIT)
        others = [pool.submit(kept.get, "a", make) for _ in range(3)]
        go.set()
        values = {id(future.result(WAIT)) for future in (first, *others)}
    assert values == {id(made[0])}
    assert len(made) == 1


def test_those_asked_for_last_are_kept() -> None:
    kept: Kept[int, int] = Kept(2)
    made: list[int] = []

    def make() -> int:
        made.append(0)
        return len(made)

    assert [kept.get(key, make) for key in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 4]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_who_waits_for_what_fails_tries_for_itself(error: BaseException) -> None:
    kept: Kept[str, str] = Kept(2)
    started, go = threading.Event(), threading.Event()

    def fail() -> str:
        started.set()
        assert go.wait(WAIT)
        raise error

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(kept.get, "a", fail)
        assert started.wait(WAIT)
        second = pool.submit(kept.get, "a", lambda: "made")
        go.set()
        with pytest.raises(type(error)):
            first.result(WAIT)
        assert second.result(WAIT) == "made"
    assert kept.get("a", lambda: "again") == "made"


def test_an_interrupt_at_any_moment_leaves_nobody_waiting() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    random = np.random.default_rng(0)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in random.uniform(1e-6, 1e-3, 500):
            kept: Kept[int, int] = Kept(3)
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - wherever it comes
                signal.setitimer(signal.ITIMER_REAL, delay)
                for number in itertools.count():
                    kept.get(number % 5, lambda: 1)
            locks = [kept._lock, *(slot.lock for slot in kept._slots.values())]
            assert not any(lock.locked() for lock in locks)
    finally:
        signal.signal(signal.SIGALRM, before)
