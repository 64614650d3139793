"""Runs what README.md and the pages of docs/ show.

Python blocks run as they stand, commands at a small size. Those of docs/gradients.md are one
program, and what it and the commands there print is what the page says.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import ortist.engine
import ortist.serve
from ortist.export.autodiff.rules.table import rewritten

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GRADIENTS = DOCS / "gradients.md"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
EXAMPLES_RUN_ALONE = [page for page in PAGES if page != GRADIENTS]
EXAMPLES = ROOT / "examples"
ORTIST = Path(sys.executable).with_name("ortist")
# Given again at the end of a command, an option replaces what a page says.
SMALL = {
    "stylize": ("--size", "32", "--steps", "2"),
    "gradient": (),
    "info": (),
    "recipes": (),
    "compare": (),
    "batch": ("--size", "32", "--steps", "2"),
    "grid": ("--size", "32", "--vary", "steps=2"),
    "web": (),
}


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Line number and text of each block of that language."""
    text = page.read_text("utf-8")
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, found.start(1)), found[1]) for found in fence.finditer(text)]


def commands(page: Path) -> list[str]:
    return [line for _, block in blocks(page, "sh") for line in block.splitlines()]


def execute(page: Path, line: int, code: str, names: dict[str, Any]) -> None:
    # Empty lines in front make line numbers in errors those of the page.
    exec(compile("\n" * line + code, page.name, "exec"), names)


def figures(text: str) -> tuple[str, list[float]]:
    """What is printed with its numbers left out, and these."""
    number = r"-?\d+(?:\.\d+)?"
    return re.sub(number, "#", text), [float(found) for found in re.findall(number, text)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the pictures and the model that the pages speak of."""
    shutil.copy(EXAMPLES / "content.jpg", tmp_path / "photo.jpg")
    shutil.copy(EXAMPLES / "style.jpg", tmp_path / "painting.jpg")
    shutil.copy(EXAMPLES / "style.jpg", tmp_path / "sketch.jpg")
    shutil.copy(EXAMPLES / "style.jpg", tmp_path / "painted.jpg")
    shutil.copy(EXAMPLES / "sky.png", tmp_path / "sky.png")
    shutil.copy(EXAMPLES / "sky.png", tmp_path / "face.png")
    half = Image.new("L", (64, 48))
    half.paste(255, (0, 0, 64, 24))
    half.save(tmp_path / "half.png")
    model = """<ir_version: 10, opset_import: ["": 18]>
        line (float[n, 2] x) => (float[n, 1] y)
        <float[2, 1] weight = {1, 2}> { y = MatMul(x, weight) }"""
    onnx.save(onnx.parser.parse_model(model), tmp_path / "model.onnx")
    modules = tmp_path / "node_modules"
    modules.mkdir()
    for installed in (ROOT / "web" / "node_modules").iterdir():
        (modules / installed.name).symlink_to(installed)
    (modules / "ortist").symlink_to(ROOT / "web")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("page", "line", "code"),
    [
        pytest.param(page, line, code, id=f"{page.stem}:{line}")
        for page in EXAMPLES_RUN_ALONE
        for line, code in blocks(page, "python")
    ],
)
@pytest.mark.usefixtures("folder")
def test_python_blocks_run(page: Path, line: int, code: str) -> None:
    execute(page, line, code, {"__name__": "__main__"})


def test_javascript_of_page_on_browsers_runs(folder: Path) -> None:
    subprocess.run([ORTIST, "web", "page"], check=True)
    ((_, code),) = blocks(DOCS / "paint.md", "js")
    (folder / "example.mjs").write_text(code)
    # Modules are those beside the link, not beside the file that it leads to.
    command = ["node", "--preserve-symlinks", "--preserve-symlinks-main", "example.mjs"]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    steps = [line.split() for line in run.stdout.splitlines()]
    assert [int(number) for number, _ in steps] == [1, 2, 3]
    assert float(steps[-1][1]) < float(steps[0][1])


@pytest.mark.usefixtures("folder")
def test_commands_of_page_on_gradients_print_what_it_says() -> None:
    told = ""
    for command in commands(GRADIENTS):
        _, *arguments = shlex.split(command)
        run = subprocess.run([ORTIST, *arguments], check=True, stdout=subprocess.PIPE, text=True)
        told += run.stdout
    assert told == blocks(GRADIENTS, "text")[0][1]


def test_page_on_gradients_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(EXAMPLES, folder / "examples", ignore=lambda *_: ["service"])
    names: dict[str, Any] = {"__name__": "__main__"}
    told = [text for _, text in blocks(GRADIENTS, "output")]
    capsys.readouterr()
    for (line, code), expected in zip(blocks(GRADIENTS, "python"), told, strict=True):
        execute(GRADIENTS, line, code, names)
        (words, numbers), (same, others) = figures(capsys.readouterr().out), figures(expected)
        assert words == same
        assert numbers == pytest.approx(others, rel=0.1, abs=0.05)
    made, shown = (
        np.asarray(Image.open(path), np.float32)
        for path in (folder / "saliency.png", DOCS / "saliency.png")
    )
    assert np.abs(made - shown).mean() < 2


def test_table_of_operators_is_that_of_the_rules() -> None:
    page = GRADIENTS.read_text("utf-8")
    assert page == rewritten(page), (
        "run python -m ortist.export.autodiff.rules.table docs/gradients.md"
    )


@pytest.mark.parametrize(
    "command",
    dict.fromkeys(command for page in EXAMPLES_RUN_ALONE for command in commands(page)),
)
def test_commands_run(command: str, folder: Path) -> None:
    name, subcommand, *arguments = shlex.split(command)
    assert name == "ortist"
    if "--like" in arguments:
        made = ("stylize", "photo.jpg", "painting.jpg", "-o", "first.png", *SMALL["stylize"])
        subprocess.run([ORTIST, *made], check=True)
    subprocess.run([ORTIST, subcommand, *arguments, *SMALL[subcommand]], check=True)
    if "-o" in arguments:
        assert (folder / arguments[arguments.index("-o") + 1]).stat().st_size > 0


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if ":" not in link]
    assert [link for link in links if not leads_somewhere(page, link)] == []


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether a link leads to a file and, if it has an anchor, to a heading in that."""
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.is_file() and (not anchor or anchor in anchors(target.read_text("utf-8")))


def anchors(text: str) -> list[str]:
    """Return what links call the headings of a page."""
    without_code = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_interface_is_on_its_page() -> None:
    engine = (DOCS / "api-engine.md").read_text("utf-8")
    service = (DOCS / "api-service.md").read_text("utf-8")
    assert (
        public(ortist.engine) - set(re.findall(r":: ortist\.engine\.(\w+)$", engine, re.M)) == set()
    )
    assert (
        public(ortist.serve) - set(re.findall(r":: ortist\.serve\.(\w+)$", service, re.M)) == set()
    )


def public(package: ModuleType) -> set[str]:
    """Return what a package has under its own name, in `import NAME as NAME`."""
    assert package.__file__ is not None
    return set(re.findall(r" import (\w+) as \1$", Path(package.__file__).read_text("utf-8"), re.M))
