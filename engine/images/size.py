"""Sizes of pictures: what is accepted, and what is painted."""

from __future__ import annotations

import math

from ortist.engine.errors import InputError

MIN_SIDE = 16
"""Smallest side in pixels: after four poolings one position is left."""
MAX_PIXELS = 64_000_000
"""Largest picture read or painted unless the caller allows more."""


def check_size(
    width: int,
    height: int,
    name: str = "picture",
    max_pixels: int = MAX_PIXELS,
    min_side: int = MIN_SIDE,
) -> None:
    """Raise InputError unless ``width`` x ``height`` pixels are neither too few nor too many."""
    if min(width, height) < min_side:
        raise InputError(f"{name} is {width}x{height} pixels; each side needs at least {min_side}")
    if width * height > max_pixels:
        raise InputError(
            f"{name} has {width * height} pixels ({width}x{height}); at most {max_pixels} are"
            " accepted (raise max_pixels, --max-pixels)"
        )


def fit_size(
    width: int,
    height: int,
    *,
    size: int | None = None,
    to_width: int | None = None,
    to_height: int | None = None,
    max_pixels: int = MAX_PIXELS,
    min_side: int = MIN_SIDE,
) -> tuple[int, int]:
    """Return (width, height) in pixels of the picture painted from a ``width`` x ``height`` one.

    ``to_width`` and ``to_height`` together are taken as they are; one of them alone keeps the
    aspect ratio; otherwise the longer side becomes ``size``, or stays if that is None.

    Raises:
        InputError: if the outcome is under ``min_side`` or over ``max_pixels``.
    """
    if to_width is not None and to_height is not None:
        fitted = to_width, to_height
    else:
        if to_width is not None:
            scale = to_width / width
        elif to_height is not None:
            scale = to_height / height
        else:
            scale = 1.0 if size is None else size / max(width, height)
        fitted = to_width or round(width * scale), to_height or round(height * scale)
    check_size(*fitted, "the picture", max_pixels, min_side)
    return fitted


def fit_area(width: int, height: int, area: float) -> tuple[int, int]:
    """Return (width, height) with the same aspect ratio and ``area`` pixels, up to rounding.

    Neither side becomes smaller than ``MIN_SIDE``.
    """
    scale = math.sqrt(area / (width * height))
    return max(MIN_SIDE, round(width * scale)), max(MIN_SIDE, round(height * scale))
