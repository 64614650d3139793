"""Figures by which a painted picture is judged beside its content and its style.

They are of layers that the standard recipe does not paint by; others do by conv4_2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ortist.engine.images import LUMA, resize_image
from ortist.engine.pictures import style_size
from ortist.engine.scene import Pixels
from ortist.export.costs.neighbors import CANDIDATES, PAIRS, best_matches, spread, units

CONTENT_LAYER = "conv4_2"
MATCH_LAYERS = ("conv3_2", "conv4_3")
GRAM_LAYERS = ("conv2_2", "conv3_3", "conv4_3")
_RIM, _STRIDE = 2, 8
_LEAST_PERIOD, _LARGEST_PERIOD = 2.0, 4.0
_SECTOR = np.sin(np.deg2rad(10))

Matrix = NDArray[np.float32]
Activations = Callable[[Pixels, Sequence[str]], dict[str, Matrix]]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Figures of a picture.

    Attributes:
        content: correlation of the self-similarities of picture and content, -1..1, see
            :func:`self_similarity`; the content itself has 1.
        match: mean cosine of what the picture has at a position and what is most like it in the
            style, 0..1, by layer; the style itself has 1.
        gram_error: ‖G - G_style‖²/‖G_style‖² of Gram matrices, the mean over layers.
        chroma_noise: deviation of the chroma from its mean over 3×3 pixels, in pixel values.
        weave: power along the axes over that in other directions, of periods of 2 to 4 pixels.
        border: contrast of the outermost pixels with those 8 further in, over that of all pixels 8
            apart; well above 1 there is a rim.
    """

    content: float
    match: Mapping[str, float]
    gram_error: float
    chroma_noise: float
    weave: float
    border: float


def measure(
    picture: Pixels, content: Pixels, styles: Sequence[Pixels], activations: Activations
) -> Metrics:
    """Return the figures of a picture.

    Args:
        picture: uint8 (H, W, 3).
        content: the same, of any size; it is brought to that of the picture.
        styles: the same; they are brought to its area.
        activations: returns those of a picture, (1, C, H', W'), by layer.
    """
    height, width = picture.shape[:2]
    canvas = resize_image(content, width, height)
    scaled = [resize_image(style, *style_size(style, width * height, 1.0)) for style in styles]
    own = _columns(activations, picture, {CONTENT_LAYER, *MATCH_LAYERS, *GRAM_LAYERS})
    kept = _columns(activations, canvas, {CONTENT_LAYER})
    sought = [_columns(activations, style, {*MATCH_LAYERS, *GRAM_LAYERS}) for style in scaled]
    match = {}
    for layer in MATCH_LAYERS:
        found = np.concatenate([style[layer] for style in sought])
        mean = found.mean(axis=0)
        match[layer] = float(best_matches(own[layer] - mean, found - mean)[1].mean())
    errors = [gram_error(own[layer], [style[layer] for style in sought]) for layer in GRAM_LAYERS]
    return Metrics(
        content=self_similarity(own[CONTENT_LAYER], kept[CONTENT_LAYER]),
        match=match,
        gram_error=float(np.mean(errors)),
        chroma_noise=chroma_noise(picture),
        weave=weave(picture),
        border=border(picture),
    )


def _columns(activations: Activations, pixels: Pixels, layers: set[str]) -> dict[str, Matrix]:
    """Return activations by layer as matrices (positions, channels).

    Of large pictures it is CANDIDATES positions, evenly spread: to compare all pairs takes time in
    the square of their number.
    """
    found = activations(pixels, sorted(layers))
    rows = {layer: values.reshape(values.shape[1], -1).T for layer, values in found.items()}
    return {layer: each[spread(len(each), CANDIDATES)] for layer, each in rows.items()}


def self_similarity(first: Matrix, second: Matrix) -> float:
    """Return the correlation of the self-similarities of two pictures of a size.

    The self-similarity (Shechtman & Irani 2007) of features (P, C) is the matrix (P, P) of the
    cosines of all pairs of positions, each less the mean feature.
    """
    directions = [units(rows - rows.mean(axis=0)) for rows in (first, second)]
    sums = np.zeros(5)
    step = max(1, PAIRS // len(first))
    for row in range(0, len(first), step):
        x, y = ((rows[row : row + step] @ rows.T).astype(np.float64) for rows in directions)
        sums += [x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()]
    x, y, xx, yy, xy = sums / len(first) ** 2
    return float((xy - x * y) / np.sqrt(max((xx - x * x) * (yy - y * y), 1e-30)))


def gram_error(features: Matrix, styles: Sequence[Matrix]) -> float:
    """Return ‖G - G_style‖²/‖G_style‖²; several styles count the same."""
    gram, *others = (rows.T @ rows / len(rows) for rows in (features, *styles))
    wanted = np.mean(others, axis=0)
    return float(((gram - wanted) ** 2).sum() / max((wanted**2).sum(), 1e-30))


def chroma_noise(pixels: Pixels) -> float:
    """Return the deviation of Cb and Cr from their means over 3×3 pixels, in pixel values."""
    red, _, blue = pixels.astype(np.float64).transpose(2, 0, 1)
    luma = _luma(pixels)
    chroma = np.stack([(blue - luma) / 1.772, (red - luma) / 1.402])
    windows = np.lib.stride_tricks.sliding_window_view(chroma, (3, 3), axis=(1, 2))
    return float(np.sqrt(np.mean((chroma[:, 1:-1, 1:-1] - windows.mean(axis=(3, 4))) ** 2)))


def weave(pixels: Pixels) -> float:
    """Return the power within 10° of the axes over that elsewhere, of periods of 2 to 4 pixels."""
    luma = _luma(pixels)
    height, width = luma.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.rfft2((luma - luma.mean()) * window)) ** 2
    y, x = np.abs(np.fft.fftfreq(height))[:, None], np.abs(np.fft.rfftfreq(width))[None, :]
    frequency = np.hypot(x, y)
    fine = (frequency >= 1 / _LARGEST_PERIOD) & (frequency <= 1 / _LEAST_PERIOD)
    along = np.minimum(x, y) <= _SECTOR * frequency
    return float(power[fine & along].mean() / max(power[fine & ~along].mean(), 1e-30))


def border(pixels: Pixels) -> float:
    """Return the contrast over 8 pixels at the border, inwards, over that of the whole picture."""
    values = pixels.astype(np.float64)
    ratios = []
    for turned in (values, values[::-1], values.swapaxes(0, 1), values.swapaxes(0, 1)[::-1]):
        inwards = np.abs(turned[_STRIDE:] - turned[:-_STRIDE]).mean(axis=(1, 2))
        ratios.append(inwards[:_RIM].mean() / max(inwards.mean(), 1e-30))
    return float(np.mean(ratios))


def _luma(pixels: Pixels) -> NDArray[np.float64]:
    luma: NDArray[np.float64] = pixels.astype(np.float64) @ LUMA
    return luma
