"""Decoding: pixels of any kind to 8-bit RGB, upright, transparency laid on white."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ortist.engine.errors import InputError

# What Pillow's readers raise on damaged data (it documents OSError and SyntaxError only).
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    UserWarning,  # where the program turns warnings into errors
)

# How Pillow names the samples of PNG files that it changes when it decodes them.
_UPPER_BYTES = "RGB;16B"
_STRETCHED = {"L;2": 85, "L;4": 17}
"""By what samples of 2 and 4 bits are multiplied."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to the transposition that turns the picture upright."""


def decode(image: Image.Image, label: str) -> NDArray[np.uint8]:
    """Return the picture as uint8 (H, W, 3), RGB; InputError, with the label, if it is damaged."""
    try:
        transparent = _load(image)
    except DECODE_ERRORS as error:
        raise InputError(f"{label} is truncated or damaged: {error}") from error
    except (AssertionError, AttributeError) as error:  # Pillow looks for a file that it has closed
        raise InputError(f"{label} was closed before it was decoded") from error
    if transparent is None:
        rgb = _rgb(image, label)
    else:
        rgb = _rgb(image, label, opaque=True)
        rgb.paste("white", mask=Image.fromarray(transparent))
    # After load: PNG may keep its EXIF at the end, and TIFF turns itself upright.
    method = _UPRIGHT.get(_orientation(image))
    return np.asarray(rgb if method is None else rgb.transpose(method))


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


def _rgb(image: Image.Image, label: str, opaque: bool = False) -> Image.Image:
    """Return a decoded picture as 8-bit RGB, laid on white unless it is to be taken as opaque."""
    if image.mode == "F":
        raise InputError(f"{label} has floating-point pixels; 8 or 16 bits a channel are accepted")
    if image.mode.startswith("I"):
        return _from_16_bits(image, label).convert("RGB")
    if image.mode == "P" and isinstance(image.info.get("transparency"), tuple):
        # It has stayed from a picture in RGB that this one was made of.
        image = image.copy()
        del image.info["transparency"]
    try:
        if opaque or not image.has_transparency_data:
            return image.convert("RGB")
        # Pillow has no way from La to RGBA but over LA.
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    except (*DECODE_ERRORS, ImportError) as error:  # LAB needs a part that Pillow may be without
        raise InputError(
            f"{label} has pixels of mode {image.mode}, which cannot become RGB: {error}"
        ) from error
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


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
