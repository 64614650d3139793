"""How many cases the campaign has, what it counts, and what no case may use up."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

CASES = int(os.environ.get("HOSTILE_CASES", "1000"))
"""Cases in all, over all kinds; ``make hostile`` asks for more."""
SEED = int(os.environ.get("HOSTILE_SEED", "1507"))
"""Cases of the same seed are the same."""
MOST_SECONDS = 20
MOST_BYTES = 2 * 10**9

Settings = Callable[[Callable[..., None]], Callable[..., None]]
_outcomes: Counter[tuple[str, str]] = Counter()


def share(part: float) -> Settings:
    """Return the settings of a test that has this part of all cases."""
    return settings(
        max_examples=max(1, round(CASES * part)),
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@contextmanager
def bounded(kind: str) -> Iterator[Callable[[str], None]]:
    """Hold a case to its time and memory, and count it; yields what takes its outcome."""

    def too_long(*_: object) -> None:
        pytest.fail(f"a case takes more than {MOST_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(MOST_SECONDS)
    before = _memory("VmRSS")
    # What earlier cases used is not this one's: the peak begins anew.
    Path("/proc/self/clear_refs").write_text("5")
    outcomes: list[str] = []
    try:
        yield outcomes.append
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    used = _memory("VmHWM") - before
    assert used < MOST_BYTES, f"{used} bytes in use"
    (outcome,) = outcomes
    _outcomes[kind, outcome] += 1


def _memory(name: str) -> int:
    """Return what Linux says of the memory of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how the cases ended."""
    if not _outcomes:
        return
    terminalreporter.section(f"hostile cases, seed {SEED}")
    for (kind, outcome), count in sorted(_outcomes.items()):
        terminalreporter.write_line(f"{kind:<10} {outcome:<30} {count:>6}")
    total = sum(_outcomes.values())
    terminalreporter.write_line(f"{'all':<41} {total:>6}  {time.strftime('%H:%M:%S')}")
