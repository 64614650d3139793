"""What a run yields and returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ortist.engine.images import PLAIN, Encoding, to_image, write_image


class Painting(ABC):
    """What has a picture to keep.

    Attributes:
        pixels: float32 (1, 3, H, W), RGB, nominally 0..255, not clipped.
    """

    pixels: NDArray[np.float32]

    @property
    @abstractmethod
    def steps(self) -> int:
        """Evaluations that it is made in."""

    def save(self, path: str | Path, encoding: Encoding = PLAIN) -> None:
        """Write the picture; the extension says in which format.

        Args:
            path: where it goes; an older file is replaced.
            encoding: bits, quality, alpha channel and comment of the file.

        Raises:
            InputError: for an unknown extension, a path that cannot be written, or an encoding
                that the format cannot hold.
        """
        write_image(self.pixels, path, encoding)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The costs of one picture.

    Attributes:
        total: J = alpha·content + beta·style + tv·total_variation, and the terms of one's own.
        content: content cost, the weighted sum over the content layers, before ``alpha``.
        style: style cost, the weighted sum over the style layers, before ``beta``.
        content_layers: unweighted cost of each content layer.
        style_layers: unweighted cost of each style layer.
        total_variation: unweighted total variation cost.
        own_terms: unweighted costs of :attr:`Options.terms <ortist.engine.Options.terms>`, by
            ``<term>/<layer>``.
        regions: style cost of each region that has a style, by its number from 1 on, and of the
            ``rest`` if there is one; ``style`` is their mean by share of the picture.
    """

    total: float
    content: float
    style: float
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    total_variation: float
    own_terms: Mapping[str, float] = field(default_factory=dict)
    regions: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Step(Costs, Painting):
    """One optimizer step: the costs of the picture that it evaluated, and where it arrived.

    Attributes:
        iteration: 1 for the first step.
        seconds: wall-clock time of this step.
        pixels: the picture arrived at, float32 (1, 3, H, W), RGB, nominally 0..255, not clipped.
        scale: number of the scale, 1 for the first and coarsest.
        scales: how many there are.
    """

    iteration: int
    seconds: float
    pixels: NDArray[np.float32]
    scale: int = 1
    scales: int = 1

    @property
    def steps(self) -> int:
        """Evaluations so far."""
        return self.iteration

    def image(self) -> NDArray[np.uint8]:
        """Return the picture arrived at as uint8 (H, W, 3), RGB."""
        return to_image(self.pixels)


@dataclass(frozen=True)
class Result(Painting):
    """A finished run.

    Attributes:
        pixels: the picture, float32 (1, 3, H, W), RGB, nominally 0..255, not clipped.
        history: the costs at the start of each step.
        seconds: wall-clock time of all steps.
    """

    pixels: NDArray[np.float32]
    history: tuple[Costs, ...]
    seconds: float

    @property
    def steps(self) -> int:
        """Evaluations of the run."""
        return len(self.history)

    @property
    def image(self) -> NDArray[np.uint8]:
        """The picture, uint8 (H, W, 3), RGB."""
        return to_image(self.pixels)
