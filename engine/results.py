"""What a run yields and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Step:
    """One optimiser step.

    The costs are those of the picture that the step started from (they come with its gradient);
    ``image()`` is the picture the step arrived at.

    Attributes:
        iteration: 1 for the first step.
        total: J = alpha * content + beta * style + tv * total_variation.
        content: content cost, the weighted sum over the content layers, before ``alpha``.
        style: style cost, the weighted sum over the style layers, before ``beta``.
        content_layers: unweighted cost of each content layer.
        style_layers: unweighted cost of each style layer.
        total_variation: unweighted total variation cost.
        seconds: wall-clock time of this step.
        pixels: the picture arrived at, float32 (1, 3, H, W), RGB, nominally 0..255, not clipped.
    """

    iteration: int
    total: float
    content: float
    style: float
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    total_variation: float
    seconds: float
    pixels: NDArray[np.float32]

    def image(self) -> NDArray[np.uint8]:
        """Return the current picture as uint8 (H, W, 3), RGB."""
        raise NotImplementedError


@dataclass(frozen=True)
class Costs:
    """The costs of one step, kept in a result's history."""


@dataclass(frozen=True)
class Result:
    """A finished run: ``image`` is uint8 (H, W, 3), RGB; ``history`` has one entry per step."""

    image: NDArray[np.uint8]
    history: tuple[Costs, ...]
    seconds: float
