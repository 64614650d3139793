"""Color profiles: what a picture's own ICC profile says its numbers mean becomes sRGB.

The rendering intent is relative colorimetric with black point compensation: colors that sRGB has
stay what they are, those beyond it are clipped, and black stays black. Perceptual would come to
the same for the profiles of cameras and displays, which are matrices, and to what each maker thinks
fit for those of printers.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import TypeAlias

import numpy as np
from PIL import Image

from ortist.models.errors import printable

Conversion: TypeAlias = Callable[[Image.Image], Image.Image]
"""What makes 8-bit RGB of a Pillow image."""

LARGEST_PROFILE = 16_000_000
"""Bytes of the largest profile that is used; those of printing presses have some three million."""

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's names of the color spaces of profiles."""

_log = logging.getLogger(__name__)


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """Return the image as 8-bit RGB by Pillow's formulas, which know no profile."""
    return image if image.mode == "RGB" else image.convert("RGB")


def find_conversion(profile: object, mode: str, label: str) -> Conversion:
    """Return what makes sRGB of images with a profile; an unusable one is ignored with a warning.

    Args:
        profile: the ICC profile that Pillow found: bytes, or nothing.
        mode: of the images: L, RGB or CMYK.
        label: what the warning calls the picture.
    """
    if not profile or profile == srgb_profile():
        return convert_to_rgb
    try:
        if not isinstance(profile, bytes) or len(profile) > LARGEST_PROFILE:
            raise ValueError(f"it is no profile of at most {LARGEST_PROFILE} bytes")
        return _to_srgb(profile, mode)
    # ImportError is from a Pillow that was built without what reads profiles.
    except (OSError, ValueError, TypeError, ImportError) as error:
        _log.warning("ignoring the color profile of %s: %s", label, printable(str(error)))
        return convert_to_rgb


@cache
def srgb_profile() -> bytes:
    """Return the profile that pictures are written with."""
    return (resources.files(__package__) / "srgb.icc").read_bytes()


def _to_srgb(profile: bytes, mode: str) -> Conversion:
    # Most pictures have no profile: this takes its milliseconds where there is one.
    from PIL import ImageCms

    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    if mode == "L" and space == "RGB":
        mode = "RGB"  # gray pictures that a program wrote with its usual profile
    if _MODES.get(space) != mode:
        raise ValueError(f"it is for {space} and the picture is {mode}")
    transform = ImageCms.ImageCmsTransform(
        source,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )

    def to_srgb(image: Image.Image) -> Image.Image:
        return transform.apply(image if image.mode == mode else image.convert(mode))

    return convert_to_rgb if _changes_nothing(to_srgb, mode) else to_srgb


def _changes_nothing(conversion: Conversion, mode: str) -> bool:
    """Return whether colors of all kinds stay what they are: most profiles are that of sRGB.

    By one level they may differ, since profiles round their numbers in ways of their own.
    """
    if mode == "CMYK":
        return False
    levels = np.linspace(0, 255, 18).astype(np.uint8)  # steps of 15
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, -1, 3)
    image = Image.fromarray(colors if mode == "RGB" else colors[..., 0])
    before, after = (np.asarray(each(image)).astype(int) for each in (convert_to_rgb, conversion))
    return bool(np.abs(after - before).max() <= 1)
