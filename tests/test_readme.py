"""Runs what README.md shows: its Python blocks as they stand, its commands at a small size."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLES = ROOT / "examples"
ORTIST = Path(sys.executable).with_name("ortist")
# Given again at the end of a command, an option replaces what the README says.
SMALL = {
    "stylize": ("--size", "32", "--steps", "2"),
    "info": (),
    "recipes": (),
    "compare": (),
    "batch": ("--size", "32", "--steps", "2"),
    "grid": ("--size", "32", "--vary", "steps=2"),
}


def blocks(language: str) -> list[tuple[int, str]]:
    """Line number and text of each block of that language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(README.count("\n", 0, found.start(1)), found[1]) for found in fence.finditer(README)]


def commands() -> list[str]:
    return [line for _, block in blocks("sh") for line in block.splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the pictures that the README speaks of."""
    shutil.copy(EXAMPLES / "content.jpg", tmp_path / "photo.jpg")
    shutil.copy(EXAMPLES / "style.jpg", tmp_path / "painting.jpg")
    shutil.copy(EXAMPLES / "style.jpg", tmp_path / "sketch.jpg")
    shutil.copy(EXAMPLES / "style.jpg", tmp_path / "painted.jpg")
    shutil.copy(EXAMPLES / "sky.png", tmp_path / "sky.png")
    shutil.copy(EXAMPLES / "sky.png", tmp_path / "face.png")
    half = Image.new("L", (64, 48))
    half.paste(255, (0, 0, 64, 24))
    half.save(tmp_path / "half.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("line", "code"), blocks("python"), ids=lambda value: str(value)[:4])
@pytest.mark.usefixtures("folder")
def test_python_blocks_run(line: int, code: str) -> None:
    # Empty lines in front make line numbers in errors those of the README.
    exec(compile("\n" * line + code, "README.md", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("command", commands())
def test_commands_run(command: str, folder: Path) -> None:
    name, subcommand, *arguments = shlex.split(command)
    assert name == "ortist"
    if "--like" in arguments:
        made = ("stylize", "photo.jpg", "painting.jpg", "-o", "first.png", *SMALL["stylize"])
        subprocess.run([ORTIST, *made], check=True)
    subprocess.run([ORTIST, subcommand, *arguments, *SMALL[subcommand]], check=True)
    if "-o" in arguments:
        assert (folder / arguments[arguments.index("-o") + 1]).stat().st_size > 0


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if ":" not in link and not (ROOT / link).is_file()] == []
