"""The pictures that a run starts from, as they are given and in the size to paint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ortist.engine.canvas import Canvas
from ortist.engine.color import gray, matched_luma, recolored
from ortist.engine.errors import InputError
from ortist.engine.guides import Mask, read_mask, resize_mask
from ortist.engine.images import (
    MIN_SIDE,
    ImageSource,
    check_size,
    fit_area,
    fit_size,
    read_image,
    resize_image,
    to_tensor,
)
from ortist.engine.optimizer import Tensor
from ortist.engine.options import Options
from ortist.engine.scales import Scale, plan_scales
from ortist.engine.scene import Area, Division, Pixels, Scene, Style, shares_of
from ortist.engine.storage import IN_MEMORY, LARGE_IN_FILES, Storage
from ortist.models.errors import shown

Styles = ImageSource | Sequence[ImageSource]
REST = "rest"
"""Name of the area that is in no region."""
_LEAST = 0.5 / 255
"""What a mask must have anywhere to count: less is rounding."""


@dataclass(frozen=True)
class Region:
    """A part of the picture with a style of its own.

    Attributes:
        mask: a picture, white inside and black or transparent outside, or an array (H, W), uint8,
            bool or 0..1; of any size with the proportions of the content.
        style: the picture whose style to take; where there is none, the content stays as it is.
        style_mask: what of the style counts, likewise; all of it by default.
    """

    mask: ImageSource
    style: ImageSource | None = None
    style_mask: ImageSource | None = None


@dataclass(frozen=True)
class StyleSource:
    """A style picture as it was read, uint8 (H, W, 3), with its mask, size and share."""

    pixels: Pixels
    share: float
    scale: float
    mask: Mask | None = None

    def size(self, area: float) -> tuple[int, int]:
        """Return its width and height for a picture of so many pixels."""
        return style_size(self.pixels, area, self.scale)

    def at(self, area: float, storage: Storage) -> Style:
        """Return it in its size for a picture of so many pixels."""
        width, height = self.size(area)
        mask = None if self.mask is None else resize_mask(self.mask, width, height)
        pixels = resize_image(self.pixels, width, height, storage)
        return Style(to_tensor(pixels, storage), self.share, mask)


@dataclass(frozen=True)
class AreaSource:
    """An area with its styles as they were read, and its mask in the full size."""

    name: str
    styles: tuple[StyleSource, ...]
    mask: Mask | None = None


@dataclass(frozen=True)
class Pictures:
    """All pictures as they were read, and the size to paint.

    Attributes:
        content: uint8 (H, W, 3), RGB.
        areas: with their masks in the size to paint.
        protected: likewise.
        width: of the picture to paint, in pixels.
        height: likewise.
        color: what becomes of colors, one of :data:`~ortist.engine.color.COLORS`.
    """

    content: Pixels
    areas: tuple[AreaSource, ...]
    protected: Mask | None
    width: int
    height: int
    color: str

    @property
    def styles(self) -> list[StyleSource]:
        """Those of all areas, in order."""
        return [style for area in self.areas for style in area.styles]

    @property
    def style_pixels(self) -> int:
        """Pixels of the largest style beside the picture in its full size."""
        sizes = (style.size(self.width * self.height) for style in self.styles)
        return max((width * height for width, height in sizes), default=0)

    @property
    def style_areas(self) -> tuple[float, ...]:
        """Area of each style relative to the picture's."""
        return tuple(style.scale**2 for style in self.styles)

    @cached_property
    def division(self) -> Division:
        """How the picture is divided."""
        shares = {area.name: _share(area.mask) for area in self.areas if area.styles}
        return Division(shares, None if self.protected is None else _share(self.protected))

    def at(self, width: int, height: int, storage: Storage = IN_MEMORY) -> Scene:
        """Return them in the size of a scale, in arrays that the storage makes."""

        def fitted(mask: Mask | None) -> Mask | None:
            return None if mask is None else resize_mask(mask, width, height)

        original = to_tensor(resize_image(self.content, width, height, storage), storage)
        content = storage.kept(gray(original)) if self.color == "luminance" else original
        areas = []
        for area in self.areas:
            mask = fitted(area.mask)
            styles = [style.at(width * height, storage) for style in area.styles]
            colored = [
                replace(one, pixels=storage.kept(self._colored(one, content, mask)))
                for one in styles
            ]
            areas.append(Area(area.name, colored, mask))
        painted = _painted(areas)
        canvas = Canvas(original, self.color, painted, storage)
        return Scene(content, areas, fitted(self.protected), canvas, self.division)

    def _colored(self, style: Style, content: Tensor, mask: Mask | None) -> Tensor:
        """Return a style in the colors to paint with."""
        masks = style.mask, mask
        if self.color == "match":
            return recolored(style.pixels, content, masks)
        if self.color == "luminance":
            return matched_luma(gray(style.pixels), content, masks)
        return style.pixels

    def scales(self, options: Options) -> tuple[Scale, ...]:
        """Return the scales to paint in."""
        return plan_scales(self.width, self.height, options)


def _share(mask: Mask | None) -> float:
    return 1.0 if mask is None else float(mask.mean(dtype=np.float64))


def _painted(areas: Sequence[Area]) -> Mask | None:
    """Return how much of each pixel has a style; None if all have one."""
    if all(area.styles for area in areas):
        return None
    masks = [area.mask for area in areas if area.styles and area.mask is not None]
    return np.minimum(sum(masks[1:], masks[0]), np.float32(1))


def read_pictures(
    content: ImageSource,
    style: Styles,
    options: Options,
    regions: Sequence[Region] = (),
    protect: ImageSource | None = None,
) -> Pictures:
    """Read all pictures of a run.

    Raises:
        InputError: for a picture, or a size that follows from it, that cannot be used, if there
            are not as many style weights or scales as styles, or nothing is painted.
    """
    _check_regions(regions)
    main = as_list(style, empty=bool(regions))
    count = len(main) + sum(region.style is not None for region in regions)
    reader = _Reader(content, options, _style_scales(options, count))
    shares = _style_shares(options, len(main))
    rest = [reader.style(one, share) for one, share in zip(main, shares, strict=True)]
    areas = [AreaSource(REST, tuple(rest))]
    for number, region in enumerate(regions, start=1):
        styles = []
        if region.style is not None:
            styles = [reader.style(region.style, 1.0, region.style_mask)]
        mask = reader.mask(region.mask, f"mask of region {number}")
        areas.append(AreaSource(str(number), tuple(styles), mask))
    protected = None if protect is None else reader.mask(protect, "mask to protect")
    return Pictures(
        reader.content, _divided(areas), protected, reader.width, reader.height, options.color
    )


class _Reader:
    """Reads the content, and what else there is for the size to paint that follows from it.

    Args:
        content: the content.
        options: of the run.
        scales: of the styles to come, in order.
    """

    def __init__(self, content: ImageSource, options: Options, scales: Sequence[float]) -> None:
        self._options, self._scales = options, iter(scales)
        self.content = self._read(content, "content image")
        height, width = self.content.shape[:2]
        self.width, self.height = fit_size(
            width,
            height,
            size=options.size,
            to_width=options.width,
            to_height=options.height,
            max_pixels=options.max_pixels,
        )

    def style(
        self, source: ImageSource, share: float, mask: ImageSource | None = None
    ) -> StyleSource:
        """Return the next style, with its mask if it has one."""
        options = self._options
        whole = self._read(source, "style image")
        pixels = _cropped(whole, options.style_crop)
        own = None if mask is None else self._style_mask(mask, whole, pixels)
        found = StyleSource(pixels, share, next(self._scales), own)
        size = found.size(self.width * self.height)
        check_size(*size, "scaled style image", options.max_pixels)
        return found

    def mask(self, source: ImageSource, name: str) -> Mask:
        """Return a mask of the content in the size to paint."""
        height, width = self.content.shape[:2]
        found = read_mask(source, name, (width, height), self._options.max_pixels)
        return resize_mask(found, self.width, self.height)

    def _read(self, source: ImageSource, name: str) -> Pixels:
        """Return a picture that stays as it is, whatever becomes of an array that is its source."""
        limit = self._options.max_pixels
        pixels = read_image(source, name=name, max_pixels=limit, storage=LARGE_IN_FILES)
        return pixels.copy() if isinstance(source, np.ndarray) else pixels

    def _style_mask(self, source: ImageSource, whole: Pixels, cropped: Pixels) -> Mask:
        """Return the mask of a style as it is of what was cropped of it."""
        (height, width), (rows, columns) = whole.shape[:2], cropped.shape[:2]
        mask = read_mask(source, "mask of a style", (width, height), self._options.max_pixels)
        top, left = (height - rows) // 2, (width - columns) // 2
        mask = resize_mask(mask, width, height)[top : top + rows, left : left + columns]
        if mask.max() <= _LEAST:
            raise InputError("mask of a style is black where the style is cropped to")
        return mask


def _check_regions(regions: object) -> None:
    fine = isinstance(regions, Sequence) and all(isinstance(one, Region) for one in regions)
    if not fine:
        raise InputError(f"regions is {shown(regions)}, accepted is a sequence of Region")


def _divided(areas: Sequence[AreaSource]) -> tuple[AreaSource, ...]:
    """Return areas, the rest first, with masks that add up to 1 at each pixel.

    Where regions overlap they share. Areas that are nowhere are left out, and one that is
    everywhere is the picture as a whole.

    Raises:
        InputError: if nothing is painted.
    """
    rest, *regions = areas
    if not regions:
        return (replace(rest, name=""),)
    masks = [region.mask for region in regions if region.mask is not None]
    total = sum(masks[1:], masks[0])
    crowded = np.maximum(total, np.float32(1))
    divided = [replace(rest, mask=np.maximum(1 - total, np.float32(0)))]
    for region, mask in zip(regions, masks, strict=True):
        divided.append(replace(region, mask=np.asarray(mask / crowded, np.float32)))
    there = [area for area in divided if area.mask is not None and area.mask.max() > _LEAST]
    if not any(area.styles for area in there):
        raise InputError("nothing is painted: no area with a style is left")
    if len(there) == 1:
        return (replace(there[0], name="", mask=None),)
    return tuple(there)


def _style_scales(options: Options, count: int) -> Sequence[float]:
    scales = options.style_scale
    if not isinstance(scales, Sequence):
        return [scales] * count
    if len(scales) != count:
        raise InputError(f"style_scale has {len(scales)} scales for {count} style images")
    return scales


def _style_shares(options: Options, count: int) -> Sequence[float]:
    """Return the shares of the main styles, of sum 1."""
    weights = options.style_weights
    if weights is None:
        return shares_of([1.0] * count)
    if len(weights) != count:
        raise InputError(f"style_weights has {len(weights)} weights for {count} style images")
    return shares_of(weights)


def _cropped(pixels: Pixels, share: float) -> Pixels:
    """Return a picture without a share of its sides at each edge, but no less than it must have."""
    margins = [min(round(side * share), (side - MIN_SIDE) // 2) for side in pixels.shape[:2]]
    top, left = margins
    return pixels[top : pixels.shape[0] - top, left : pixels.shape[1] - left]


def style_size(style: Pixels, area: float, scale: float) -> tuple[int, int]:
    """Return width and height of a style for a picture of so many pixels."""
    return fit_area(style.shape[1], style.shape[0], area * scale**2)


def as_list(style: Styles, empty: bool = False) -> list[ImageSource]:
    """Return styles as a list; InputError if there is none, unless it may be ``empty``."""
    if isinstance(style, Sequence) and not isinstance(style, str | bytes):
        if not style and not empty:
            raise InputError("no style image given")
        return list(style)
    return [style]
