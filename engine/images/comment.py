"""A text in the metadata of a picture: EXIF's UserComment, which all formats but BMP can hold."""

from __future__ import annotations

import os
from typing import IO, Any

from PIL import Image

from ortist.engine.images.decode import DECODE_ERRORS
from ortist.engine.images.identify import identify
from ortist.engine.images.size import MAX_PIXELS
from ortist.engine.images.source import encoded, label_of
from ortist.models.versions import installed_version

LONGEST_COMMENT = 60_000
"""Bytes of the longest text: in JPEG all of EXIF must fit in 64 kB."""

SOFTWARE_TAG = 0x0131
COMMENT_TAG = 0x9286
_EXIF_IFD = 0x8769

CODE_BYTES = 8
"""What a comment begins with: the name of its code."""
_ASCII, _UNICODE = b"ASCII\0\0\0", b"UNICODE\0"


def comment_bytes(comment: str) -> bytes:
    """Return a text as the value of UserComment."""
    if comment.isascii():
        return _ASCII + comment.encode("ascii")
    # EXIF leaves the byte order open: the mark says it.
    return _UNICODE + b"\xff\xfe" + comment.encode("utf-16-le", "replace")


def software() -> str:
    """Return what wrote the file."""
    # Without a version it runs where it was not installed.
    return " ".join(filter(None, ("ortist", installed_version("ortist"))))


def comment_exif(comment: str) -> bytes:
    """Return EXIF with a comment and what wrote it."""
    exif = Image.Exif()
    exif[SOFTWARE_TAG] = software()
    exif[_EXIF_IFD] = {COMMENT_TAG: comment_bytes(comment)}
    return exif.tobytes()


def read_comment(
    source: str | os.PathLike[str] | IO[bytes], *, max_pixels: int = MAX_PIXELS
) -> str | None:
    """Return the comment of a picture, or None if it has none that can be read.

    Pixels are not decoded, and nothing that the file says is relied on: what comes back is any
    text of at most ``LONGEST_COMMENT`` bytes.

    Args:
        source: the path of a regular file, or a binary file object, which is read to its end.
        max_pixels: no more bytes are read than such a picture can take.

    Raises:
        InputError: if the file is missing, cannot be read, or is not a picture.
    """
    label = label_of(source, "image")
    with encoded(source, label, max_pixels) as stream, identify(stream, label) as image:
        try:
            return _text(_find_comment(image))
        except DECODE_ERRORS:  # damaged EXIF
            return None


def _find_comment(image: Image.Image) -> Any:
    # PNG's own getexif would decode the picture to look behind it.
    exif = Image.Image.getexif(image)
    # Our TIFFs have it in their first directory.
    return exif.get(COMMENT_TAG) or exif.get_ifd(_EXIF_IFD).get(COMMENT_TAG)


def _text(value: Any) -> str | None:
    if not isinstance(value, bytes) or len(value) > LONGEST_COMMENT + CODE_BYTES:
        return None
    code, text = value[:CODE_BYTES], value[CODE_BYTES:]
    coding = {_ASCII: "ascii", _UNICODE: "utf-16"}.get(code)
    return text.decode(coding).rstrip("\0") if coding else None  # others pad it
