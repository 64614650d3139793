"""Reading pictures: their colors, and their transparency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ortist.engine.images.decode import decode
from ortist.engine.images.identify import identify
from ortist.engine.images.size import MAX_PIXELS, MIN_SIDE, check_size
from ortist.engine.images.source import ImageSource, encoded, label_of
from ortist.engine.images.tensors import check_array
from ortist.engine.storage import IN_MEMORY, Storage


def read_image(
    source: ImageSource,
    *,
    name: str = "image",
    max_pixels: int = MAX_PIXELS,
    min_side: int = MIN_SIDE,
    storage: Storage = IN_MEMORY,
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
        storage: makes the array, unless the source is one.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        InputError: if the source is missing, cannot be read, or is not a picture, damaged, too
            small or too large.
    """
    return read_with_alpha(
        source, name=name, max_pixels=max_pixels, min_side=min_side, storage=storage
    )[0]


def read_alpha(
    source: ImageSource,
    *,
    name: str = "image",
    max_pixels: int = MAX_PIXELS,
    min_side: int = MIN_SIDE,
) -> NDArray[np.uint8] | None:
    """Return the alpha channel alone, as :func:`read_with_alpha` does."""
    return read_with_alpha(source, name=name, max_pixels=max_pixels, min_side=min_side)[1]


def read_with_alpha(
    source: ImageSource,
    *,
    name: str = "image",
    max_pixels: int = MAX_PIXELS,
    min_side: int = MIN_SIDE,
    storage: Storage = IN_MEMORY,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Read a picture as :func:`read_image` does, and its transparency.

    A file object is read to its end: this is for those that are wanted as both.

    Returns:
        uint8 (H, W, 3), RGB, laid on white where it is transparent; and its alpha channel, uint8
        (H, W), 0 for transparent and 255 for opaque, or None if it is opaque everywhere.

    Raises:
        InputError: as :func:`read_image` does.
    """
    if isinstance(source, np.ndarray):
        check_array(source, name)
        check_size(source.shape[1], source.shape[0], name, max_pixels, min_side)
        return source, None
    label = label_of(source, name)
    if isinstance(source, Image.Image):
        return _decoded(source, label, max_pixels, min_side, storage)
    with (
        encoded(source, label, max_pixels) as stream,
        identify(stream, label) as image,
    ):
        return _decoded(image, label, max_pixels, min_side, storage)


def _decoded(
    image: Image.Image, label: str, max_pixels: int, min_side: int, storage: Storage
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    check_size(image.width, image.height, label, max_pixels, min_side)
    pixels, alpha = decode(image, label, storage)
    # HEIF may turn out to be of another size than it said.
    check_size(pixels.shape[1], pixels.shape[0], label, max_pixels, min_side)
    return pixels, None if alpha is None or alpha.min() == 255 else alpha
