"""How long a run takes, from measurements and a few evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ortist.engine.numbers import computing
from ortist.engine.options import Options
from ortist.engine.scales import Scale
from ortist.export.costs.neighbors import CANDIDATES, DIRECTIONS, best_matches

PROBE_SIZE = (192, 144)
"""Of the picture whose evaluations are timed."""
PROBE_STEPS = 4
FIXED_WORK = {"gram": 0, "w2": 5_000}
"""What an evaluation takes whatever its size, in pixels that take as long."""
_GUIDED = 0.15
"""What each area with a mask adds to an evaluation, relative to one without."""
_MEASURED = 0.58
"""What it takes to measure a picture, relative to an evaluation in its size."""
_IN_TILES = 2.0
"""What an evaluation in tiles takes, relative to one of the whole picture."""
_SCALE = 0.35
"""Seconds that each scale takes to load graphs and to decompose covariances."""
_ROWS = 8192, 4096
"""Of the features that are matched to find out how long that takes."""
_COLUMN = 16
"""Pixels for each position whose features are matched."""


@dataclass(frozen=True)
class Effort:
    """What, beside sizes and options, time goes by.

    Attributes:
        styles: area of each style, relative to the picture's.
        costs: how many J is the sum of.
        guided: how many areas have masks.
        threads: that matches are looked for by.
    """

    styles: Sequence[float] = (1.0,)
    costs: int = 1
    guided: int = 0
    threads: int = 1


def predicted_seconds(
    scales: Sequence[Scale],
    options: Options,
    effort: Effort,
    evaluation: Callable[[int, int], float],
) -> float:
    """Return how long all scales take, to get ready for them included.

    Args:
        scales: of the run.
        options: how to paint.
        effort: what else time goes by.
        evaluation: returns the seconds of an evaluation, without masks, in a width and height.
    """
    width, height = min(PROBE_SIZE, (scales[-1].width, scales[-1].height), key=np.prod)
    fixed = FIXED_WORK[options.statistic]
    each = evaluation(width, height) / (width * height + fixed)
    matched = options.content_cost == "neighbors"
    pair = _seconds_per_pair(effort.threads) if matched else 0.0
    # The first balances costs by an evaluation for each.
    balancing = effort.costs if options.normalize else 0
    total = 0.0
    for index, scale in enumerate(scales):
        whole = each * (scale.pixels + fixed) * (_IN_TILES if scale.tile else 1)
        # Content, styles and, to look for matches, what was painted before.
        pictures = 1 + sum(effort.styles) + (matched and index > 0)
        steps = scale.steps + (balancing if index == 0 else 0)
        total += whole * (steps * (1 + _GUIDED * effort.guided) + _MEASURED * pictures) + _SCALE
        places = scale.pixels / _COLUMN
        total += pair * places * min(places * sum(effort.styles), CANDIDATES)
    return total


def _seconds_per_pair(threads: int) -> float:
    """Return how long it takes to compare two features, as it is done for targets."""
    sought, found = (np.ones((rows, DIRECTIONS), np.float32) for rows in _ROWS)
    with computing(threads):
        begin = time.perf_counter()
        best_matches(sought, found)
        return (time.perf_counter() - begin) / (len(sought) * len(found))
