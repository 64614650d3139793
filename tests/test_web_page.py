"""The page that paints in the browser: what becomes of a picture, and what happens meanwhile."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from browsing import PATIENCE, chromium, filled, paint, points, set_number, soon, state, visiting
from playwright.sync_api import Browser, BrowserContext, Page, expect
from service import CONTENT, STYLE, serving
from typer.testing import CliRunner

from ortist.cli.app import app
from ortist.engine import Engine, find_recipe
from ortist.engine.artifacts import Artifacts
from ortist.engine.images import read_image
from ortist.serve.app import PAGE
from ortist.web.site import HEADERS, site_files

RUNTIME = Path(__file__).parents[1] / "web" / "node_modules"
LONG = 2000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "web").mkdir()
    for name, content in site_files(PAGE, RUNTIME, Artifacts(None)):
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with visiting(browser) as found:
        yield found


class Files(SimpleHTTPRequestHandler):
    """A server of files: with the headers of the site or without, some of them damaged."""

    isolated = True
    damaged = ""
    asked: list[tuple[str, str]]

    def __init__(self, *args: Any, server_options: dict[str, Any], **kwargs: Any) -> None:
        vars(self).update(server_options)
        super().__init__(*args, **kwargs)

    def end_headers(self) -> None:
        if self.isolated:
            for line in HEADERS.splitlines()[1:]:
                self.send_header(*line.strip().split(": "))
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        data = source.read()
        if self.damaged and self.damaged in self.path:
            data = bytes(len(data))
        outputfile.write(data)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        length = self.headers.get("Content-Length", "0")
        self.asked.append((self.command, length))

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def files(site: Path, **options: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Serve a folder; give the address, and what is asked for: methods and lengths of bodies."""
    asked: list[tuple[str, str]] = []
    handler = partial(Files, directory=str(site), server_options={"asked": asked, **options})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    with files(site) as found:
        yield found


@pytest.fixture
def address(served: tuple[str, list[tuple[str, str]]]) -> str:
    return served[0]


def saved(page: Page, name: str) -> Path:
    """Return the file that a button saves."""
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    return Path(download.value.path())


def begun(page: Page) -> None:
    """Wait for some steps."""
    state(page, "Painting")
    soon(lambda: points(page) > 2)


def test_a_picture_is_painted_and_stays_here(
    context: BrowserContext, served: tuple[str, list[tuple[str, str]]], tmp_path: Path
) -> None:
    address, asked = served
    page = context.new_page()
    filled(page, address, tmp_path, 4)
    assert page.evaluate("crossOriginIsolated")
    expect(page.get_by_text("No picture leaves this browser")).to_be_visible()
    expect(page.get_by_text("On the server")).to_have_count(0)
    name = paint(page)
    assert name.startswith("here-")
    state(page, "Done")
    assert points(page) == 4
    made = read_image(saved(page, "Download PNG"))
    pictures = [read_image(BytesIO(data)) for data in (CONTENT, STYLE)]
    options = find_recipe("standard").with_options(size=64, steps=4)
    expected = Engine("cpu", 1).stylize(*pictures, options).image
    assert made.shape == expected.shape
    assert np.abs(made.astype(float) - expected).mean() < 2
    assert saved(page, "Download JPEG").read_bytes()[:2] == b"\xff\xd8"
    assert saved(page, "Download WebP").read_bytes()[8:12] == b"WEBP"
    expect(page.get_by_text("Files with 16 bits are made by a server only.")).to_be_visible()
    # It is there after a reload, and can be painted again as it was.
    page.reload()
    state(page, "Done")
    soon(lambda: points(page) == 4)
    np.testing.assert_array_equal(read_image(saved(page, "Download PNG")), made)
    page.get_by_text("Repeat with these").click()
    expect(page.get_by_role("spinbutton", name="Steps")).to_have_value("4")
    paint(page)
    state(page, "Done")
    np.testing.assert_array_equal(read_image(saved(page, "Download PNG")), made)
    expect(page.locator(".card:not(.new) img")).to_have_count(2)
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator(".card:not(.new)")).to_have_count(1)
    # Nothing was sent: all that was asked for are files.
    assert {method for method, _ in asked} == {"GET"}
    assert {length for _, length in asked} == {"0"}


def test_pause_resume_cancel_and_others_meanwhile(
    context: BrowserContext, address: str, tmp_path: Path
) -> None:
    page = context.new_page()
    filled(page, address, tmp_path, LONG)
    first = paint(page)
    begun(page)
    page.get_by_role("button", name="Pause").click()
    state(page, "Paused")
    page.get_by_role("button", name="New painting").first.click()
    set_number(page, "Steps", 2)
    paint(page)
    state(page, "Done")
    page.goto(f"{address}#job={first}")
    state(page, "Paused")
    before = points(page)
    page.get_by_role("button", name="Resume").click()
    state(page, "Painting")
    soon(lambda: points(page) > before + 2)
    page.get_by_role("button", name="New painting").first.click()
    set_number(page, "Steps", 2)
    paint(page)
    state(page, "Next in the queue")
    page.locator(".card", has_text="photo in painting").nth(2).click()
    page.get_by_role("button", name="Cancel").click()
    state(page, "Canceled")
    saved(page, "Download PNG")
    page.locator(".card", has_text="photo in painting").first.click()
    state(page, "Done")


def test_a_page_that_is_closed_leaves_what_there_was(
    context: BrowserContext, address: str, tmp_path: Path
) -> None:
    page = context.new_page()
    filled(page, address, tmp_path, LONG)
    name = paint(page)
    begun(page)
    other = context.new_page()
    other.goto(f"{address}#job={name}")
    state(other, "Painting")
    expect(other.get_by_text("painted in another tab")).to_be_visible()
    for action in ("Cancel", "Pause"):
        expect(other.get_by_role("button", name=action)).to_have_count(0)
    warned: list[str] = []

    def asked(dialog: Any) -> None:
        warned.append(dialog.type)
        dialog.accept()

    page.on("dialog", asked)
    page.reload()
    assert warned == ["beforeunload"]
    for viewer in (page, other):
        state(viewer, "Failed")
        expect(viewer.get_by_text("the page was closed while this was painted")).to_be_visible()
        expect(viewer.locator(".painting")).to_have_attribute("src", re.compile("^blob:"))
    assert points(page) > 0
    saved(page, "Download PNG")
    page.get_by_role("button", name="Paint again").click()
    set_number(page, "Steps", 2)
    paint(page)
    state(page, "Done")


def test_one_thread_where_the_page_is_not_isolated(
    context: BrowserContext, site: Path, tmp_path: Path
) -> None:
    with files(site, isolated=False) as (address, _):
        page = context.new_page()
        filled(page, address, tmp_path, 2)
        assert not page.evaluate("crossOriginIsolated")
        expect(page.get_by_text("One thread: the server of this page does not")).to_be_visible()
        paint(page)
        state(page, "Done")
        expect(page.locator(".facts div", has_text="Threads")).to_contain_text("1")


def test_a_browser_that_keeps_nothing_paints_all_the_same(
    context: BrowserContext, address: str, tmp_path: Path
) -> None:
    context.add_init_script("indexedDB.open = () => { throw new DOMException('not here') }")
    page = context.new_page()
    filled(page, address, tmp_path, 2)
    paint(page)
    state(page, "Done")
    expect(page.get_by_text("This browser does not keep paintings")).to_be_visible()
    saved(page, "Download PNG")
    page.get_by_text("Repeat with these").click()
    expect(page.get_by_role("spinbutton", name="Steps")).to_have_value("2")


@pytest.mark.parametrize(
    ("damaged", "told"),
    [
        ("conv1_1.weights", "conv1_1.weights is damaged, here or on its server"),
        ("threaded.wasm", "threaded.wasm is damaged, here or on its server"),
        ("worker.js", "it did not start, or was ended"),
    ],
)
def test_what_is_damaged_is_told(
    browser: Browser, site: Path, tmp_path: Path, damaged: str, told: str
) -> None:
    with files(site, damaged=damaged) as (address, _), browser.new_context() as context:
        page = context.new_page()
        filled(page, address, tmp_path, 2)
        paint(page)
        state(page, "Failed")
        expect(page.locator(".progress-text")).to_contain_text(told)
        expect(page.get_by_role("button", name="Paint again")).to_be_visible()


def test_either_place(context: BrowserContext, site: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "jobs", page=site) as (_, address):
        page = context.new_page()
        filled(page, address, tmp_path, 2)
        assert page.evaluate("crossOriginIsolated")
        expect(page.get_by_role("radio", name="On the server")).to_be_checked()
        assert not paint(page).startswith("here-")
        state(page, "Done")
        page.reload()
        page.get_by_role("button", name="New painting").first.click()
        filled(page, f"{address}/", tmp_path, 2)
        page.get_by_text("In this browser").click()
        paint(page)
        state(page, "Done")
        expect(page.locator(".job-name")).to_have_text("photo in painting, painted in this browser")
        expect(page.locator(".card:not(.new) .card-state").first).to_contain_text("Here")
        page.locator(".card:not(.new)").nth(1).click()
        expect(page.locator(".job-name")).to_have_text("photo in painting, painted on the server")
        page.reload()
        page.get_by_role("button", name="New painting").first.click()
        expect(page.get_by_role("radio", name="In this browser")).to_be_checked()


BROKEN = """{
    const open = indexedDB.open.bind(indexedDB);
    let broken = true;
    indexedDB.open = (...given) => {
        if (broken) {
            broken = false;
            throw new DOMException("Connection to Indexed Database server lost", "UnknownError");
        }
        return open(...given);
    };
}"""


def test_what_cannot_be_read_once_is_not_forgotten(
    context: BrowserContext, address: str, tmp_path: Path
) -> None:
    page = context.new_page()
    filled(page, address, tmp_path, 1, 32)
    paint(page)
    state(page, "Done")
    page.add_init_script(BROKEN)
    page.goto(address)
    page.reload()
    expect(page.locator(".card:not(.new) .card-picture img")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("no longer has")).to_have_count(0)


def test_nothing_is_sent_that_was_to_stay_here(
    context: BrowserContext, site: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "jobs", page=site) as (_, address):
        page = context.new_page()
        page.add_init_script("localStorage.setItem('ortist.place', 'here')")
        page.route("**/web/ortist.json", lambda route: route.fulfill(status=404))
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method))
        filled(page, address, tmp_path, 1, 32)
        page.locator(".paint").click()
        expect(page.get_by_text("It cannot be painted in this browser now")).to_be_visible()
        assert set(sent) == {"GET"}
        paint(page)
        state(page, "Done")


def test_without_https_there_is_the_server_only(
    browser: Browser, site: Path, tmp_path: Path
) -> None:
    with (
        serving(tmp_path / "jobs", page=site) as (_, address),
        files(site) as (alone, _),
        browser.new_context() as context,
    ):
        page = context.new_page()
        filled(page, address.replace("127.0.0.1", "elsewhere.test"), tmp_path, 2)
        assert not page.evaluate("isSecureContext")
        expect(page.get_by_text("In this browser")).to_have_count(0)
        paint(page)
        state(page, "Done")
        page.goto(alone.replace("127.0.0.1", "elsewhere.test"))
        expect(page.get_by_text("this page must come by https")).to_be_visible()


def test_what_is_not_painted_here_is_said_beside_it(
    context: BrowserContext, site: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "jobs", page=site) as (_, address):
        page = context.new_page()
        filled(page, address, tmp_path, 2)
        page.get_by_text("In this browser").click()
        page.get_by_text("All options").click()
        page.get_by_label("Pooling", exact=True).select_option("max")
        field = page.locator(".field", has=page.get_by_label("Pooling", exact=True))
        told = field.locator(".error")
        expect(told).to_contain_text("cannot be painted in this browser")
        page.get_by_label("Pooling", exact=True).select_option("l2")
        expect(told).to_contain_text("cannot be painted in this browser")
        page.locator(".paint").click()
        expect(told).to_be_in_viewport()
        told.get_by_role("button", name="Paint on the server").click()
        expect(told).to_be_hidden()
        expect(page.get_by_role("radio", name="On the server")).to_be_focused()
        page.get_by_text("In this browser").click()
        set_number(page, "Size in pixels, longer side", 1500)
        expect(page.get_by_text("is too large to be painted in this browser")).to_be_visible()
        page.get_by_text("Regions and masks", exact=True).click()
        expect(page.get_by_text("painted by a server only")).to_be_visible()
        expect(page.get_by_role("button", name="Add a region")).to_have_count(0)


def test_a_folder_without_a_page_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["serve", "--page", str(tmp_path)])
    assert result.exit_code != 0
    assert "has no page" in str(result.exception) + result.output


def test_files_have_the_types_that_browsers_insist_on(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mimetypes.guess_type", lambda *_: ("text/plain", None))
    with serving(tmp_path / "jobs", page=site) as (_, address), httpx.Client() as client:
        for name, expected in (
            ("app.js", "text/javascript"),
            ("web/ort.wasm.min.mjs", "text/javascript"),
            ("web/ort-wasm-simd-threaded.wasm", "application/wasm"),
        ):
            response = client.get(f"{address}/{name}")
            assert response.headers["content-type"].split(";")[0] == expected
            assert response.headers["cross-origin-embedder-policy"] == "require-corp"
