"""How much memory there is, and how such sizes are written."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Any

from ortist.models.errors import InputError, shown

_UNITS = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", 1)},
}
_SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]*)\s*", re.IGNORECASE | re.ASCII)
_NO_LIMIT = 2**60
"""From here on a limit of a cgroup stands for none."""


def parse_bytes(name: str, text: str) -> float:
    """Return the number of bytes that a text says, as 2GB or 1.5 GiB; infinity for "none".

    Raises:
        InputError: which calls it ``name``, for other texts.
    """
    if text.strip().lower() == "none":
        return math.inf
    match = _SIZE.fullmatch(text)
    factor = match and _UNITS.get(match[2].upper())
    size = float(match[1]) * factor if match and factor else 0.0
    if not size:
        raise InputError(
            f"{name} is {shown(text)}, accepted are sizes above 0 as 800MB, 2GB, 1.5GiB, none, and"
            " auto"
        )
    return size


def checked_limit(memory: Any) -> float | None:
    """Return a limit in bytes, None for what there is; InputError unless it is a number above 0."""
    if memory is None:
        return None
    number = isinstance(memory, Real) and not isinstance(memory, bool)
    if not (number and memory > 0):
        raise InputError(f"memory is {shown(memory)}, accepted are numbers of bytes above 0")
    # No larger integer is a float.
    return math.inf if memory > sys.float_info.max else float(memory)


def check_memory(peak: int, limit: float | None, width: int, height: int) -> None:
    """Raise InputError if a run takes more memory than it may.

    Args:
        peak: bytes that it takes.
        limit: most bytes that it may take; None for what there is now.
        width: of the picture in pixels, for the message.
        height: likewise.
    """
    most = available_bytes() if limit is None else limit
    if peak > most:
        what = "there are" if limit is None else "accepted are"
        raise InputError(
            f"{width}x{height} pixels take some {peak / 1e9:.2f} GB of memory, {what}"
            f" {most / 1e9:.2f} GB: take a smaller size or style scale, or another limit (memory,"
            " --memory)"
        )


def available_bytes(root: Path = Path("/")) -> float:
    """Return how much memory can still be had, infinity where that is not told.

    On Linux that is what is free of memory and swap, files that can be read again included, and
    what the limits of the control groups leave; elsewhere nothing is told.

    Args:
        root: above ``proc`` and ``sys``.
    """
    return min([_machine(root), *_groups(root)], default=math.inf)


def _machine(root: Path) -> float:
    facts = _facts(root / "proc/meminfo")
    if "MemAvailable" not in facts:
        return math.inf
    return 1024.0 * (facts["MemAvailable"] + facts.get("SwapFree", 0))


def _groups(root: Path) -> Iterator[float]:
    """Yield what the limits of this process's control groups, and of those above, leave."""
    lines: list[str] = []
    with suppress(OSError, ValueError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        inner = base / group.strip("/")
        # In a container the path may be that of the host, where nothing is.
        for folder in (inner, *inner.parents):
            if folder == base or base in folder.parents:
                yield _left(folder, *names)


def _left(folder: Path, limit: str, usage: str, prefix: str) -> float:
    """Return what the limit of one group leaves; files in memory can go."""
    most, used = _number(folder / limit), _number(folder / usage)
    if most is None or most >= _NO_LIMIT:
        return math.inf
    facts = _facts(folder / "memory.stat")
    files = sum(facts.get(f"{prefix}{kind}_file", 0) for kind in ("inactive", "active"))
    return max(0.0, most - max(0, (used or 0) - files))


def _number(path: Path) -> int | None:
    """Return the number in a file, None if there is another word or no file."""
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _facts(path: Path) -> dict[str, int]:
    """Return the numbers of a file by their names, one a line; none if there is no file."""
    found = {}
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            name, number, *_ = line.replace(":", " ").split()
            found[name] = int(number)
    return found
