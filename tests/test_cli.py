from __future__ import annotations

import contextlib
import errno
import inspect
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from importlib import metadata, resources
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from ortist.cli import main
from ortist.cli.stylize import stylize
from ortist.engine import LAYERS, Engine, Options
from ortist.engine.graphs import WINOGRAD_MIN_PIXELS
from ortist.engine.images import read_image, write_image
from ortist.engine.options import OPTIMIZERS, OPTIONS
from ortist.models.winograd import WINOGRAD_BLOCK

EXAMPLES = Path(__file__).parents[1] / "examples"
CONTENT = str(EXAMPLES / "content.jpg")
STYLE = str(EXAMPLES / "style.jpg")
SMALL = ("--size", "32")

# The program, after some lines of a test's own.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run with them ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)
{prelude}
from ortist.cli import run
run()
"""
# Lets none of the named modules be imported.
WITHOUT = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
"""


@dataclass
class Outcome:
    code: int
    out: str
    err: str


Ortist = Callable[..., Outcome]


@pytest.fixture
def ortist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ortist:
    """Runs the command line in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        code = caught.value.code
        captured = capsys.readouterr()
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


def process(*arguments: str, prelude: str = "") -> list[str]:
    return [sys.executable, "-c", PROGRAM.format(prelude=prelude), *arguments]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def lines_but_estimate(out: str) -> list[str]:
    """Return the lines but for how long it will take, told where that is worth telling."""
    return [line for line in out.splitlines() if not re.fullmatch(r"about \d+ s in all", line)]


def test_end_to_end_without_torch(tmp_path: Path) -> None:
    """Real pictures, real weights, in a process that has the run-time dependencies only."""
    command = process(
        *("stylize", CONTENT, STYLE, "-o", "out.jpg", "--size", "96", "--steps", "60"),
        *("--log", "log.jsonl", "--print-every", "30"),
        prelude=WITHOUT.format(
            blocked={"torch", "onnxscript", "scipy", "h5py", "safetensors", "onnx"}
        ),
    )
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    assert read_image(tmp_path / "out.jpg").shape == (64, 96, 3)
    lines = lines_but_estimate(done.stdout)
    assert lines.pop(0) == "96x64 pixels, 60 evaluations"
    assert [line.partition(":")[0] for line in lines] == ["Iteration 30", "Iteration 60", "out.jpg"]
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["iteration"] for record in log] == list(range(1, 61))
    assert log[-1]["style"] < log[0]["style"] / 3
    assert log[-1]["content"] < log[0]["content"] * 0.7


def test_a_run_says_what_it_did(ortist: Ortist, tmp_path: Path) -> None:
    outcome = ortist("stylize", CONTENT, STYLE, "-o", "out.png", *SMALL, "--steps", "40")
    lines = lines_but_estimate(outcome.out)
    number = r"[0-9.e+]+"
    costs = rf": total cost = {number}, content cost = {number}, style cost = {number}"
    assert outcome.code == 0
    assert outcome.err == ""
    assert lines[0] == "32x21 pixels, 40 evaluations"
    assert re.fullmatch("Iteration 20" + costs, lines[1])
    assert re.fullmatch("Iteration 40" + costs, lines[2])
    assert re.fullmatch(rf"out\.png: 32x21 pixels, J = {number}, 40 steps, {number} s", lines[3])
    assert files(tmp_path) == ["out.png"]


def test_quiet_says_nothing(ortist: Ortist, tmp_path: Path) -> None:
    outcome = ortist("stylize", CONTENT, STYLE, "-qo", "out.png", *SMALL, "--steps", "20")
    assert outcome == Outcome(0, "", "")
    assert files(tmp_path) == ["out.png"]


def test_the_log_adds_up(ortist: Ortist, tmp_path: Path) -> None:
    outcome = ortist(
        *("stylize", CONTENT, STYLE, "-o", "out.png", *SMALL, "--steps", "3"),
        *("--alpha", "3", "--beta", "5", "--tv", "0.5", "--log", "log.jsonl"),
        *("--style-layer", "conv1_1:0.75", "--style-layer", "conv3_1:0.25"),
        *("--content-cost", "content", "--content-layer", "conv4_2:2"),
    )
    assert outcome.code == 0
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(records) == 3
    for record in records:
        style = record["style_layers"]
        assert record["style"] == pytest.approx(0.75 * style["conv1_1"] + 0.25 * style["conv3_1"])
        assert record["content"] == pytest.approx(2 * record["content_layers"]["conv4_2"])
        assert record["total"] == pytest.approx(
            3 * record["content"] + 5 * record["style"] + 0.5 * record["total_variation"]
        )
        assert record["seconds"] > 0


def test_numbered_pictures_beside_the_painting(ortist: Ortist, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    arguments = ("stylize", CONTENT, STYLE, "-o", "here/out.png", *SMALL, "--steps", "5")
    assert ortist(*arguments, "--save-every", "2").code == 0
    assert files(tmp_path / "here") == ["out-0002.png", "out-0004.png", "out.png"]
    one, two = (read_image(tmp_path / "here" / f"out-000{n}.png") for n in (2, 4))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_command_gives_the_same_bytes(
    ortist: Ortist, tmp_path: Path, optimizer: str
) -> None:
    arguments = ("stylize", CONTENT, STYLE, *SMALL, "--steps", "6", "--scales", "2")
    arguments += ("--threads", "2", "--init", "noise", "--optimizer", optimizer)
    for name, seed in (("a.png", "7"), ("b.png", "7"), ("c.png", "8")):
        assert ortist(*arguments, "-o", name, "--seed", seed).code == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b
    assert a != c


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        (("--size", "40"), (27, 40, 3)),
        (("--width", "30"), (20, 30, 3)),
        (("--height", "30"), (30, 45, 3)),
        (("--width", "33", "--height", "35"), (35, 33, 3)),
    ],
)
def test_sizes(
    ortist: Ortist, tmp_path: Path, arguments: tuple[str, ...], shape: tuple[int, int, int]
) -> None:
    assert ortist("stylize", CONTENT, STYLE, "-o", "out.png", "--steps", "1", *arguments).code == 0
    assert read_image(tmp_path / "out.png").shape == shape


def test_starting_from_a_picture(ortist: Ortist, tmp_path: Path) -> None:
    start = np.full((21, 32, 3), 77, np.uint8)
    write_image(start, tmp_path / "start.png")
    outcome = ortist(
        *("stylize", CONTENT, STYLE, "-o", "out.png", *SMALL, "--steps", "1"),
        *("--recipe", "notebook", "--init", "start.png", "--learning-rate", "1"),
    )
    assert outcome.code == 0
    moved = read_image(tmp_path / "out.png").astype(int) - start
    assert np.abs(moved).max() == 1


def test_several_styles_are_blended(ortist: Ortist, tmp_path: Path) -> None:
    small = (*SMALL, "--recipe", "notebook", "--steps", "2", "--no-metadata")
    arguments = ("stylize", CONTENT, STYLE, CONTENT, *small)
    for name, weights in (("both", ("1", "1")), ("first", ("1", "0"))):
        options = [part for weight in weights for part in ("--style-weight", weight)]
        assert ortist(*arguments, "-o", f"{name}.png", *options).code == 0
    assert ortist("stylize", CONTENT, STYLE, *small, "-o", "alone.png").code == 0
    both, first, alone = (
        (tmp_path / f"{name}.png").read_bytes() for name in ("both", "first", "alone")
    )
    assert first == alone
    assert both != alone


def test_every_option_of_a_run_can_be_given_and_has_its_default_from_the_recipe(
    ortist: Ortist,
) -> None:
    parameters = inspect.signature(stylize).parameters
    text = ortist("stylize", "--help").out
    for item in fields(Options):
        if item.name == "terms":  # which are Python
            continue
        assert parameters[item.name].default is None, item.name
        flag = (OPTIONS[item.name].flag or f"--{item.name.replace('_', '-')}").split("/")[0]
        assert f"{flag} " in text, item.name
    assert all(f"[default: ({value})]" in text for value in (512, 45, 4, "lbfgs", "w2"))


def test_options_win_over_the_recipe(ortist: Ortist, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('recipe = "draft"\nsteps = 4\nsize = 24\n')
    arguments = ("stylize", CONTENT, STYLE, "--recipe", "mine.toml")
    assert "24x16 pixels, 4 evaluations\n" in ortist(*arguments, "-o", "a.png").out
    assert "32x21 pixels, 4 evaluations\n" in ortist(*arguments, "-o", "b.png", *SMALL).out
    same = ("stylize", CONTENT, STYLE, *SMALL, "--steps", "4", "--recipe", "draft")
    assert ortist(*same, "-o", "c.png").code == 0
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


def test_the_notebooks_recipe_is_that_of_the_options(ortist: Ortist, tmp_path: Path) -> None:
    arguments = ("stylize", CONTENT, STYLE, *SMALL, "--steps", "3", "--threads", "1")
    assert ortist(*arguments, "--recipe", "notebook", "-o", "out.png").code == 0
    result = Engine(threads=1).stylize(CONTENT, STYLE, Options(size=32, steps=3))
    assert np.array_equal(read_image(tmp_path / "out.png"), result.image)


OUT = (CONTENT, STYLE, "-o", "out.png")
INVALID = {
    "missing content": (
        ("no.jpg", STYLE, "-o", "out.png"),
        "content image 'no.jpg' does not exist",
    ),
    "missing style": ((CONTENT, "no.jpg", "-o", "out.png"), "style image 'no.jpg' does not exist"),
    "directory": ((CONTENT, ".", "-o", "out.png"), "style image '.' is a directory"),
    "not an image": (("text.jpg", STYLE, "-o", "out.png"), "'text.jpg' is not an image in a known"),
    "truncated": (("half.jpg", STYLE, "-o", "out.png"), "'half.jpg' is truncated or damaged"),
    "small": (("tiny.png", STYLE, "-o", "out.png"), "is 40x15 pixels; each side needs at least 16"),
    "large": (
        (*OUT, "--max-pixels", "9999"),
        "at most 9999 are accepted (raise max_pixels, --max-",
    ),
    "huge": ((*OUT, "--size", "100000"), "the picture has 6671900000 pixels (100000x66719); at"),
    "layer": ((*OUT, "--style-layer", "conv6_1"), f"accepted are {', '.join(LAYERS)}"),
    "layer twice": (
        (*OUT, "--style-layer", "conv1_1", "--style-layer", "conv1_1:2"),
        "--style-layer conv1_1 is given twice",
    ),
    "layer weight": (
        (*OUT, "--style-layer", "conv1_1:x"),
        "--style-layer conv1_1:x: the weight 'x' is not a number",
    ),
    "some layer weights": (
        (*OUT, "--content-layer", "conv1_1:1", "--content-layer", "conv2_1"),
        "--content-layer conv2_1 has no weight but others have; give all or none",
    ),
    "negative": ((*OUT, "--alpha", "-1"), "alpha is -1.0, accepted are numbers from 0"),
    "infinite": ((*OUT, "--beta", "inf"), "beta is inf, accepted are numbers from 0"),
    "not a number": ((*OUT, "--style-layer", "conv1_1:nan"), "weight of conv1_1 is nan, accepted"),
    "style weights": (
        (*OUT, "--style-weight", "1", "--style-weight", "2"),
        "style_weights has 2 weights for 1 style images",
    ),
    "pooling": ((*OUT, "--pooling", "sum"), "pooling is 'sum', accepted are average, max, l2"),
    "init": (
        (*OUT, "--init", "nois"),
        "init is none of noise, content, blank, uniform, normal, style, and image 'nois' does not"
        " exist",
    ),
    "output exists": ((CONTENT, STYLE, "-o", "old.png"), "'old.png' exists; --force"),
    "long name": ((CONTENT, STYLE, "-o", "a" * 300 + ".png"), "cannot be written: File name too"),
    "long log name": ((*OUT, "--log", "a" * 300), "cannot be written: File name too"),
    "log is output": ((*OUT, "--log", "./out.png"), "'out.png' is both the picture and the log"),
    "numbered exists": ((*OUT, "--save-every", "1"), "'out-0002.png' exists; --force"),
    "log exists": ((*OUT, "--log", "old.png"), "'old.png' exists; --force"),
    "log folder": ((*OUT, "--log", "no/log.jsonl"), "there is no directory"),
    "no folder": ((CONTENT, STYLE, "-o", "no/out.png"), "there is no directory"),
    "unwritable": ((CONTENT, STYLE, "-o", "/proc/out.png"), "cannot write to directory '/proc'"),
    "extension": ((CONTENT, STYLE, "-o", "out.xcf"), "accepted are .png, .jpg, .jpeg, .webp, .tif"),
    "numbered folder": (
        (*OUT, "--save-every", "1", "--force"),
        "'out-0003.png' is a directory",
    ),
    "long numbered name": (
        (CONTENT, STYLE, "-o", "a" * 248 + ".png", "--save-every", "1", "--force"),
        "-0001.png' cannot be written: File name too",
    ),
    "output is a pipe": (
        (CONTENT, STYLE, "-o", "pipe.png", "--force"),
        "'pipe.png' cannot be written: it is no regular file",
    ),
    "plot is a link to a pipe": (
        (*OUT, "--plot", "link.png", "--force"),
        "'link.png' cannot be written: it is no regular file",
    ),
    "content is a pipe": (
        ("pipe.png", STYLE, "-o", "out.png"),
        "content image 'pipe.png' cannot be read: it is no regular file",
    ),
    "log is a device": (
        (*OUT, "--log", "/dev/full", "--force"),
        "'/dev/full' cannot be written: it is no regular file",
    ),
    "content is a device": (
        ("/dev/zero", STYLE, "-o", "out.png"),
        "content image '/dev/zero' cannot be read: it is no regular file",
    ),
    "device": ((*OUT, "--device", "abacus"), "unknown device 'abacus', accepted are auto, cpu,"),
    "models": ((*OUT, "--models", "no"), "no/manifest.json: No such file or directory"),
}


@pytest.mark.parametrize("case", INVALID)
def test_bad_input_is_one_line_and_writes_nothing(
    ortist: Ortist, tmp_path: Path, case: str
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "half.jpg").write_bytes(Path(CONTENT).read_bytes()[:50_000])
    (tmp_path / "old.png").write_bytes(b"old")
    (tmp_path / "out-0002.png").write_bytes(b"old")
    write_image(np.zeros((15, 40, 3), np.uint8), tmp_path / "tiny.png")
    (tmp_path / "out-0003.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("pipe.png")
    before = contents(tmp_path)
    arguments, message = INVALID[case]
    outcome = ortist("stylize", *arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.iterdir()}


def test_usage_errors_exit_with_2(ortist: Ortist) -> None:
    for arguments in ((CONTENT, STYLE), (*OUT, "--steps", "few"), (*OUT, "--threads", "0")):
        assert ortist("stylize", *arguments).code == 2


def test_force_replaces_what_is_there(ortist: Ortist, tmp_path: Path) -> None:
    old = ("out.png", "out-0001.png", "log.jsonl")
    for name in old:
        (tmp_path / name).write_bytes(b"old")
    outcome = ortist(
        *("stylize", *OUT, *SMALL, "--steps", "1", "--save-every", "1", "--log", "log.jsonl"),
        "--force",
    )
    assert outcome.code == 0
    assert files(tmp_path) == sorted(old)
    assert all((tmp_path / name).read_bytes() != b"old" for name in old)


def test_a_corrupt_model_is_named_with_its_checksum(ortist: Ortist, tmp_path: Path) -> None:
    copy_models(tmp_path / "models")
    victim = tmp_path / "models" / "vgg19-average-gradient-neighbors.onnx"
    victim.write_bytes(victim.read_bytes()[:-1])
    outcome = ortist("stylize", *OUT, *SMALL, "--models", "models")
    assert outcome.code == 2
    assert re.fullmatch(
        r"error: .*gradient-neighbors\.onnx is corrupt: sha256 \w{64}, expected \w{64}\n",
        outcome.err,
    )
    assert files(tmp_path) == sorted(["models", *(f"models/{f}" for f in files(victim.parent))])
    outcome = ortist("info", "--models", "models")
    assert outcome.code == 1
    assert re.search(r"^CORRUPT +vgg19-average-gradient-neighbors\.onnx", outcome.out, re.MULTILINE)


def copy_models(folder: Path) -> None:
    shutil.copytree(str(resources.files("ortist.models")), folder)


def test_a_cost_beyond_numbers_keeps_the_last_good_picture(ortist: Ortist, tmp_path: Path) -> None:
    outcome = ortist("stylize", *OUT, *SMALL, "--recipe", "notebook", "--learning-rate", "1e30")
    assert outcome.code == 1
    assert outcome.err.startswith("error: the cost is ")
    assert outcome.err.endswith("; the last good picture is out.png\n")
    assert read_image(tmp_path / "out.png").shape == (21, 32, 3)


def on_terminal(folder: Path, *arguments: str, prelude: str = "", code: int = 0) -> tuple[str, str]:
    """Run in a process whose stderr is a terminal; return its stdout and what the terminal got."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        process(*arguments, prelude=prelude),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as run:
        os.close(theirs)
        shown = b""
        # Reading a terminal whose other side is closed fails on Linux.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 65536):
                shown += part
        os.close(ours)
        out, _ = run.communicate(timeout=60)
    assert run.returncode == code
    return out, shown.decode()


def test_a_terminal_gets_a_bar_with_the_costs(tmp_path: Path) -> None:
    out, shown = on_terminal(tmp_path, "stylize", *OUT, *SMALL, "--steps", "20")
    assert re.search(r"20/20.* J \S+  content \S+  style \S+ .*0:00:00", shown)
    assert [line.partition(":")[0] for line in lines_but_estimate(out)] == [
        *("32x21 pixels, 20 evaluations", "Iteration 20", "out.png")
    ]


def test_quiet_shows_no_bar(tmp_path: Path) -> None:
    assert on_terminal(tmp_path, "stylize", *OUT, *SMALL, "--steps", "1", "--quiet") == ("", "")


def test_version(ortist: Ortist) -> None:
    assert ortist("--version") == Outcome(0, f"ortist {metadata.version('ortist')}\n", "")


def test_help_tells_of_every_command_and_default(ortist: Ortist) -> None:
    commands = ("stylize", "resume", "batch", "grid", "compare", "recipes", "info", "export")
    assert all(name in ortist("--help").out for name in commands)
    text = ortist("stylize", "--help").out
    assert all(f"[default: {value}]" in text for value in ("(standard)", "auto", 20))
    assert "pip install 'ortist[export]'" in ortist("export", "--help").out


def test_what_cannot_be_read_is_left_to_what_reads_it(
    ortist: Ortist, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser's own check, which root passes, would end with the usage, in several lines."""
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK and may(path, mode))
    assert ortist("stylize", *OUT, *SMALL, "--steps", "1").code == 0
    outcome = ortist("grid", CONTENT, "--style", STYLE, "-o", "g.png", *SMALL, "--vary", "steps=1")
    assert outcome.code == 0


def test_info(ortist: Ortist) -> None:
    facts = json.loads(ortist("info", "--json").out)
    assert facts["versions"]["ortist"] == metadata.version("ortist")
    assert "CPUExecutionProvider" in facts["providers"]
    expected = f"winograd (block {WINOGRAD_BLOCK}) from {WINOGRAD_MIN_PIXELS} pixels, direct below"
    assert facts["kernel"] == f"{expected}, on CPUExecutionProvider"
    assert facts["cache"]["folder"].startswith(os.environ["XDG_CACHE_HOME"])
    assert "vgg19.weights" in [artifact["file"] for artifact in facts["artifacts"]]
    assert all(artifact["ok"] for artifact in facts["artifacts"])
    outcome = ortist("info")
    assert outcome.code == 0
    for artifact in facts["artifacts"]:
        assert f"{artifact['file']}  sha256 {artifact['sha256']}" in outcome.out


def no_entries(_: Path) -> NoReturn:
    raise PermissionError(errno.EACCES, "Permission denied", "cache")


def one_gone(folder: Path) -> Iterator[Path]:
    yield folder / "gone.onnx"


@pytest.mark.parametrize(
    ("folder", "listing", "problem"),
    [
        ("a" * 300, Path.iterdir, "File name too long"),
        ("a/b", Path.iterdir, "Not a directory"),
        ("cache", no_entries, "Permission denied"),
        ("cache", one_gone, None),
        ("missing", Path.iterdir, None),
    ],
)
def test_info_of_a_cache_that_cannot_be_read(
    ortist: Ortist,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
    listing: Callable[[Path], Iterator[Path]],
    problem: str | None,
) -> None:
    (tmp_path / "a").touch()
    monkeypatch.setattr("ortist.cli.info.cache_directory", lambda: tmp_path / folder)
    monkeypatch.setattr(Path, "iterdir", listing)
    outcome = ortist("info")
    assert (outcome.code, outcome.err) == (0, "")
    shown = f"cannot be read: {problem}" if problem else "(0 files, 0.0 MB)"
    assert f"cache            {tmp_path / folder} {shown}\n" in outcome.out
    facts = json.loads(ortist("info", "--json").out)["cache"]
    assert facts == {
        "folder": str(tmp_path / folder),
        "files": 0,
        "bytes": 0,
        "error": problem,
    }


def test_export_of_missing_weights(ortist: Ortist, tmp_path: Path) -> None:
    outcome = ortist("export", "--weights", "no.pth", "-o", "models")
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert "no.pth" in outcome.err
    assert files(tmp_path) == []


def test_the_export_package_runs_as_the_command(ortist: Ortist, tmp_path: Path) -> None:
    arguments = ("--weights", "no.pth", "--output", "models")
    done = subprocess.run(
        [sys.executable, "-m", "ortist.export", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert Outcome(done.returncode, done.stdout, done.stderr) == ortist("export", *arguments)
    assert done.returncode == 2
