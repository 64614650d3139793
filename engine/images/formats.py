"""The formats of files that pictures are written in, by extension."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ortist.engine.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of files, and what it can hold.

    Attributes:
        name: Pillow's.
        settings: of Pillow's encoder.
        quality: that of files unless another is asked for, 1..100; None for lossless formats.
        alpha: whether there may be an alpha channel.
        deep: whether there may be 16 bits a channel.
        metadata: whether there may be a color profile and a comment.
        longest: most pixels a side.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    quality: int | None = None
    alpha: bool = False
    deep: bool = False
    metadata: bool = True
    longest: float = math.inf


_JPEG = Format(name="JPEG", settings={"subsampling": "4:4:4"}, quality=95, longest=65_500)
_TIFF = Format(name="TIFF", alpha=True, deep=True)
_FORMATS = {
    ".png": Format(name="PNG", alpha=True, deep=True),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format(name="WEBP", quality=95, alpha=True, longest=16_383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".avif": Format(
        name="AVIF",
        # Files by one thread differ from those by several, of which any number makes the same.
        settings={"subsampling": "4:4:4", "max_threads": 2},
        quality=95,
        alpha=True,
        longest=32_768,  # what its usual reader accepts
    ),
    ".bmp": Format(name="BMP", metadata=False),
}
OUTPUT_EXTENSIONS: tuple[str, ...] = tuple(_FORMATS)


def find_format(path: str | os.PathLike[str]) -> Format:
    """Return the format of a path; InputError if its extension is unknown, or Pillow lacks it."""
    check_extension(path, OUTPUT_EXTENSIONS)
    found = _FORMATS[Path(path).suffix.lower()]
    if found.name == "AVIF" and "AVIF" not in Image.SAVE:
        raise InputError(f"output '{os.fspath(path)}': this Pillow was not built for AVIF")
    return found


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


def check_holds(path: str | os.PathLike[str], what: str) -> None:
    """Raise InputError unless the format of a path can hold ``bits``, ``quality`` or ``alpha``."""
    about, holds = _FEATURES[what]
    if not holds(find_format(path)):
        able = [extension for extension, each in _FORMATS.items() if holds(each)]
        raise InputError(
            f"output '{os.fspath(path)}': {find_format(path).name} has no {about}; accepted are"
            f" {', '.join(able)}"
        )


_FEATURES: dict[str, tuple[str, Callable[[Format], bool]]] = {
    "bits": ("16 bits a channel (bits, --bits)", lambda each: each.deep),
    "quality": ("quality (quality, --quality)", lambda each: each.quality is not None),
    "alpha": ("alpha channel (alpha, --keep-alpha)", lambda each: each.alpha),
}
