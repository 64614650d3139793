"""The service over HTTP, as clients see it."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from service import CONTENT, QUICK, STYLE, ended, events, form, picture, serving

from ortist.cli.like import Earlier
from ortist.engine import Engine, InputError, find_recipe
from ortist.engine.images import read_image
from ortist.engine.options import OPTIONS
from ortist.serve import Limits, Manager, painter, reception

LONG = {"size": 96, "steps": 1500, "scales": 1}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Manager, str]]:
    limits = Limits(picture_pixels=1_000_000, painted_pixels=100_000, upload_bytes=3_000_000)
    with serving(tmp_path_factory.mktemp("jobs"), limits) as found:
        yield found


@pytest.fixture
def client(served: tuple[Manager, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served[1], timeout=60) as client:
        yield client


def sent(client: httpx.Client, **arguments: Any) -> dict[str, Any]:
    """Send a job and return what is answered."""
    response = client.post("/v1/jobs", **(arguments or form()))
    assert response.status_code == 202, response.text
    assert response.headers["Location"] == f"/v1/jobs/{response.json()['id']}"
    job: dict[str, Any] = response.json()
    return job


def running(client: httpx.Client, name: str) -> None:
    """Wait until a painter, which may still load, begins a job."""
    while client.get(f"/v1/jobs/{name}").json()["state"] == "queued":
        time.sleep(0.02)


def test_a_picture_is_that_of_the_engine(client: httpx.Client, tmp_path: Path) -> None:
    job = sent(client)
    assert job["plan"]["width"], job["plan"]["steps"] == (64, 3)
    assert ended(client, job["id"])["state"] == "done"
    response = client.get(f"/v1/jobs/{job['id']}/result")
    assert response.headers["content-type"] == "image/png"
    assert 'filename="ortist-' in response.headers["content-disposition"]
    pictures = [read_image(BytesIO(data)) for data in (CONTENT, STYLE)]
    options = find_recipe("standard").with_options(**QUICK)
    expected = Engine("cpu", 1).stylize(*pictures, options).image
    np.testing.assert_array_equal(read_image(BytesIO(response.content)), expected)
    # It says how it was made, and of which files, whatever they are called now.
    for name, data in (("out.png", response.content), ("one.png", CONTENT), ("other.png", STYLE)):
        (tmp_path / name).write_bytes(data)
    earlier = Earlier.read(tmp_path / "out.png")
    assert earlier.steps == 3
    sources = earlier.sources(None, (), (), None)
    assert (sources.content, sources.styles) == (tmp_path / "one.png", (tmp_path / "other.png",))
    assert earlier.options({}) == replace(options, max_pixels=1_000_000)
    (tmp_path / "one.png").unlink()
    with pytest.raises(InputError, match="has no name there"):
        earlier.sources(None, (), (), None)


@pytest.mark.parametrize(
    ("query", "media", "mode"),
    [
        ("format=jpg&quality=50", "image/jpeg", "RGB"),
        ("format=webp", "image/webp", "RGB"),
        ("format=tiff&bits=16", "image/tiff", None),
        ("format=png&bits=16", "image/png", "RGB"),
    ],
)
def test_formats(client: httpx.Client, query: str, media: str, mode: str | None) -> None:
    job = sent(client)
    ended(client, job["id"])
    response = client.get(f"/v1/jobs/{job['id']}/result?{query}")
    assert (response.status_code, response.headers["content-type"]) == (200, media)
    if mode:
        assert Image.open(BytesIO(response.content)).mode == mode
    refused = client.get(f"/v1/jobs/{job['id']}/result?format=jpg&bits=16")
    assert refused.status_code == 422
    assert "bits" in refused.json()["detail"] or "16" in refused.json()["detail"]


def test_json_makes_the_same_as_a_form(client: httpx.Client) -> None:
    document = {
        "options": QUICK,
        "content": base64.b64encode(CONTENT).decode(),
        "styles": ["data:image/png;base64," + base64.b64encode(STYLE).decode()],
    }
    names = [sent(client)["id"], sent(client, json=document)["id"]]
    results = []
    for name in names:
        assert ended(client, name)["state"] == "done"
        results.append(client.get(f"/v1/jobs/{name}/result").content)
    assert results[0] == results[1]


def test_regions_protection_and_start(client: httpx.Client) -> None:
    mask = Image.new("L", (96, 72))
    mask.paste(255, (0, 0, 48, 72))
    stream = BytesIO()
    mask.save(stream, "PNG")
    files = [("content", CONTENT), ("style", STYLE), ("left", stream.getvalue())]
    files += [("other", picture(3)), ("begin", picture(4))]
    document = {
        "options": QUICK,
        "regions": [{"mask": "left", "style": "other"}],
        "protect": "left",
        "start": "begin",
    }
    job = sent(client, data={"job": json.dumps(document)}, files=files)
    assert job["inputs"] == [
        "content",
        "style-1",
        "region-1-mask",
        "region-1-style",
        "protect",
        "start",
    ]
    assert job["regions"] == [
        {"mask": "region-1-mask", "style": "region-1-style", "style_mask": None}
    ]
    assert ended(client, job["id"])["state"] == "done"
    fetched = client.get(f"/v1/jobs/{job['id']}/inputs/start")
    np.testing.assert_array_equal(
        read_image(BytesIO(fetched.content)), read_image(BytesIO(picture(4)))
    )
    assert client.get(f"/v1/jobs/{job['id']}/inputs/job.json").status_code == 404


def test_events_tell_all_steps_to_all(client: httpx.Client) -> None:
    job = sent(client)
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        first = list(events(stream.iter_lines()))
    assert (first[0][0], first[-1][0], first[-1][2]["state"]) == ("state", "state", "done")
    steps = [(number, data["step"]) for name, number, data in first if name == "step"]
    assert steps == [("1", 1), ("2", 2), ("3", 3)]
    # Whoever comes later has the same, and who comes back only what is new.
    for seen in (0, 2):
        headers = {"Last-Event-ID": str(seen)} if seen else {}
        with client.stream("GET", f"/v1/jobs/{job['id']}/events", headers=headers) as stream:
            again = [
                data["step"] for name, _, data in events(stream.iter_lines()) if name == "step"
            ]
        assert again == [1, 2, 3][seen:]


def test_a_preview_has_the_tag_of_its_step(client: httpx.Client) -> None:
    job = sent(client)
    ended(client, job["id"])
    path = f"/v1/jobs/{job['id']}/preview"
    response = client.get(path)
    assert response.headers["etag"] == '"3"'
    assert Image.open(BytesIO(response.content)).size == (64, 48)
    assert client.get(path, headers={"If-None-Match": '"3"'}).status_code == 304
    assert client.get(path, headers={"If-None-Match": '"2"'}).status_code == 200


def test_cancel_keeps_the_last_picture(client: httpx.Client) -> None:
    job = sent(client, **form(LONG))
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        for name, _, data in events(stream.iter_lines()):
            if name == "step" and data["step"] == 3:
                begin = time.monotonic()
                assert client.delete(f"/v1/jobs/{job['id']}").status_code == 200
                assert time.monotonic() - begin < 0.5
    state = ended(client, job["id"])
    assert (state["state"], state["result"], state["error"]) == ("canceled", True, None)
    assert client.get(f"/v1/jobs/{job['id']}/result").status_code == 200
    # Again it is what it was; when it is removed, nothing is left.
    assert client.delete(f"/v1/jobs/{job['id']}").json()["state"] == "canceled"
    assert client.delete(f"/v1/jobs/{job['id']}?purge=true").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404


def test_the_events_of_a_removed_job_end(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    job = sent(client, **form(LONG))
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        for name, _, _ in events(stream.iter_lines()):
            if name == "step":
                client.delete(f"/v1/jobs/{job['id']}?purge=true")
    assert client.get(f"/v1/jobs/{job['id']}/events").status_code == 404
    assert caplog.records == []


def test_a_paused_job_ends_with_the_same_bytes(client: httpx.Client) -> None:
    options = {**QUICK, "steps": 40}
    whole, paused = sent(client, **form(options))["id"], sent(client, **form(options))["id"]
    assert ended(client, whole)["state"] == "done"
    with client.stream("GET", f"/v1/jobs/{paused}/events") as stream:
        following = events(stream.iter_lines())
        halts = 0
        for name, _, data in following:
            if name == "step" and data["step"] in (5, 11):
                halts += 1
                assert client.post(f"/v1/jobs/{paused}/pause").status_code == 200
            if name == "state" and data["state"] == "paused":
                assert data["result"]
                assert client.post(f"/v1/jobs/{paused}/pause").json()["state"] == "paused"
                assert client.post(f"/v1/jobs/{paused}/resume").status_code == 200
    assert halts == 2
    assert ended(client, paused)["state"] == "done"
    results = [client.get(f"/v1/jobs/{name}/result").content for name in (whole, paused)]
    assert results[0] == results[1]
    assert client.post(f"/v1/jobs/{paused}/pause").status_code == 409
    assert client.post(f"/v1/jobs/{paused}/resume").status_code == 409


def test_the_queue_is_in_order(client: httpx.Client) -> None:
    first = sent(client, **form(LONG))
    running(client, first["id"])
    second, third = sent(client), sent(client)
    shown = [client.get(f"/v1/jobs/{job['id']}").json() for job in (second, third)]
    assert [job["position"] for job in shown] == [0, 1]
    assert client.delete(f"/v1/jobs/{second['id']}").json()["state"] == "canceled"
    assert client.get(f"/v1/jobs/{third['id']}").json()["position"] == 0
    client.delete(f"/v1/jobs/{first['id']}?purge=true")
    assert ended(client, third["id"])["state"] == "done"
    assert client.get(f"/v1/jobs/{second['id']}/result").status_code == 409


def test_the_same_key_is_the_same_job(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    found: list[str] = []

    def send() -> None:
        response = client.post("/v1/jobs", headers=headers, **form())
        found.append(response.json()["id"])

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    other = client.post("/v1/jobs", headers=headers, **form({**QUICK, "seed": 1}))
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (form({"size": 3}), 422, "size is 3"),
        (form({"sise": 64}), 422, "unknown option 'sise'"),
        (form({"steps": 99999}), 422, "steps is 99999, accepted are at most 2000"),
        (form({"size": 600}), 422, "accepted are at most 100000"),
        (form({"max_pixels": 10**9}), 422, "max_pixels is not for clients"),
        (form({"init": "/etc/passwd"}), 422, "init is '/etc/passwd'"),
        (form({"init": ["noise"]}), 422, "init is"),
        (form(recipe="../../etc/passwd.toml"), 422, "recipe is"),
        (form(contents="content"), 422, "contents"),
        ({**form(styles=["nowhere"]), "files": {"content": CONTENT}}, 422, "style-1 is 'nowhere'"),
        (form(styles=[]), 422, "style"),
        (form(styles=["style"] * 9), 422, "styles are 9, accepted are at most 8"),
        ({"data": {"job": "{"}, "files": {"content": CONTENT}}, 422, "no JSON"),
        ({"data": {"job": '{"options": {"tv": NaN}}'}, "files": {"content": CONTENT}}, 422, "JSON"),
        ({"data": {"other": "1"}, "files": {"content": CONTENT}}, 422, "other"),
        ({"files": {"content": CONTENT}}, 422, "style"),
        ({"files": {"content": b"no picture", "style": STYLE}}, 422, "content"),
        ({"files": {"content": CONTENT, "style": CONTENT[:900]}}, 422, "style"),
        ({"files": {"content": picture(1, 1100, 1000), "style": STYLE}}, 422, "1100000 pixels"),
        ({"files": {"content": CONTENT + bytes(3_000_000), "style": STYLE}}, 413, "3000000"),
        ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 422, "content type"),
        ({"json": {"content": "?", "styles": []}}, 422, "base64"),
        ({"json": [1]}, 422, "the job"),
        ({"json": {"content": "", "styles": [""] * 100_000}}, 422, "styles are 100000"),
        ({"json": {"styles": [1] * 600_000}}, 422, "beside its pictures"),
        (form(protect="content", styles=["content"]), 422, "'style' is not named"),
        ({"files": [("content", CONTENT), ("content", CONTENT), ("style", STYLE)]}, 422, "2 times"),
        (form({"size": json.loads("[" * 500 + "]" * 500)}), 422, "cannot be read"),
    ],
)
def test_what_is_refused_in_words(
    client: httpx.Client, served: tuple[Manager, str], arguments: Any, status: int, words: str
) -> None:
    before = served[0].state_counts()
    response = client.post("/v1/jobs", **arguments)
    assert (response.status_code, words in response.json()["detail"]) == (status, True), (
        response.text
    )
    assert "\n" not in response.json()["detail"]
    assert list(served[0].incoming.iterdir()) == []
    assert served[0].state_counts().total() == before.total()


def test_options_are_told_as_they_are_taken(client: httpx.Client) -> None:
    schema = client.get("/v1/options").json()
    assert set(schema["properties"]) == set(OPTIONS) - {"max_pixels", "terms"}
    defaults = {name: option["default"] for name, option in schema["properties"].items()}
    job = sent(client, **form({**defaults, **QUICK}, recipe="notebook"))
    client.delete(f"/v1/jobs/{job['id']}")
    recipes = client.get("/v1/recipes").json()
    assert {"standard", "notebook"} <= {recipe["name"] for recipe in recipes}
    assert client.get("/v1/limits").json()["painted_pixels"] == 100_000


def test_a_result_leaves_nothing_behind(client: httpx.Client, served: tuple[Manager, str]) -> None:
    job = sent(client)
    ended(client, job["id"])
    for range_, status in (("bytes=0-9", 206), ("bytes=99999999-", 416), ("bytes=x-y", 400)):
        response = client.get(f"/v1/jobs/{job['id']}/result", headers={"Range": range_})
        assert response.status_code == status
    until = time.monotonic() + 10  # it is removed once it is sent
    while list(served[0].incoming.iterdir()) and time.monotonic() < until:
        time.sleep(0.01)
    assert list(served[0].incoming.iterdir()) == []


def test_a_job_as_a_file(client: httpx.Client) -> None:
    document = json.dumps({"recipe": "draft", "options": QUICK}).encode()
    files = {"job": ("job.json", document), "content": CONTENT, "style": STYLE}
    assert sent(client, files=files)["recipe"] == "draft"


def test_health_and_metrics(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    text = client.get("/metrics").text
    assert "ortist_jobs_taken_total" in text
    assert 'ortist_jobs{state="queued"}' in text


def test_headers_of_all_answers(client: httpx.Client) -> None:
    for path in ("/", "/v1/limits", "/nowhere", "/v1/jobs/0"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 404),
        ({"Sec-Fetch-Site": "none"}, 404),
    ],
)
def test_writes_of_other_sites(client: httpx.Client, headers: dict[str, str], status: int) -> None:
    assert client.delete("/v1/jobs/0", headers=headers).status_code == status
    # What a link does is let through.
    assert client.get("/healthz", headers=headers).status_code == 200


def test_hosts_tokens_and_origins(tmp_path: Path) -> None:
    guard = {"hosts": ["localhost"], "token": "secret", "origins": ["https://friend.example"]}
    with serving(tmp_path, **guard) as (_, address), httpx.Client(base_url=address) as client:
        assert client.get("/healthz").status_code == 400
        client.headers["Host"] = "localhost:80"
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/limits").status_code == 401
        assert client.get("/metrics").status_code == 401
        wrong = {"Authorization": "Bearer secrets"}
        assert client.get("/v1/limits", headers=wrong).status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        assert client.get("/v1/limits").status_code == 200
        friend = {"Origin": "https://friend.example", "Sec-Fetch-Site": "cross-site"}
        response = client.delete("/v1/jobs/0", headers=friend)
        assert response.status_code == 404
        assert response.headers["access-control-allow-origin"] == "https://friend.example"


def test_too_many(tmp_path: Path) -> None:
    limits = Limits(queued=2, jobs_per_client=4)
    with serving(tmp_path, limits) as (_, address), httpx.Client(base_url=address) as client:
        jobs = [sent(client, **form(LONG))]
        running(client, jobs[0]["id"])
        jobs += [sent(client, **form(LONG)) for _ in range(2)]
        response = client.post("/v1/jobs", **form())
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        client.delete(f"/v1/jobs/{jobs[2]['id']}")
        client.post(f"/v1/jobs/{jobs[1]['id']}/pause")
        sent(client, **form(LONG))
        sent(client, **form(LONG))
        assert client.post("/v1/jobs", **form()).status_code == 503
    assert list(tmp_path.glob(".incoming/*")) == []


def test_memory_that_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path) as (manager, address), httpx.Client(base_url=address) as client:
        monkeypatch.setattr(reception, "available_bytes", lambda: 0)
        response = client.post("/v1/jobs", **form())
        assert (response.status_code, "GB of memory now" in response.text) == (503, True)
        assert int(response.headers["Retry-After"]) > 0
        monkeypatch.setattr(manager._reception, "_memory", 1e6)
        response = client.post("/v1/jobs", **form())
        assert (response.status_code, "smaller size" in response.text) == (413, True)
        assert list(manager.incoming.iterdir()) == []


def test_what_takes_too_long_keeps_its_picture(tmp_path: Path) -> None:
    limits = Limits(seconds=3)
    with serving(tmp_path, limits) as (_, address), httpx.Client(base_url=address) as client:
        job = ended(client, sent(client, **form(LONG))["id"])
    assert (job["state"], job["error"]) == ("failed", "it took more than 3 s")
    assert job["result"]


def test_what_is_old_is_removed(tmp_path: Path) -> None:
    limits = Limits(kept=2)
    with serving(tmp_path, limits) as (manager, address), httpx.Client(base_url=address) as client:
        names = [sent(client)["id"] for _ in range(3)]
        for name in names:
            ended(client, name)
        manager.prune()
        assert client.get(f"/v1/jobs/{names[0]}").status_code == 404
        assert client.get(f"/v1/jobs/{names[2]}").status_code == 200
    assert not (tmp_path / names[0]).exists()


def test_a_painter_that_is_killed_fails_its_job_only(tmp_path: Path) -> None:
    with serving(tmp_path) as (manager, address), httpx.Client(base_url=address) as client:
        first, second = sent(client, **form(LONG)), sent(client)
        with client.stream("GET", f"/v1/jobs/{first['id']}/events") as stream:
            for name, _, _ in events(stream.iter_lines()):
                if name == "step":
                    for one in manager._floor._painters:
                        one._process.kill()
                    break
        job = ended(client, first["id"])
        assert (job["state"], "killed" in job["error"]) == ("failed", True)
        assert ended(client, second["id"])["state"] == "done"


def test_a_painter_that_does_not_leave_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painter, "_LEAVE_SECONDS", 0.5)
    with serving(tmp_path) as (manager, address), httpx.Client(base_url=address) as client:
        job = sent(client, **form(LONG))
        running(client, job["id"])
        for one in manager._floor._painters:
            os.kill(one._process.pid or 0, signal.SIGSTOP)
        assert client.delete(f"/v1/jobs/{job['id']}").status_code == 200
        assert ended(client, job["id"])["state"] == "canceled"
        assert ended(client, sent(client)["id"])["state"] == "done"


def test_with_another_kernel_a_job_goes_on_as_it_was_begun(tmp_path: Path) -> None:
    options = {**QUICK, "steps": 30}
    results = []
    with serving(tmp_path) as (_, address), httpx.Client(base_url=address) as client:
        whole, paused = sent(client, **form(options))["id"], sent(client, **form(options))["id"]
        assert ended(client, whole)["state"] == "done"
        with client.stream("GET", f"/v1/jobs/{paused}/events") as stream:
            for name, _, data in events(stream.iter_lines()):
                if name == "step" and data["step"] == 5:
                    client.post(f"/v1/jobs/{paused}/pause")
                if name == "state" and data["state"] == "paused":
                    break
    other = "direct"
    with serving(tmp_path, kernel=other) as (_, address), httpx.Client(base_url=address) as client:
        client.post(f"/v1/jobs/{paused}/resume")
        assert ended(client, paused)["state"] == "done"
        for name in (whole, paused):
            results.append(client.get(f"/v1/jobs/{name}/result").content)
    assert results[0] == results[1]
