"""The formats of files that pictures are written in, by extension."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ortist.engine.errors import InputError

ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".webp": ("WEBP", {"quality": 95}),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}),
    ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
    ".bmp": ("BMP", {}),
}
OUTPUT_EXTENSIONS: tuple[str, ...] = tuple(ENCODERS)

LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}


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


def encoder(path: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """Return Pillow's name of the format, and the settings; InputError if it is unknown."""
    check_extension(path, OUTPUT_EXTENSIONS)
    return ENCODERS[Path(path).suffix.lower()]
