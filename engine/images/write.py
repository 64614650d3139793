"""Writing pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ortist.engine.images.comment import comment_exif
from ortist.engine.images.encoding import PLAIN, Encoding
from ortist.engine.images.formats import Format, find_format
from ortist.engine.images.output import written_whole
from ortist.engine.images.png import write_deep_png
from ortist.engine.images.profiles import srgb_profile
from ortist.engine.images.samples import Samples
from ortist.engine.images.tiff import write_tiff

Picture: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
"""uint8 (H, W, 3) or float32 (1, 3, H, W), RGB, 0..255."""
_Writer: TypeAlias = Callable[[Samples, IO[bytes], bytes, str], None]


def write_image(picture: Picture, path: str | os.PathLike[str], encoding: Encoding = PLAIN) -> None:
    """Write a picture to ``path``, whole or not at all, replacing what is there.

    The extension names the format; see :func:`~ortist.models.files.write_whole`. The file says
    that its colors are sRGB, unless it is a BMP. TIFF, and PNG with 16 bits, take memory for some
    rows only, other formats for the file and 4 bytes a pixel.

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
    samples = Samples(picture, encoding.bits, encoding.alpha)
    write = _own_writer(file_format, encoding)
    with written_whole(path, streamed=write is not None) as stream:
        if write is not None:
            write(samples, stream, srgb_profile(), encoding.comment)
        else:
            _write(samples, stream, file_format, encoding)


def _own_writer(file_format: Format, encoding: Encoding) -> _Writer | None:
    """Return what writes a band at a time; None if it is Pillow, which needs all of it at once."""
    if file_format.name == "TIFF":
        return write_tiff
    return write_deep_png if encoding.bits == 16 else None


def _write(samples: Samples, stream: IO[bytes], file_format: Format, encoding: Encoding) -> None:
    settings = dict(file_format.settings)
    if file_format.quality is not None:
        settings["quality"] = encoding.quality or file_format.quality
    if file_format.metadata:
        settings["icc_profile"] = srgb_profile()
        if encoding.comment:
            settings["exif"] = comment_exif(encoding.comment)
    _image(samples).save(stream, file_format.name, **settings)


def _image(samples: Samples) -> Image.Image:
    """Return samples of 8 bits as Pillow has them, which are 4 bytes a pixel."""
    height, width, channels = samples.shape
    image = Image.new("RGB" if channels == 3 else "RGBA", (width, height))
    top = 0
    for band in samples.bands():
        image.paste(Image.fromarray(band), (0, top))
        top += len(band)
    return image
