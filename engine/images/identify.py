"""The formats of files that pictures are read from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import IO

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
from ortist.engine.images.decode import DECODE_ERRORS

with suppress(ImportError):  # Pillow has it from version 11.3 on
    from PIL import AvifImagePlugin  # noqa: F401

_OF_PILLOW = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF")
INPUT_FORMATS: tuple[str, ...] = (*_OF_PILLOW, "HEIF")

_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
    *(b"mif1", b"msf1"),  # of any codec: also AVIF, which has been tried before
)

_COMPRESSIONS = {
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34887: "LERC",
    22610: "JPEG XR",
    34934: "JPEG XR",
    34892: "lossy JPEG",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
"""Names of the compressions of TIFF that others than Pillow read."""


def identify(stream: IO[bytes], label: str) -> Image.Image:
    """Return the picture of a file of which only headers have been read.

    ``Image.open`` would do, but it warns about large images by a process-wide limit before their
    size can be compared with ours.

    Raises:
        InputError: if the format is unknown, or needs what is not installed.
    """
    prefix = stream.read(16)
    for file_format in _OF_PILLOW:
        reader, accepts = Image.OPEN.get(file_format, (None, None))
        if reader is None or (accepts is not None and accepts(prefix) is not True):
            continue
        stream.seek(0)
        try:
            return reader(stream, "")
        except DECODE_ERRORS:
            continue
    brand = prefix[8:12] if prefix[4:8] == b"ftyp" else b""
    if brand in _AVIF_BRANDS and "AVIF" not in Image.SAVE:
        raise InputError(f"{label} is an AVIF picture, for which this Pillow was not built")
    if brand in _HEIF_BRANDS:
        stream.seek(0)
        read_heif = _heif_reader(label)
        with suppress(*DECODE_ERRORS):
            return read_heif(stream, "")
    if (compression := _unknown_compression(stream)) is not None:
        raise InputError(
            f"{label} is a TIFF picture compressed by {compression}; accepted are none, deflate,"
            " LZW, JPEG and others that Pillow reads"
        )
    raise InputError(
        f"{label} is not an image in a known format ({', '.join(INPUT_FORMATS)}), or is damaged"
    )


def _unknown_compression(stream: IO[bytes]) -> str | None:
    """Return the compression of a TIFF if it is one that Pillow does not know."""
    with suppress(*DECODE_ERRORS):
        stream.seek(0)
        header = stream.read(16)
        size = 16 if header[2] == 43 else 8  # BigTIFF, or not
        tags = TiffImagePlugin.ImageFileDirectory_v2(header[:size])
        stream.seek(tags.next)
        tags.load(stream)
        number = tags.get(TiffImagePlugin.COMPRESSION, 1)
        if number not in TiffImagePlugin.COMPRESSION_INFO:
            return _COMPRESSIONS.get(number, str(number))
    return None


def _heif_reader(label: str) -> Callable[[IO[bytes], str], Image.Image]:
    try:
        import pillow_heif

        pillow_heif.libheif_version()  # fails if its library does
        reader: Callable[[IO[bytes], str], Image.Image] = pillow_heif.HeifImageFile
    except ImportError:
        raise InputError(
            f"{label} is a HEIC or HEIF picture, for which pillow-heif is not installed:"
            " pip install 'ortist[heif]'"
        ) from None
    return reader
