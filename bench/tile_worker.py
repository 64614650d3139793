"""One measurement of tiles.py, in a process of its own; prints its figures as JSON.

Usage: tile_worker.py CASE

CASE is JSON with ``content`` and ``style``, files; ``recipe``, ``gram`` or the name of one;
``width``, ``height``, ``steps``, ``threads``; ``tile``, null for what suits the memory; ``memory``
in bytes, null for what there is; ``workers``, processes of a cluster on this machine, 0 for none.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ortist.engine import Engine, Options, find_recipe
from ortist.engine.objective import Evaluation, Objective, weighted_parts
from ortist.engine.tiles import halo_of
from ortist.export.costs.term import Part, divided
from ortist.models.layers import channels_of


def main() -> None:
    """Measure one case."""
    begin = time.perf_counter()
    case = json.loads(sys.argv[1])
    options = options_of(case)
    with cluster(case["workers"]) as client:
        more = {"cluster": client} if client else {}
        engine = Engine("cpu", case["threads"], memory=case["memory"], tile=case["tile"], **more)
        plan = engine.plan(case["content"], case["style"], options)
        parts = [weighted.part for weighted in weighted_parts(options)]
        found: dict[str, Any] = {"tile": plan.tile, "predicted": plan.peak_bytes}
        found |= {"halo": halo_of(parts), "statistics": statistics_of(parts)}
        # Painted whole, it would be measured as something else.
        if plan.tile or not case["tile"]:
            found |= painted(plan.run(), begin)
            found["peak"] = peak_bytes()
            found["worker_peaks"] = list(client.run(peak_bytes).values()) if client else []
    print(json.dumps(found))


def statistics_of(parts: Sequence[Part]) -> int:
    """Return how many numbers are measured of a tile, to be added up."""
    shapes: list[Any] = []
    for part in divided(parts)[1]:
        shapes += part.term.statistic_shapes(channels_of(part.layer)).values()
    return sum(math.prod(shape) for shape in shapes)


def options_of(case: Mapping[str, Any]) -> Options:
    """Return how to paint."""
    values = {name: case[name] for name in ("width", "height", "steps")}
    # Balancing takes an evaluation for each cost, and none of those after it any time.
    values |= {"scales": 1, "normalize": False, "max_pixels": 2**40}
    if case["recipe"] == "gram":
        return Options(optimizer="lbfgs", init="content", **values)
    return find_recipe(case["recipe"]).with_options(**values)


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """Yield a client with so many workers on this machine, as ``cluster="local"`` makes them."""
    if not workers:
        yield None
        return
    from distributed import Client, LocalCluster

    settings = {
        "n_workers": workers,
        "processes": True,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "worker_dashboard_address": "127.0.0.1:0",
        "scheduler_kwargs": {"dashboard": False},
        "resources": {"ortist": 1},
        "memory_limit": None,
    }
    with LocalCluster(**settings) as local, Client(local) as client:
        yield client


def painted(run: Iterator[Any], begin: float) -> dict[str, Any]:
    """Return the seconds of evaluations and of the optimizer, and bytes on the loopback.

    Those of the first evaluation are left out of all of these; ``first`` is when it was done.
    """
    evaluations = timed()
    next(run)
    first, sent = time.perf_counter() - begin, loopback_bytes()
    steps = [step.seconds for step in run]
    seconds = evaluations[1:]
    return {
        "first": first,
        "seconds": seconds,
        "optimizer": [step - one for step, one in zip(steps, seconds, strict=True)],
        "loopback": (loopback_bytes() - sent) / len(seconds),
    }


def timed() -> list[float]:
    """Have the seconds of each evaluation noted in a list, and return that."""
    seconds: list[float] = []
    kind: Any = Objective
    plain = kind.evaluate

    def evaluate(*arguments: Any) -> Evaluation:
        begin = time.perf_counter()
        found: Evaluation = plain(*arguments)
        seconds.append(time.perf_counter() - begin)
        return found

    kind.evaluate = evaluate
    return seconds


def loopback_bytes() -> int:
    """Return the bytes that all of this machine sent to itself so far; 0 if that is not told."""
    path = Path("/proc/net/dev")
    for line in path.read_text().splitlines() if path.exists() else []:
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[8])
    return 0


def peak_bytes() -> int:
    """Return the resident memory of this process at its peak."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
