"""What goes wrong in the browser's runtime is told, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from javascript import JavaScriptError, call
from numpy.typing import NDArray

from ortist.web.site import FACTS

DRIVER = "tests/web/faults.js"
WEIGHTS = "vgg19-conv1_1.weights"


@pytest.fixture(scope="module")
def folder(web_folder: Path) -> Path:
    return web_folder


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / FACTS).read_bytes())
    return told


def noise(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize(
    ("wrong", "fault", "message"),
    [
        (FACTS, "absent", "ortist.json cannot be loaded: status 404"),
        (FACTS, "page", "ortist.json is not what it should be"),
        (WEIGHTS, "absent", "conv1_1.weights cannot be loaded: status 404"),
        (WEIGHTS, "offline", "conv1_1.weights cannot be loaded: fetch failed"),
        (WEIGHTS, "lost", "conv1_1.weights cannot be loaded: the connection was lost"),
        (WEIGHTS, "page", "conv1_1.weights is damaged"),
        (WEIGHTS, "short", "conv1_1.weights is damaged"),
        (WEIGHTS, "changed", "conv1_1.weights is damaged"),
    ],
)
def test_files_that_are_not_as_they_should_be(
    folder: Path, wrong: str, fault: str, message: str
) -> None:
    with pytest.raises(JavaScriptError, match=f"ArtifactError: .*{message}"):
        call(DRIVER, "weights", str(folder), wrong, fault)


def test_files_as_they_should_be(folder: Path, facts: dict[str, Any]) -> None:
    size = (folder / WEIGHTS).stat().st_size
    assert call(DRIVER, "weights", str(folder), "", "") == size
    assert call(DRIVER, "again", str(folder), WEIGHTS) == [True, size]
    (piece,) = (one for one in facts["weights"]["pieces"] if one["file"] == WEIGHTS)
    expected = {FACTS: None, WEIGHTS: piece["sha256"][:16]}
    assert call(DRIVER, "versions", str(folder)) == expected


@pytest.mark.parametrize(
    ("doing", "weights", "log", "kept"),
    [
        # Tried once with all costs, then used.
        ("", [1, 1], ["webgpu 0", "wasm 4", "webgpu 0"], 100),
        # One cost at a time says little of the others: each is tried.
        ("", [1, 0], ["webgpu 0", *["wasm 4", "webgpu 0"] * 2, "wasm 4"], 100),
        ("gradient", [1, 1], ["webgpu 0", "wasm 4"], 0),
        ("nan", [1, 1], ["webgpu 0", "wasm 4"], 0),
        ("costs", [1, 1], ["webgpu 0", "wasm 4"], 0),
        ("fail", [1, 1], ["webgpu 0", "wasm 4"], 0),
        # Lost at the second run of the graph that is loaded after the trial.
        ("lost", [1, 1], ["webgpu 0", "wasm 4", "webgpu 0", "wasm 4"], 0),
    ],
)
def test_graphics_are_used_as_long_as_they_are_right(
    doing: str, weights: list[float], log: list[str], kept: int
) -> None:
    found = call(DRIVER, "graphics", doing, weights, 3)
    assert found["log"] == log
    assert found["found"] == [1, 2] * 3
    assert found["graphicsPixels"] == kept


@pytest.mark.parametrize(
    ("chosen", "sizes", "message"),
    [
        ({}, [], "no style image given"),
        ({}, [(10, 10)], "style image is 10x10 pixels; each side needs at least 16"),
        ({"style_weights": [1, 2]}, [(32, 32)], "style_weights has 2 weights for 1 style images"),
        ({"style_scale": [1, 2]}, [(32, 32)], "style_scale has 2 scales for 1 style images"),
        ({"max_pixels": 900}, [(32, 32)], "content image is 32x32 pixels; at most 900"),
    ],
)
def test_pictures_that_cannot_be_used(
    facts: dict[str, Any], chosen: dict[str, Any], sizes: list[tuple[int, int]], message: str
) -> None:
    given = noise(32, 32), [noise(*size) for size in sizes], chosen, facts
    with pytest.raises(JavaScriptError, match=f"InputError: {message}"):
        call(DRIVER, "shares", *given)


def test_pictures_with_another_number_of_channels(facts: dict[str, Any]) -> None:
    with pytest.raises(JavaScriptError, match="style image is an array of 32,32,4"):
        call(DRIVER, "shares", noise(32, 32), [noise(32, 32, 4)], {}, facts)


def test_weights_of_styles_are_shares(facts: dict[str, Any]) -> None:
    given = noise(32, 32), [noise(32, 32), noise(20, 40)], {"style_weights": [1, 3]}, facts
    assert call(DRIVER, "shares", *given) == [0.25, 0.75]


def test_runs_that_end_before_their_end_leave_nothing(folder: Path) -> None:
    found = call(DRIVER, "endings", str(folder), noise(32, 32), [noise(32, 32)])
    assert found["left"] == [0, 0, 0]
    assert found["aborted"] == "AbortError"
    assert found["name"] == "NonFiniteCostError"
    assert "; the picture is that of step 2: try a smaller learning rate" in found["message"]
    assert found["largest"] < 1000
