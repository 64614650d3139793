"""Where the optimization starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ortist.engine.images import read_image, resize_image, to_tensor
from ortist.engine.optimizer import Tensor
from ortist.engine.options import INITS, Options
from ortist.engine.scene import Scene, Style

NOISE_RANGE = 20.0
"""The noise start draws from uniform(-20, 20), as the reference notebook."""
GRAIN = 16.0
"""Standard deviation of the gray noise in which an enlarged picture is painted on, in pixel values.

Where a picture has no detail, J has negative curvature, most so along the axes at periods of 3 to 4
pixels, where what poolings alias is the same at every layer: what grows first is a weave. From
noise, detail grows in all directions, as styles have it. Colored noise would leave specks.
"""
GRAIN_STEPS = 12
"""Evaluations of L-BFGS that make detail of grain; after fewer it is seen, with Adam always."""
NORMAL_DEVIATION = 64.0
"""Standard deviation of the normal start, a quarter of the range of pixel values."""


def read_start(options: Options) -> Options:
    """Return the options with the picture to start from read, if they start from one.

    Raises:
        InputError: if ``init`` is neither a known word nor a picture that can be used.
    """
    if not options.starts_from_picture:
        return options
    word = isinstance(options.init, str)
    name = f"init is none of {', '.join(INITS)}, and image" if word else "init image"
    pixels = read_image(options.init, name=name, max_pixels=options.max_pixels)
    # It stays as it is, whatever becomes of an array that was given.
    return replace(options, init=pixels.copy() if pixels is options.init else pixels)


def starting_picture(scene: Scene, options: Options, mean: tuple[float, float, float]) -> Tensor:
    """Return the picture that the optimization starts from, float32 (1, 3, H, W).

    Args:
        scene: content and styles in the size to paint.
        options: ``init``, ``noise_ratio``, ``seed`` and ``max_pixels`` count.
        mean: color that the network subtracts.
    """
    height, width = scene.content.shape[2:]
    color = np.array(mean, np.float32).reshape(1, 3, 1, 1)
    generator = np.random.default_rng(options.seed)
    shape = (1, 3, height, width)
    if options.starts_from_picture:
        pixels = read_image(options.init, name="init image", max_pixels=options.max_pixels)
        return to_tensor(resize_image(pixels, width, height))
    if options.init == "content":
        return scene.content
    if options.init == "blank":
        return np.broadcast_to(color, shape).copy()
    if options.init == "uniform":
        return generator.uniform(0, 255, shape).astype(np.float32)
    if options.init == "normal":
        return color + generator.normal(0, NORMAL_DEVIATION, shape).astype(np.float32)
    if options.init == "style":
        return _colored_noise(scene.styles, shape, generator)
    noise = generator.uniform(-NOISE_RANGE, NOISE_RANGE, shape).astype(np.float32)
    ratio = np.float32(options.noise_ratio)
    # The notebook mixes mean-subtracted pixels; zero noise is the mean color.
    return ratio * (noise + color) + (1 - ratio) * scene.content


def grained(picture: Tensor, seed: int) -> Tensor:
    """Return a picture (1, 3, H, W) with noise, see :data:`GRAIN`, within 0..255."""
    gray = np.random.default_rng(seed).normal(0, GRAIN, (1, 1, *picture.shape[2:]))
    return np.clip(picture + gray.astype(np.float32), np.float32(0), np.float32(255))


def _colored_noise(
    styles: Sequence[Style], shape: tuple[int, int, int, int], generator: np.random.Generator
) -> Tensor:
    """Return normal noise with the mean and covariance of the colors of the styles."""
    colors = np.concatenate([style.pixels.reshape(3, -1) for style in styles], axis=1)
    values, vectors = np.linalg.eigh(np.cov(colors.astype(np.float64)))
    root = vectors * np.sqrt(np.maximum(values, 0))
    noise = np.einsum("ij,njhw->nihw", root, generator.normal(0, 1, shape))
    mean = colors.mean(axis=1, dtype=np.float64).reshape(1, 3, 1, 1)
    picture: Tensor = (noise + mean).astype(np.float32)
    return picture
