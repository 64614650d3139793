"""The page in a real browser, with a real server: what a visitor does, from upload to download."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from browsing import chromium, filled, paint, points, set_number, soon, state, visiting
from playwright.sync_api import Browser, BrowserContext, expect
from service import CONTENT, STYLE, ended, picture, serving

from ortist.engine import Engine, find_recipe
from ortist.engine.images import read_image
from ortist.serve import Manager


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Manager, str]]:
    with serving(tmp_path_factory.mktemp("jobs")) as found:
        yield found


@pytest.fixture
def context(browser: Browser, served: tuple[Manager, str]) -> Iterator[BrowserContext]:
    with visiting(browser) as found:
        yield found


def test_from_upload_to_download(
    context: BrowserContext, served: tuple[Manager, str], tmp_path: Path
) -> None:
    page = context.new_page()
    filled(page, served[1], tmp_path, 4)
    paint(page)
    state(page, "Done")
    assert points(page) == 4
    with page.expect_download() as download:
        page.get_by_role("button", name="Download PNG", exact=True).click()
    pictures = [read_image(BytesIO(data)) for data in (CONTENT, STYLE)]
    options = find_recipe("standard").with_options(size=64, steps=4)
    expected = Engine("cpu", 1).stylize(*pictures, options).image
    np.testing.assert_array_equal(read_image(download.value.path()), expected)
    # It is there after a reload, and can be painted again as it was.
    page.reload()
    state(page, "Done")
    soon(lambda: points(page) == 4)
    page.get_by_text("Repeat with these").click()
    expect(page.get_by_role("spinbutton", name="Steps")).to_have_value("4")
    paint(page)
    state(page, "Done")
    expect(page.locator(".card:not(.new)")).to_have_count(2)


def test_a_mask_is_painted(
    context: BrowserContext, served: tuple[Manager, str], tmp_path: Path
) -> None:
    page = context.new_page()
    filled(page, served[1], tmp_path, 2)
    page.get_by_text("Regions and masks").click()
    page.get_by_role("button", name="Add a region").click()
    page.get_by_role("button", name="Use this mask").click()
    expect(page.get_by_text("Nothing is painted yet")).to_be_visible()
    sheet = page.locator(".sheet").bounding_box()
    assert sheet
    page.mouse.move(sheet["x"] + 30, sheet["y"] + 30)
    page.mouse.down()
    for step in range(20):
        page.mouse.move(sheet["x"] + 30 + 10 * step, sheet["y"] + 30 + 5 * step)
    page.mouse.up()
    page.get_by_role("button", name="Use this mask").click()
    (tmp_path / "other.png").write_bytes(picture(3))
    page.set_input_files("input[aria-label='Style of region 1']", tmp_path / "other.png")
    name = paint(page)
    state(page, "Done")
    with httpx.Client(base_url=served[1]) as client:
        job = ended(client, name)
        assert job["inputs"] == ["content", "style-1", "region-1-mask", "region-1-style"]
        mask = read_image(BytesIO(client.get(f"/v1/jobs/{name}/inputs/region-1-mask").content))
    assert mask[:, :, 0].min() == 0
    assert 0.01 < (mask[:, :, 0] > 128).mean() < 0.9


def test_errors_are_beside_what_they_are_of(
    context: BrowserContext, served: tuple[Manager, str], tmp_path: Path
) -> None:
    page = context.new_page()
    filled(page, served[1], tmp_path, 99999)
    page.locator(".paint").click()
    expect(page.locator(".error", has_text="steps")).to_be_visible()
    set_number(page, "Steps", 3)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    page.set_input_files("input[aria-label='Add a style']", tmp_path / "bad.png")
    page.locator(".paint").click()
    expect(page.locator(".error", has_text="style 2")).to_be_visible()
    page.get_by_role("button", name="Remove style 2").click()
    paint(page)
    state(page, "Done")


class Line:
    """A connection to a server that can be cut, for all that is on it and for some time.

    Args:
        address: of the server.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._there = (parts.hostname or "", parts.port or 80)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"
        self._open: list[socket.socket] = []
        self._whole = threading.Event()
        self._whole.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Cut it."""
        self._whole.clear()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def mend(self) -> None:
        """Have it work again."""
        self._whole.set()

    def close(self) -> None:
        """End it for good."""
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                if not self._whole.is_set():
                    here.close()
                    continue
                there = socket.create_connection(self._there)
                self._open += [here, there]
                threading.Thread(target=self._carry, args=(here, there), daemon=True).start()

    def _carry(self, here: socket.socket, there: socket.socket) -> None:
        with here, there, suppress(OSError):
            while True:
                for one in select.select([here, there], [], [])[0]:
                    data = one.recv(65536)
                    if not data:
                        return
                    (there if one is here else here).sendall(data)


def test_two_viewers_one_of_whom_is_cut_off(
    context: BrowserContext, served: tuple[Manager, str], tmp_path: Path
) -> None:
    line = Line(served[1])
    first, second = context.new_page(), context.new_page()
    filled(first, line.address, tmp_path, 600, 96)
    name = paint(first)
    state(first, "Painting")
    second.goto(f"{served[1]}/#job={name}")
    state(second, "Painting")
    line.cut()
    expect(first.get_by_text("Connection lost", exact=False).first).to_be_visible()
    second.get_by_role("button", name="Pause").click()
    state(second, "Paused")
    line.mend()
    state(first, "Paused")
    soon(lambda: points(first) == points(second) > 0)
    second.get_by_role("button", name="Resume").click()
    state(first, "Painting")
    first.get_by_role("button", name="Cancel").click()
    for page in (first, second):
        state(page, "Canceled")
    soon(lambda: points(first) == points(second))
    line.close()


@pytest.mark.parametrize("width", [360, 820, 1440])
def test_nothing_is_wider_than_the_screen(
    context: BrowserContext, served: tuple[Manager, str], tmp_path: Path, width: int
) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark")
    filled(page, served[1], tmp_path, 2)
    paint(page)
    state(page, "Done")
    wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wider <= 0
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, green, blue = (int(part) for part in dark.strip("rgba()").split(",")[:3])
    assert max(red, green, blue) < 64
