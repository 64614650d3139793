"""``ortist stylize`` with --bits, --quality and --keep-alpha."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import STYLE, Ortist, files, ortist
from test_encoding import ramp
from test_images import HEIGHT, WIDTH, picture

from ortist.engine.images import read_alpha, read_image, write_image

__all__ = ["ortist"]  # the fixture

RUN = ("--recipe", "notebook", "--threads", "1", "--size", "48", "--scales", "2", "--steps", "2")


@pytest.fixture
def cutout(tmp_path: Path) -> str:
    """A picture, (24, 32), that is transparent at the left and opaque at the right."""
    Image.fromarray(np.dstack([picture(), ramp()])).save(tmp_path / "cutout.png")
    return "cutout.png"


def test_the_picture_and_those_on_the_way_keep_the_alpha_channel(
    ortist: Ortist, tmp_path: Path, cutout: str
) -> None:
    done = ortist("stylize", cutout, STYLE, "-o", "out.png", *RUN, "--keep-alpha", "--save-every=1")
    assert (done.code, done.err) == (0, "")
    for name, scale in (("out.png", 1.5), ("out-0001.png", 0.75), ("out-0002.png", 1.5)):
        alpha = read_alpha(tmp_path / name)
        assert alpha is not None
        assert alpha.shape == (scale * HEIGHT, scale * WIDTH)
        assert alpha[0, 0] < 6
        assert alpha[0, -1] > 249
        assert np.all(np.diff(alpha.astype(int), axis=1) >= 0)


@pytest.mark.parametrize("name", ["out.png", "out.tif"])
def test_16_bits_with_and_without_alpha(
    ortist: Ortist, tmp_path: Path, cutout: str, name: str
) -> None:
    bits = ("--bits", "16", "--timelapse", "t.gif")
    done = ortist("stylize", cutout, STYLE, "-o", name, *RUN, *bits)
    assert (done.code, done.err) == (0, "")
    data = (tmp_path / name).read_bytes()
    done = ortist("stylize", cutout, STYLE, "-o", name, *RUN, *bits, "--force", "--keep-alpha")
    assert done.code == 0
    assert read_alpha(tmp_path / name) is not None
    done = ortist("stylize", cutout, STYLE, "-o", name, *RUN, *bits, "--force")
    assert done.code == 0
    assert (tmp_path / name).read_bytes() == data
    assert read_image(tmp_path / "t.gif").shape == (36, 48, 3)


def test_an_opaque_picture_gets_no_alpha_channel(ortist: Ortist, tmp_path: Path) -> None:
    write_image(picture(), tmp_path / "opaque.png")
    for name in ("one.png", "two.png"):
        flags = ("--keep-alpha",) if name == "two.png" else ()
        assert ortist("stylize", "opaque.png", STYLE, "-o", name, *RUN, *flags).code == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_quality(ortist: Ortist, tmp_path: Path, cutout: str) -> None:
    for quality in ("5", "95"):
        arguments = ("-o", f"{quality}.jpg", "--quality", quality, "--no-metadata")
        assert ortist("stylize", cutout, STYLE, *arguments, *RUN).code == 0
    done = ortist("stylize", cutout, STYLE, "-o", "none.jpg", "--no-metadata", *RUN)
    assert done.code == 0
    assert (tmp_path / "none.jpg").read_bytes() == (tmp_path / "95.jpg").read_bytes()
    assert (tmp_path / "5.jpg").stat().st_size < (tmp_path / "95.jpg").stat().st_size / 1.5


DEEP, QUALITY, ALPHA = (
    ".png, .tif, .tiff",
    ".jpg, .jpeg, .webp, .avif",
    ".png, .webp, .tif, .tiff, .avif",
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "o.jpg", "--bits", "16"), f"JPEG has no 16 bits a channel (bits, --bits); {DEEP}"),
        (("-o", "o.bmp", "--bits", "16"), f"BMP has no 16 bits a channel (bits, --bits); {DEEP}"),
        (("-o", "o.png", "--quality", "9"), f"PNG has no quality (quality, --quality); {QUALITY}"),
        (
            ("-o", "o.jpg", "--keep-alpha"),
            f"JPEG has no alpha channel (alpha, --keep-alpha); {ALPHA}",
        ),
    ],
)
def test_what_the_format_cannot_hold_is_refused_before_the_run(
    ortist: Ortist, tmp_path: Path, cutout: str, arguments: tuple[str, ...], message: str
) -> None:
    before = files(tmp_path)
    done = ortist("stylize", cutout, STYLE, *arguments, *RUN)
    expected = message.replace("; ", "; accepted are ")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: output '{arguments[1]}': {expected}\n"
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bits", "12"), "bits is 12, accepted are 8 and 16"),
        (("--quality", "0"), "quality is 0, accepted are whole numbers from 1"),
        (("--quality", "101"), "quality is too large, accepted are whole numbers up to 100"),
    ],
)
def test_values_out_of_range(
    ortist: Ortist, tmp_path: Path, cutout: str, arguments: tuple[str, ...], message: str
) -> None:
    done = ortist("stylize", cutout, STYLE, "-o", "out.jpg", *arguments, *RUN)
    assert (done.code, done.out, done.err) == (2, "", f"error: {message}\n")


def test_a_missing_content_with_alpha(ortist: Ortist) -> None:
    done = ortist("stylize", "none.png", STYLE, "-o", "out.png", "--keep-alpha")
    assert (done.code, done.err) == (2, "error: content image 'none.png' does not exist\n")
