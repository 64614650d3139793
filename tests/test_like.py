"""``ortist stylize --like``: pictures say how they were made, and are made again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_cli import CONTENT, STYLE, Ortist, ortist

from ortist.engine.images import Encoding, read_comment, read_image, write_image
from ortist.engine.record import read_made

__all__ = ["ortist"]  # the fixture
EXAMPLES = Path(STYLE).parent
RUN = ("--size", "48", "--scales", "2", "--steps", "4", "--print-every", "0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The working directory, with pictures."""
    for name in ("content.jpg", "style.jpg", "ink.jpg", "sky.png"):
        shutil.copy(EXAMPLES / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif", "avif"])
def test_every_format_says_how_it_was_made(ortist: Ortist, folder: Path, extension: str) -> None:
    first, again = f"first.{extension}", f"again.{extension}"
    region = ("--region", "sky.png=ink.jpg:style-mask.png", "--protect", "sky.png")
    shutil.copy(folder / "sky.png", folder / "mask.png")
    write_image(read_image(folder / "ink.jpg"), folder / "style-mask.png")
    options = ("--init", "style.jpg", "--style-layer", "conv1_1:2", "--recipe", "loose")
    arguments = ("content.jpg", "style.jpg", "ink.jpg", *region, *options, "--style-weight", "3")
    done = ortist("stylize", *arguments, "--style-weight", "1", *RUN, "--threads", "1", "-o", first)
    assert (done.code, done.err) == (0, "")
    done = ortist("stylize", "--like", first, "-o", again, "--print-every", "0")
    assert (done.code, done.err) == (0, "")
    assert "unlike" not in done.out
    assert (folder / again).read_bytes() == (folder / first).read_bytes()


def test_what_is_not_as_it_was_is_said(ortist: Ortist, folder: Path) -> None:
    two = ("--threads", "2")
    assert ortist("stylize", "content.jpg", "style.jpg", "-o", "first.png", *RUN, *two).code == 0
    shutil.copy(folder / "ink.jpg", folder / "style.jpg")
    done = ortist(
        "stylize", "--like", "first.png", "-o", "other.png", "--beta", "9", "--threads", "1"
    )
    assert (done.code, done.err) == (0, "")
    assert [line for line in done.out.splitlines() if line.startswith("unlike")] == [
        "unlike first.png: style 'style.jpg' has other content",
        "unlike first.png: option beta is 9.0, was 4.0",
        "unlike first.png: threads is 1, was 2",
    ]
    done = ortist("stylize", "content.jpg", "--like", "first.png", "-o", "q.png", "-q")
    assert done.out == ""


def test_pictures_are_looked_for_here_and_beside(ortist: Ortist, folder: Path) -> None:
    assert ortist("stylize", "content.jpg", "style.jpg", "-o", "first.png", *RUN).code == 0
    (folder / "elsewhere").mkdir()
    for name in ("first.png", "content.jpg", "style.jpg"):
        shutil.move(folder / name, folder / "elsewhere")
    # One of the same name is here, but not of the same content.
    shutil.copy(folder / "ink.jpg", folder / "style.jpg")
    done = ortist("stylize", "--like", "elsewhere/first.png", "-o", "again.png")
    assert (done.code, "unlike" in done.out) == (0, False)
    first = folder / "elsewhere" / "first.png"
    assert (folder / "again.png").read_bytes() == first.read_bytes()
    (folder / "elsewhere" / "content.jpg").unlink()
    done = ortist("stylize", "--like", "elsewhere/first.png", "-o", "more.png")
    assert done.code == 2
    assert done.err == (
        "error: content of 'elsewhere/first.png' was 'content.jpg', which is neither here nor"
        " beside it: give it\n"
    )


def test_numbered_pictures_say_how_far_they_got(ortist: Ortist, folder: Path) -> None:
    arguments = ("content.jpg", "style.jpg", "-o", "out.png", "--save-every", "3", *RUN)
    assert ortist("stylize", *arguments).code == 0
    steps = {}
    for name in ("out-0003.png", "out.png"):
        comment = read_comment(folder / name)
        assert comment is not None
        steps[name] = read_made(comment)[1]
    assert steps == {"out-0003.png": 3, "out.png": 4}
    done = ortist("stylize", "--like", "out-0003.png", "-o", "again.png")
    assert "unlike out-0003.png: 4 steps, it has 3" in done.out


def test_no_metadata_says_nothing(ortist: Ortist, folder: Path) -> None:
    arguments = ("content.jpg", "style.jpg", *RUN)
    assert ortist("stylize", *arguments, "-o", "out.png", "--no-metadata").code == 0
    assert read_comment(folder / "out.png") is None
    done = ortist("stylize", "--like", "out.png", "-o", "again.png")
    assert (done.code, done.err) == (
        2,
        "error: 'out.png' does not say how it was made: there is no record of ortist in it\n",
    )
    assert ortist("stylize", *arguments, "-o", "out.bmp").code == 0


def test_no_folder_is_in_the_file(ortist: Ortist, folder: Path) -> None:
    assert ortist("stylize", CONTENT, STYLE, "-o", "out.jpg", *RUN).code == 0
    comment = read_comment(folder / "out.jpg")
    assert comment is not None
    assert str(EXAMPLES) not in comment
    assert "content.jpg" in comment


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "a nice picture",
        lambda text: "{}",
        lambda text: text[:-1],
        lambda text: text.replace('"steps": 4}', '"steps": -1}'),
        lambda text: text.replace('"size"', '"sizes"'),
        lambda text: text.replace('"lbfgs"', '"newton"'),
        lambda text: text.replace('"role": "content"', '"role": "nothing"'),
        lambda text: text.replace('"name": "style.jpg"', '"name": "../../etc/passwd"'),
    ],
)
def test_what_a_file_says_is_not_relied_on(ortist: Ortist, folder: Path, change: object) -> None:
    assert ortist("stylize", "content.jpg", "style.jpg", "-o", "out.png", *RUN).code == 0
    comment = read_comment(folder / "out.png")
    assert comment is not None
    assert callable(change)
    changed = change(comment)
    assert changed != comment
    write_image(read_image(folder / "out.png"), folder / "odd.png", Encoding(comment=changed))
    done = ortist("stylize", "--like", "odd.png", "-o", "again.png")
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert not (folder / "again.png").exists()


def test_a_recipe_beside_it_is_refused(ortist: Ortist, folder: Path) -> None:
    done = ortist("stylize", "--like", "x.png", "--recipe", "fine", "-o", "again.png")
    assert (done.code, done.err.count("\n")) == (2, 1)
    done = ortist("stylize", "-o", "again.png")
    assert (done.code, done.err) == (2, "error: no content image given\n")


def test_what_does_not_fit_into_a_file_is_told_before_the_run(ortist: Ortist, folder: Path) -> None:
    weights = [part for _ in range(700) for part in ("--style-weight", "1.2345678901234")]
    write_image(read_image(folder / "ink.jpg")[:20, :20], folder / "tiny.png")
    arguments = ("content.jpg", *["tiny.png"] * 700, *weights, "-o", "out.png")
    done = ortist("stylize", *arguments, "--size", "32", "--steps", "1")
    assert done.code == 2
    assert done.err.startswith("error: comment has ")
    assert not (folder / "out.png").exists()


def test_checkpoint_every_needs_a_checkpoint(ortist: Ortist, folder: Path) -> None:
    done = ortist("stylize", "content.jpg", "style.jpg", "-o", "o.png", "--checkpoint-every", "3")
    assert (done.code, done.err.count("\n")) == (2, 1)
