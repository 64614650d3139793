"""Files are written whole or not at all, and read within a limit."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import CONTENT, STYLE, files, process

from ortist.engine.errors import InputError
from ortist.engine.images import OUTPUT_EXTENSIONS, check_output, read_image, write_image
from ortist.models.files import TooLongError, read_limited, read_regular, write_whole

LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program that can write no more than 4096 bytes to any file.

What is over comes as a short write and then as an error, as on a full disk.
"""


def run_on_full_disk(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, *command],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


WRITE = """
import sys
import numpy as np
from ortist.engine.errors import InputError
from ortist.engine.images import write_image
pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
for name in sys.argv[1:]:
    try:
        write_image(pixels, name)
    except InputError as error:
        print(error)
"""


@pytest.mark.parametrize("older", [False, True])
def test_a_full_disk_is_an_error_and_the_older_picture_stays(tmp_path: Path, older: bool) -> None:
    names = [f"out{extension}" for extension in OUTPUT_EXTENSIONS]
    if older:
        for name in names:
            write_image(np.full((16, 16, 3), 77, np.uint8), tmp_path / name)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    done = run_on_full_disk(tmp_path, sys.executable, "-c", WRITE, *names)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"output '{name}' cannot be written: File too large" for name in names
    ]
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_a_picture_that_still_fits_is_whole(tmp_path: Path) -> None:
    write = WRITE.replace("(64, 64, 3)", "(16, 16, 3)")
    names = [f"out{extension}" for extension in OUTPUT_EXTENSIONS]
    done = run_on_full_disk(tmp_path, sys.executable, "-c", write, *names)
    assert (done.stdout, done.stderr) == ("", "")
    assert all(read_image(tmp_path / name).shape == (16, 16, 3) for name in names)


@pytest.mark.parametrize(
    ("output", "extra"),
    [
        ("out.bmp", ()),
        ("out.webp", ("--save-every", "1", "--log", "log.jsonl", "--steps", "40")),
        ("out.webp", ("--plot", "costs.png")),
        ("out.webp", ("--plot", "costs.svg")),
        ("out.webp", ("--timelapse", "t.gif")),
        ("out.webp", ("--timelapse", "t.mp4")),
    ],
    ids=["picture", "log", "plot.png", "plot.svg", "gif", "mp4"],
)
def test_a_run_on_a_full_disk_says_so(tmp_path: Path, output: str, extra: tuple[str, ...]) -> None:
    arguments = ("stylize", CONTENT, STYLE, "-o", output, "--recipe", "notebook", "--threads", "1")
    size = ("--size", "64", "--steps", "8", "--quiet")
    done = run_on_full_disk(tmp_path, *process(*arguments, *size, *extra))
    assert done.returncode == 2
    failed = next((name for name in extra if "." in name), output)
    kind = "log" if failed == "log.jsonl" else "output"
    lines = done.stderr.splitlines()
    assert lines[-1].startswith(f"error: {kind} '{failed}' cannot be written: ")
    so_far = " so far" if kind == "log" else ""
    assert lines[:-1] == ([f"the picture{so_far} is out.webp"] if failed != output else [])
    left = [name for name in files(tmp_path) if name != "log.jsonl"]
    assert (output in left) == (failed != output)
    for name in left:
        assert read_image(tmp_path / name).shape == (43, 64, 3)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"older")
    with path.open("rb") as reader:
        write_whole(path, b"new")
        assert reader.read() == b"older"
    assert path.read_bytes() == b"new"
    assert files(tmp_path) == ["file"]


def test_a_file_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"older")
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        assert path.read_bytes() == b"older"
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="the disk is broken"):
        write_whole(path, b"the new one")
    assert synced == [len(b"the new one")]
    assert path.read_bytes() == b"older"
    assert files(tmp_path) == ["file"]


def test_a_private_file_stays_private_while_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"older")
    path.chmod(0o400)
    modes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: modes.append(os.fstat(descriptor).st_mode))
    write_whole(path, b"new")
    assert [stat.S_IMODE(mode) for mode in (*modes, path.stat().st_mode)] == [0o400, 0o400]


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "folder", "loop"])
def test_only_files_are_replaced(tmp_path: Path, kind: str, linked: bool) -> None:
    path = tmp_path / "there"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("there")
    (tmp_path / "link").symlink_to("there")
    before = {entry: entry.lstat().st_ino for entry in tmp_path.iterdir()}
    with pytest.raises(OSError, match=r"no regular file|Is a directory|Too many levels"):
        write_whole(tmp_path / "link" if linked else path, b"data")
    assert {entry: entry.lstat().st_ino for entry in tmp_path.iterdir()} == before


def test_a_relative_file_in_a_deleted_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError, match="the working directory was deleted"):
        write_whole(Path("file"), b"data")
    with pytest.raises(InputError, match=r"^output 'out\.png' cannot be written: the working dir"):
        check_output("out.png")
    with pytest.raises(InputError, match=r"^image 'in\.png' does not exist$"):
        read_image("in.png")
    write_whole(tmp_path / "file", b"data")
    assert files(tmp_path) == ["file"]


def test_a_regular_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"some", bytes(3 << 20)):
        path.write_bytes(content)
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(path)
        assert read_regular(path, len(content)) == content
        assert read_regular(tmp_path / "link", len(content) + 1) == content
        if content:
            with pytest.raises(TooLongError, match=f"it has more than {len(content) - 1} bytes"):
                read_regular(path, len(content) - 1)


@pytest.mark.parametrize("place", ["pipe", "/dev/zero", "."])
def test_only_files_are_read(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")  # has no writer: to open it would wait for one
    with pytest.raises(OSError, match=r"it is no regular file|Is a directory"):
        read_regular(tmp_path / place, 100)


def test_a_pipe_that_takes_the_place_of_a_file_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.touch()
    opened = os.open

    def replaced(*arguments: Any) -> int:
        path.unlink()
        os.mkfifo(path)
        return opened(*arguments)

    monkeypatch.setattr(os, "open", replaced)
    with pytest.raises(OSError, match="it is no regular file"):
        read_regular(path, 100)


def test_reading_takes_what_comes_in_any_pieces() -> None:
    pieces = iter([b"a", bytearray(b"bc"), memoryview(b"d"), b"", b"not read"])
    assert read_limited(lambda _: next(pieces), 4) == b"abcd"
    with pytest.raises(TooLongError):
        read_limited(lambda _: b"more than asked for", 4)
    with pytest.raises(TypeError, match="reading gave NoneType in place of bytes"):
        read_limited(lambda _: None, 4)  # type: ignore[arg-type, return-value]
