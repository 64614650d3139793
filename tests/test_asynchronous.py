"""Runs in programs with an event loop."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from ortist.engine import CanceledError, Engine, InputError, NonFiniteCostError, Options, Step
from ortist.engine.run import Run

CONTENT, STYLE = np.random.default_rng(8).integers(0, 256, (2, 48, 64, 3), np.uint8)
SHORT = Options(size=64, steps=4)
LONG = Options(size=64, steps=10**6)
LARGE = Options(size=512, steps=10**6, scales=1)
"""An evaluation takes a second or so."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("cpu", 1)


async def all_of(run: Run) -> list[Step]:
    return [step async for step in run]


def test_the_steps_are_those_of_other_programs(engine: Engine) -> None:
    expected = list(engine.iterate(CONTENT, STYLE, SHORT))
    steps = asyncio.run(all_of(engine.iterate(CONTENT, STYLE, SHORT)))
    assert [step.iteration for step in steps] == [1, 2, 3, 4]
    assert steps[-1].pixels.tobytes() == expected[-1].pixels.tobytes()


def test_the_loop_is_free_meanwhile(engine: Engine) -> None:
    async def main() -> tuple[int, float]:
        run = engine.iterate(CONTENT, STYLE, LARGE)
        painting = asyncio.create_task(anext(aiter(run)))
        ticks, begin = 0, time.monotonic()
        while not painting.done():
            await asyncio.sleep(0.01)
            ticks += 1
        await painting
        return ticks, time.monotonic() - begin

    ticks, seconds = asyncio.run(main())
    assert seconds > 0.2
    assert ticks > 100 * seconds / 5


def test_several_runs_take_turns_in_one_loop(engine: Engine) -> None:
    order: list[int] = []

    async def paint(number: int) -> bytes:
        async for step in engine.iterate(CONTENT, STYLE, SHORT):
            order.append(number)
            pixels = step.pixels
        return pixels.tobytes()

    async def main() -> list[bytes]:
        return await asyncio.gather(*(paint(number) for number in range(3)))

    assert len(set(asyncio.run(main()))) == 1
    assert order != sorted(order)


def test_a_run_can_be_left_and_gone_on_with(engine: Engine) -> None:
    run = engine.iterate(CONTENT, STYLE, SHORT)

    async def main() -> None:
        async for step in run:
            if step.iteration == 2:
                break

    asyncio.run(main())
    assert [step.iteration for step in run] == [3, 4]


def test_canceling_the_task_ends_the_evaluation_and_waits_for_it(engine: Engine) -> None:
    async def main() -> tuple[float, Run]:
        run = engine.iterate(CONTENT, STYLE, LARGE)
        task = asyncio.create_task(all_of(run))
        while not run.iteration:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        begin = time.monotonic()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # more than once
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - begin, run

    seconds, run = asyncio.run(main())
    assert seconds < 1
    steps, picture = run.iteration, run.picture.copy()
    time.sleep(0.3)
    assert run.iteration == steps
    assert np.array_equal(run.picture, picture)
    with pytest.raises(CanceledError):
        next(run)


def test_a_loop_that_ends_waits_for_its_runs(engine: Engine) -> None:
    run = engine.iterate(CONTENT, STYLE, LONG)

    async def main() -> None:
        task = asyncio.create_task(all_of(run))
        while not run.iteration:
            await asyncio.sleep(0.01)
        assert not task.done()

    asyncio.run(main())
    steps = run.iteration
    time.sleep(0.1)
    assert run.iteration == steps


def test_a_time_limit_cancels(engine: Engine) -> None:
    async def main() -> None:
        async with asyncio.timeout(0.5):
            await all_of(engine.iterate(CONTENT, STYLE, LONG))

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_errors_of_a_step_are_raised(engine: Engine) -> None:
    bad = Options(size=64, steps=9, learning_rate=1e30)
    with pytest.raises(NonFiniteCostError):
        asyncio.run(all_of(engine.iterate(CONTENT, STYLE, bad)))
    with pytest.raises(InputError):
        engine.iterate(b"no picture", STYLE, bad)  # type: ignore[arg-type]
