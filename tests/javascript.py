"""Functions of JavaScript modules, called as if they were Python's."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 300.0
"""Seconds until a call that does not end is ended."""


class JavaScriptError(Exception):
    """What a function raised: its name and message."""


def call(module: str, name: str, *args: Any) -> Any:
    """Call a function that a module exports, in a process of Node that is kept.

    Args:
        module: its file, relative to the repository.
        name: of the function; it may be asynchronous.
        args: what JSON can have, and arrays, which come as ``{data, dims}``; so do those returned.
    """
    request = {"module": (ROOT / module).as_uri(), "name": name, "args": args}
    node = _node()
    assert node.stdin is not None
    assert node.stdout is not None
    node.stdin.write(json.dumps(request, default=_encoded) + "\n")
    node.stdin.flush()
    watch = threading.Timer(PATIENCE, node.kill)
    watch.start()
    line = node.stdout.readline()
    watch.cancel()
    if not line:
        _node.cache_clear()
        raise RuntimeError(f"node ended with {node.wait()}")
    reply = json.loads(line, object_hook=_decoded)
    if "error" in reply:
        raise JavaScriptError(reply["error"]) from RuntimeError(reply["stack"])
    return reply["value"]


@cache
def _node() -> subprocess.Popen[str]:
    command = ["node", str(Path(__file__).with_name("web") / "bridge.js")]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _encoded(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    array = np.asarray(value)
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.name, "base64": data, "dims": array.shape}


def _decoded(value: dict[str, Any]) -> Any:
    if "base64" in value:
        data = np.frombuffer(base64.b64decode(value["base64"]), value["dtype"])
        return data.reshape(value["dims"]).copy()
    return float(value["number"].replace("Infinity", "inf")) if "number" in value else value
