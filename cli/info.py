"""``ortist info``: versions, devices, models and cache."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from ortist.cli.parameters import ModelsFolder
from ortist.cli.streams import print_json, print_line
from ortist.engine import DeviceError
from ortist.engine.artifacts import Artifacts, cache_directory
from ortist.engine.graphs import WINOGRAD_MIN_PIXELS
from ortist.engine.sessions import Device, import_runtime
from ortist.models.files import reason
from ortist.models.versions import installed_version
from ortist.models.winograd import WINOGRAD_BLOCK

_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_LIBRARIES = ("numpy", "onnx", "pillow", "pillow-heif", "tifffile")


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    models: ModelsFolder = None,
) -> None:
    """Show versions, devices, models with their checksums, and the cache.

    The exit code is 1 if a model is missing or corrupt.
    """
    facts = _facts(models)
    if as_json:
        print_json(facts)
    else:
        for line in _lines(facts):
            print_line(line)
    if not all(artifact["ok"] for artifact in facts["artifacts"]):
        raise typer.Exit(1)


def _facts(models: Path | None) -> dict[str, Any]:
    packages = ("ortist", *_RUNTIMES, *_LIBRARIES)
    versions = {name: found for name in packages if (found := installed_version(name))}
    return {
        "versions": versions | {"python": platform.python_version()},
        "providers": _providers(),
        "kernel": _kernel(),
        "artifacts": [
            {"file": file, "sha256": sha256, "ok": ok}
            for file, sha256, ok in Artifacts(models).verify()
        ],
        "cache": _cache(cache_directory()),
    }


def _providers() -> list[str]:
    try:
        return list(import_runtime().get_available_providers())
    except DeviceError:
        return []


def _kernel() -> str:
    """Say how convolutions are computed by default on this machine."""
    try:
        device = Device()
    except DeviceError as error:
        return f"none: {error}"
    if device.is_cpu:
        chosen = (
            f"winograd (block {WINOGRAD_BLOCK}) from {WINOGRAD_MIN_PIXELS} pixels, direct below"
        )
    else:
        chosen = "direct"
    return f"{chosen}, on {device.provider}"


def _cache(folder: Path | None) -> dict[str, Any]:
    """Say where derived graphs are kept and how much they are, or why that cannot be told."""
    sizes: list[int] = []
    problem = None
    try:
        for path in folder.iterdir() if folder else ():
            with suppress(FileNotFoundError):  # gone since it was listed
                sizes.append(path.stat().st_size)
    except FileNotFoundError:  # nothing was kept yet
        pass
    except OSError as error:
        problem = reason(error)
    return {
        "folder": str(folder) if folder else None,
        "files": len(sizes),
        "bytes": sum(sizes),
        "error": problem,
    }


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    cache = facts["cache"]
    if not cache["folder"]:
        why = "there is no home or cache directory with an absolute path"
        kept = f"none, derived graphs are not kept: {why}"
    elif cache["error"]:
        kept = f"{cache['folder']} cannot be read: {cache['error']}"
    else:
        kept = f"{cache['folder']} ({cache['files']} files, {cache['bytes'] / 1e6:.1f} MB)"
    rows = facts["versions"] | {
        "providers": ", ".join(facts["providers"])
        or "none: pip install 'ortist[cpu]' or 'ortist[gpu]'",
        "kernel": facts["kernel"],
        "cache": kept,
    }
    for name, value in rows.items():
        yield f"{name:<16} {value}"
    for artifact in facts["artifacts"]:
        state = "ok" if artifact["ok"] else "CORRUPT"
        yield f"{state:<16} {artifact['file']}  sha256 {artifact['sha256']}"
