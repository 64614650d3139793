"""Reading, resizing and writing pictures: the only place that knows file formats and Pillow.

A picture is uint8 (H, W, 3), RGB; the engine's tensors are float32 (1, 3, H, W), RGB, 0..255.
Nothing here changes global state, so several threads may read and write at once.
"""

from __future__ import annotations

import io
import math
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import (  # noqa: F401 (importing a plugin registers its format)
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ortist.engine.errors import InputError
from ortist.models.files import (
    Bytes,
    TooLongError,
    find_target,
    read_limited,
    read_regular,
    reason,
    write_whole,
)

ImageSource: TypeAlias = str | os.PathLike[str] | IO[bytes] | Image.Image | NDArray[np.uint8]
"""A path, a binary file object, a Pillow image, or an array uint8 (H, W, 3) in RGB."""

MIN_SIDE = 16
"""Smallest side in pixels: after four poolings one position is left."""
MAX_PIXELS = 64_000_000
"""Largest picture read or painted unless the caller allows more."""

_BYTES_PER_PIXEL = 18
"""Most that a pixel takes in a file: three numbers of 16 bits as text, in a plain PPM."""
_BYTES_BESIDE = 64_000_000
"""Bytes of profiles, previews and further frames that a file may have besides."""

INPUT_FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")

_ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".webp": ("WEBP", {"quality": 95}),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}),
    ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
    ".bmp": ("BMP", {}),
}
OUTPUT_EXTENSIONS: tuple[str, ...] = tuple(_ENCODERS)

_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}

# What Pillow's readers raise on damaged data (it documents OSError and SyntaxError only).
_DECODE_ERRORS = (
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


def read_image(
    source: ImageSource,
    *,
    name: str = "image",
    max_pixels: int = MAX_PIXELS,
    min_side: int = MIN_SIDE,
) -> NDArray[np.uint8]:
    """Read a picture in any usual mode as 8-bit RGB, upright, its first frame if it moves.

    Transparency is laid on white, 16-bit values are divided by 257, EXIF orientation is applied,
    color profiles are ignored. The size is checked before anything is decoded, and of a file no
    more is read than a picture of ``max_pixels`` can take.

    Args:
        source: the path of a regular file, a binary file object (read from its position to its
            end), a Pillow image, or an array uint8 (H, W, 3), which is returned as it is.
        name: what messages call the picture, for example ``"content image"``.
        max_pixels: most pixels accepted.
        min_side: fewest pixels accepted for either side.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        InputError: if the source is missing, cannot be read, or is not a picture, damaged, too
            small or too large.
    """
    if isinstance(source, np.ndarray):
        _check_array(source, name)
        check_size(source.shape[1], source.shape[0], name, max_pixels, min_side)
        return source
    if isinstance(source, Image.Image):
        return _pixels(source, name, max_pixels, min_side)
    label = f"{name} '{os.fspath(source)}'" if isinstance(source, str | os.PathLike) else name
    with _identify(_encoded(source, label, max_pixels), label) as image:
        return _pixels(image, label, max_pixels, min_side)


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


def resize_image(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resample uint8 (H, W, 3) to uint8 (height, width, 3) with an antialiased Lanczos filter."""
    if pixels.shape[:2] == (height, width):
        return pixels
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized)


def resize_tensor(
    tensor: NDArray[np.float32], width: int, height: int, linear: bool = False
) -> NDArray[np.float32]:
    """Resample float32 (1, C, H, W) to (1, C, height, width), cubic or ``linear``, unclipped."""
    if tensor.shape[2:] == (height, width):
        return tensor
    kind = Image.Resampling.BILINEAR if linear else Image.Resampling.BICUBIC
    channels = [Image.fromarray(channel).resize((width, height), kind) for channel in tensor[0]]
    return np.stack([np.asarray(channel) for channel in channels])[np.newaxis]


def to_tensor(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return uint8 (H, W, 3) as a contiguous float32 (1, 3, H, W) with the same values."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis], dtype=np.float32)


def to_image(tensor: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return float32 (1, 3, H, W) rounded and clipped to 0..255 as uint8 (H, W, 3)."""
    rounded = np.clip(np.rint(tensor[0]), 0.0, 255.0).astype(np.uint8)
    return np.ascontiguousarray(rounded.transpose(1, 2, 0))


def check_output(
    path: str | os.PathLike[str],
    force: bool = False,
    size: tuple[int, int] | None = None,
) -> None:
    """Check that ``write_image`` will be able to write ``path``; leaves no trace.

    Args:
        path: where the picture is to go.
        force: whether an existing file may be replaced.
        size: (width, height) of the picture, to check the format's own limit too.

    Raises:
        InputError: if the extension is unknown, the folder is missing or not writable, the file
            exists and ``force`` is false, or the format cannot hold the size.
    """
    file_format, _ = _encoder(path)
    longest = _LONGEST_SIDE.get(file_format, math.inf)
    if size is not None and max(size) > longest:
        raise InputError(
            f"output '{os.fspath(path)}': {file_format} holds at most {longest} pixels a side,"
            f" not {size[0]}x{size[1]}"
        )
    check_writable(path, force)


def check_extension(path: str | os.PathLike[str], accepted: Iterable[str]) -> None:
    """Raise InputError unless the extension is one of those accepted, in either case."""
    extension = Path(path).suffix
    if extension.lower() not in accepted:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir may raise
            raise InputError(f"output '{os.fspath(path)}' is a directory")
        raise InputError(
            f"output '{os.fspath(path)}' has the unknown extension '{extension}'; accepted are"
            f" {', '.join(accepted)}"
        )


def check_writable(path: str | os.PathLike[str], force: bool = False) -> None:
    """Check that a file can be made at ``path``, of whatever kind; leaves no trace.

    Raises:
        InputError: if ``path`` leads to something else than a regular file, the file exists and
            ``force`` is false, or its folder is missing or not writable.
    """
    label = f"output '{os.fspath(path)}'"
    try:
        target = find_target(path)
    except IsADirectoryError:
        raise InputError(f"{label} is a directory") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{label} cannot be written: {reason(error)}") from error
    if target.exists():
        if not force:
            raise InputError(f"{label} exists; --force (force=True) replaces it")
        if not os.access(target, os.W_OK):
            raise InputError(f"{label} is write-protected")
    if not target.parent.is_dir():
        raise InputError(f"{label}: there is no directory '{target.parent}'")
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise InputError(
            f"{label}: cannot write to directory '{target.parent}': {reason(error)}"
        ) from error


def write_image(pixels: NDArray[np.uint8], path: str | os.PathLike[str]) -> None:
    """Write uint8 (H, W, 3) to ``path``, whole or not at all, replacing what is there.

    The extension names the format; see :func:`~ortist.models.files.write_whole`.

    Raises:
        InputError: if the extension is unknown or the file cannot be written.
    """
    file_format, settings = _encoder(path)
    _check_array(pixels, "picture to write")
    with written_whole(path) as stream:
        Image.fromarray(pixels).save(stream, file_format, **settings)


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[io.BytesIO]:
    """Give a stream to write to; what is in it at the end becomes the file.

    Encoders write to memory because Pillow's overlook it if a disk takes a part only.

    Raises:
        InputError: in place of the OSError or ValueError of a file that cannot be written.
    """
    stream = io.BytesIO()
    try:
        yield stream
        write_whole(Path(path), stream.getvalue())
    except (OSError, ValueError) as error:
        message = f"output '{os.fspath(path)}' cannot be written: {reason(error)}"
        raise InputError(message) from error


def _encoder(path: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    check_extension(path, OUTPUT_EXTENSIONS)
    return _ENCODERS[Path(path).suffix.lower()]


def _encoded(source: str | os.PathLike[str] | IO[bytes], label: str, max_pixels: int) -> io.BytesIO:
    """Read a file or file object to its end, or to where it is more than a picture may be."""
    limit = _BYTES_PER_PIXEL * max_pixels + _BYTES_BESIDE
    try:
        if isinstance(source, str | os.PathLike):
            return io.BytesIO(read_regular(source, limit))
        return io.BytesIO(read_limited(_reader(source, label), limit))
    except (InputError, MemoryError):
        raise
    except FileNotFoundError:
        raise InputError(f"{label} does not exist") from None
    except IsADirectoryError:
        raise InputError(f"{label} is a directory") from None
    except TooLongError:
        raise InputError(
            f"{label} has more than {limit} bytes, which is more than a picture of {max_pixels}"
            " pixels takes (raise max_pixels, --max-pixels)"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{label} cannot be read: {reason(error)}") from error
    except Exception as error:  # a file object may raise anything
        raise InputError(f"{label} cannot be read: {error}") from error


def _reader(source: IO[bytes], label: str) -> Callable[[int], Bytes]:
    read = getattr(source, "read", None)
    if not callable(read):
        raise InputError(
            f"{label} is of type {type(source).__name__}; accepted are a path, a binary file"
            " object, a Pillow image, or an array uint8 (height, width, 3)"
        )
    reader: Callable[[int], Bytes] = read
    return reader


def _identify(stream: io.BytesIO, label: str) -> Image.Image:
    """Find the reader for ``stream``; only headers are read.

    ``Image.open`` would do, but it warns about large images by a process-wide limit before their
    size can be compared with ours.
    """
    prefix = stream.read(16)
    for file_format in INPUT_FORMATS:
        reader, accepts = Image.OPEN[file_format]
        if accepts is not None and accepts(prefix) is not True:
            continue
        stream.seek(0)
        try:
            return reader(stream, "")
        except _DECODE_ERRORS:
            continue
    raise InputError(
        f"{label} is not an image in a known format ({', '.join(INPUT_FORMATS)}), or is damaged"
    )


def _pixels(image: Image.Image, label: str, max_pixels: int, min_side: int) -> NDArray[np.uint8]:
    check_size(image.width, image.height, label, max_pixels, min_side)
    try:
        transparent = _decode(image)
    except _DECODE_ERRORS as error:
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


def _decode(image: Image.Image) -> NDArray[np.bool_] | None:
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
    except (*_DECODE_ERRORS, ImportError) as error:  # LAB needs a part that Pillow may be without
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
    except _DECODE_ERRORS:
        return 1  # damaged EXIF does not make the pixels worse


def _check_array(array: NDArray[np.uint8], name: str) -> None:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise InputError(
            f"{name} is an array of {array.dtype} {array.shape}; uint8 (height, width, 3) is"
            " accepted"
        )
