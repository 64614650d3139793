"""Coarse to fine: the sizes that a picture is painted in, one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from ortist.engine.images import MIN_SIDE

GROWTH = math.sqrt(2)
"""Ratio of the sides of one scale to those of the one before."""
SINGLE_SIDE = 512
"""Up to this longer side a picture is painted at one scale by default.

Layers see patches of at most some 200 pixels, so that larger pictures get small strokes only.
"""
SMALLEST_SIDE = 256
"""Shortest longer side of the scales that are chosen by default."""


@dataclass(frozen=True)
class Scale:
    """A size and the number of evaluations spent on it."""

    width: int
    height: int
    steps: int

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    @property
    def work(self) -> int:
        """Pixels times evaluations, which time goes by."""
        return self.pixels * self.steps


def plan_scales(width: int, height: int, steps: int, count: int | None = None) -> tuple[Scale, ...]:
    """Return the scales of a picture, the last one in its full size.

    Evaluations are spread evenly: each takes half the time of one at the next scale, so that most
    are cheap, and half of the time goes to the last scale.

    Args:
        width: of the full size, in pixels.
        height: likewise.
        steps: evaluations in all.
        count: number of scales; None for those that suit the size. There are fewer where sides
            would become too small or a scale would get no evaluation.
    """
    longer = max(width, height)
    if count is None:
        count = 1
        if longer > SINGLE_SIDE:
            count += int(math.log(longer / SMALLEST_SIDE, GROWTH) + 1e-9)
    possible = 1 + int(math.log(min(width, height) / MIN_SIDE, GROWTH) + 1e-9)
    count = max(1, min(count, possible, steps))
    # From the full size down: what is left over goes to the larger scales.
    ends = [-(-steps * index // count) for index in range(count + 1)]
    scales = []
    for index, (begin, end) in enumerate(pairwise(ends)):
        factor = GROWTH**-index
        scales.append(Scale(round(width * factor), round(height * factor), end - begin))
    return tuple(reversed(scales))
