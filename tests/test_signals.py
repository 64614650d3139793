"""Signals that end a process, at every time of its life.

What comes before the program's own first line, while the interpreter starts, is Python's to answer.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import imageio_ffmpeg
import pytest
from test_cli import CONTENT, OUT, SMALL, STYLE, Outcome, files, on_terminal, process

from ortist.engine.images import read_image

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SHORT = ("stylize", *OUT, *SMALL, "--steps", "3")
LONG = ("stylize", *OUT, *SMALL, "--steps", "1000000", "--recipe", "notebook")
GRID = ("grid", CONTENT, "--style", STYLE, "-o", "sheet.png", "--size", "24")
SECONDS = 20
"""In which every process must have ended."""

# Has the process signal itself at an event of Python's auditing, for a module or file of the name.
AT = """
import os, sys
def hook(event, details):
    if event == {event!r} and any(
        str(detail) == {name!r} or str(detail).endswith("/" + {name!r}) for detail in details[:2]
    ):
        os.kill(os.getpid(), {number:d})
sys.addaudithook(hook)
"""


def at(event: str, name: str, number: int = signal.SIGTERM) -> str:
    return AT.format(event=event, name=name, number=number)


def start(folder: Path, *arguments: str, prelude: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        process(*arguments, prelude=prelude),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(run: subprocess.Popen[str]) -> Outcome:
    with run:
        try:
            out, err = run.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            run.kill()
            raise
    return Outcome(run.returncode, out, err)


def interrupted(folder: Path, *arguments: str, prelude: str) -> str:
    """Run in a process that a signal ends; return what it said on stderr."""
    ended = outcome(start(folder, *arguments, prelude=prelude))
    assert ended.code == 130, ended
    return ended.err


@pytest.mark.parametrize(
    ("module", "number"),
    list(zip(["ortist.cli.streams", "ortist.cli.app", "numpy"], SIGNALS, strict=True)),
)
def test_while_the_program_loads(tmp_path: Path, module: str, number: int) -> None:
    assert interrupted(tmp_path, *SHORT, prelude=at("import", module, number)) == "interrupted\n"
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("event", "name", "number"),
    [
        ("open", "content.jpg", signal.SIGINT),
        ("import", "onnxruntime", signal.SIGTERM),
        ("open", "vgg19.weights", signal.SIGHUP),
    ],
)
def test_before_the_first_step(tmp_path: Path, event: str, name: str, number: int) -> None:
    err = interrupted(tmp_path, *SHORT, prelude=at(event, name, number))
    assert err == "interrupted; the picture was not written\n"
    assert files(tmp_path) == []


# A graph whose evaluation, like that of a real one, no exception reaches before its end.
EVALUATION = """
import hashlib, os, threading
from ortist.engine.run import Run
from ortist.engine.evaluators import Fused
def evaluate(*_):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
Fused.__call__ = evaluate
begin = Run.__init__
Run.__init__ = lambda run, *given: begin(run, *given[:6], lambda: os._exit(7), *given[7:])
"""


@pytest.mark.parametrize("arguments", [SHORT, (*GRID, "--vary", "steps=1")])
def test_amid_the_first_evaluation_the_run_is_canceled(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert outcome(start(tmp_path, *arguments, prelude=EVALUATION)).code == 7


def test_before_the_first_step_the_terminal_gets_its_cursor_back(tmp_path: Path) -> None:
    prelude = at("open", "vgg19-average-gradient-neighbors.onnx", signal.SIGINT)
    _, shown = on_terminal(tmp_path, *SHORT, prelude=prelude, code=130)
    assert shown.endswith("interrupted; the picture was not written\r\n")
    hidden, back = shown.rfind("\x1b[?25l"), shown.rfind("\x1b[?25h")
    assert 0 <= hidden < back


@pytest.mark.parametrize("number", SIGNALS)
def test_amid_the_steps(tmp_path: Path, number: int) -> None:
    run = start(tmp_path, *LONG, "--print-every", "1", "--log", "log.jsonl")
    assert run.stdout is not None
    assert run.stdout.readline() == "32x21 pixels, 1000000 evaluations\n"
    assert run.stdout.readline().startswith("Iteration 1: ")
    run.send_signal(number)
    ended = outcome(run)
    assert ended.code == 130
    match = re.fullmatch(
        r"interrupted after (\d+) of 1000000 steps; the picture so far is out\.png\n", ended.err
    )
    assert match
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == int(match[1])
    assert read_image(tmp_path / "out.png").shape == (21, 32, 3)


def test_amid_the_steps_the_time_lapse_is_written_too(tmp_path: Path) -> None:
    run = start(tmp_path, *LONG, "--print-every", "1", "--timelapse", "t.mp4")
    assert run.stdout is not None
    while not run.stdout.readline().startswith("Iteration 1: "):
        pass
    run.send_signal(signal.SIGINT)
    ended = outcome(run)
    assert ended.code == 130
    assert ended.err.endswith("the picture so far is out.png\n")
    assert files(tmp_path) == ["out.png", "t.mp4"]
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "t.mp4"))[0] == 25


def test_many_signals_while_the_picture_is_written(tmp_path: Path) -> None:
    prelude = at("os.rename", "out.png", signal.SIGINT) + at("os.rename", "out.png")
    err = interrupted(tmp_path, *SHORT, prelude=prelude)
    assert err == "interrupted after 3 of 3 steps; the picture so far is out.png\n"
    assert read_image(tmp_path / "out.png").shape == (21, 32, 3)
    assert files(tmp_path) == ["out.png"]


def test_while_the_last_good_picture_is_written(tmp_path: Path) -> None:
    arguments = (*SHORT, "--recipe", "notebook", "--learning-rate", "1e30")
    ended = outcome(start(tmp_path, *arguments, prelude=at("os.rename", "out.png")))
    assert ended.code == 1
    assert ended.err.endswith("; the last good picture is out.png\n")
    assert read_image(tmp_path / "out.png").shape == (21, 32, 3)


@pytest.mark.parametrize(
    ("name", "left"),
    [("costs.svg", ["out.png"]), ("t.gif", ["costs.svg", "out.png"])],
)
def test_after_the_picture(tmp_path: Path, name: str, left: list[str]) -> None:
    arguments = (*SHORT, "--plot", "costs.svg", "--timelapse", "t.gif")
    err = interrupted(tmp_path, *arguments, prelude=at("os.rename", name))
    assert err == "interrupted after writing out.png\n"
    assert files(tmp_path) == left


@pytest.mark.parametrize("reads", ["head -c 100", "cat > /dev/null"])
def test_while_a_video_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    """Amid the frames, and when ffmpeg has them all and its end is awaited."""
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text(
        f"#!/bin/sh\necho $$ > {tmp_path}/id\n{reads}\nkill -TERM $PPID\nexec sleep 600\n"
    )
    ffmpeg.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(ffmpeg))
    # More frames than a pipe takes, so that the writing goes on when the signal comes.
    arguments = ("stylize", *OUT, "--size", "100", "--steps", "3", "--timelapse", "t.mp4")
    err = interrupted(tmp_path, *arguments, prelude="")
    assert err == "interrupted after writing out.png\n"
    assert files(tmp_path) == ["ffmpeg", "id", "out.png"]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "id").read_text()), 0)


# What is to do when the process ends, and a signal amid it.
LAST = """
import atexit, os
@atexit.register
def last():
    os.kill(os.getpid(), signal.SIGTERM)
    os.write(1, b"whole\\n")
"""


def test_at_the_very_end(tmp_path: Path) -> None:
    ended = outcome(start(tmp_path, *SHORT, "-q", prelude=LAST))
    assert ended == Outcome(0, "whole\n", "")
    assert files(tmp_path) == ["out.png"]


def test_at_any_time(tmp_path: Path) -> None:
    """Runs signalled at times spread over the whole life of one that is not."""
    begin = time.monotonic()
    assert outcome(start(tmp_path, *SHORT, "-q")) == Outcome(0, "", "")
    life = time.monotonic() - begin
    before = r"interrupted(; the picture was not written)?\n"
    after = r"interrupted after (writing out\.png|\d of 3 steps; the picture so far is out\.png)\n"
    runs = 20
    for index in range(runs):
        folder = tmp_path / str(index)
        folder.mkdir()
        run = start(folder, *SHORT, "-q")
        wait_for_handlers(run.pid)
        time.sleep(index / runs * life)
        run.send_signal(SIGNALS[index % len(SIGNALS)])
        ended = outcome(run)
        if files(folder) == []:
            assert ended.code == 130
            assert re.fullmatch(before, ended.err), ended
        else:
            assert files(folder) == ["out.png"]
            assert read_image(folder / "out.png").shape == (21, 32, 3)
            assert ended == Outcome(0, "", "") or (
                ended.code == 130 and re.fullmatch(after, ended.err)
            ), ended
        if index == 0:
            assert ended.err == "interrupted\n"


def wait_for_handlers(pid: int) -> None:
    """Wait until the process has taken over SIGTERM, the last of the signals."""
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = re.search(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
        assert caught
        if int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)


def test_a_process_told_to_ignore_a_signal_does(tmp_path: Path) -> None:
    prelude = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    prelude += at("import", "onnxruntime", signal.SIGHUP)
    assert outcome(start(tmp_path, *SHORT, "-q", prelude=prelude)) == Outcome(0, "", "")


# A signal whose exception never reaches the command.
LOST = {
    "ignored": """
class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
def lose():
    Last()
""",
    "taken for another": """
def lose():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        os.getpid()
    except BaseException as error:
        raise ImportError("initialization failed") from error
""",
}
LOSE = """
import os, sys
{lose}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            lose()
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("kind", LOST)
def test_a_lost_exception(tmp_path: Path, kind: str) -> None:
    prelude = LOSE.format(lose=LOST[kind])
    err = interrupted(tmp_path, *SHORT, prelude=prelude)
    assert err == "interrupted; the picture was not written\n"
    assert interrupted(tmp_path, "info", prelude=prelude) == "interrupted\n"
    assert files(tmp_path) == []


def test_threads_that_linger_do_not_hold_up_the_end(tmp_path: Path) -> None:
    prelude = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()"
    assert outcome(start(tmp_path, *SHORT, "-q", prelude=prelude)) == Outcome(0, "", "")


@pytest.mark.parametrize(
    ("arguments", "event", "name", "err", "left"),
    [
        (("info",), "import", "numpy", "interrupted\n", []),
        (("info",), "import", "onnxruntime", "interrupted\n", []),
        (("recipes",), "import", "rich.table", "interrupted\n", []),
        (
            ("export", "--weights", "no.pth", "-o", "models"),
            "import",
            "ortist.export.build",
            "interrupted\n",
            [],
        ),
        (
            (*GRID, "--vary", "steps=1"),
            "import",
            "onnxruntime",
            "interrupted; the sheet was not written\n",
            [],
        ),
        (
            (*GRID, "--vary", "steps=1"),
            "os.rename",
            "sheet.png",
            "interrupted; the paintings so far are on sheet.png\n",
            ["sheet.png"],
        ),
    ],
)
def test_other_commands(
    tmp_path: Path, arguments: tuple[str, ...], event: str, name: str, err: str, left: list[str]
) -> None:
    assert interrupted(tmp_path, *arguments, prelude=at(event, name)) == err
    assert files(tmp_path) == left


def test_a_grid_keeps_a_cell_that_is_not_finite(tmp_path: Path) -> None:
    """At its first step already, so that no step was ever to keep; the signal comes in the next."""
    vary = ("--vary", "steps=1", "--vary", "beta=1e300", "--vary", "pooling=average,max")
    ended = interrupted(
        tmp_path, *GRID, *vary, prelude=at("open", "vgg19-max-features.onnx", signal.SIGINT)
    )
    assert ended.endswith("interrupted; the paintings so far are on sheet.png\n")
    assert files(tmp_path) == ["sheet.png"]


def test_a_grid_keeps_the_cells_that_are_done(tmp_path: Path) -> None:
    run = start(tmp_path, *GRID, "--threads", "1", "--vary", "steps=1,100000")
    assert run.stdout is not None
    assert "steps=1: J = " in run.stdout.readline()
    run.send_signal(signal.SIGINT)
    run.send_signal(signal.SIGINT)
    ended = outcome(run)
    assert ended.code == 130
    assert ended.err == "interrupted; the paintings so far are on sheet.png\n"
    assert files(tmp_path) == ["sheet.png"]
