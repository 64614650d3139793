"""Checkpoints: their files, and runs that are killed and go on."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import CONTENT, STYLE, Outcome, files, process

from ortist.cli import main
from ortist.engine import Engine, InputError, Options
from ortist.engine.checkpoint import Checkpoint, read_checkpoint
from ortist.engine.storage import IN_MEMORY, Storage

RANDOM = np.random.default_rng(8)
OPTIONS = Options(size=24, steps=4, scales=1)
STEPS = 24
COMMAND = (
    *("stylize", "content.jpg", "style.jpg", "-o", "out.png", "--size", "64"),
    *("--steps", str(STEPS), "--scales", "2", "--threads", "1"),
    *("--log", "log.jsonl", "--timelapse", "t.gif", "--save-every", "10"),
)
KEPT = ("--checkpoint", "c.npz", "--checkpoint-every", "1")
LEFT = ["content.jpg", "log.jsonl", "out-0010.png", "out-0020.png", "out.png", "style.jpg", "t.gif"]
GOES_ON = r"goes on after \d+ steps"

# Kills the process at the nth event of Python's auditing that has to do with a file of the name.
KILL = """
import os, sys, signal
left = [{count}]
def hook(event, details):
    if event == {event!r} and any({name!r} in str(detail) for detail in details[:2]):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


def folder(parent: Path, name: str) -> Path:
    """A folder with the two pictures."""
    made = parent / name
    made.mkdir()
    shutil.copy(CONTENT, made / "content.jpg")
    shutil.copy(STYLE, made / "style.jpg")
    return made


def run(place: Path, *arguments: str, prelude: str = "", after: float | None = None) -> Outcome:
    """Run the command, and kill it after some seconds."""
    with subprocess.Popen(
        process(*arguments, prelude=prelude),
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            out, err = started.communicate(timeout=60 if after is None else after)
        except subprocess.TimeoutExpired:
            started.kill()
            assert after is not None
            out, err = started.communicate()
    return Outcome(started.returncode, out, err)


def made(place: Path) -> dict[str, Any]:
    """All that a run leaves behind, but for seconds and the scratch files of those killed."""
    found: dict[str, Any] = {}
    for name in files(place):
        if name == "log.jsonl":
            records = map(json.loads, (place / name).read_text().splitlines())
            found[name] = [{**record, "seconds": 0} for record in records]
        elif not re.fullmatch(r"\.ortist-.*\.tmp", name):
            found[name] = (place / name).read_bytes()
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """What a run that is not interrupted leaves behind, and how long it takes."""
    place = folder(tmp_path_factory.mktemp("whole"), "run")
    assert run(place, *COMMAND, *KEPT).code == 0  # derives what graphs there are not
    begin = time.monotonic()
    assert run(place, *COMMAND, *KEPT, "--force").code == 0
    seconds = time.monotonic() - begin
    assert files(place) == LEFT
    return made(place), seconds


def finish(place: Path, kill: Callable[[], float | None]) -> None:
    """Go on until the run is done, killed as often as ``kill`` gives a time."""
    while not (place / "out.png").exists() or (place / "c.npz").exists():
        if not (place / "c.npz").exists():
            refused = run(place, "resume", "c.npz")
            message = "error: checkpoint 'c.npz' does not exist: there is nothing to go on from\n"
            assert refused == Outcome(2, "", message)
            assert run(place, *COMMAND, *KEPT, "--force").code == 0
            return
        ended = run(place, "resume", "c.npz", after=kill())
        assert ended.code in (0, -signal.SIGKILL), ended


def test_killed_at_any_time_a_run_goes_on_to_the_same_bytes(
    tmp_path: Path, expected: tuple[dict[str, Any], float]
) -> None:
    """Some are killed again while they go on."""
    whole, life = expected
    times = random.Random(8)
    for index in range(10):
        place = folder(tmp_path, str(index))
        run(place, *COMMAND, *KEPT, after=times.uniform(0.3, 0.95) * life)
        again = [times.uniform(0.3, 0.9) * life] if index % 3 == 0 else []
        finish(place, lambda again=again: again.pop() if again else None)  # type: ignore[misc]
        assert made(place) == whole


@pytest.mark.parametrize(
    ("event", "name", "count"),
    [
        ("os.rename", "c.npz", 1),
        ("os.rename", "c.npz", 2),
        ("open", ".ortist-", 9),
        ("os.rename", "out.png", 1),
        ("os.remove", "c.npz", 1),
    ],
)
def test_killed_amid_writing(
    tmp_path: Path,
    expected: tuple[dict[str, Any], float],
    event: str,
    name: str,
    count: int,
) -> None:
    place = folder(tmp_path, "run")
    prelude = KILL.format(event=event, name=name, count=count)
    assert run(place, *COMMAND, *KEPT, prelude=prelude).code == -signal.SIGKILL
    assert (place / "c.npz").exists() == ((name, count) != ("c.npz", 1) or event == "os.remove")
    finish(place, lambda: None)
    assert made(place) == expected[0]


def test_stopped_by_a_signal_a_run_goes_on(
    tmp_path: Path, expected: tuple[dict[str, Any], float]
) -> None:
    """Also with checkpoints that are far between: there is one where it stopped."""
    place = folder(tmp_path, "run")
    prelude = KILL.format(event="os.rename", name="out-0010", count=1)
    prelude = prelude.replace("SIGKILL", "SIGTERM")
    ended = run(place, *COMMAND, "--checkpoint", "c.npz", prelude=prelude)
    assert ended.code == 130
    assert ended.err == (
        "interrupted after 10 of 24 steps; the picture so far is out.png;"
        " ortist resume c.npz goes on\n"
    )
    assert (place / "out.png").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ended = run(elsewhere, "resume", "../run/c.npz")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert "goes on after 10 steps" in lines
    assert re.fullmatch(r"/.*/out\.png: 64x43 pixels, J = .*, 24 steps, .* s", lines[-1])
    assert made(place) == expected[0]
    assert files(elsewhere) == []


@pytest.mark.parametrize(
    "options",
    [
        ("style.jpg", "--style-weight", "1", "--style-weight", "3", "--init", "content.jpg"),
        ("--recipe", "perceptual", "--steps", "12", "--kernel", "winograd", "--plot", "p.png"),
    ],
)
def test_with_other_options_it_goes_on_too(tmp_path: Path, options: tuple[str, ...]) -> None:
    """With several styles, a picture to start from, Adam, no threads told and a plot."""
    command = ("stylize", "content.jpg", "style.jpg", "-o", "out.png", "--size", "48", *options)
    whole, killed = folder(tmp_path, "whole"), folder(tmp_path, "killed")
    assert run(whole, *command).code == 0
    prelude = KILL.format(event="os.rename", name="c.npz", count=7)
    assert run(killed, *command, *KEPT, prelude=prelude).code == -signal.SIGKILL
    (killed / "out.png").write_bytes(b"in the way")
    assert run(killed, "resume", "c.npz", "--quiet") == Outcome(0, "", "")
    assert made(killed) == made(whole)


def test_a_run_that_fails_for_good_leaves_no_checkpoint(tmp_path: Path) -> None:
    place = folder(tmp_path, "run")
    failing = ("--recipe", "notebook", "--learning-rate", "1e30")
    ended = run(place, *COMMAND, *KEPT, *failing)
    assert ended.code == 1
    assert "c.npz" not in files(place)
    assert (place / "out.png").exists()


def test_a_signal_before_the_first_step_leaves_a_checkpoint(
    tmp_path: Path, expected: tuple[dict[str, Any], float]
) -> None:
    place = folder(tmp_path, "run")
    prelude = KILL.format(event="import", name="threadpoolctl", count=1)
    ended = run(place, *COMMAND, *KEPT, prelude=prelude.replace("SIGKILL", "SIGTERM"))
    message = "interrupted; the picture was not written; ortist resume c.npz goes on\n"
    assert (ended.code, ended.err) == (130, message)
    finish(place, lambda: None)
    assert made(place) == expected[0]


# What is refused.


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run that was killed."""
    place = folder(tmp_path, "run")
    prelude = KILL.format(event="os.rename", name="c.npz", count=4)
    assert run(place, *COMMAND, *KEPT, prelude=prelude).code == -signal.SIGKILL
    monkeypatch.chdir(place)
    return place


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    shown = capsys.readouterr()
    assert caught.value.code == 2
    assert shown.err.count("\n") == 1
    return shown.err


def test_with_other_inputs_or_versions_it_does_not_go_on(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = made(stopped)
    with (stopped / "style.jpg").open("ab") as stream:
        stream.write(b" ")
    kept = read_checkpoint("c.npz")
    versions = {**kept.record.versions, "numpy": "1.0"}
    Checkpoint(
        type(kept.record)(**{**vars(kept.record), "versions": versions, "models": "0" * 64}),
        kept.state,
        kept.settings,
        kept.files,
    ).write("c.npz")
    assert refused(capsys, "resume", "c.npz") == (
        "error: the run cannot go on as it began, accepted is a checkpoint of the same inputs and"
        f" versions: style 'style.jpg' has other content; numpy {np.__version__}, was 1.0;"
        " the models are others\n"
    )
    (stopped / "content.jpg").unlink()
    assert "content.jpg' does not exist\n" in refused(capsys, "resume", "c.npz")
    assert set(made(stopped)) == set(before) - {"content.jpg"}
    assert made(stopped)["log.jsonl"] == before["log.jsonl"]


def test_a_log_of_another_run_stays_as_it_is(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = stopped / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    for content in (
        b"".join(lines[1:]),
        b"".join(lines[:1]),
        b"".join(lines) + b"notes",
        b"mine\n",
    ):
        log.write_bytes(content)
        assert "log.jsonl' is not that of the run: its line " in refused(capsys, "resume", "c.npz")
        assert log.read_bytes() == content
    log.unlink()
    assert refused(capsys, "resume", "c.npz").endswith("log.jsonl' of the run is gone\n")


def test_an_existing_checkpoint_is_not_replaced(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = made(stopped)
    arguments = ("stylize", "content.jpg", "style.jpg", "-o", "new.png", "--checkpoint", "c.npz")
    assert "checkpoint 'c.npz' exists: ortist resume c.npz goes on" in refused(capsys, *arguments)
    arguments = (*arguments[:-1], "content.jpg", "--force")
    assert "is both an input and the checkpoint" in refused(capsys, *arguments)
    assert made(stopped) == before


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("output", 1, "output is 1, accepted is a text"),
        ("output", "out.txt", "unknown extension '.txt'"),
        ("files", {"what": "a"}, "files is 'what', accepted is one of log, plot, timelapse"),
        ("save_every", -1, "save_every is -1"),
        ("more", 1, "it has 'more'"),
    ],
)
def test_damaged_settings_are_refused(
    stopped: Path, capsys: pytest.CaptureFixture[str], name: str, value: Any, message: str
) -> None:
    kept = read_checkpoint("c.npz")
    Checkpoint(kept.record, kept.state, {**kept.settings, name: value}, kept.files).write("c.npz")
    assert message in refused(capsys, "resume", "c.npz")


@pytest.mark.parametrize("name", ["run/optimizer/point", "run/scale", "files/timelapse/0"])
def test_missing_arrays_are_refused(
    stopped: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    before = made(stopped)["log.jsonl"]
    arrays = dict(np.load("c.npz"))
    del arrays[name]
    np.savez("c.npz", **arrays)
    error = refused(capsys, "resume", "c.npz")
    assert "the state is not one of this run" in error or "is damaged: " in error
    assert made(stopped)["log.jsonl"] == before


# The file.


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    content, style = RANDOM.integers(0, 256, (2, 18, 24, 3), np.uint8)
    engine = Engine("cpu", 1)
    made = engine.iterate(content, style, OPTIONS)
    next(made)
    record = engine.record(content, style, OPTIONS)
    return Checkpoint(
        record, made.state(), {"a": [1, "b"]}, {"frame/0": content, "none": style[:0]}
    )


def written(checkpoint: Checkpoint, folder: Path) -> bytes:
    checkpoint.write(folder / "c.npz")
    return (folder / "c.npz").read_bytes()


def same(arrays: Any, others: Any) -> bool:
    return arrays.keys() == others.keys() and all(
        np.array_equal(arrays[name], others[name]) and arrays[name].dtype == others[name].dtype
        for name in arrays
    )


@pytest.mark.parametrize("storage", [IN_MEMORY, Storage(mapped=True)])
def test_a_file_has_all_that_was_written(
    checkpoint: Checkpoint, tmp_path: Path, storage: Storage
) -> None:
    checkpoint.write(tmp_path / "c.npz")
    back = read_checkpoint(tmp_path / "c.npz", storage)
    assert back.record.differences(checkpoint.record) == []
    assert back.settings == checkpoint.settings
    assert same(back.state, checkpoint.state)
    assert same(back.files, checkpoint.files)


def test_a_file_is_what_numpy_reads(checkpoint: Checkpoint, tmp_path: Path) -> None:
    arrays = np.arange(12, dtype=">i2").reshape(3, 4), np.zeros((70_000, 2), order="F")
    files = {"sides": arrays[0], "columns": arrays[1], "text": np.array("ä"), "rows": arrays[0].T}
    Checkpoint(checkpoint.record, {}, {}, files).write(tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz") as back:
        assert same({name: back[f"files/{name}"] for name in files}, files)
    assert same(read_checkpoint(tmp_path / "c.npz").files, files)
    with pytest.raises(InputError, match="cannot be written: files/a is an array of object"):
        Checkpoint(checkpoint.record, {}, {}, {"a": np.array([{}])}).write(tmp_path / "c.npz")


def test_a_file_that_is_cut_or_changed_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    data = written(checkpoint, tmp_path)
    path = tmp_path / "c.npz"
    changed = []
    for place in range(0, len(data), len(data) // 200):
        path.write_bytes(data[:place])
        with pytest.raises(
            InputError, match=r"^checkpoint '.*c\.npz' is (no checkpoint, or is )?damaged: "
        ):
            read_checkpoint(path)
        flipped = bytearray(data)
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        try:
            back = read_checkpoint(path)
        except InputError:
            pass
        else:
            # What no checksum is of: dates and the like.
            changed.append(
                same(back.state, checkpoint.state) and same(back.files, checkpoint.files)
            )
    assert all(changed)
    assert len(changed) < 50


def npy(value: Any, **header: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, value)
    if header:
        array = np.asarray(value)
        fields = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape, **header}
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, fields)
        stream.write(array.tobytes())
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        npy(np.array([{}])),
        npy(np.zeros(3), shape=(10**15,)),
        npy(np.zeros(3), shape=(2,)),
        npy(np.zeros(3), descr="|O"),
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
        b"",
    ],
    ids=["objects", "huge", "small", "pointers", "parentheses", "empty"],
)
def test_hostile_arrays_are_refused(checkpoint: Checkpoint, tmp_path: Path, data: bytes) -> None:
    written(checkpoint, tmp_path)
    with zipfile.ZipFile(tmp_path / "c.npz", "a") as archive:
        archive.writestr("run/more.npy", data)
    with pytest.raises(InputError, match=r"is damaged: "):
        read_checkpoint(tmp_path / "c.npz")


def test_compressed_files_and_too_many_arrays_are_refused(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / "c.npz"
    np.savez_compressed(path, record=np.zeros(10**6))
    with pytest.raises(InputError, match="accepted are up to 1000 arrays, not compressed"):
        read_checkpoint(path)
    Checkpoint(checkpoint.record, {str(number): np.zeros(1) for number in range(1001)}).write(path)
    with pytest.raises(InputError, match="accepted are up to 1000 arrays, not compressed"):
        read_checkpoint(path)


def test_what_is_no_file_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_checkpoint(tmp_path)
    with pytest.raises(InputError, match="does not exist: there is nothing to go on from"):
        read_checkpoint(tmp_path / "c.npz")
    with pytest.raises(InputError, match="cannot be written: "):
        checkpoint.write(tmp_path / "none" / "c.npz")
