"""Writing pictures."""

from __future__ import annotations

import os
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ortist.engine.images.comment import comment_exif
from ortist.engine.images.encoding import PLAIN, Encoding
from ortist.engine.images.formats import Format, find_format
from ortist.engine.images.output import written_whole
from ortist.engine.images.png import write_deep_png
from ortist.engine.images.profiles import srgb_profile
from ortist.engine.images.tensors import check_array, to_deep_image, to_image
from ortist.engine.images.tiff import write_tiff

Picture: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
"""uint8 (H, W, 3) or float32 (1, 3, H, W), RGB, 0..255."""


def write_image(picture: Picture, path: str | os.PathLike[str], encoding: Encoding = PLAIN) -> None:
    """Write a picture to ``path``, whole or not at all, replacing what is there.

    The extension names the format; see :func:`~ortist.models.files.write_whole`. The file says
    that its colors are sRGB, unless it is a BMP.

    Args:
        picture: uint8 (H, W, 3), or float32 (1, 3, H, W), which is rounded and clipped to 0..255;
            RGB. With 16 bits v becomes 257 v, rounded after that.
        path: where it goes.
        encoding: bits, quality, alpha channel and comment.

    Raises:
        InputError: if the extension is unknown, the format cannot hold what the encoding says, or
            the file cannot be written.
    """
    file_format = find_format(path)
    encoding.check(path)
    samples = _samples(picture, encoding)
    with written_whole(path) as stream:
        if file_format.name == "TIFF":
            write_tiff(samples, stream, srgb_profile(), encoding.comment)
        elif encoding.bits == 16:
            write_deep_png(samples, stream, srgb_profile(), encoding.comment)
        else:
            _write(Image.fromarray(samples), stream, file_format, encoding)


def _samples(picture: NDArray[Any], encoding: Encoding) -> NDArray[Any]:
    """Return the samples of the file: uint8 or uint16, (H, W, 3), or (H, W, 4) with alpha."""
    scale = 257 if encoding.bits == 16 else 1
    color: NDArray[Any]
    if picture.dtype == np.float32 and picture.ndim == 4 and picture.shape[:2] == (1, 3):
        color = to_deep_image(picture) if encoding.bits == 16 else to_image(picture)
    else:
        check_array(picture, "picture to write")
        color = picture if scale == 1 else picture * np.uint16(scale)
    if encoding.alpha is None:
        return color
    alpha = Image.fromarray(encoding.alpha)
    if alpha.size != color.shape[1::-1]:
        # Not as the content: where it is opaque or transparent throughout it stays so.
        alpha = alpha.resize(color.shape[1::-1], Image.Resampling.BILINEAR)
    return np.dstack([color, np.asarray(alpha) * color.dtype.type(scale)])


def _write(image: Image.Image, stream: IO[bytes], file_format: Format, encoding: Encoding) -> None:
    settings = dict(file_format.settings)
    if file_format.quality is not None:
        settings["quality"] = encoding.quality or file_format.quality
    if file_format.metadata:
        settings["icc_profile"] = srgb_profile()
        if encoding.comment:
            settings["exif"] = comment_exif(encoding.comment)
    image.save(stream, file_format.name, **settings)
