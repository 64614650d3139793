"""The pictures that a run starts from, as they are given and in the size to paint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

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
from ortist.models.errors import shown

Pixels = NDArray[np.uint8]
Styles = ImageSource | Sequence[ImageSource]
REST = "rest"
"""Name of the area that is in no region."""
_LEAST = 0.5 / 255
"""What a mask must have anywhere to count: less is rounding."""


@dataclass(frozen=True)
class Region:
    """A part of the picture with a style of its own.

    Attributes:
        mask: a picture, white inside and black outside, of any size; brought to the content's.
        style: the picture whose style to take; where there is none, the content stays as it is.
        style_mask: what of the style counts, likewise; all of it by default.
    """

    mask: ImageSource
    style: ImageSource | None = None
    style_mask: ImageSource | None = None


@dataclass(frozen=True)
class Division:
    """How a picture is divided, as far as J depends on it.

    Attributes:
        shares: of the picture, of each area that has styles, by its name.
        protected: share of the content that is protected; None if nothing is.
    """

    shares: Mapping[str, float]
    protected: float | None = None


WHOLE = Division({"": 1.0})
"""One area, the picture as a whole."""


@dataclass(frozen=True)
class Style:
    """A style picture.

    Attributes:
        pixels: float32 (1, 3, H, W), RGB, 0..255, in the size to measure.
        share: of its area's style, which is the mean of those of several pictures.
        mask: how much of it counts; all if None.
    """

    pixels: Tensor
    share: float = 1.0
    mask: Mask | None = None


@dataclass(frozen=True)
class Area:
    """A part of the picture, with what it is painted in.

    Attributes:
        name: of its costs; empty for the picture as a whole.
        styles: none where the content stays as it is.
        mask: how much each pixel is of it, float32 (H, W); None for the picture as a whole.
    """

    name: str
    styles: Sequence[Style]
    mask: Mask | None = None


@dataclass(frozen=True)
class Scene:
    """All that a picture is painted of, in one size.

    Attributes:
        content: float32 (1, 3, H, W), RGB, 0..255.
        areas: parts of the picture, which add up to it.
        protected: how much each pixel of the content is protected; None for not at all.
        canvas: what becomes of what is painted.
        division: of the picture in its full size.
    """

    content: Tensor
    areas: Sequence[Area]
    protected: Mask | None = None
    canvas: Canvas = field(default_factory=Canvas)
    division: Division = WHOLE

    @classmethod
    def whole(
        cls, content: Pixels, styles: Sequence[Pixels], weights: Sequence[float] | None = None
    ) -> Scene:
        """Return a scene of undivided pictures, uint8 (H, W, 3), as large as they are."""
        shares = _shares(weights or [1.0] * len(styles))
        own = [Style(to_tensor(one), share) for one, share in zip(styles, shares, strict=True)]
        return cls(to_tensor(content), [Area("", own)])

    @property
    def styles(self) -> list[Style]:
        """Those of all areas, in order."""
        return [style for area in self.areas for style in area.styles]

    @property
    def is_plain(self) -> bool:
        """Whether all of content and styles counts the same."""
        masks = [area.mask for area in self.areas] + [style.mask for style in self.styles]
        return self.protected is None and all(mask is None for mask in masks)

    @property
    def pixels(self) -> int:
        """Of the picture to paint."""
        return self.content.size // 3


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

    def at(self, area: float) -> Style:
        """Return it in its size for a picture of so many pixels."""
        width, height = self.size(area)
        mask = None if self.mask is None else resize_mask(self.mask, width, height)
        return Style(to_tensor(resize_image(self.pixels, width, height)), self.share, mask)


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
    def style_pixels(self) -> int:
        """Pixels of the largest style beside the picture in its full size."""
        styles = [style for area in self.areas for style in area.styles]
        sizes = (style.size(self.width * self.height) for style in styles)
        return max((width * height for width, height in sizes), default=0)

    @cached_property
    def division(self) -> Division:
        """How the picture is divided."""
        shares = {area.name: _share(area.mask) for area in self.areas if area.styles}
        return Division(shares, None if self.protected is None else _share(self.protected))

    def at(self, width: int, height: int) -> Scene:
        """Return them in the size of a scale."""

        def fitted(mask: Mask | None) -> Mask | None:
            return None if mask is None else resize_mask(mask, width, height)

        original = to_tensor(resize_image(self.content, width, height))
        content = gray(original) if self.color == "luminance" else original
        areas = []
        for area in self.areas:
            mask = fitted(area.mask)
            styles = [style.at(width * height) for style in area.styles]
            colored = [replace(one, pixels=self._colored(one, content, mask)) for one in styles]
            areas.append(Area(area.name, colored, mask))
        painted = _painted(areas)
        canvas = Canvas(original, self.color, painted)
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
    _check_regions(regions)
    main = as_list(style, empty=bool(regions))
    own = [region.style for region in regions if region.style is not None]
    if not (main or own):
        raise InputError("no style image given")
    scales = iter(_style_scales(options, len(main) + len(own)))
    shares = _style_shares(options, len(main))

    def read_style(source: ImageSource, share: float, mask: ImageSource | None) -> StyleSource:
        pixels = _cropped(_read(source, "style image", limit), options.style_crop)
        found = StyleSource(pixels, share, next(scales), _style_mask(mask, pixels, options))
        check_size(*found.size(width * height), "scaled style image", limit)
        return found

    rest = [read_style(one, share, None) for one, share in zip(main, shares, strict=True)]
    areas = [AreaSource(REST, tuple(rest))]
    for number, region in enumerate(regions, start=1):
        styles = () if region.style is None else (read_style(region.style, 1.0, region.style_mask),)
        mask = resize_mask(read_mask(region.mask, f"mask of region {number}", limit), width, height)
        areas.append(AreaSource(str(number), styles, mask))
    protected = None
    if protect is not None:
        protected = resize_mask(read_mask(protect, "mask to protect", limit), width, height)
    return Pictures(source, _divided(areas), protected, width, height, options.color)


def _check_regions(regions: object) -> None:
    fine = isinstance(regions, Sequence) and all(isinstance(one, Region) for one in regions)
    if not fine:
        raise InputError(f"regions is {shown(regions)}, accepted is a sequence of Region")


def _divided(areas: Sequence[AreaSource]) -> tuple[AreaSource, ...]:
    """Return areas, the rest first, with masks that add up to 1 at each pixel.

    Where regions overlap they share; areas that are nowhere are left out, and one that is
    everywhere is the picture as a whole.

    Raises:
        InputError: for a region that others, or the size, leave nothing of, or if all stays as it
            is.
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


def _style_mask(source: ImageSource | None, style: Pixels, options: Options) -> Mask | None:
    """Return the mask of a style that was cropped."""
    if source is None:
        return None
    mask = read_mask(source, "mask of a style", options.max_pixels)
    # It is of the whole style, whose size the crop has taken a share of.
    top, left = (round(side * options.style_crop) for side in mask.shape)
    mask = mask[top : mask.shape[0] - top, left : mask.shape[1] - left]
    height, width = style.shape[:2]
    return resize_mask(mask, width, height)


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
        return _shares([1.0] * count)
    if len(weights) != count:
        raise InputError(f"style_weights has {len(weights)} weights for {count} style images")
    return _shares(weights)


def _shares(weights: Sequence[float]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


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


def as_list(style: Styles, empty: bool = False) -> list[ImageSource]:
    """Return styles as a list; InputError if there is none, unless it may be ``empty``."""
    if isinstance(style, Sequence) and not isinstance(style, str | bytes):
        if not style and not empty:
            raise InputError("no style image given")
        return list(style)
    return [style]
