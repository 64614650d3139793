"""Looking at runs: recipes, plots, time-lapses and grids."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import matplotlib
import numpy as np
import pytest
import test_cli
from matplotlib.figure import Figure
from PIL import Image, ImageSequence
from test_cli import CONTENT, OUT, STYLE, Ortist, files, process

from ortist.cli.cells import Job, _InCell, paint_cells
from ortist.cli.interrupt import interrupts
from ortist.cli.outputs.file import check_distinct
from ortist.cli.outputs.log import Log
from ortist.cli.outputs.picture import PictureFile
from ortist.cli.outputs.plot import draw_costs
from ortist.cli.outputs.timelapse import LONGER_SIDE, MAX_FRAMES, Timelapse
from ortist.cli.sheet import Cell, Sheet
from ortist.cli.vary import parse_value, parse_variations
from ortist.engine import ArtifactError, Engine, InputError, Options, Result, Step
from ortist.engine.follow import follow
from ortist.engine.images import read_image, write_image
from ortist.engine.recipes import DEFAULT_RECIPE, RECIPES
from ortist.engine.results import Painting

ortist = test_cli.ortist
RUN = ("stylize", *OUT, "--recipe", "notebook", "--threads", "1", "--size", "24")
GRID = ("grid", CONTENT, "--style", STYLE, "-o", "sheet.png", "--threads", "1", "--size", "24")
DIGITS = "9" * 400
PICTURE = np.zeros((18, 24, 3), np.uint8)


def step(iteration: int, shape: tuple[int, int] = (18, 24)) -> Step:
    costs = {"total": 1.0, "content": 1.0, "style": 1.0, "total_variation": 0.0}
    noise = np.random.default_rng(iteration).uniform(0, 255, (1, 3, *shape))
    pixels = noise.astype(np.float32)
    layers: dict[str, float] = {}
    return Step(
        **costs,
        content_layers=layers,
        style_layers=layers,
        iteration=iteration,
        seconds=0.0,
        pixels=pixels,
    )


def test_recipes_as_json(ortist: Ortist) -> None:
    rows = {row["name"]: row for row in json.loads(ortist("recipes", "--json").out)}
    assert list(rows) == list(RECIPES)
    for name, row in rows.items():
        assert RECIPES[name].with_options() == Options(**row["options"])
        assert row["evaluations"] == Options(**row["options"]).steps
        assert 0 < row["work"]["1024"] <= row["work"]["512"] <= row["evaluations"]
    # One scale: every evaluation is one in full size.
    assert rows["notebook"]["work"] == {"512": 200.0, "1024": 200.0}


def test_recipes_as_a_table(ortist: Ortist) -> None:
    outcome = ortist("recipes")
    assert outcome.code == 0
    assert max(len(line) for line in outcome.out.splitlines()) <= 80
    for recipe in RECIPES.values():
        assert re.search(rf"^{recipe.name} .* {recipe.with_options().steps} ", outcome.out, re.M)
        assert all(f"{name}=" in outcome.out for name in recipe.options)


@pytest.mark.parametrize(("extension", "start"), [("svg", b"<?xml"), ("PDF", b"%PDF")])
def test_a_plot_of_a_run(ortist: Ortist, tmp_path: Path, extension: str, start: bytes) -> None:
    outcome = ortist(*RUN, "--steps", "2", "--plot", f"costs.{extension}")
    assert (outcome.code, outcome.err) == (0, "")
    assert files(tmp_path) == [f"costs.{extension}", "out.png"]
    assert (tmp_path / f"costs.{extension}").read_bytes().startswith(start)


def test_a_plot_as_a_picture(ortist: Ortist, tmp_path: Path) -> None:
    assert ortist(*RUN, "--steps", "1", "--plot", "costs.png").code == 0
    assert 0.01 < np.mean(read_image(tmp_path / "costs.png") < 255) < 0.5


def test_a_plot_has_costs_and_scales() -> None:
    costs = {"total": array("d", [9, 4, 1]), "content": array("d", [0, 2, 3])}
    (axes,) = draw_costs(costs, [3]).axes
    total, content, change = axes.get_lines()
    assert axes.get_yscale() == "log"
    assert list(total.get_ydata()) == [9, 4, 1]
    assert list(content.get_xdata()) == [1, 2, 3]
    assert list(change.get_xdata()) == [2.5, 2.5]


def test_a_plot_without_a_positive_cost() -> None:
    nothing = array("d", [0, 0])
    assert draw_costs({"total": nothing, "content": nothing}, []).axes[0].get_lines() == []


def test_a_plot_is_drawn_without_the_users_settings(ortist: Ortist, tmp_path: Path) -> None:
    run = (*RUN, "--steps", "1", "--force", "--plot", "costs.png")
    assert ortist(*run).code == 0
    plain = (tmp_path / "costs.png").read_bytes()
    with matplotlib.rc_context({"axes.grid": True, "text.usetex": True}):
        assert ortist(*run).code == 0
        assert matplotlib.rcParams["axes.grid"]
    assert (tmp_path / "costs.png").read_bytes() == plain


def test_a_plot_that_cannot_be_drawn_leaves_the_time_lapse(
    ortist: Ortist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def savefig(*_: object, **__: object) -> None:
        raise RuntimeError("it is\nbroken")

    monkeypatch.setattr(Figure, "savefig", savefig)
    outcome = ortist(*RUN, "--steps", "1", "--plot", "costs.png", "--timelapse", "t.gif")
    assert outcome.code == 2
    error = "error: plot 'costs.png' cannot be drawn: it is broken\n"
    assert outcome.err == "the picture is out.png\n" + error
    assert files(tmp_path) == ["out.png", "t.gif"]


@pytest.mark.parametrize(
    ("name", "content"), [("MPLBACKEND", "nonsense"), ("MATPLOTLIBRC", b"\xff")]
)
def test_matplotlib_that_cannot_be_imported(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    if isinstance(content, bytes):
        (tmp_path / "rc").write_bytes(content)
        content = str(tmp_path / "rc")
    ended = plotted(tmp_path, {name: content})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: --plot needs matplotlib, which cannot be imported: ")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_a_folder_that_matplotlib_cannot_write_to_is_not_told_of(tmp_path: Path) -> None:
    ended = plotted(tmp_path, {"MPLCONFIGDIR": os.devnull})
    assert (ended.returncode, ended.stderr) == (0, "")
    assert files(tmp_path) == ["costs.png", "out.png"]


def plotted(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run with a plot in a process that has yet to import matplotlib."""
    return subprocess.run(
        process(*RUN, "--steps", "1", "--plot", "costs.png"),
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("extension", ["webp", "gif"])
def test_a_time_lapse_of_a_run(ortist: Ortist, tmp_path: Path, extension: str) -> None:
    # Frames that hardly differ would become one.
    far = ("--steps", "4", "--learning-rate", "20")
    assert ortist(*RUN, *far, "--timelapse", f"t.{extension}").code == 0
    assert files(tmp_path) == ["out.png", f"t.{extension}"]
    with Image.open(tmp_path / f"t.{extension}") as animation:
        frames, times = [], []
        for frame in ImageSequence.Iterator(animation):
            frames.append(np.asarray(frame.convert("RGB"), np.float32))
            times.append(animation.info["duration"])
    painting = read_image(tmp_path / "out.png")
    assert times == [80, 80, 80, 2000]
    assert all(frame.shape == painting.shape for frame in frames)
    away = [np.abs(frame - painting).mean() for frame in frames]
    assert away[-1] < 20  # the formats lose some, and this is noise
    assert away[0] > away[-1] + 5


def test_a_time_lapse_as_a_video(ortist: Ortist, tmp_path: Path) -> None:
    arguments = ("--width", "33", "--height", "25", "--steps", "3", "--timelapse", "t.MP4")
    outcome = ortist(*RUN, *arguments)
    assert (outcome.code, outcome.err) == (0, "")
    # Not imageio_ffmpeg.read_frames, which leaves its pipes open.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", "t.MP4", "-f", "rawvideo"]
    done = subprocess.run(
        [*command, "-pix_fmt", "rgb24", "-"], cwd=tmp_path, capture_output=True, check=True
    )
    assert re.search(r"Video: h264 .*yuv420p\b.* 32x24,.* 12.50? fps", done.stderr.decode())
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, 24, 32, 3)
    assert len(frames) == 3 + 24
    painting = Image.open(tmp_path / "out.png").resize((32, 24))
    assert np.abs(frames[-1].astype(np.float32) - np.asarray(painting)).mean() < 12
    assert not np.array_equal(frames[0], frames[-1])


def test_a_time_lapse_stays_small(tmp_path: Path) -> None:
    timelapse = Timelapse(tmp_path / "t.gif", 1000, force=False)
    for iteration in range(1, 1001):
        timelapse.step(step(iteration))
    timelapse.finish(step(1000))
    with Image.open(tmp_path / "t.gif") as animation:
        assert animation.n_frames == MAX_FRAMES
    large = Timelapse(tmp_path / "large.webp", 2, force=False)
    large.step(step(1, (400, 800)))  # a smaller scale
    large.finish(step(100, (800, 1600)))
    with Image.open(tmp_path / "large.webp") as animation:
        assert animation.size == (LONGER_SIDE, LONGER_SIDE // 2)
        assert animation.n_frames == 2


def test_the_folder_of_numbered_pictures_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given, **options: calls.append(given) or function(*given, **options)

    monkeypatch.setattr(os.path, "realpath", counted(os.path.realpath))
    monkeypatch.setattr(tempfile, "TemporaryFile", counted(tempfile.TemporaryFile))
    pictures = PictureFile(tmp_path / "out.png", every=1, steps=1000, force=False)
    pictures.check((32, 32))
    check_distinct(pictures.outputs())
    assert len(calls) < 10


def test_links_to_one_place(tmp_path: Path) -> None:
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "link.png").symlink_to("costs.png")
    one = tmp_path / "costs.png"
    check_distinct([("the plot", one), ("the log", tmp_path / "log.png")])
    for other in (tmp_path / "link.png", tmp_path / "folder" / "costs.png"):
        with pytest.raises(InputError, match=r"is both the plot and the log$"):
            check_distinct([("the plot", one), ("the log", other)])


def test_a_log_that_fails_when_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on disks in a network, which take a line and find no space for it later.
    def fsync(_: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", fsync)
    message = r"log '.*log\.jsonl' cannot be written: Disk quota exceeded$"
    log = Log(tmp_path / "log.jsonl", 1, force=False)
    with pytest.raises(InputError, match=message):
        follow([step(1)], [log])


def test_a_cost_beyond_numbers_keeps_plot_and_time_lapse(ortist: Ortist, tmp_path: Path) -> None:
    extra = ("--learning-rate", "1e30", "--plot", "costs.svg", "--timelapse", "t.gif")
    assert ortist(*RUN, *extra).code == 1
    assert files(tmp_path) == ["costs.svg", "out.png", "t.gif"]


def test_a_video_that_fails_keeps_the_picture(
    ortist: Ortist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "false")
    outcome = ortist(*RUN, "--steps", "1", "--timelapse", "t.mp4")
    assert outcome.code == 2
    error = "error: output 't.mp4' cannot be written: ffmpeg: exit code 1\n"
    assert outcome.err == "the picture is out.png\n" + error
    assert files(tmp_path) == ["out.png"]


def test_a_video_that_fails_amid_large_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "false")
    with pytest.raises(InputError, match=r"ffmpeg: exit code 1$"):
        Timelapse(tmp_path / "t.mp4", 1, force=False).finish(step(1, (400, 640)))
    assert files(tmp_path) == []


MISSING = {
    "matplotlib.figure": ("--plot", "costs.png", "pip install 'ortist[plot]'"),
    "imageio_ffmpeg": ("--timelapse", "t.mp4", "pip install 'ortist[video]'"),
}


@pytest.mark.parametrize("module", MISSING)
def test_what_to_install(
    ortist: Ortist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    option, value, message = MISSING[module]
    outcome = ortist(*RUN, option, value)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert files(tmp_path) == []


EVERY = ("--save-every", "2", "--steps", "4")
INVALID = {
    "log is numbered": (
        (*RUN, *EVERY, "--log", "out-0004.png"),
        "'out-0004.png' is both a numbered picture and the log",
    ),
    "plot is picture": (
        (*RUN, "--plot", "./out.png"),
        "'out.png' is both the picture and the plot",
    ),
    "time-lapse is picture": (
        ("stylize", CONTENT, STYLE, "-o", "out.webp", "--timelapse", "out.webp"),
        "'out.webp' is both the picture and the time-lapse",
    ),
    "log is plot": ((*RUN, "--log", "a.svg", "--plot", "a.svg"), "both the log and the plot"),
    "log is an input": (
        ("stylize", "old.png", STYLE, "-o", "out.png", "--log", "old.png", "--force"),
        "output 'old.png' is both an input and the log",
    ),
    "picture is an input": (
        ("stylize", "old.png", "old.png", "-o", "old.png", "--force"),
        "output 'old.png' is both an input and the picture",
    ),
    "sheet is an input": (
        ("grid", "old.png", "--style", STYLE, "-o", "old.png", "--force"),
        "output 'old.png' is both an input and the sheet",
    ),
    "plot exists": ((*RUN, "--plot", "old.png"), "'old.png' exists; --force"),
    "plot extension": ((*RUN, "--plot", "a.webp"), "accepted are .png, .svg, .pdf"),
    "time-lapse extension": ((*RUN, "--timelapse", "a.avi"), "accepted are .webp, .gif, .mp4"),
    "time-lapse folder": ((*RUN, "--timelapse", "no/a.gif"), "there is no directory"),
    "size": ((*RUN, "--size", DIGITS), "size is too large, accepted are whole numbers up to"),
    "width": ((*RUN, "--width", DIGITS), "width is too large, accepted"),
    "steps": ((*RUN, "--steps", DIGITS), "steps is too large, accepted"),
    "learning rate": (
        ("stylize", *OUT, "--learning-rate", "3"),
        "learning_rate is for adam, but optimizer is 'lbfgs'",
    ),
    "numbered": ((*RUN, "--save-every", "1", "--steps", "1000000"), "which makes 1000000 pictures"),
    "grid exists": ((*GRID[:4], "-o", "old.png"), "'old.png' exists; --force"),
    "grid content": (("grid", "no.jpg", *GRID[2:]), "content image 'no.jpg' does not exist"),
    "grid style": ((*GRID, "--style", "no.jpg"), "style image 'no.jpg' does not exist"),
    "grid recipe": ((*GRID, "--recipe", "stew"), "unknown recipe 'stew', accepted are"),
    "grid size": ((*GRID, "--size", "15"), "size is 15, accepted are whole numbers from 16"),
    "grid too large": ((*GRID, "--cell", "9999"), "the sheet would have "),
    "vary form": ((*GRID, "--vary", "steps"), "--vary steps has no values, accepted is NAME=VALU"),
    "vary name": ((*GRID, "--vary", "style_weights=1"), "unknown option 'style_weights', accepted"),
    "vary twice": ((*GRID, "--vary", "tv=1", "--vary", "tv=2"), "--vary tv is given twice"),
    "vary number": ((*GRID, "--vary", "steps=few"), "steps is 'few', accepted are whole numbers"),
    "vary start": ((*GRID, "--vary", "init=blank,no.jpg"), "image 'no.jpg' does not exist"),
    "start of a kind": (
        (*GRID, "--vary", "steps=1", "--recipe", "draft", "--recipe", "start.toml"),
        "init image is of type int; accepted are",
    ),
    "vary yes or no": ((*GRID, "--vary", "normalize=maybe"), "normalize is 'maybe', accepted are"),
}


@pytest.mark.parametrize("case", INVALID)
def test_bad_input_is_one_line_and_writes_nothing(
    ortist: Ortist, tmp_path: Path, case: str
) -> None:
    write_image(PICTURE, tmp_path / "old.png")
    (tmp_path / "start.toml").write_text("init = 5\n")
    arguments, message = INVALID[case]
    outcome = ortist(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert files(tmp_path) == ["old.png", "start.toml"]


def test_a_grid_of_contents_and_styles(ortist: Ortist, tmp_path: Path) -> None:
    outcome = ortist(*GRID, STYLE, "--style", CONTENT, "--vary", "steps=1", "--cell", "60")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert [line.partition(": J = ")[0] for line in lines[:-1]] == [
        f"{content} | {style} | steps=1"
        for content in ("content.jpg", "style.jpg")
        for style in ("style.jpg", "content.jpg")
    ]
    assert lines[-1].startswith("sheet.png: 4 paintings on ")
    sheet = read_image(tmp_path / "sheet.png")
    height, width = sheet.shape[:2]
    assert f"on {width}x{height} pixels" in lines[-1]
    assert np.all(sheet[:45, :60] == 255)  # nothing in the corner
    # The first column has the contents: below its picture is its name.
    corner = np.asarray(Image.open(CONTENT).convert("RGB").resize((60, 40)), np.float32)
    top = next(row for row in range(45, height) if np.any(sheet[row, :60] < 255))
    assert np.abs(sheet[top : top + 40, 8:68] - corner).mean() < 10
    label = sheet[top + 41 : top + 56, 8:68]
    assert 0.05 < np.mean(label < 128) < 0.5


def test_a_grid_of_recipes_and_values(ortist: Ortist, tmp_path: Path) -> None:
    recipes = ("--recipe", "notebook", "--recipe", "draft")
    outcome = ortist(*GRID, *recipes, "--vary", "steps=1,2", "--vary", "scales=1")
    assert outcome.code == 0
    assert [line.partition(": J = ")[0] for line in outcome.out.splitlines()[:-1]] == [
        f"content.jpg | style.jpg | {recipe} | steps={steps} | scales=1"
        for recipe in ("notebook", "draft")
        for steps in (1, 2)
    ]


def test_a_cell_is_what_stylize_paints(ortist: Ortist, tmp_path: Path) -> None:
    same = ("--threads", "1", "--size", "100", "--recipe", "notebook")
    arguments = ("grid", CONTENT, "--style", STYLE, "-qo", "sheet.png", *same)
    assert ortist(*arguments, "--vary", "steps=1").out == ""
    assert ortist("stylize", *OUT, *same, "--steps", "1").code == 0
    sheet, painting = (read_image(tmp_path / name) for name in ("sheet.png", "out.png"))
    height, width = painting.shape[:2]
    bottom = sheet.shape[0] - 8 - 18
    assert np.array_equal(sheet[bottom - height : bottom, -8 - width : -8], painting)


def test_a_grid_has_figures_below_its_paintings(ortist: Ortist, tmp_path: Path) -> None:
    sheets = []
    for more in ((), ("--compare",)):
        assert ortist(*GRID, "--vary", "steps=1", "--force", *more).code == 0
        sheets.append(read_image(tmp_path / "sheet.png"))
    plain, compared = sheets
    added = compared.shape[0] - plain.shape[0]
    assert added == 4 * 18 - 18  # in place of the line that the content's name takes
    # Below the painting, where the other sheet ends, there are four lines.
    lines = compared[-8 - 4 * 18 : -8].reshape(4, 18, -1)
    assert all(np.any(line < 100) for line in lines)


def test_figures_of_pictures_as_a_table_and_as_json(ortist: Ortist) -> None:
    arguments = ("compare", CONTENT, STYLE, "--content", CONTENT, "--style", STYLE)
    outcome = ortist(*arguments, "--json", "--threads", "1")
    assert (outcome.code, outcome.err) == (0, "")
    kept, painted = json.loads(outcome.out)
    assert [kept["picture"], painted["picture"]] == [CONTENT, STYLE]
    assert kept["content"] > 0.999 > painted["content"]
    assert kept["gram_error"] > 0.001 > painted["gram_error"]
    assert painted["match"]["conv4_3"] > 0.999
    outcome = ortist(*arguments, "--max-pixels", "1000")
    assert (outcome.code, outcome.out) == (2, "")
    assert "at most 1000 are accepted (raise max_pixels, --max-pixels)" in outcome.err
    outcome = ortist(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    for heading in ("content", "match", "gram error", "chroma noise", "weave", "border"):
        assert heading in outcome.out
        assert f"{heading}: " in outcome.out


@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_cannot_be_compared_is_one_line(ortist: Ortist, which: int) -> None:
    names = [CONTENT, CONTENT, STYLE]
    names[which] = "missing.png"
    outcome = ortist("compare", names[0], "--content", names[1], "--style", names[2])
    assert outcome.code == 2
    assert outcome.err.endswith("'missing.png' does not exist\n")
    assert outcome.err.count("\n") == 1


def test_a_grid_with_a_failing_cell(ortist: Ortist, tmp_path: Path) -> None:
    vary = ("--vary", "steps=3", "--vary", "learning_rate=1e30,1")
    outcome = ortist(*GRID, "--recipe", "notebook", *vary)
    assert outcome.code == 1
    assert outcome.err.startswith("error: content.jpg | style.jpg | steps=3 | learning_rate=1e30: ")
    assert outcome.err.endswith("; the last good picture is on sheet.png\n")
    assert outcome.out.startswith("content.jpg | style.jpg | steps=3 | learning_rate=1: J = ")
    assert files(tmp_path) == ["sheet.png"]


def test_names_that_the_terminal_cannot_show_do_not_end_a_grid(tmp_path: Path) -> None:
    shutil.copy(CONTENT, tmp_path / "光.jpg")
    command = process("grid", "光.jpg", *GRID[2:], "--vary", "steps=1")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("?.jpg | style.jpg | steps=1: J = ")


def test_a_model_that_fails_keeps_the_cells_that_are_done(
    ortist: Ortist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = Engine.iterate

    def failing(engine: Engine, content: Any, style: Any, options: Options) -> Iterator[Step]:
        if options.pooling == "max":
            raise ArtifactError("the model is corrupt")
        return painted(engine, content, style, options)

    monkeypatch.setattr(Engine, "iterate", failing)
    outcome = ortist(*GRID, "--vary", "steps=1", "--vary", "pooling=average,max")
    lines = "the paintings so far are on sheet.png\nerror: the model is corrupt\n"
    assert (outcome.code, outcome.err) == (2, lines)
    assert files(tmp_path) == ["sheet.png"]
    (tmp_path / "sheet.png").unlink()
    assert ortist(*GRID, "--vary", "steps=1", "--vary", "pooling=max,average").code == 2
    assert files(tmp_path) == []


def test_names_that_are_no_text(ortist: Ortist, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    write_image(np.full((16, 24, 3), 77, np.uint8), tmp_path / name)
    outcome = ortist("grid", name, *GRID[2:], "--vary", "steps=1")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("?.png | style.jpg | steps=1: J = ")


def test_a_cell_beyond_all_sheets(ortist: Ortist) -> None:
    assert ortist(*GRID, "--cell", DIGITS).code == 2


def test_variations() -> None:
    assert parse_variations([]) == [{}]
    assert parse_variations(["steps=30, 100", "style-scale=2"]) == [
        {"steps": "30", "style_scale": "2"},
        {"steps": "100", "style_scale": "2"},
    ]
    assert parse_variations(["beta=40;0,40@0.3"]) == [{"beta": "40"}, {"beta": "0,40@0.3"}]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "30", 30),
        ("scales", "2", 2),
        ("tv", "1e3", 1000.0),
        ("alpha", "10", 10.0),
        ("beta", "1|10", "1|10"),
        ("learning_rate", "1,2@0.5", "1,2@0.5"),
        ("pooling", "max", "max"),
        ("normalize", "Yes", True),
        ("style_layers", "conv1_1:1e+1+conv2_1:2", {"conv1_1": 10.0, "conv2_1": 2.0}),
        ("style_layers", "conv1_1+conv2_1", ["conv1_1", "conv2_1"]),
        ("style_layers", "conv1_1:0.5+conv2_1:1", {"conv1_1": 0.5, "conv2_1": 1.0}),
    ],
)
def test_values_have_the_type_of_the_option(name: str, text: str, value: object) -> None:
    parsed = parse_value(name, text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_long_and_odd_labels_are_shortened() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    long = Sheet([[Cell(20, 20, ("a" * 500,), image), Cell(20, 20, ("\n\udc80 ",), image)]])
    short = Sheet([[Cell(20, 20, ("a",), image)]])
    assert short.size == (36, 20 + 18 + 16)
    assert long.size[0] < 280
    drawn = long.draw()
    assert drawn.shape == (*long.size[::-1], 3)
    assert np.all(drawn[:, 208:216] == 255)  # the gap between the columns


def test_a_start_from_a_file(ortist: Ortist, tmp_path: Path) -> None:
    write_image(np.full((16, 24, 3), 77, np.uint8), tmp_path / "start.png")
    outcome = ortist(*GRID, "--vary", "init=start.png,blank", "--vary", "steps=1")
    assert outcome.code == 0


def test_the_default_recipe_is_that_of_stylize(ortist: Ortist) -> None:
    assert DEFAULT_RECIPE in RECIPES
    assert f"[default: ({DEFAULT_RECIPE})]" in ortist("grid", "--help").out


def test_a_video_that_ffmpeg_is_killed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nkill -KILL $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(InputError, match=r"cannot be written: ffmpeg: Killed$"):
        Timelapse(tmp_path / "t.mp4", 1, force=False).finish(step(1))
    assert files(tmp_path) == ["ffmpeg"]


def test_a_time_lapse_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        Timelapse(tmp_path / "no" / "t.gif", 1, force=False).finish(step(1))


def test_a_plot_that_fails_leaves_word_of_the_picture(
    ortist: Ortist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise InputError("no plot")

    monkeypatch.setattr("ortist.cli.outputs.plot._drawn", fail)
    outcome = ortist(*RUN, "--steps", "2", "--plot", "p.svg")
    assert outcome.code == 2
    assert outcome.err.startswith("the picture is out.png\nerror: plot 'p.svg' cannot be drawn: ")
    assert files(tmp_path) == ["out.png"]


def test_the_log_of_an_older_run_does_not_stay(ortist: Ortist, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("older\n")
    far = ("--recipe", "notebook", "--beta", "1e38", "--log", "log.jsonl", "--force")
    assert ortist(*RUN, *far).code == 1
    assert (tmp_path / "log.jsonl").read_text() == ""


def test_the_machine_is_told_to_the_engine(ortist: Ortist, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Any, ...]] = []

    def engine(*given: Any, **more: Any) -> Engine:
        told.append((*given, more))
        return Engine(*given, **more)

    for module in ("settings", "grid"):
        monkeypatch.setattr(f"ortist.cli.{module}.Engine", engine)
    models = str(Path(str(resources.files("ortist.models"))))
    machine = ("--device", "cpu", "--threads", "1", "--kernel", "direct", "--models", models)
    machine += ("--memory", "9GB", "--tile", "256")
    assert ortist(*RUN, "--steps", "1", *machine).code == 0
    assert ortist(*GRID, "--vary", "steps=1", *machine).code == 0
    machine_told = ("cpu", 1, Path(models), "direct")
    more = {"memory": 9e9, "tile": 256}
    assert told == [(*machine_told, {**more, "cluster": None}), (*machine_told, more)]


def test_cells_say_what_they_are_not() -> None:
    def lines(painting: Painting, *, requested: bool = False) -> tuple[str, ...]:
        cell = Cell(8, 8)
        job = Job("job", PICTURE, PICTURE, Options(steps=5), cell)
        interrupts.requested = requested
        try:
            _InCell(job, lambda _: None, 0).keep(painting)
        finally:
            interrupts.requested = False
        assert cell.image is not None
        return tuple(cell.lines)

    assert lines(step(5)) == ()
    assert lines(step(3)) == ()  # nothing would get better
    assert lines(step(3), requested=True) == ("3 of 5 steps",)
    assert lines(Result(step(1).pixels, (), 0.0)) == ("not finite",)


def test_a_cell_that_fails_says_so_and_others_are_told_of() -> None:
    class Failing:
        def iterate(self, *_: object) -> Any:
            return self

        def cancel(self) -> None: ...

        def __iter__(self) -> Iterator[Step]:
            yield step(1)
            raise MemoryError

    job = Job("job", PICTURE, PICTURE, Options(steps=5), Cell(8, 8))
    engine: Any = Failing()
    with pytest.raises(MemoryError):
        paint_cells([job], engine, True, [])
    assert job.cell.lines == ("failed",)
