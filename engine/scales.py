"""Coarse to fine: the sizes that a picture is painted in, one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ortist.engine.images import MIN_SIDE
from ortist.engine.options import Options
from ortist.engine.storage import IN_FILES, IN_MEMORY, Storage
from ortist.engine.tiles import crop_pixels

GROWTH = 2.0
"""Ratio of the sides of one scale to those of the one before."""
SINGLE_SIDE = 512
"""Up to this longer side a picture is painted at one scale by default.

Layers see patches of at most some 200 pixels, so that larger pictures get small strokes only.
"""
FIRST_SIDE = 256
"""What the longer side of the first of several scales is nearest to by default."""
MATCHED_SIDE = 128
"""The same with neighbors, at any size.

They are matched anew at each scale with what was painted so far, and much smaller pictures, of 64
pixels say, lose what there is of the content.
"""


@dataclass(frozen=True)
class Scale:
    """A size and the number of evaluations spent on it.

    Attributes:
        width: in pixels.
        height: likewise.
        steps: evaluations.
        tile: most rows and columns of the tiles that it is painted in; 0 if that is as a whole.
    """

    width: int
    height: int
    steps: int
    tile: int = 0

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    @property
    def storage(self) -> Storage:
        """Makes arrays of its size."""
        return IN_FILES if self.tile else IN_MEMORY

    @property
    def work(self) -> int:
        """Pixels times evaluations, which time goes by; those in tiles count twice."""
        return self.pixels * self.steps * (2 if self.tile else 1)


def plan_scales(width: int, height: int, options: Options) -> tuple[Scale, ...]:
    """Return the scales of a picture, the last one in its full size.

    Evaluations are spread evenly: each takes a quarter of the time of one at the next scale, so
    that most are cheap, and three quarters of the time go to the last scale. There are fewer scales
    than asked for where sides would become too small or a scale would get no evaluation.

    Args:
        width: of the full size, in pixels.
        height: likewise.
        options: ``steps``, ``scales``, and what the number of scales follows from by default.
    """
    steps = options.steps
    possible = 1 + int(math.log(min(width, height) / MIN_SIDE, GROWTH) + 1e-9)
    count = max(1, min(_count(max(width, height), options), possible, steps))
    # From the full size down: what is left over goes to the larger scales.
    ends = [-(-steps * index // count) for index in range(count + 1)]
    scales = []
    for index, (begin, end) in enumerate(pairwise(ends)):
        factor = GROWTH**-index
        scales.append(Scale(round(width * factor), round(height * factor), end - begin))
    return tuple(reversed(scales))


def in_tiles(scales: Sequence[Scale], tile: int, halo: int) -> tuple[Scale, ...]:
    """Return scales to be painted in tiles, those that are larger than one.

    Args:
        scales: of a run.
        tile: most rows and columns of a tile; 0 for none.
        halo: pixels that are seen beside it.
    """
    largest = crop_pixels(tile, halo) if tile else math.inf
    return tuple(replace(scale, tile=tile) if scale.pixels > largest else scale for scale in scales)


def _count(longer: int, options: Options) -> int:
    """Return how many scales are asked for, by a number or by what suits the longer side."""
    if options.scales is not None:
        return options.scales
    if options.starts_from_picture:
        # What is fine in that picture would be lost at the first of several.
        return 1
    matched = options.content_cost == "neighbors"
    if longer <= SINGLE_SIDE and not matched:
        return 1
    return 1 + round(math.log(longer / (MATCHED_SIDE if matched else FIRST_SIDE), GROWTH))
