"""Writing pictures."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ortist.engine.images.formats import encoder
from ortist.engine.images.output import written_whole
from ortist.engine.images.tensors import check_array


def write_image(pixels: NDArray[np.uint8], path: str | os.PathLike[str]) -> None:
    """Write uint8 (H, W, 3) to ``path``, whole or not at all, replacing what is there.

    The extension names the format; see :func:`~ortist.models.files.write_whole`.

    Raises:
        InputError: if the extension is unknown or the file cannot be written.
    """
    file_format, settings = encoder(path)
    check_array(pixels, "picture to write")
    with written_whole(path) as stream:
        Image.fromarray(pixels).save(stream, file_format, **settings)
