"""Reading pictures from files, file objects, Pillow images and arrays."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import IO, TypeAlias

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
from ortist.engine.images.decode import DECODE_ERRORS, decode
from ortist.engine.images.size import MAX_PIXELS, MIN_SIDE, check_size
from ortist.engine.images.tensors import check_array
from ortist.models.files import Bytes, TooLongError, read_limited, read_regular, reason

ImageSource: TypeAlias = str | os.PathLike[str] | IO[bytes] | Image.Image | NDArray[np.uint8]
"""A path, a binary file object, a Pillow image, or an array uint8 (H, W, 3) in RGB."""

_BYTES_PER_PIXEL = 18
"""Most that a pixel takes in a file: three numbers of 16 bits as text, in a plain PPM."""
_BYTES_BESIDE = 64_000_000
"""Bytes of profiles, previews and further frames that a file may have besides."""

INPUT_FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")


def read_image(
    source: ImageSource,
    *,
    name: str = "image",
    max_pixels: int = MAX_PIXELS,
    min_side: int = MIN_SIDE,
) -> NDArray[np.uint8]:
    """Read a picture in any usual mode as 8-bit sRGB, upright, its first frame if it moves.

    Transparency is laid on white, 16-bit values are divided by 257, EXIF orientation is applied.
    Colors are converted by the ICC profile, if there is one that can be used, else taken as sRGB:
    the chunks gAMA, cHRM and cICP of PNG, and what AVIF and HEIF say without a profile, are
    ignored. The size is checked before anything is decoded, and of a file no more is read than a
    picture of ``max_pixels`` can take.

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
        check_array(source, name)
        check_size(source.shape[1], source.shape[0], name, max_pixels, min_side)
        return source
    if isinstance(source, Image.Image):
        return _pixels(source, name, max_pixels, min_side)
    label = f"{name} '{os.fspath(source)}'" if isinstance(source, str | os.PathLike) else name
    with _identify(_encoded(source, label, max_pixels), label) as image:
        return _pixels(image, label, max_pixels, min_side)


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
        except DECODE_ERRORS:
            continue
    raise InputError(
        f"{label} is not an image in a known format ({', '.join(INPUT_FORMATS)}), or is damaged"
    )


def _pixels(image: Image.Image, label: str, max_pixels: int, min_side: int) -> NDArray[np.uint8]:
    check_size(image.width, image.height, label, max_pixels, min_side)
    return decode(image, label)[0]
