"""Uploads that mean harm: each is refused in words, and nothing is left behind."""

from __future__ import annotations

import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from service import CONTENT, QUICK, STYLE, ended, form, serving

from ortist.serve import Limits, Manager
from ortist.serve import guard as guards

LIMITS = Limits(picture_pixels=2_000_000, upload_bytes=2_000_000, jobs_per_client=50, queued=50)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Manager, str, Path]]:
    folder = tmp_path_factory.mktemp("jobs")
    with serving(folder, LIMITS) as (manager, address):
        yield manager, address, folder


def png(width: int, height: int, data: bytes) -> bytes:
    """Return a PNG that says it has so many gray pixels, whatever is in it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pictures() -> Iterator[tuple[str, bytes]]:
    """Yield what is no picture, or one that should not be decoded."""
    zeros = zlib.compress(bytes(60_000_000), 9)
    yield "bomb", png(60000, 1000, zeros)
    yield "largest", png(2**31 - 1, 2**31 - 1, zeros)
    yield "no pixels", png(0, 0, b"")
    yield "text chunk", CONTENT[:33] + b"\x7f\xff\xff\xffzTXt" + zeros
    yield "empty", b""
    yield "text", b"GIF89a but not really"
    yield "markup", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    yield "page", b"<!doctype html><script>alert(1)</script>"
    yield "program", b"\x7fELF" + bytes(1000)
    yield (
        "postscript",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nsystemdict /quit get exec\n",
    )
    yield "archive", b"PK\x03\x04" + bytes(1000)
    yield "numpy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': ()}"
    yield "pickle", b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."
    gray = Image.new("L", (2000, 1500))
    yield "too many pixels", saved(gray, "PNG")
    yield (
        "many frames",
        saved(Image.new("P", (1200, 1900)), "GIF", save_all=True, append_images=[gray] * 20),
    )
    yield "tiny", saved(Image.new("RGB", (1, 1)), "PNG")
    yield "line", saved(Image.new("RGB", (20000, 8)), "PNG")
    good = {
        kind: saved(Image.open(BytesIO(CONTENT)), kind) for kind in ("PNG", "JPEG", "TIFF", "WEBP")
    }
    generator = np.random.default_rng(0)
    for kind, data in good.items():
        for share in np.linspace(0.02, 0.6, 20):
            yield f"{kind} cut", data[: int(len(data) * share)]
        for _ in range(25):
            noise = np.frombuffer(data, np.uint8).copy()
            noise[:12] = generator.integers(0, 256, 12)
            yield f"{kind} without its head", noise.tobytes()
    for _ in range(90):
        yield "noise", generator.bytes(int(generator.integers(1, 5000)))


NAMES = (
    "../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "a\0b",
    "c.png; filename=/etc/passwd",
    "x" * 3000,
    "CON",
    "<script>alert(1)</script>",
    "job.json",
    ".lock",
)


def left(folder: Path) -> list[str]:
    """Return what there is, once what was removed is deleted."""
    own, until = (".lock", ".incoming"), time.monotonic() + 10
    while True:
        found = sorted(str(path) for path in folder.rglob("*") if path.name not in own)
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.05)


def test_pictures_that_are_none(served: tuple[Manager, str, Path]) -> None:
    manager, address, folder = served
    before = left(folder)
    count = 0
    with httpx.Client(base_url=address, timeout=60) as client:
        for index, (what, data) in enumerate(pictures()):
            field = ("content", "style")[index % 2]
            files = {"content": CONTENT, "style": STYLE, field: data}
            response = client.post("/v1/jobs", data={"job": "{}"}, files=files)
            assert response.status_code in (413, 422), (what, response.text)
            detail = response.json()["detail"]
            assert len(detail) < 400, what
            assert field in detail or "pictures" in detail, (what, detail)
            assert str(folder) not in detail
            count += 1
        assert count >= 280
        assert client.get("/readyz").status_code == 200
    assert left(folder) == before
    assert manager.state_counts().total() == 0


@pytest.mark.parametrize("name", NAMES)
def test_names_are_nothing_to_the_disk(served: tuple[Manager, str, Path], name: str) -> None:
    _, address, folder = served
    with httpx.Client(base_url=address, timeout=60) as client:
        files = [("content", (name, CONTENT)), (name, (name, STYLE))]
        document = json.dumps({"options": QUICK, "styles": [name]})
        response = client.post("/v1/jobs", data={"job": document}, files=files)
        if response.status_code == 202:
            job = ended(client, response.json()["id"])
            assert job["inputs"] == ["content", "style-1"]
            kept = {path.name for path in (folder / job["id"]).iterdir()}
            assert kept == {
                "content.png",
                "job.json",
                "preview.jpg",
                "result.npy",
                "steps.jsonl",
                "style-1.png",
            }
            client.delete(f"/v1/jobs/{job['id']}?purge=true").raise_for_status()
        else:
            assert response.status_code in (400, 422), response.text
    for path in (f"/v1/jobs/{name}", f"/v1/jobs/0/inputs/{name}", f"/{name}"):
        answer = raw(address, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert answer.split()[1] in (b"400", b"404", b"405"), answer
    assert left(folder) == []


def raw(address: str, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send pieces over a connection and return what is answered until it is closed."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=20) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        answer = b""
        with suppress(ConnectionResetError, TimeoutError):
            while b"}" not in answer and (data := connection.recv(65536)):
                answer += data
        return answer


HEAD = (
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: multipart/form-data; boundary=x\r\n"
)
PART = b'--x\r\nContent-Disposition: form-data; name="content"; filename="c"\r\n\r\n'


def test_bodies_without_end(served: tuple[Manager, str, Path]) -> None:
    _, address, folder = served
    answer = raw(address, HEAD + b"Content-Length: 99999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    first = b"%x\r\n%s\r\n" % (len(PART), PART)
    answer = raw(address, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + first, *([chunk] * 60))
    assert answer.startswith(b"HTTP/1.1 413")
    assert left(folder) == []


def test_slow_clients(served: tuple[Manager, str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, address, folder = served
    monkeypatch.setattr(guards, "SILENCE", 0.5)
    begin = time.monotonic()
    answer = raw(address, HEAD + b"Content-Length: 500000\r\n\r\n" + PART, b"a")
    assert answer.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - begin < 10
    monkeypatch.setattr(guards, "BODY_SECONDS", 1.0)
    answer = raw(address, HEAD + b"Content-Length: 500000\r\n\r\n" + PART, *[b"a"] * 12, pause=0.2)
    assert answer.startswith(b"HTTP/1.1 408")
    assert left(folder) == []


def test_forms_that_are_none(served: tuple[Manager, str, Path]) -> None:
    _, address, folder = served
    with httpx.Client(base_url=address, timeout=60) as client:
        for body in (b"", b"--x", b"--x--", PART * 100, b"--x\r\n" + bytes(5000), PART[:40]):
            kind = {"Content-Type": "multipart/form-data; boundary=x"}
            response = client.post("/v1/jobs", content=body, headers=kind)
            assert response.status_code in (400, 422), response.text
        many = [(f"file{number}", b"x") for number in range(200)]
        assert client.post("/v1/jobs", files=many).status_code == 400
        deep = '{"options": ' + "[" * 100_000
        for text in (
            deep,
            '{"options": {"a": 1, "a": 2}}',
            "[]",
            "1e999",
            '"' + "x" * 900_000 + '"',
        ):
            response = client.post("/v1/jobs", **{**form(), "data": {"job": text}})
            assert response.status_code == 422, text[:40]
            assert len(response.json()["detail"]) < 400
        assert (
            client.post("/v1/jobs", **{**form(), "data": {"job": "x" * 1_100_000}}).status_code
            == 400
        )
        kind = {"Content-Type": "application/json"}
        for body in (b"\xff\xfe", b"", b"null"):
            assert client.post("/v1/jobs", content=body, headers=kind).status_code == 422
    assert left(folder) == []
