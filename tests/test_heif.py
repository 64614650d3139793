"""Pictures of telephones: HEIC, which pillow-heif reads, and AVIF, which Pillow does."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import Any

import icc
import numpy as np
import pillow_heif
import pytest
from PIL import Image
from test_images import assert_close, encoded, picture

from ortist.engine.errors import InputError
from ortist.engine.images import read_alpha, read_comment, read_image

P3 = icc.rgb_profile(icc.DISPLAY_P3, icc.srgb_curve)


def heic(image: Image.Image, exif: Image.Exif | None = None, **info: Any) -> io.BytesIO:
    stream = io.BytesIO()
    file = pillow_heif.from_pillow(image)
    file.info.update(info | ({"exif": exif.tobytes()} if exif else {}))
    file.save(stream, quality=-1, chroma=444)
    stream.seek(0)
    return stream


def avif(image: Image.Image, **settings: Any) -> io.BytesIO:
    return encoded(image, "AVIF", quality=100, subsampling="4:4:4", **settings)


MAKERS = pytest.mark.parametrize("make", [heic, avif])


@MAKERS
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture(make: Any, mode: str) -> None:
    image = Image.fromarray(picture()).convert(mode)
    assert_close(read_image(make(image)), np.asarray(image.convert("RGB")), 6)


@MAKERS
def test_transparency(make: Any) -> None:
    alpha = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (24, 1))
    stream = make(Image.fromarray(np.dstack([picture(), alpha])))
    read = read_alpha(stream)
    assert read is not None
    assert_close(read, alpha, 6)
    stream.seek(0)
    assert np.all(read_image(stream)[:, 0] == 255)


@MAKERS
def test_a_profile_counts(make: Any) -> None:
    """Telephones take pictures in Display P3."""
    stream = make(Image.new("RGB", (32, 32), (120, 150, 100)), icc_profile=P3)
    expected = icc.in_srgb(np.uint8([120, 150, 100]), icc.DISPLAY_P3, icc.srgb_curve)
    assert np.abs(read_image(stream) - expected).max() < 4


@MAKERS
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_come_out_upright_once(make: Any, orientation: int) -> None:
    """As from a PNG with the same EXIF, whoever turns it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(picture())
    expected = read_image(encoded(image, "PNG", exif=exif))
    assert_close(read_image(make(image, exif=exif)), expected, 6)


@MAKERS
def test_damaged_files_are_one_line(make: Any) -> None:
    data = make(Image.fromarray(picture())).getvalue()
    for at in range(0, len(data), 5):
        with pytest.raises(InputError):
            read_image(io.BytesIO(data[:at]))
        with suppress(InputError):  # some bytes do not count
            read_image(io.BytesIO(data[:at] + b"\xff\xff" + data[at + 2 :]))


@MAKERS
def test_too_large_is_refused_before_it_is_decoded(make: Any) -> None:
    stream = make(Image.new("RGB", (400, 300)))
    with pytest.raises(InputError, match=r"^image has 120000 pixels \(400x300\); at most 99999 "):
        read_image(stream, max_pixels=99_999)


def test_without_pillow_heif_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = heic(Image.fromarray(picture()))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for read in (read_image, read_comment):
        stream.seek(0)
        with pytest.raises(InputError) as caught:
            read(stream)
        assert str(caught.value) == (
            "image is a HEIC or HEIF picture, for which pillow-heif is not installed:"
            " pip install 'ortist[heif]'"
        )


def test_no_reader_is_registered_for_the_whole_process() -> None:
    stream = heic(Image.fromarray(picture()))
    read_image(stream)
    assert "HEIF" not in Image.OPEN
