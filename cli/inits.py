"""The start of a run as the command line writes it: a word or a file."""

from __future__ import annotations

from ortist.engine.images import ImageSource, read_image
from ortist.engine.options import INITS


def read_init(init: ImageSource, max_pixels: int) -> ImageSource:
    """Return the picture to start from if ``init`` names a file, else ``init`` as it is.

    Raises:
        InputError: if it is neither a known word nor a file that can be read.
    """
    if not isinstance(init, str) or init in INITS:
        return init
    name = f"--init is none of {', '.join(INITS)}, and image"
    return read_image(init, name=name, max_pixels=max_pixels)
