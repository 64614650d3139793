"""The options of a run, with the defaults that the command line shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from ortist.engine.errors import InputError
from ortist.engine.images import ImageSource
from ortist.engine.layers import LAYERS, POOLINGS

INITS = ("noise", "content", "blank")
LayerWeights = Mapping[str, float] | Sequence[str]


def equal_weights(layers: Sequence[str]) -> dict[str, float]:
    """Return weights 1/n for n layers, so that they sum to 1."""
    return {layer: 1.0 / len(layers) for layer in layers}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to paint and how; immutable, checked when made.

    The defaults are the recipe of the reference notebook (Gatys et al. 2015, arXiv:1508.06576).

    Attributes:
        size: longer side of the picture in pixels; the content's aspect ratio is kept.
        width: width in pixels; with ``height`` also given the content is stretched to both,
            alone it keeps the aspect ratio. Overrides ``size``.
        height: height in pixels, as ``width``.
        steps: number of optimiser steps.
        learning_rate: Adam's learning rate in units of pixel values (0..255).
        alpha: weight of the content cost in J = alpha * J_content + beta * J_style.
        beta: weight of the style cost.
        content_layers: content layers, each with its weight, or names that share a sum of 1.
        style_layers: style layers and weights (the paper's lambda), likewise.
        tv: weight of the total variation cost (0 is none).
        pooling: ``"average"`` or ``"max"``.
        init: where the optimisation starts: ``"noise"`` mixes uniform(-20, 20) noise around the
            network's mean colour with the content, ``"content"`` is the content image,
            ``"blank"`` the mean colour; anything else is an image to start from.
        noise_ratio: share of noise in the ``"noise"`` start, 0..1.
        style_scale: size of the style image relative to the picture (1: the same area; its
            aspect ratio is kept). Larger values give larger strokes.
        seed: seed of the noise; the same inputs, seed and threads give the same bytes.
        max_pixels: largest number of pixels accepted for an input or the picture.

    Raises:
        InputError: for a value out of range; the message names the option and what is accepted.
    """

    size: int = 512
    width: int | None = None
    height: int | None = None
    steps: int = 200
    learning_rate: float = 2.0
    alpha: float = 10.0
    beta: float = 40.0
    content_layers: LayerWeights = field(default_factory=lambda: {"conv4_2": 1.0})
    style_layers: LayerWeights = field(
        default_factory=lambda: equal_weights(
            ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]
        )
    )
    tv: float = 0.0
    pooling: str = "average"
    init: ImageSource = "noise"
    noise_ratio: float = 0.6
    style_scale: float = 1.0
    seed: int = 0
    max_pixels: int = 64_000_000
