"""Values that are made once for all threads."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

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


@pytest.mark.parametrize(
    ("error", "of_who_waits"), [(ValueError("bad"), "bad"), (KeyboardInterrupt(), "made")]
)
def test_an_interrupt_is_of_its_own_thread_only(
    error: BaseException, of_who_waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: Kept[str, str] = Kept(2)
    started, found, go = threading.Event(), threading.Event(), threading.Event()
    find = kept._find

    def seen(key: str) -> tuple[Future[str], bool]:
        future, known = find(key)
        if known:
            found.set()
        return future, known

    monkeypatch.setattr(kept, "_find", seen)

    def fail() -> str:
        started.set()
        assert go.wait(WAIT)
        raise error

    def wait() -> str:
        try:
            return kept.get("a", lambda: "made")
        except ValueError as raised:
            return str(raised)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(kept.get, "a", fail)
        assert started.wait(WAIT)
        second = pool.submit(wait)
        assert found.wait(WAIT)
        go.set()
        with pytest.raises(type(error)):
            first.result(WAIT)
        assert second.result(WAIT) == of_who_waits
    assert kept.get("a", lambda: "again") == ("again" if of_who_waits == "bad" else "made")
