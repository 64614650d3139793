"""What docs/errors.md says of errors and exit codes, held against cases made at random.

A case ends in a valid picture, or in one line and the right exit code with nothing written; never
in a traceback, never after 20 seconds or with 2 GB in use.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import typer
from conftest import SEED, bounded, share
from hypothesis import given, seed
from hypothesis import strategies as st
from strategies import anything, graphs, manifests, options, pictures, recipes, small_picture, texts

from ortist.cli import main
from ortist.cli.app import app
from ortist.engine import (
    ArtifactError,
    Encoding,
    Engine,
    InputError,
    Options,
    OrtistError,
    find_recipe,
)
from ortist.engine.artifacts import Artifacts
from ortist.engine.images import read_comment, read_image, read_with_alpha, write_image

SHIPPED = Path(str(resources.files("ortist.models")))
MANIFEST: dict[str, Any] = json.loads((SHIPPED / "manifest.json").read_text())
USED = {
    name: (SHIPPED / name).read_bytes()
    for name in ("vgg19-average-measure-gram.onnx", "vgg19-average-gradient-gram.onnx")
}
"""The graphs that a run with default options takes."""


def check_message(error: OrtistError) -> str:
    """Return the kind of an error whose message is one line that can be printed."""
    message = str(error)
    assert message.isprintable()
    assert 0 < len(message) < 10_000
    return type(error).__name__


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@share(0.25)
@seed(SEED)
@given(options())
def test_options_are_valid_or_an_input_error(values: dict[str, Any]) -> None:
    with bounded("options") as outcome:
        try:
            Options(**values)
            find_recipe("standard").with_options(**values)
        except InputError as error:
            outcome(check_message(error))
        else:
            outcome("valid")


@share(0.15)
@seed(SEED)
@given(recipes)
def test_recipe_files_are_valid_or_an_input_error(folder: Path, text: bytes) -> None:
    path = folder / "mine.toml"
    path.write_bytes(text)
    with bounded("recipe") as outcome:
        try:
            find_recipe(str(path)).with_options()
        except InputError as error:
            outcome(check_message(error))
        else:
            outcome("valid")


class Failing(io.RawIOBase):
    """A file object whose reading fails."""

    def read(self, size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")


def stream_of(data: bytes, kind: str) -> IO[bytes]:
    """A file object with the data, in the state that ``kind`` says."""
    stream: Any = Failing() if kind == "failing" else io.BytesIO(data)
    if kind == "closed":
        stream.close()
    return stream


@share(0.3)
@seed(SEED)
@given(pictures, st.sampled_from(["path", "stream", "stream", "closed", "failing"]))
def test_pictures_are_read_or_an_input_error(folder: Path, data: bytes, kind: str) -> None:
    path = folder / "picture"
    path.write_bytes(data)
    source = path if kind == "path" else stream_of(data, kind)
    with bounded("picture") as outcome:
        try:
            pixels, alpha = read_with_alpha(source, max_pixels=10**6)
        except InputError as error:
            outcome(check_message(error))
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            assert min(pixels.shape[:2]) >= 16
            assert pixels.shape[0] * pixels.shape[1] <= 10**6
            assert alpha is None or (alpha.dtype, alpha.shape) == (np.uint8, pixels.shape[:2])
            comment = read_comment(io.BytesIO(data))
            assert comment is None or len(comment) <= 60_000
            outcome("valid")


@pytest.fixture(scope="module")
def models(folder: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, folder / "models"))


@share(0.15)
@seed(SEED)
@given(
    st.one_of(manifests(MANIFEST).map(lambda text: {"manifest.json": text}), graphs(MANIFEST, USED))
)
def test_models_are_used_or_an_error(models: Path, files: dict[str, bytes]) -> None:
    for name, data in {**USED, **files}.items():
        (models / name).write_bytes(data)
    picture = small_picture(0)
    # A graph may give anything, or fail on its way.
    accepted = OrtistError if USED.keys() & files.keys() else ArtifactError
    with bounded("models") as outcome:
        try:
            Artifacts(models).verify()
            engine = Engine("cpu", 1, models, kernel="direct")
            result = engine.stylize(picture, picture, Options(size=20, steps=1))
        except accepted as error:
            outcome(check_message(error))
        else:
            assert result.image.shape == (17, 20, 3)
            outcome("valid")


def option_names(command: str) -> list[str]:
    """The names of all options of a command that take a value."""
    group: Any = typer.main.get_command(app)
    parameters = group.commands[command].params
    valued = [p for p in parameters if p.param_type_name == "option" and not p.is_flag]
    return sorted(name for parameter in valued for name in parameter.opts if name[:2] == "--")


CONTENTS = (
    "alpha.png",
    "good.png",
    "good.png",
    "good.png",
    "tiny.png",
    "half.png",
    "text.png",
    "pipe",
    "loop.png",
)
FILES = (*CONTENTS, "none.png", ".", "/dev/zero", "/proc/self/mem", "é\n.png", "a\0b", "", "\udcff")
OUTPUTS = (
    "out.png",
    "out.jpg",
    "out.bmp",
    "out.tif",
    "out.webp",
    "out.avif",
    "o\nut.png",
    "é\udcff.png",
)
BAD_OUTPUTS = (
    *("good.png", "no/out.png", ".", "", "out.xcf", "a" * 300 + ".png", "pipe.png", "loop.png"),
    *("null.png", "/proc/o.png", "folder.png", "a\0.png"),
)
LAST = (
    *((), ("--force",), ("--save-every", "1"), ("--quiet",)),
    *(("--keep-alpha",), ("--bits", "16"), ("--keep-alpha", "--bits", "16"), ("--quality", "3")),
    ("--optimizer", "adam", "--learning-rate", "1e30"),  # the cost becomes infinite
)
VALUES = st.one_of(
    texts, st.sampled_from(FILES), st.integers(-2, 70).map(str), st.floats().map(str)
)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Arguments that, where they are valid, ask for little."""
    command = draw(st.sampled_from(["stylize", "stylize", "stylize", "grid"]))
    files = (
        st.sampled_from(FILES)
        if draw(st.integers(0, 3)) == 0
        else st.sampled_from(("good.png", "alpha.png"))
    )
    outputs = st.sampled_from(OUTPUTS if draw(st.integers(0, 3)) else BAD_OUTPUTS)
    styles = draw(st.lists(files, min_size=1, max_size=2))
    arguments = [command, draw(files), "-o", draw(outputs)]
    arguments += styles if command == "stylize" else [f"--style={style}" for style in styles]
    pairs = st.tuples(st.sampled_from(option_names(command)), VALUES)
    for name, value in draw(st.lists(pairs, max_size=3)):
        # Whatever is valid there is in time too: these come again below.
        arguments.append(f"{name}={value}")
    if command == "stylize":
        arguments += draw(st.sampled_from(LAST))
        arguments += ["--size", "24", "--steps", "2", "--max-pixels", "2000"]
    else:
        arguments += ["--size", "24", "--vary", "steps=1", "--cell", "24"]
    return arguments


@contextlib.contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A new working directory with what command lines name."""
    here = Path.cwd()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.chdir(folder)
    try:
        write_image(small_picture(1), "good.png")
        write_image(small_picture(2)[:15], "tiny.png")
        write_image(small_picture(3), "alpha.png", Encoding(alpha=small_picture(4)[..., 0]))
        Path("half.png").write_bytes(Path("good.png").read_bytes()[:300])
        Path("text.png").write_text("no picture")
        Path("folder.png").mkdir()
        for pipe in ("pipe", "pipe.png"):
            os.mkfifo(pipe)
        Path("loop.png").symlink_to("loop.png")
        Path("null.png").symlink_to("/dev/null")
        yield folder
    finally:
        os.chdir(here)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, regular files with what is in them."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not path.is_char_device()
    }


def written(arguments: list[str]) -> list[str]:
    """The files that a command line asks for, the picture first; the last of a kind counts."""
    asked = {"--output": arguments[arguments.index("-o") + 1]}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in ("--output", "--log", "--plot", "--timelapse"):
            asked[name] = value
    return list(asked.values())


def check_rest(
    before: dict[str, bytes | None], after: dict[str, bytes | None], arguments: list[str]
) -> None:
    """Check that nothing has changed but what was to be written, pictures on the way included."""
    asked = written(arguments)
    picture = Path(asked[0])
    changed = {name for name in {**before, **after} if before.get(name) != after.get(name)}
    on_the_way = {f"{picture.stem}-{step:04}{picture.suffix}" for step in (1, 2)}
    assert changed <= {*(str(Path(name)) for name in asked), *on_the_way}


@share(0.15)
@seed(SEED)
@given(command_lines())
def test_commands_do_what_the_readme_says(folder: Path, arguments: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    with workplace(folder / "work") as here, bounded(arguments[0]) as outcome:
        before = contents(here)
        output = written(arguments)[0]
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as caught,
        ):
            main(arguments)
        code = caught.value.code or 0
        said = err.getvalue()
        assert "Traceback" not in said
        if code == 0:
            assert min(read_image(here / output, min_side=1).shape[:2]) >= 16
            check_rest(before, contents(here), arguments)
        elif code == 2 and said.startswith("Usage: "):
            assert contents(here) == before
        elif code == 2:
            assert said.startswith("error: ")
            assert said.count("\n") == 1
            assert contents(here) == before
        else:
            assert code == 1
            assert "not finite" in said or "the cost is" in said
            assert min(read_image(here / output, min_side=1).shape[:2]) >= 16
            check_rest(before, contents(here), arguments)
        outcome(f"exit {code}{', usage' if said.startswith('Usage') else ''}")


@share(0.02)
@seed(SEED)
@given(anything, anything)
def test_engines_are_made_or_an_error(device: Any, threads: Any) -> None:
    with bounded("engine") as outcome:
        try:
            Engine(device, threads)
        except OrtistError as error:
            outcome(check_message(error))
        else:
            outcome("valid")
