"""What a run will do, before it does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ortist.engine.options import Options
from ortist.engine.run import Run
from ortist.engine.scales import Scale


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        scales: sizes and evaluations, in order; the last one has the size of the picture.
        options: how to paint.
    """

    scales: tuple[Scale, ...]
    options: Options
    _run: Callable[[], Run] = field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in pixels."""
        return self.scales[-1].width, self.scales[-1].height

    @property
    def evaluations(self) -> int:
        """Evaluations of the cost and its gradient in all."""
        return sum(scale.steps for scale in self.scales)

    def run(self) -> Run:
        """Return the run, an iterator over its steps, once all graphs that it needs are found.

        Raises:
            ArtifactError: if a model file is missing or corrupt.
        """
        return self._run()
