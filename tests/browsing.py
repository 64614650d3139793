"""What a visitor does with the page, in a real browser."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from service import CONTENT, STYLE

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP elsewhere.test 127.0.0.1",
)
PATIENCE = 60_000
"""Milliseconds."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Give a browser."""
    path = shutil.which("chromium")
    assert path, "the tests of the page need chromium (apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def visiting(browser: Browser) -> Iterator[BrowserContext]:
    """Give a visitor, who must not see an error, nor be sent anywhere else."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    problems: list[str] = []
    hosts: set[str] = set()
    context.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
    context.on("weberror", lambda error: problems.append(str(error.error)))

    def heard(message: object) -> None:
        text = getattr(message, "text", "")
        # The browser's own word on answers that are no 2xx, of which the page makes its own.
        if getattr(message, "type", "") == "error" and "Failed to load resource" not in text:
            problems.append(text)

    context.on("console", heard)
    yield context
    context.close()
    assert problems == []
    assert hosts <= {"127.0.0.1", ""}  # blob: and data: have none


def filled(page: Page, address: str, folder: Path, steps: int, size: int = 64) -> None:
    """Choose pictures, size and steps."""
    for name, data in (("photo.png", CONTENT), ("painting.png", STYLE)):
        (folder / name).write_bytes(data)
    page.goto(address)
    page.set_input_files("input[aria-label='Content picture']", folder / "photo.png")
    page.set_input_files("input[aria-label='Style pictures']", folder / "painting.png")
    set_number(page, "Size in pixels, longer side", size)
    set_number(page, "Steps", steps)


def set_number(page: Page, label: str, value: int) -> None:
    """Type a number."""
    field = page.get_by_role("spinbutton", name=label)
    field.fill(str(value))
    field.press("Tab")


def paint(page: Page) -> str:
    """Have it painted and return the id of the job."""
    page.locator(".paint").click()
    page.wait_for_url("**#job=*")
    return page.url.partition("#job=")[2]


def state(page: Page, text: str) -> None:
    """Wait for a state of the painting that is open."""
    expect(page.locator(".state")).to_contain_text(text, timeout=PATIENCE)


def points(page: Page) -> int:
    """Return how many costs the curve of J has."""
    lines = page.locator(".curve .line.total").evaluate_all(
        "lines => lines.map(line => line.getAttribute('points').split(' ').length)"
    )
    return sum(lines)


def soon(true: Callable[[], bool]) -> None:
    """Wait until something is true: events come after answers."""
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)
