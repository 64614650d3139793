"""What a run will do and take, before it does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ortist.engine.lbfgs import HISTORY
from ortist.engine.options import Options
from ortist.engine.run import Run
from ortist.engine.scales import Scale

PROBE_SIZE = (192, 144)
"""Of the picture whose evaluations are timed."""
PROBE_STEPS = 4
FIXED_WORK = {"gram": 4_000, "w2": 14_000}
"""What an evaluation takes whatever its size, in pixels that take as long."""

_PEAKS = {
    ("winograd", "content"): {
        3_072: 340, 12_288: 365, 49_152: 440, 120_000: 606, 131_072: 630, 131_073: 600,
        150_528: 632, 196_608: 650, 262_144: 845, 307_200: 950, 480_000: 1121, 786_432: 1600,
        1_228_800: 2870,
    },
    ("direct", "content"): {
        3_072: 553, 49_152: 560, 131_072: 680, 196_608: 1007, 307_200: 1228, 786_432: 2508,
    },
    ("winograd", "neighbors"): {
        27_648: 440, 49_152: 500, 76_800: 530, 92_928: 580, 110_592: 705, 120_000: 790,
        196_608: 880, 442_368: 1630, 786_432: 2250, 1_228_800: 4000,
    },
    ("direct", "neighbors"): {
        1_728: 285, 12_288: 295, 49_152: 500, 196_608: 1080, 786_432: 3940,
    },
}  # fmt: skip
"""Resident memory at its peak in MB by pixels of the picture, by kernel and content cost.

Measured with the default layers, with neighbors those of the recipe standard.
"""
_MEASURING = 290e6, 1180.0
"""Bytes of a process that measures a style, and those for each of its pixels."""


def peak_bytes(
    scales: Sequence[Scale],
    style_pixels: int,
    options: Options,
    block_at: Callable[[int], int],
) -> int:
    """Return the resident memory of a process that paints this, at its peak, on a CPU.

    Args:
        scales: of the run.
        style_pixels: of the largest style in the full size.
        options: how to paint.
        block_at: returns the block size for a number of pixels, 0 for plain convolutions.
    """
    # Adam's three pictures are among what was measured.
    pairs = HISTORY if options.optimizer == "lbfgs" else 0
    peaks = [
        _measured("winograd" if block_at(scale.pixels) else "direct", options, scale.pixels)
        + 2 * min(pairs, scale.steps) * 3 * np.dtype(np.float32).itemsize * scale.pixels
        for scale in scales
    ]
    base, each = _MEASURING
    return round(max(*peaks, base + each * style_pixels))


def _measured(kernel: str, options: Options, pixels: int) -> float:
    """Return the peak in bytes for so many pixels: in proportion beyond those of the table."""
    table = _PEAKS[kernel, options.content_cost]
    at, peaks = (np.array(list(values)) for values in zip(*table.items(), strict=True))
    return float(1e6 * np.interp(pixels, at, peaks) * max(1.0, pixels / at[-1]))


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

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in pixels."""
        return self.scales[-1].width, self.scales[-1].height

    @property
    def evaluations(self) -> int:
        """Evaluations of the cost and its gradient in all."""
        return sum(scale.steps for scale in self.scales)

    @cached_property
    def seconds(self) -> float:
        """Time that all evaluations take on this machine as it is now.

        Found by a few evaluations of a small picture, so that it takes a second or so itself.
        """
        width, height = min(PROBE_SIZE, self.size, key=np.prod)
        fixed = FIXED_WORK[self.options.statistic]
        work = sum((scale.pixels + fixed) * scale.steps for scale in self.scales)
        return self._probe(width, height) * work / (width * height + fixed)

    def run(self) -> Run:
        """Return the run, an iterator over its steps, once all graphs that it needs are found.

        Raises:
            ArtifactError: if a model file is missing or corrupt.
        """
        return self._run()
