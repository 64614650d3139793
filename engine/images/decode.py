"""Decoding: pixels of any kind to 8-bit sRGB, upright, laid on white where transparent."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ortist.engine.errors import InputError
from ortist.engine.images.profiles import find_conversion
from ortist.engine.images.segments import Segments, find_segments, to_8_bits
from ortist.engine.images.tensors import row_bands
from ortist.engine.storage import IN_MEMORY, Storage, release

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

_NOT_IN_EVERY_PILLOW = ("lzma", "zstd", "webp")
"""Compressions of TIFF."""

_ORIENTATION_TAG = 0x0112
_Turn = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
_AS_STORED: dict[int, _Turn] = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: partial(np.rot90, k=2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: np.rot90,
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: partial(np.rot90, k=-1),
}
"""EXIF orientation to a view of the upright picture in which it is as in the file."""
_ON_ITS_SIDE = (5, 6, 7, 8)

_Part = tuple[slice, slice, Image.Image, Image.Image | None]
"""Rows and columns of a picture, their colors as L, CMYK or RGB, and their alpha as L or None."""


def decode(
    image: Image.Image, label: str, storage: Storage = IN_MEMORY
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return a picture in sRGB, laid on white where it is transparent, and its alpha channel.

    Args:
        image: what Pillow makes of the file; it stays as it is but for being loaded.
        label: what messages call it.
        storage: makes the arrays.

    Returns:
        uint8 (H, W, 3), RGB; and uint8 (H, W), 0 for transparent and 255 for opaque, or None if
        the picture has no transparency. Both are upright.

    Raises:
        InputError: if it is damaged, or has pixels that cannot become RGB.
    """
    with _damage_told(image, label):
        segments = find_segments(image)
        transparent = None if segments else _load(image)
    # After load: PNG may keep its EXIF at the end, and TIFF turns itself upright.
    orientation = _orientation(image)
    if segments:
        width, height = segments.width, segments.height
        parts = _from_segments(image, segments, label)
    else:
        width, height = image.size
        parts = _from_strips(image, label, transparent)
    convert = find_conversion(image.info.get("icc_profile"), _color_mode(image), label)
    if orientation in _ON_ITS_SIDE:
        width, height = height, width
    pixels, alpha = storage.empty((height, width, 3), np.uint8), None
    as_stored = _AS_STORED.get(orientation, _AS_STORED[1])
    for rows, columns, color, opacity in parts:
        rgb = convert(color)
        if opacity is not None:
            alpha = storage.empty((height, width), np.uint8) if alpha is None else alpha
            as_stored(alpha)[rows, columns] = np.asarray(opacity)
            rgb = _on_white(rgb, opacity)
            release(alpha)
        as_stored(pixels)[rows, columns] = np.asarray(rgb)
        release(pixels)
    return pixels, alpha


@contextmanager
def _damage_told(image: Image.Image, label: str) -> Iterator[None]:
    """Turn what damaged data raise into an InputError."""
    try:
        yield
    except InputError:
        raise
    except DECODE_ERRORS as error:
        compression = image.info.get("compression") if image.format == "TIFF" else None
        lacking = ""
        if compression in _NOT_IN_EVERY_PILLOW:
            lacking = f", or this Pillow was not built for its compression, {compression}"
        raise InputError(f"{label} is truncated or damaged{lacking}: {error}") from error
    except (AssertionError, AttributeError) as error:  # Pillow looks for a file that it has closed
        raise InputError(f"{label} was closed before it was decoded") from error


def _from_segments(image: Image.Image, segments: Segments, label: str) -> Iterator[_Part]:
    with _damage_told(image, label):
        for rows, columns, part in segments.parts():
            yield rows, columns, *_separate(part, label)


def _from_strips(
    image: Image.Image, label: str, transparent: NDArray[np.bool_] | None
) -> Iterator[_Part]:
    """Give a decoded picture in strips of rows: copies stay small."""
    width, height = image.size
    for rows in row_bands(width, 0, height):
        part = image.crop((0, rows.start, width, rows.stop))
        color, opacity = _separate(part, label, opaque=transparent is not None)
        if transparent is not None:
            opacity = Image.fromarray(np.where(transparent[rows], 0, 255).astype(np.uint8))
        yield rows, slice(0, width), color, opacity


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
    image: Image.Image, label: str, opaque: bool = False
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
    return Image.fromarray(to_8_bits(values))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except DECODE_ERRORS:
        return 1  # damaged EXIF does not make the pixels worse
