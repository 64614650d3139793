"""The steps of a run for programs with an event loop, which stays free while they are computed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

from ortist.engine.results import Step

if TYPE_CHECKING:
    from ortist.engine.run import Run


async def each_step(run: Run) -> AsyncIterator[Step]:
    """Yield the steps of a run, each of which a thread of the loop's executor computes.

    A task that is canceled while it waits for one ends the evaluation under way, and waits until
    the thread has.
    """
    loop = asyncio.get_running_loop()
    while True:
        # Not a task, as of to_thread: a loop that ends cancels those, though the thread goes on.
        working = loop.run_in_executor(None, next, run, None)
        try:
            step = await asyncio.shield(working)
        except asyncio.CancelledError:
            run.cancel()
            while not working.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([working])
            working.exception()  # seen
            raise
        if step is None:
            return
        yield step
