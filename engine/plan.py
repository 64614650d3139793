"""What a run will do and take, before it does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from ortist.engine.options import Options
from ortist.engine.pace import Effort, predicted_seconds
from ortist.engine.run import Run
from ortist.engine.scales import Scale


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        scales: sizes and evaluations, in order; the last one has the size of the picture.
        options: how to paint.
        peak_bytes: resident memory of a process that paints this alone, at its peak, on a CPU.
    """

    scales: tuple[Scale, ...]
    options: Options
    peak_bytes: int
    _run: Callable[[], Run] = field(repr=False)
    _probe: Callable[[int, int], float] = field(repr=False)
    _effort: Effort = field(default_factory=Effort, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in pixels."""
        return self.scales[-1].width, self.scales[-1].height

    @property
    def tile(self) -> int:
        """Most rows and columns of the tiles of the largest scale, 0 if it is painted whole."""
        return self.scales[-1].tile

    @property
    def evaluations(self) -> int:
        """Evaluations of the cost and its gradient in all."""
        return sum(scale.steps for scale in self.scales)

    @cached_property
    def seconds(self) -> float:
        """Time that it takes on this machine as it is now, to get ready for each scale included.

        Found by a few evaluations of a small picture, so that it takes a second or so itself.
        """
        return predicted_seconds(self.scales, self.options, self._effort, self._probe)

    def run(self) -> Run:
        """Return the run, an iterator over its steps, once all graphs that it needs are found.

        Raises:
            ArtifactError: if a model file is missing or corrupt.
        """
        return self._run()
