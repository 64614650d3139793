"""Standard streams that are closed, full, stuck, or that cannot have the characters of a name."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from importlib import resources
from pathlib import Path

import pytest
from test_cli import CONTENT, OUT, SMALL, STYLE, Outcome, files, lines_but_estimate, process
from test_signals import at

from ortist.cli.interrupt import interrupts
from ortist.cli.streams import Stream
from ortist.engine.images import read_image

SHORT = ("stylize", *OUT, *SMALL, "--steps", "2", "--print-every", "1")
GRID = ("--style", STYLE, "-o", "sheet.png", "--size", "24", "--vary", "steps=1")
SECONDS = 20
FULL = "error: cannot write to stdout: No space left on device\n"
CLOSED = "error: cannot write to stdout: Bad file descriptor\n"

needs_full = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")


def shell(folder: Path, redirection: str, *arguments: str, **environment: str) -> Outcome:
    """Run the program with streams as a shell makes them."""
    done = subprocess.run(
        f"{shlex.join(process(*arguments))} {redirection}",
        shell=True,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=3 * SECONDS,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@needs_full
@pytest.mark.parametrize(
    "redirection",
    [
        *(">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"),
        *(">/dev/full", "2>/dev/full", ">/dev/full 2>&1", ">&- 2>/dev/full"),
    ],
)
def test_a_run_without_streams_paints(tmp_path: Path, redirection: str) -> None:
    ended = shell(tmp_path, redirection, *SHORT)
    assert (ended.code, ended.err) == (0, "")
    assert files(tmp_path) == ["out.png"]
    assert read_image(tmp_path / "out.png").shape == (21, 32, 3)


@pytest.mark.parametrize("redirection", [">&-", "2>&-"])
def test_errors_without_streams(tmp_path: Path, redirection: str) -> None:
    ended = shell(tmp_path, redirection, *SHORT, "--pooling", "sum")
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.count("\n") == (0 if redirection == "2>&-" else 1)


@needs_full
@pytest.mark.parametrize(
    ("redirection", "arguments", "err"),
    [
        (">/dev/full", ("info",), FULL),
        (">/dev/full", ("info", "--json"), FULL),
        (">/dev/full", ("recipes",), FULL),
        (">/dev/full", ("recipes", "--json"), FULL),
        (">/dev/full", ("--version",), FULL),
        (">/dev/full", ("--help",), FULL),
        (">&-", ("recipes", "--json"), CLOSED),
    ],
)
def test_what_was_asked_for_cannot_be_written(
    tmp_path: Path, redirection: str, arguments: tuple[str, ...], err: str
) -> None:
    assert shell(tmp_path, redirection, *arguments) == Outcome(2, "", err)


MODELS = Path(str(resources.files("ortist.models")))


@needs_full
def test_that_a_model_is_corrupt_cannot_be_written(tmp_path: Path) -> None:
    shutil.copytree(MODELS, tmp_path / "models")
    with (tmp_path / "models" / "vgg19.weights").open("ab") as file:
        file.write(b"more")
    ended = shell(tmp_path, ">/dev/full", "info", "--models", "models")
    assert ended == Outcome(2, "", FULL)


@pytest.mark.parametrize(
    ("end", "code", "err"), [("'a word'", 1, "a word\n"), ("3", 3, ""), ("None", 0, "")]
)
def test_the_end_of_a_library_is_that_of_python(
    tmp_path: Path, end: str, code: int, err: str
) -> None:
    prelude = f"import sys, ortist.cli\nortist.cli.main = lambda arguments: sys.exit({end})"
    done = subprocess.run(
        process(prelude=prelude), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert Outcome(done.returncode, done.stdout, done.stderr) == Outcome(code, "", err)


@pytest.mark.parametrize("arguments", [SHORT, ("info",), ("--help",)])
def test_a_reader_that_leaves(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        process(*arguments), cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    assert files(tmp_path) == (["out.png"] if arguments == SHORT else [])


def test_a_reader_that_leaves_amid_a_run(tmp_path: Path) -> None:
    with subprocess.Popen(
        process(*SHORT), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.readline() == b"32x21 pixels, 2 evaluations\n"
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == 0
    assert read_image(tmp_path / "out.png").shape == (21, 32, 3)


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="sizes of pipes are Linux's")
def test_a_reader_that_does_not_read_does_not_hold_up_the_end(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # full after a few lines
    command = process(*SHORT, "--steps", "1000000", "--recipe", "notebook", "--log", "log.jsonl")
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            wait_until_stuck(tmp_path / "log.jsonl")
            run.send_signal(signal.SIGTERM)
            _, err = run.communicate(timeout=SECONDS)
        finally:
            run.kill()
    os.close(reading)
    os.close(writing)
    assert run.returncode == 130
    assert err.endswith(" of 1000000 steps; the picture so far is out.png\n")
    assert read_image(tmp_path / "out.png").shape == (21, 32, 3)


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="sizes of pipes are Linux's")
def test_a_full_pipe_does_not_hold_up_the_end_while_the_program_loads(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, bytes(fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)))
    command = process("info", prelude=at("import", "ortist.cli.app", signal.SIGTERM))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=writing) as run:
        try:
            assert run.wait(SECONDS) == 130
        finally:
            run.kill()
    os.close(reading)
    os.close(writing)


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="sizes of pipes are Linux's")
def test_more_than_a_pipe_takes_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "requested", True)
    reading, writing = os.pipe()
    size = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
    stream = Stream(writing)
    thread = threading.Thread(target=stream.write, args=(bytes(3 * size),))
    thread.start()
    thread.join(SECONDS)
    stuck = thread.is_alive()
    os.close(reading)  # which ends any writing
    thread.join()
    os.close(writing)
    assert not stuck
    assert stream.failure is not None
    assert stream.failure.errno == errno.ETIMEDOUT


def wait_until_stuck(log: Path) -> None:
    """Wait until a log has lines and gets no more."""
    lines, before = 0, -1
    end = time.monotonic() + SECONDS
    while not lines or lines != before:
        assert time.monotonic() < end
        time.sleep(2)
        before, lines = lines, log.read_text().count("\n") if log.exists() else 0


def test_a_pipe_that_does_not_block_gets_everything(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(process("stylize", "--help"), stdout=writing) as run:
        os.close(writing)
        time.sleep(1)
        with os.fdopen(reading, "rb") as stream:
            text = stream.read()
    assert run.returncode == 0
    assert len(text) > 4096
    assert (
        text == subprocess.run(process("stylize", "--help"), capture_output=True, check=True).stdout
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1:strict"])
def test_names_beyond_the_encoding(tmp_path: Path, encoding: str) -> None:
    shutil.copy(CONTENT, tmp_path / "光.jpg")
    environment = {"PYTHONIOENCODING": encoding}
    painted = shell(
        tmp_path,
        "",
        "stylize",
        "光.jpg",
        STYLE,
        "-o",
        "光.png",
        *SMALL,
        "--steps",
        "1",
        **environment,
    )
    assert (painted.code, painted.err) == (0, "")
    assert lines_but_estimate(painted.out)[-1].startswith("?.png: 32x21 pixels, J = ")
    refused = shell(tmp_path, "", "stylize", "光.jpg", STYLE, "-o", "光.png", **environment)
    assert refused == Outcome(
        2, "", "error: output '?.png' exists; --force (force=True) replaces it\n"
    )
    sheet = shell(tmp_path, "", "grid", "光.jpg", *GRID, **environment)
    assert (sheet.code, sheet.err) == (0, "")
    assert sheet.out.startswith("?.jpg | style.jpg | steps=1: J = ")


def test_names_of_several_lines(tmp_path: Path) -> None:
    name = "a\nb\x1b[31m.png"
    ended = shell(tmp_path, "", *SHORT, "-o", name, "--print-every", "0")
    assert (ended.code, ended.err) == (0, "")
    assert lines_but_estimate(ended.out)[1].startswith("a b?[31m.png: 32x21 pixels")
    assert read_image(tmp_path / name).shape == (21, 32, 3)
    ended = shell(tmp_path, "", "stylize", CONTENT, STYLE, "-o", name)
    assert (ended.code, ended.err.count("\n")) == (2, 1)


# Writes to the standard streams' numbers, as libraries in C do, at the time of the last rename.
CHATTER = """
import os, sys
def hook(event, details):
    if event == "os.rename" and str(details[1]).endswith("out.png"):
        for number in (1, 2):
            try:
                os.write(number, b"words")
            except OSError:
                pass
sys.addaudithook(hook)
"""


def test_words_for_a_closed_stream_stay_out_of_files(tmp_path: Path) -> None:
    """While a standard stream is closed, the next file opened would get its number."""
    command = process(*SHORT, "--log", "log.jsonl", prelude=CHATTER)
    subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], cwd=tmp_path, check=False)
    assert files(tmp_path) == ["log.jsonl", "out.png"]
    assert "words" not in (tmp_path / "log.jsonl").read_text()
