"""Where the optimization starts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ortist.engine.images import read_image, resize_image
from ortist.engine.optimizer import Tensor
from ortist.engine.options import INITS, Options
from ortist.engine.scene import Scene, Style
from ortist.engine.storage import BLOCK, IN_MEMORY, Storage, bands, blocks, parts, release

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


def starting_picture(
    scene: Scene,
    options: Options,
    mean: tuple[float, float, float],
    storage: Storage = IN_MEMORY,
) -> Tensor:
    """Return the picture that the optimization starts from, float32 (1, 3, H, W).

    Args:
        scene: content and styles in the size to paint.
        options: ``init``, ``noise_ratio``, ``seed`` and ``max_pixels`` count.
        mean: color that the network subtracts.
        storage: makes the picture, unless it is the content itself.
    """
    from_picture = options.starts_from_picture
    if not from_picture and options.init == "content":
        return scene.content
    picture: Tensor = storage.empty(scene.content.shape)
    if from_picture:
        height, width = picture.shape[2:]
        pixels = read_image(options.init, name="init image", max_pixels=options.max_pixels)
        picture[0] = resize_image(pixels, width, height).transpose(2, 0, 1)
    elif options.init == "blank":
        picture[:] = np.array(mean, np.float32).reshape(1, 3, 1, 1)
    elif options.init == "style":
        _fill_colored(picture, scene.styles, np.random.default_rng(options.seed))
    else:
        _fill_noise(picture, scene.content, options, mean)
    release(picture)
    return picture


def grained(picture: Tensor, seed: int, storage: Storage = IN_MEMORY) -> Tensor:
    """Return a new picture (1, 3, H, W) with noise, see :data:`GRAIN`, within 0..255."""
    generator = np.random.default_rng(seed)
    result: Tensor = storage.empty(picture.shape)
    for rows in bands(picture, result):
        band = picture[:, :, rows]
        gray = generator.normal(0, GRAIN, (1, 1, *band.shape[2:]))
        noisy = band + gray.astype(np.float32)
        np.clip(noisy, np.float32(0), np.float32(255), out=result[:, :, rows])
    return result


def _fill_noise(
    picture: Tensor, content: Tensor, options: Options, mean: tuple[float, float, float]
) -> None:
    """Fill a picture with one of the noises whose channels have nothing to do with each other."""
    generator = np.random.default_rng(options.seed)
    ratio = np.float32(options.noise_ratio)
    for plane, own, color in zip(picture[0], content[0], np.array(mean, np.float32), strict=True):
        for new, old in blocks(plane, own):
            if options.init == "uniform":
                new[:] = generator.uniform(0, 255, new.size)
            elif options.init == "normal":
                new[:] = generator.normal(0, NORMAL_DEVIATION, new.size)
                new += color
            else:
                new[:] = generator.uniform(-NOISE_RANGE, NOISE_RANGE, new.size)
                # The notebook mixes mean-subtracted pixels; zero noise is the mean color.
                new[:] = ratio * (new + color) + (1 - ratio) * old


def _fill_colored(picture: Tensor, styles: Sequence[Style], generator: np.random.Generator) -> None:
    """Fill a picture with normal noise with the mean and covariance of the styles' colors."""
    colors = np.concatenate([style.pixels.reshape(3, -1) for style in styles], axis=1)
    mean = colors.mean(axis=1, dtype=np.float64)
    values, vectors = np.linalg.eigh(np.cov(colors.astype(np.float64)))
    root = vectors * np.sqrt(np.maximum(values, 0))
    generators = _at_channels(generator, picture[0, 0].size)
    for channels in blocks(*picture[0]):
        noise = np.stack([one.normal(0, 1, channels[0].size) for one in generators])
        colored = np.einsum("ij,jn->in", root, noise) + mean[:, np.newaxis]
        for channel, drawn in zip(channels, colored, strict=True):
            channel[:] = drawn


def _at_channels(generator: np.random.Generator, size: int) -> list[np.random.Generator]:
    """Return generators of the normal noise of each channel, as one draws it after the other.

    How far apart they are is not known without drawing, of which nothing is kept here.
    """
    generators = [copy.deepcopy(generator)]
    for _ in range(2):
        for part in parts(size, BLOCK):
            generator.normal(0, 1, part.stop - part.start)
        generators.append(copy.deepcopy(generator))
    return generators
