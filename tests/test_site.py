"""What ``make docs`` holds the site to, tried on small ones, and what it fills into pages."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ortist.cli.app import app
from ortist.engine.options import OPTIONS
from ortist.engine.recipes import RECIPES

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module", autouse=True)
def _importable() -> None:
    sys.path.insert(0, str(DOCS))


@pytest.fixture
def check() -> ModuleType:
    return importlib.import_module("check")


@pytest.fixture
def generated() -> ModuleType:
    return importlib.import_module("generated")


def made(folder: Path, page: str) -> Path:
    """Make a site of one page, another one, a picture, a style sheet and a script."""
    (folder / "index.html").write_text(f"<html><body>{page}</body></html>", "utf-8")
    (folder / "other.html").write_text('<h1 id="here">Here</h1>', "utf-8")
    (folder / "there").mkdir()
    (folder / "there" / "index.html").write_text('<a href="../index.html">back</a>', "utf-8")
    (folder / "picture.png").write_bytes(b"")
    (folder / "site.css").write_text("p { background: url('picture.png') }", "utf-8")
    (folder / "site.js").write_text("// https://example.org\nlet a = 'picture.png';", "utf-8")
    return folder


@pytest.mark.parametrize(
    "page",
    [
        '<a href="other.html#here">x</a><a href="there/">x</a><a href="#top" id="top">x</a>',
        '<a href="https://example.org/">elsewhere</a>',
        '<img src="picture.png"><img src="data:image/png;base64,">',
        '<script src="site.js?v=1"></script>',
        '<link rel="stylesheet" href="site.css"><link rel="canonical" href="https://example.org/">',
        "<code>https://example.org/a.js</code>",
    ],
)
def test_whole_sites_pass(check: ModuleType, tmp_path: Path, page: str) -> None:
    assert list(check.findings(made(tmp_path, page))) == []


@pytest.mark.parametrize(
    "page",
    [
        '<a href="gone.html">x</a>',
        '<a href="other.html#gone">x</a>',
        '<a href="#gone">x</a>',
        '<a href="/other.html">x</a>',
        '<a href="../other.html">x</a>',
        '<a href="file:///etc/hosts">x</a>',
        '<img src="gone.png">',
        '<img src="https://example.org/a.png">',
        '<img src="picture.png" srcset="picture.png 1x, //example.org/a.png 2x">',
        '<script src="//example.org/a.js"></script>',
        '<script>import("https://example.org/a.js")</script>',
        "<p onclick=\"fetch('https://example.org/')\">x</p>",
        '<link rel="stylesheet" href="https://example.org/a.css">',
        '<link rel="preconnect" href="https://example.org/">',
        '<link rel="icon" href="https://example.org/a.ico">',
        "<style>@import 'https://example.org/a.css';</style>",
        '<p style="background: url(https://example.org/a.png)">x</p>',
        '<svg><use href="https://example.org/a.svg#x"></use></svg>',
        '<iframe src="https://example.org/"></iframe>',
        '<video poster="https://example.org/a.png"></video>',
        '<meta http-equiv="refresh" content="0; url=https://example.org/">',
    ],
)
def test_what_does_not_hold_is_found(check: ModuleType, tmp_path: Path, page: str) -> None:
    assert len(list(check.findings(made(tmp_path, page)))) == 1


def test_style_sheets_and_scripts_load_nothing_from_elsewhere(
    check: ModuleType, tmp_path: Path
) -> None:
    made(tmp_path, "")
    (tmp_path / "site.css").write_text("@font-face { src: url(https://example.org/a.woff) }")
    (tmp_path / "site.js").write_text("const from = `https://example.org/${name}`;")
    assert len(list(check.findings(tmp_path))) == 2


def test_a_folder_without_pages_is_no_site(check: ModuleType, tmp_path: Path) -> None:
    assert len(list(check.findings(tmp_path))) == 1


def test_all_options_recipes_and_commands_are_on_the_site(generated: ModuleType) -> None:
    settings = generated.filled((DOCS / "settings.md").read_text("utf-8"))
    plain = settings.replace("\\", "")
    assert all(option.about in plain for option in OPTIONS.values())
    assert all(f"| `{name}` |" in settings for name in RECIPES)
    commands = generated.filled((DOCS / "command.md").read_text("utf-8"))
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"## ortist {command.callback.__name__}\n" in commands


def test_pages_of_the_root_keep_their_links(generated: ModuleType) -> None:
    index = generated.filled((DOCS / "index.md").read_text("utf-8"))
    assert "](demo.jpg)" in index
    assert "](../LICENSE)" in index
    assert "](changelog.md)" in index
    assert "](docs/" not in index
