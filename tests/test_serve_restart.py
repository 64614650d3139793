"""Services that end in the midst of jobs, and start again; and the examples that embed them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image
from service import CONTENT, QUICK, STYLE, ended, events, form, serving

ORTIST = Path(sys.executable).with_name("ortist")
EXAMPLES = Path(__file__).parents[1] / "examples"
STEPS = {**QUICK, "steps": 36}


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start ``ortist serve``; gives the process and its address."""
    command = [ORTIST, "serve", "--port", "0", "--folder", folder, "--threads", "1", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        yield process, line.split()[0]
    finally:
        process.kill()
        _, said = process.communicate()
        assert "Traceback" not in said, said


def until_step(client: httpx.Client, name: str, step: int) -> None:
    with client.stream("GET", f"/v1/jobs/{name}/events") as stream:
        for kind, _, data in events(stream.iter_lines()):
            if kind == "step" and data["step"] >= step:
                return


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_jobs_go_on_after_the_end_of_the_service(tmp_path: Path, number: signal.Signals) -> None:
    painters = ("--painters", "2")
    with started(tmp_path, *painters) as (process, address):
        children = psutil.Process(process.pid).children(recursive=True)
        with httpx.Client(base_url=address, timeout=60) as client:
            names = []
            for seed in range(3):
                response = client.post("/v1/jobs", **form({**STEPS, "seed": seed}))
                names.append(response.raise_for_status().json()["id"])
            until_step(client, names[0], 8)
            until_step(client, names[1], 3)
            states = [client.get(f"/v1/jobs/{name}").json()["state"] for name in names]
            assert states == ["running", "running", "queued"]
            # Somebody follows meanwhile, and is told no more.
            with client.stream("GET", f"/v1/jobs/{names[2]}/events") as stream:
                lines = stream.iter_lines()
                assert next(lines)
                process.send_signal(number)
                if number == signal.SIGTERM:
                    process.send_signal(signal.SIGINT)  # as who is impatient does
                    assert [line for line in lines if line.startswith("event: failed")] == []
            code = process.wait(30)
        assert code == (-number if number == signal.SIGKILL else 0)
        _, alive = psutil.wait_procs(children, 10)
        assert alive == []
    with started(tmp_path, *painters) as (_, address), httpx.Client(base_url=address) as client:
        for seed, name in enumerate(names):
            assert ended(client, name)["state"] == "done"
            again = client.post("/v1/jobs", **form({**STEPS, "seed": seed})).json()["id"]
            assert ended(client, again)["state"] == "done"
            pair = [client.get(f"/v1/jobs/{one}/result").content for one in (name, again)]
            assert pair[0] == pair[1]
            # Whoever follows has all steps, those that were done again too.
            with client.stream("GET", f"/v1/jobs/{name}/events") as stream:
                found = list(events(stream.iter_lines()))
            steps = [data["step"] for kind, _, data in found if kind == "step"]
            assert set(steps) == set(range(1, 37))
            assert steps[-1] == 36


def test_a_job_that_is_too_large_by_now_lets_others_pass(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, address), httpx.Client(base_url=address) as client:
        large = client.post("/v1/jobs", **form({**STEPS, "size": 400, "steps": 500})).json()
        small = client.post("/v1/jobs", **form(STEPS)).json()
    assert large["plan"]["peak_bytes"] > small["plan"]["peak_bytes"]
    memory = str(small["plan"]["peak_bytes"] + 1000)
    less = ("--memory", memory)
    with started(tmp_path, *less) as (_, address), httpx.Client(base_url=address) as client:
        job = ended(client, large["id"])
        assert (job["state"], "GB of memory" in job["error"]) == ("failed", True)
        assert ended(client, small["id"])["state"] == "done"


def test_a_disk_without_room_loses_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path) as (manager, address), httpx.Client(base_url=address) as client:
        name = client.post("/v1/jobs", **form({**STEPS, "steps": 500})).json()["id"]
        until_step(client, name, 5)
        files = manager._shelf.files(name)
        for path in (files.checkpoint, files.result):
            path.mkdir()  # which no file can take the place of
        assert client.post(f"/v1/jobs/{name}/pause").status_code == 200
        while (job := client.get(f"/v1/jobs/{name}").json())["state"] == "running":
            time.sleep(0.05)
        assert (job["state"], job["error"]) == ("paused", None)
        for path in (files.checkpoint, files.result):
            path.rmdir()
        monkeypatch.setattr(manager, "_hand_out", lambda: 1 / 0)
        time.sleep(1.5)
        monkeypatch.undo()
        # From the start, since it could not be kept; after a failure that was nobody's.
        assert client.post(f"/v1/jobs/{name}/resume").status_code == 200
        until_step(client, name, 9)


def test_a_token_is_made_up_where_others_can_reach_it(tmp_path: Path) -> None:
    with started(tmp_path, "--host", "0.0.0.0") as (_, address):
        url, _, token = address.partition("#token=")
        port = httpx.URL(url).port
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/healthz", headers={"Host": "paint.example"}).status_code == 200
            assert client.get("/v1/limits").status_code == 401
            headers = {"Authorization": f"Bearer {token}"}
            assert client.get("/v1/limits", headers=headers).status_code == 200


def test_what_cannot_be_served_is_told(tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        command = [ORTIST, "serve", "--folder", tmp_path, *arguments]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr.count("\n") == 1
        return run.stderr

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot bind" in refused("--port", str(taken.getsockname()[1]))
    assert "--limit is 'stepps=3'" in refused("--limit", "stepps=3")
    assert "accepted are numbers above 0" in refused("--limit", "steps=0")
    assert "rocm" in refused("--port", "0", "--device", "rocm")
    with started(tmp_path):
        assert "another service" in refused("--port", "0")
    (tmp_path / "file").touch()
    assert "cannot be used" in refused("--port", "0", "--folder", str(tmp_path / "file"))


def test_the_example_without_http(tmp_path: Path) -> None:
    (tmp_path / "content.png").write_bytes(CONTENT)
    (tmp_path / "style.png").write_bytes(STYLE)
    command = [sys.executable, EXAMPLES / "embedded.py", "content.png", "style.png", "out.png"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[-1].startswith("18 of 18: J = ")
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (128, 96)
    assert [path.name for path in (tmp_path / "jobs").iterdir() if path.name[0] != "."] == []


def test_the_mounted_example(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--app-dir", EXAMPLES, "--port", str(port)]
    environment = {**os.environ, "JOBS": str(tmp_path / "jobs"), "ORTIST_TOKEN": "secret"}
    process = subprocess.Popen(
        [*command, "mounted:app"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for _ in range(300):
                try:
                    home = client.get("/").json()
                    break
                except httpx.ConnectError:
                    time.sleep(0.1)
            assert home == {"page": "/paint/"}
            assert "text/html" in client.get("/paint/").headers["content-type"]
            assert client.get("/paint/v1/limits").status_code == 401
            client.headers["Authorization"] = "Bearer secret"
            assert client.get("/paint/v1/limits").json()["painted_pixels"] == 1_000_000
            response = client.post("/paint/v1/jobs", **form())
            place = response.headers["Location"]
            assert place.startswith("/paint/v1/jobs/")
            while client.get(place).json()["state"] not in ("done", "failed"):
                time.sleep(0.05)
            assert client.get(f"{place}/result").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
