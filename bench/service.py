"""Loads a service as many clients would, and measures how soon it answers.

    python bench/service.py                  # starts ``ortist serve`` of the environment it runs in

Three parts: the first preview of a job alone, and a cancel; 200 small jobs of 32 clients, mistakes
among them, with the latency of ``/healthz`` and memory meanwhile; and more than it takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

ORTIST = Path(sys.executable).with_name("ortist")
EXAMPLES = Path(__file__).parents[1] / "examples"
FINAL = ("done", "canceled", "failed")


@contextmanager
def started(*arguments: str) -> Iterator[tuple[psutil.Process, str]]:
    """Start a service with an empty folder; gives its process and address, once it can paint."""
    with TemporaryDirectory(prefix="ortist-service-") as folder:
        command = [ORTIST, "serve", "--port", "0", "--folder", folder, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[0]
            while httpx.get(f"{address}readyz").status_code != 200:
                time.sleep(0.1)
            yield psutil.Process(process.pid), address
        finally:
            process.terminate()
            process.wait()


def picture(seed: int, width: int, height: int) -> bytes:
    """Return a PNG of smooth noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    stream = BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


def form(content: bytes, style: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a request that sends a job."""
    files = {"content": ("c", content), "style": ("s", style)}
    return {"data": {"job": json.dumps({"options": options})}, "files": files}


def alone(address: str, size: int) -> tuple[float, float]:
    """Return seconds from the end of an upload to the first preview, and those of a cancel."""
    content, style = ((EXAMPLES / f"{name}.jpg").read_bytes() for name in ("content", "style"))
    with httpx.Client(base_url=address, timeout=60) as client:
        request = client.build_request("POST", "/v1/jobs", **form(content, style, {"size": size}))
        request.read()
        begin = time.monotonic()
        job = f"/v1/jobs/{client.send(request).raise_for_status().json()['id']}"
        while client.get(f"{job}/preview").status_code != 200:
            time.sleep(0.01)
        first = time.monotonic() - begin
        # Amid the last scale, whose evaluations take longest.
        while (client.get(job).json()["progress"] or {}).get("width", 0) < size:
            time.sleep(0.01)
        begin = time.monotonic()
        client.delete(job)
        while client.get(job).json()["state"] not in FINAL:
            time.sleep(0.01)
        return first, time.monotonic() - begin


class Load:
    """Many clients at once.

    Args:
        address: of the service.
        process: of it.
        size: of the pictures, in pixels.
    """

    def __init__(self, address: str, process: psutil.Process, size: int) -> None:
        self._address, self._process = address, process
        self._files = [picture(seed, size, size * 3 // 4) for seed in (1, 2)]
        self._size = size
        self.answers = Counter[str]()
        self.health: list[float] = []
        self.memory: list[float] = []

    async def run(self, jobs: int, clients: int) -> float:
        """Have clients send so many jobs, and wait for what becomes of them; return seconds."""
        begin = time.monotonic()
        numbers = iter(range(jobs))
        watching = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._client(numbers) for _ in range(clients)))
        watching.cancel()
        return time.monotonic() - begin

    async def _client(self, numbers: Iterator[int]) -> None:
        async with httpx.AsyncClient(base_url=self._address, timeout=300) as client:
            for number in numbers:
                await self._job(client, number)

    async def _job(self, client: httpx.AsyncClient, number: int) -> None:
        options = {"size": self._size, "steps": 4, "seed": number}
        arguments = form(*self._files, options)
        mistake = number % 8
        if mistake == 1:
            arguments = form(*self._files, {**options, "steps": -1})
        if mistake == 3:
            arguments = form(self._files[0][:200], self._files[1], options)
        while True:
            response = await client.post("/v1/jobs", **arguments)
            self.answers[str(response.status_code)] += 1
            if response.status_code not in (429, 503):
                break
            await asyncio.sleep(0.5 * random.random())
        if response.status_code != 202:
            return
        job = f"/v1/jobs/{response.json()['id']}"
        if mistake == 5:
            await client.delete(job)
        state = ""
        while state not in FINAL:
            await asyncio.sleep(0.2)
            state = (await client.get(job)).json()["state"]
        self.answers[state] += 1
        if state == "done":
            assert (await client.get(f"{job}/result")).status_code == 200

    async def _watch(self) -> None:
        async with httpx.AsyncClient(base_url=self._address, timeout=60) as client:
            while True:
                begin = time.monotonic()
                assert (await client.get("/healthz")).status_code == 200
                self.health.append(time.monotonic() - begin)
                family = [self._process, *self._process.children(recursive=True)]
                self.memory.append(sum(one.memory_info().rss for one in family) / 1e6)
                await asyncio.sleep(0.05)


def shown(values: list[float]) -> str:
    """Return median, 99th percentile and largest of some milliseconds."""
    centiles = quantiles(values, n=100)
    return f"{median(values):.1f}, {centiles[98]:.1f}, {max(values):.1f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--size", type=int, default=512, help="of the job alone")
    add("--rounds", type=int, default=3)
    add("--jobs", type=int, default=200)
    add("--clients", type=int, default=32)
    add("--small", type=int, default=64, help="size of the many jobs")
    arguments = parser.parse_args()
    with started() as (_, address):
        for _ in range(arguments.rounds):
            first, cancel = alone(address, arguments.size)
            print(
                f"{arguments.size}: first preview after {first:.2f} s, canceled in {cancel:.2f} s"
            )
    for limits in ((), ("--limit", "queued=10", "--limit", "jobs_per_client=8")):
        with started(*(limits or ("--limit", "jobs_per_client=100"))) as (process, address):
            load = Load(address, process, arguments.small)
            seconds = asyncio.run(load.run(arguments.jobs, arguments.clients))
            print(f"{arguments.jobs} jobs of {arguments.clients} clients, {' '.join(limits)}")
            print(f"  {seconds:.1f} s; answers and ends: {dict(sorted(load.answers.items()))}")
            print(f"  /healthz, ms (median, 99 %, most): {shown([1e3 * s for s in load.health])}")
            tenth = max(1, len(load.memory) // 10)
            begin, end = median(load.memory[:tenth]), median(load.memory[-tenth:])
            most = max(load.memory)
            print(f"  memory, MB: {begin:.0f} at first, {most:.0f} at most, {end:.0f} at last")


if __name__ == "__main__":
    main()
