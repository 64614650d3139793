"""The pictures that a run starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ortist.engine.errors import InputError
from ortist.engine.images import (
    MIN_SIDE,
    ImageSource,
    check_size,
    fit_area,
    fit_size,
    read_image,
    resize_image,
)
from ortist.engine.options import Options
from ortist.engine.scales import Scale, plan_scales

Pixels = NDArray[np.uint8]
Styles = ImageSource | Sequence[ImageSource]


@dataclass(frozen=True)
class Pictures:
    """Content and styles as they were read, and the size to paint.

    Attributes:
        content: uint8 (H, W, 3), RGB.
        styles: the same, of any sizes.
        width: of the picture to paint, in pixels.
        height: likewise.
        style_scale: size of the styles relative to the picture.
    """

    content: Pixels
    styles: tuple[Pixels, ...]
    width: int
    height: int
    style_scale: float

    @property
    def style_pixels(self) -> int:
        """Pixels of the largest style beside the picture in its full size."""
        sizes = (
            style_size(style, self.width * self.height, self.style_scale) for style in self.styles
        )
        return max(width * height for width, height in sizes)

    def at(self, width: int, height: int) -> tuple[Pixels, list[Pixels]]:
        """Return the content in that size, and the styles in theirs for it."""
        styles = [
            resize_image(style, *style_size(style, width * height, self.style_scale))
            for style in self.styles
        ]
        return resize_image(self.content, width, height), styles

    def scales(self, options: Options) -> tuple[Scale, ...]:
        """Return the scales to paint in."""
        return plan_scales(self.width, self.height, options)


def read_pictures(content: ImageSource, style: Styles, options: Options) -> Pictures:
    """Read all pictures of a run.

    Raises:
        InputError: for a picture, or a size that follows from it, that cannot be used, or if there
            are not as many style weights as styles.
    """
    limit = options.max_pixels
    source = _read(content, "content image", limit)
    width, height = fit_size(
        source.shape[1],
        source.shape[0],
        size=options.size,
        to_width=options.width,
        to_height=options.height,
        max_pixels=limit,
    )
    styles = []
    for picture in as_list(style):
        pixels = _cropped(_read(picture, "style image", limit), options.style_crop)
        size = style_size(pixels, width * height, options.style_scale)
        check_size(*size, "scaled style image", limit)
        styles.append(pixels)
    weights = options.style_weights
    if weights is not None and len(weights) != len(styles):
        raise InputError(f"style_weights has {len(weights)} weights for {len(styles)} style images")
    return Pictures(source, tuple(styles), width, height, options.style_scale)


def _read(source: ImageSource, name: str, limit: int) -> Pixels:
    """Return a picture that stays as it is, whatever becomes of an array that is its source."""
    pixels = read_image(source, name=name, max_pixels=limit)
    return pixels.copy() if isinstance(source, np.ndarray) else pixels


def _cropped(pixels: Pixels, share: float) -> Pixels:
    """Return a picture without a share of its sides at each edge, but no less than it must have."""
    margins = [min(round(side * share), (side - MIN_SIDE) // 2) for side in pixels.shape[:2]]
    top, left = margins
    return pixels[top : pixels.shape[0] - top, left : pixels.shape[1] - left]


def style_size(style: Pixels, area: float, scale: float) -> tuple[int, int]:
    """Return width and height of a style for a picture of so many pixels."""
    return fit_area(style.shape[1], style.shape[0], area * scale**2)


def as_list(style: Styles) -> list[ImageSource]:
    """Return styles as a list; InputError if there is none."""
    if isinstance(style, Sequence) and not isinstance(style, str | bytes):
        if not style:
            raise InputError("no style image given")
        return list(style)
    return [style]
