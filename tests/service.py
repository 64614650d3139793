"""A service for tests: the real application in a real server, and what clients do with it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from ortist.cli.server import Server, bound
from ortist.engine.workers import Setup
from ortist.serve import Limits, Manager
from ortist.serve.app import create_app

FINAL = ("done", "canceled", "failed")
QUICK = {"size": 64, "steps": 3, "scales": 1}
PATIENCE = 120.0


@contextmanager
def serving(
    folder: Path, limits: Limits | None = None, kernel: str = "auto", **guard: Any
) -> Iterator[tuple[Manager, str]]:
    """Serve jobs of a folder; gives the manager and the address."""
    setup = Setup("cpu", 1, kernel=kernel, memory=4e9)
    with bound("127.0.0.1", 0) as listening, Manager(folder, setup, 1, limits) as manager:
        server = Server(create_app(manager, **guard), on_stop=manager.end_listening)
        thread = threading.Thread(target=server.run_on, args=(listening,))
        thread.start()
        try:
            yield manager, f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def picture(seed: int, width: int = 96, height: int = 72, kind: str = "PNG") -> bytes:
    """Return a file of smooth noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    stream = BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(stream, kind)
    return stream.getvalue()


CONTENT, STYLE = picture(1), picture(2)


def form(options: Mapping[str, Any] = QUICK, **document: Any) -> dict[str, Any]:
    """Return the arguments of a request that sends a job."""
    job = json.dumps({"options": options, **document})
    return {
        "data": {"job": job},
        "files": [("content", ("c.png", CONTENT)), ("style", ("s.png", STYLE))],
    }


def ended(client: httpx.Client, name: str) -> dict[str, Any]:
    """Return a job once it has ended."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        job: dict[str, Any] = client.get(f"/v1/jobs/{name}").raise_for_status().json()
        if job["state"] in FINAL:
            return job
        time.sleep(0.02)
    raise AssertionError(f"the job did not end: {job}")


def events(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    """Yield name, id and data of the events of a stream, as a browser reads them."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
            fields = {}
