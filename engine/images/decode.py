"""Decoding: pixels of any kind to 8-bit sRGB, upright, laid on white where transparent."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ortist.engine.errors import InputError
from ortist.engine.images.profiles import find_conversion

# What Pillow's readers raise on damaged data (it documents OSError and SyntaxError only).
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    UserWarning,  # where the program turns warnings into errors
)

# How Pillow names the samples of PNG files that it changes when it decodes them.
_UPPER_BYTES = "RGB;16B"
_STRETCHED = {"L;2": 85, "L;4": 17}
"""By what samples of 2 and 4 bits are multiplied."""

_STRIP_PIXELS = 1 << 20
"""How many are converted at once."""

_ORIENTATION_TAG = 0x0112
_Turn = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
_UPRIGHT: dict[int, _Turn] = {
    2: np.fliplr,
    3: partial(np.rot90, k=2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: partial(np.rot90, k=-1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""EXIF orientation to what turns the picture upright."""


def decode(image: Image.Image, label: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return a picture in sRGB, laid on white where it is transparent, and its alpha channel.

    Args:
        image: what Pillow makes of the file; it stays as it is but for being loaded.
        label: what messages call it.

    Returns:
        uint8 (H, W, 3), RGB; and uint8 (H, W), 0 for transparent and 255 for opaque, or None if
        the picture has no transparency. Both are upright.

    Raises:
        InputError: if it is damaged, or has pixels that cannot become RGB.
    """
    try:
        transparent = _load(image)
    except DECODE_ERRORS as error:
        raise InputError(f"{label} is truncated or damaged: {error}") from error
    except (AssertionError, AttributeError) as error:  # Pillow looks for a file that it has closed
        raise InputError(f"{label} was closed before it was decoded") from error
    pixels, alpha = _in_strips(image, label, transparent)
    # After load: PNG may keep its EXIF at the end, and TIFF turns itself upright.
    turn = _UPRIGHT.get(_orientation(image))
    if turn is None:
        return pixels, alpha
    pixels = np.ascontiguousarray(turn(pixels))
    return pixels, None if alpha is None else np.ascontiguousarray(turn(alpha))


def _in_strips(
    image: Image.Image, label: str, transparent: NDArray[np.bool_] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return color and alpha of a decoded picture, made in strips of rows: copies stay small."""
    width, height = image.size
    convert = find_conversion(image.info.get("icc_profile"), _color_mode(image), label)
    pixels = np.empty((height, width, 3), np.uint8)
    alpha: NDArray[np.uint8] | None = None
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        part = image.crop((0, top, width, strip.stop))
        color, opacity = _separate(part, label, opaque=transparent is not None)
        if transparent is not None:
            opacity = Image.fromarray(np.where(transparent[strip], 0, 255).astype(np.uint8))
        rgb = convert(color)
        if opacity is not None:
            alpha = np.empty((height, width), np.uint8) if alpha is None else alpha
            alpha[strip] = np.asarray(opacity)
            rgb = _on_white(rgb, opacity)
        pixels[strip] = np.asarray(rgb)
    return pixels, alpha


def _load(image: Image.Image) -> NDArray[np.bool_] | None:
    """Decode the pixels; return where a PNG has its transparent color if Pillow does not see it.

    Returns:
        bool (H, W), or None where there is no such color or Pillow sees it.
    """
    color: Any = image.info.get("transparency")
    samples = None if color is None else _samples(image, color)
    image.load()
    if samples is None or samples.shape[2:] != np.shape(color):
        return None  # or it is the color of what this image was made of
    same: NDArray[np.bool_] = np.equal(samples, np.asarray(color))
    return same if same.ndim == 2 else np.all(same, axis=-1)


def _samples(image: Image.Image, color: Any) -> NDArray[Any] | None:
    """Return the samples as the PNG has them, which is how it gives its transparent ``color``.

    Pillow stretches samples of 2 and 4 bits, keeps the upper byte of those of 16 bits in RGB, and
    does not look for the color in grayscale of 16 bits.

    Returns:
        (H, W) or (H, W, 3), or None for samples that Pillow leaves as they are.
    """
    if image.mode.startswith("I"):
        return np.asarray(image)
    tiles = image.tile if isinstance(image, PngImagePlugin.PngImageFile) else []
    rawmode = str(tiles[0][3]) if tiles else None
    if rawmode in _STRETCHED:
        return np.asarray(image) // _STRETCHED[rawmode]
    if rawmode == _UPPER_BYTES:
        lower = _lower_bytes(image)
    elif rawmode is None and image.mode == "RGB" and isinstance(color, tuple) and max(color) > 255:
        lower = np.mod(color, 256)  # it was decoded elsewhere, and they are gone
    else:
        return None
    return 256 * np.asarray(image).astype(np.uint16) + lower


def _lower_bytes(image: Any) -> NDArray[np.uint8]:
    """Return the lower bytes of the samples, (H, W, 3), of a PNG in RGB with 16 bits."""
    image.fp.seek(0)
    again: Any = PngImagePlugin.PngImageFile(image.fp)
    codec, extents, offset, _ = again.tile[0]
    # With the bytes in the wrong order it is the upper ones that are dropped.
    again.tile = [(codec, extents, offset, "RGB;16L")]
    return np.asarray(again)


def _color_mode(image: Image.Image) -> str:
    """Return how the colors of an image are had without loss: as L, CMYK or RGB."""
    if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I"):
        return "L"
    return "CMYK" if image.mode == "CMYK" else "RGB"


def _separate(
    image: Image.Image, label: str, opaque: bool
) -> tuple[Image.Image, Image.Image | None]:
    """Return the colors of a decoded image, as L, CMYK or RGB, and its alpha as L if it has one.

    Args:
        image: in any mode.
        label: what messages call it.
        opaque: whether to overlook that it has one.
    """
    if image.mode == "F":
        raise InputError(f"{label} has floating-point pixels; 8 or 16 bits a channel are accepted")
    if image.mode.startswith("I"):
        return _from_16_bits(image, label), None
    if image.mode == "P" and isinstance(image.info.get("transparency"), tuple):
        # It has stayed from a picture in RGB that this one was made of.
        image = image.copy()
        del image.info["transparency"]
    mode = _color_mode(image)
    try:
        if opaque or mode == "CMYK" or not image.has_transparency_data:
            return (image if image.mode == mode else image.convert(mode)), None
        # Pillow has no way from La to RGBA but over LA.
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return rgba.convert(mode), rgba.getchannel("A")
    except (*DECODE_ERRORS, ImportError) as error:  # LAB needs a part that Pillow may be without
        raise InputError(
            f"{label} has pixels of mode {image.mode}, which cannot become RGB: {error}"
        ) from error


def _on_white(rgb: Image.Image, opacity: Image.Image) -> Image.Image:
    if opacity.getextrema() == (255, 255):
        return rgb
    rgb.putalpha(opacity)
    return Image.alpha_composite(Image.new("RGBA", rgb.size, "white"), rgb).convert("RGB")


def _from_16_bits(image: Image.Image, label: str) -> Image.Image:
    values = np.asarray(image)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > 65535:
        raise InputError(
            f"{label} has integer pixels from {lowest} to {highest}; 0..65535 is accepted"
        )
    return Image.fromarray(np.rint(values / 257.0).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except DECODE_ERRORS:
        return 1  # damaged EXIF does not make the pixels worse
