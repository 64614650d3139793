"""Values that change over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

from ortist.engine.errors import InputError

ACCEPTED = (
    "numbers from 0, or values over the run: '1,10' (from 1 to 10, straight), '1,10@0.3'"
    " (10 is reached at 30 % of the run), '1|10@0.3' (a step there)"
)


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


def parse_schedule(name: str, value: object) -> Schedule:
    """Return a number, or a text of the form that :data:`ACCEPTED` explains, as a schedule.

    Points without a place are spread evenly: the first at 0, the last at 1; of steps, the last
    begins its share.

    Raises:
        InputError: for anything else, naming ``name``.
    """
    try:
        if isinstance(value, str):
            return _parse(value)
        if isinstance(value, Real) and not isinstance(value, bool):
            return Schedule(((0.0, _checked(float(value))),))
    except (ValueError, OverflowError):
        pass
    raise InputError(f"{name} is {value!r}, accepted are {ACCEPTED}")


def _parse(text: str) -> Schedule:
    stepwise = "|" in text
    parts = text.split("|" if stepwise else ",")
    spread = len(parts) if stepwise else max(1, len(parts) - 1)
    points = []
    for index, part in enumerate(parts):
        value, mark, place = part.partition("@")
        points.append((float(place) if mark else index / spread, _checked(float(value))))
    places = [place for place, _ in points]
    if places != sorted(set(places)) or not 0 <= places[0] <= places[-1] <= 1:
        raise ValueError(text)
    return Schedule(tuple(points), stepwise)


def _checked(value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(value)
    return value
