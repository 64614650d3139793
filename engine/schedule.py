"""Values that change over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

from ortist.models.errors import InputError, shown

SYNTAX = "'1,10' (from 1 to 10, straight), '1,10@0.3' (10 from 30 % on), '1|10@0.3' (a step there)"
"""What schedules look like as text."""


@dataclass(frozen=True)
class Schedule:
    """A value over the progress of a run, 0 at its first evaluation and 1 at its last.

    Attributes:
        points: progress and value, in order of progress.
        stepwise: whether a value holds until the next point, or goes straight to it.
    """

    points: tuple[tuple[float, float], ...]
    stepwise: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether the value is the same all the time."""
        return len({value for _, value in self.points}) == 1

    def at(self, progress: float) -> float:
        """Return the value at ``progress``, 0..1."""
        earlier = [point for point in self.points if point[0] <= progress]
        later = [point for point in self.points if point[0] > progress]
        if not earlier:
            return later[0][1]
        begin, first = earlier[-1]
        if self.stepwise or not later:
            return first
        end, last = later[0]
        return first + (last - first) * (progress - begin) / (end - begin)


def parse_schedule(name: str, value: object, positive: bool = False) -> Schedule:
    """Return a number, or a text of the form that :data:`SYNTAX` shows, as a schedule.

    Values are separated by ``,`` or, to change in steps, by ``|``. Those without a place are spread
    evenly: the first at 0, the last at 1, or, in steps, each for the same share of the run.

    Args:
        name: what messages call it.
        value: number or text.
        positive: whether 0 is refused.

    Raises:
        InputError: for anything else, and for values that are negative or not finite.
    """
    try:
        if isinstance(value, str):
            schedule = _parse(value)
        elif isinstance(value, Real) and not isinstance(value, bool):
            schedule = Schedule(((0.0, float(value)),))
        else:
            raise TypeError
        if all(math.isfinite(v) and v >= 0 and (v or not positive) for _, v in schedule.points):
            return schedule
    except (TypeError, ValueError, OverflowError):
        pass
    least = "above 0" if positive else "from 0"
    raise InputError(
        f"{name} is {shown(value)}, accepted are numbers {least}, or over the run {SYNTAX}"
    )


def _parse(text: str) -> Schedule:
    stepwise = "|" in text
    parts = text.split("|" if stepwise else ",")
    spread = len(parts) if stepwise else max(1, len(parts) - 1)
    points = []
    for index, part in enumerate(parts):
        value, mark, place = part.partition("@")
        points.append((float(place) if mark else index / spread, float(value)))
    places = [place for place, _ in points]
    if not all(0 <= place <= 1 for place in places) or places != sorted(set(places)):
        raise ValueError(text)
    return Schedule(tuple(points), stepwise)
