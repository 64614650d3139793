"""What a manifest is, and that all else is one line that says where it stands."""

from __future__ import annotations

import copy
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from ortist.engine.artifacts import Artifacts
from ortist.models.errors import ArtifactError
from ortist.models.layers import LAYERS
from ortist.models.manifest import MAX_BYTES, parse_manifest
from ortist.models.weights import vgg19_tensors

SHIPPED = Path(str(resources.files("ortist.models"))) / "manifest.json"
MANIFEST: dict[str, Any] = json.loads(SHIPPED.read_text())
TENSORS = MANIFEST["weights"]["tensors"]

SHOWN = (0, 2, "conv1_1/codes", "conv5_4/bias")
"""Graphs and tensors that stand for those like them."""

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> bytes:
    manifest = copy.deepcopy(MANIFEST)
    change(manifest)
    return json.dumps(manifest).encode()


def complaint(text: bytes) -> str:
    """Return what is said of a manifest, after the name of the file."""
    with pytest.raises(ArtifactError) as caught:
        parse_manifest(text, "m.json")
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    assert message.startswith("m.json ")
    return message.removeprefix("m.json ").removeprefix("is corrupt: ")


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path to everything in a manifest but what is like something before it."""
    if path:
        yield path
    entries = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value if isinstance(value, list) else [])
    )
    for name, item in entries:
        if path not in (("graphs",), ("weights", "tensors")) or name in SHOWN:
            yield from places(item, (*path, name))


def holder(manifest: Any, path: tuple[str | int, ...]) -> Any:
    """Return the object or list that has the last part of a path."""
    for name in path[:-1]:
        manifest = manifest[name]
    return manifest


def written(path: tuple[str | int, ...]) -> str:
    """Return a path as messages write it."""
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in path)[1:]


def is_about(message: str, path: tuple[str | int, ...]) -> bool:
    """Tell whether a message names a path, or the object or list that it leads through."""
    named = re.split(" (?:is|has) ", message)[0]
    place = written(path)
    return named == "it" or place.startswith(named) or named.startswith(place)


def test_the_shipped_manifest_is_written_as_it_was_read() -> None:
    text = SHIPPED.read_bytes()
    assert parse_manifest(text, "").to_json().encode() == text


def test_a_manifest_has_what_the_file_says() -> None:
    manifest = parse_manifest(SHIPPED.read_bytes(), "")
    assert list(manifest.mean) == MANIFEST["mean"]
    assert {"name": manifest.source, "sha256": manifest.source_sha256} == MANIFEST["source"]
    assert [graph.file for graph in manifest.graphs] == [e["file"] for e in MANIFEST["graphs"]]
    gradient = manifest.graphs[2]
    assert (gradient.kind, gradient.opset, gradient.bytes) == (
        "gradient",
        18,
        MANIFEST["graphs"][2]["bytes"],
    )
    assert gradient.key.parts == tuple(MANIFEST["graphs"][2]["parts"])


WRONG: dict[str, object] = {
    "null": None,
    "true": True,
    "number": -1,
    "fraction": 0.5,
    "large": 10**400,
    "infinite": 1e999,
    "text": "\ud800\n\x1b[2J",
    "path": "/etc/passwd",
    "list": [],
    "nested": [[[[]]]],
    "object": {},
}


def is_right(path: tuple[str | int, ...], value: object) -> bool:
    """Tell whether a manifest may have a value of :data:`WRONG` there."""
    if value == []:
        return path[-1] == "graphs"
    if path[0] == "mean":
        return len(path) == 2 and value == 0.5
    if path[-1] == "rescaled":
        return value is True
    return path in (("license",), ("source", "name")) and isinstance(value, str)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_anywhere_is_refused_where_it_stands(name: str) -> None:
    wrong = WRONG[name]
    manifest = copy.deepcopy(MANIFEST)
    for path in places(MANIFEST):
        if path == ("format",) or is_right(path, wrong):
            continue
        where = holder(manifest, path)
        right, where[path[-1]] = where[path[-1]], wrong
        text = json.dumps(manifest).replace("Infinity", "1e999")
        where[path[-1]] = right
        message = complaint(text.encode())
        assert is_about(message, path), (message, path)


def test_nothing_can_be_left_out_but_graphs_and_parts() -> None:
    for path in places(MANIFEST):
        in_list = isinstance(path[-1], int) and path[-2] in ("graphs", "parts")
        if path == ("format",) or in_list:
            continue

        def leave_out(manifest: dict[str, Any], path: tuple[str | int, ...] = path) -> None:
            del holder(manifest, path)[path[-1]]

        message = complaint(changed(leave_out))
        assert is_about(message, path), (message, path)


CASES: dict[str, tuple[Change, str]] = {
    "unknown key": (
        lambda m: m.update(more=1),
        f"it has 'more', accepted are {', '.join(MANIFEST)}",
    ),
    "unknown key of a graph": (
        lambda m: m["graphs"][0].update(block=0),
        "graphs[0] has 'block', accepted are file, bytes, sha256, opset, kind, pooling, layers",
    ),
    "missing key": (lambda m: m["graphs"][1].pop("pooling"), "graphs[1] has no 'pooling'"),
    "block": (
        lambda m: m["graphs"][3].update(block=5),
        "graphs[3].block is 5, accepted is one of 0, 4, 6",
    ),
    "boolean for a number": (
        lambda m: m["graphs"][3].update(block=False),
        "graphs[3].block is False, accepted is one of 0, 4, 6",
    ),
    "number for a boolean": (
        lambda m: m["graphs"][3].update(rescaled=0),
        "graphs[3].rescaled is 0, accepted is one of False, True",
    ),
    "pooling": (
        lambda m: m["graphs"][0].update(pooling="min"),
        "graphs[0].pooling is 'min', accepted is one of average, max, l2",
    ),
    "kind": (
        lambda m: m["graphs"][1].update(kind="costs"),
        "graphs[1].kind is 'costs', accepted is one of features, measure, compare, pullback, "
        "gradient, measure_tile, pullback_tile",
    ),
    "unknown layer": (
        lambda m: m["graphs"][1].update(parts=["gram/conv6_1"]),
        "graphs[1].parts[0] is 'gram/conv6_1', accepted is a term and a layer, as in gram/conv1_1",
    ),
    "no term": (
        lambda m: m["graphs"][1].update(parts=["conv1_1"]),
        "graphs[1].parts[0] is 'conv1_1', accepted is a term and a layer, as in gram/conv1_1",
    ),
    "part twice": (
        lambda m: m["graphs"][1].update(parts=["gram/conv1_1", "gram/conv1_1"]),
        "graphs[1].parts is ['gram/conv1_1', 'gram/conv1_1'], accepted is one part or more, each "
        "once",
    ),
    "file twice": (
        lambda m: m["graphs"][1].update(file="vgg19.weights"),
        "graphs[1].file is 'vgg19.weights', accepted is a file of its own",
    ),
    "mean of two": (
        lambda m: m.update(mean=[1, 2]),
        "mean is [1, 2], accepted is three numbers",
    ),
    "mean out of range": (
        lambda m: m.update(mean=[1, 255.5, 2]),
        "mean[1] is 255.5, accepted is a number from 0 to 255",
    ),
    "mean true": (
        lambda m: m.update(mean=[True, 2, 2]),
        "mean[0] is True, accepted is a number from 0 to 255",
    ),
    "upper case checksum": (
        lambda m: m["weights"].update(sha256="A" * 64),
        f"weights.sha256 is '{'A' * 64}', accepted is 64 hexadecimal digits",
    ),
    "short checksum": (
        lambda m: m["weights"].update(sha256="a" * 63),
        f"weights.sha256 is '{'a' * 63}', accepted is 64 hexadecimal digits",
    ),
    "size": (
        lambda m: m["weights"].update(bytes=20057279),
        "weights.bytes is 20057279, accepted is 20057280",
    ),
    "offset": (
        lambda m: m["weights"]["tensors"]["conv1_2/codes"].update(offset=3009),
        "weights.tensors.conv1_2/codes.offset is 3009, accepted is 3008",
    ),
    "shape": (
        lambda m: m["weights"]["tensors"]["conv1_2/codes"].update(shape=[64, 64, 3, 2]),
        "weights.tensors.conv1_2/codes.shape is [64, 64, 3, 2], accepted is [64, 64, 3, 3]",
    ),
    "dtype": (
        lambda m: m["weights"]["tensors"]["conv1_1/bias"].update(dtype="float64"),
        "weights.tensors.conv1_1/bias.dtype is 'float64', accepted is \"float32\"",
    ),
    "no tensor": (
        lambda m: m["weights"]["tensors"].pop("conv1_1/bias"),
        "weights.tensors has no 'conv1_1/bias'",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_message_names_place_value_and_what_is_accepted(name: str) -> None:
    change, expected = CASES[name]
    assert complaint(changed(change)) == expected


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../vgg19.weights",
        "a/b",
        "a\\b",
        "C:a",
        "a\0",
        "a\n",
        ".a",
        "é",
    ],
)
def test_a_file_has_a_plain_name(name: str) -> None:
    for entry in ("weights", "graphs"):

        def rename(manifest: dict[str, Any], entry: str = entry) -> None:
            found = manifest[entry]
            (found if entry == "weights" else found[0])["file"] = name

        place = "weights" if entry == "weights" else "graphs[0]"
        found = complaint(changed(rename))
        assert found.startswith(f"{place}.file is ")
        assert found.endswith("accepted is a file name of letters, digits and . _ -")


def test_a_graph_listed_twice_is_refused() -> None:
    def twice(manifest: dict[str, Any]) -> None:
        manifest["graphs"].append(manifest["graphs"][2] | {"file": "again.onnx"})

    expected = f"accepted is another kind or choice than that of {MANIFEST['graphs'][2]['file']}"
    assert complaint(changed(twice)).endswith(expected)


TEXTS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "Expecting value"),
    "cut": (b"{", "Expecting property name"),
    "no UTF-8": (b"\xff\xfe", "can't decode byte 0xff"),
    "NaN": (changed(lambda m: m.update(mean=[math.nan, 1, 2])), "NaN is no number"),
    "infinity": (changed(lambda m: m.update(mean=[math.inf, 1, 2])), "Infinity is no number"),
    "deep": (b"[" * 100_000, "recursion"),
    "deep in a place": (
        changed(lambda m: m.update(mean="@")).replace(b'"@"', b"[" * 500 + b"]" * 500),
        "mean[0] is [[[",
    ),
    "5000 digits": (changed(lambda m: m.update(mean="@")).replace(b'"@"', b"1" * 5000), "4300"),
    "4000 digits": (
        changed(lambda m: m.update(mean=["@", 1, 2])).replace(b'"@"', b"1" * 4000),
        "mean[0] is 111",
    ),
    "key twice": (SHIPPED.read_bytes().rstrip()[:-1] + b', "mean": [1, 2, 3]}', "'mean' is there"),
    "more after the end": (SHIPPED.read_bytes() + b"x", "Extra data"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_json_or_ambiguous_is_corrupt(name: str) -> None:
    text, expected = TEXTS[name]
    assert expected in complaint(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[]", "None"),
        ("{}", "None"),
        ('{"format": 1}', "1"),
        ('{"format": 2.0}', "2.0"),
        ('{"format": true}', "True"),
    ],
)
def test_another_format_is_refused(text: str, found: str) -> None:
    assert complaint(text.encode()) == f"has format {found}, this version reads 2"


def test_a_manifest_of_megabytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b" " * (MAX_BYTES + 1))
    expected = f"manifest.json is corrupt: it has more than {MAX_BYTES} bytes"
    with pytest.raises(ArtifactError, match=re.escape(expected)):
        Artifacts(tmp_path)


def test_a_manifest_of_thousands_of_graphs_is_read_at_once() -> None:
    manifest = copy.deepcopy(MANIFEST)
    entry = MANIFEST["graphs"][2] | {"sha256": "0" * 64}
    manifest["graphs"] = [
        entry | {"file": f"{index}.onnx", "parts": [f"t{index}/conv1_1"]} for index in range(4100)
    ]
    text = json.dumps(manifest).encode()
    assert MAX_BYTES * 0.9 < len(text) <= MAX_BYTES
    begin = time.process_time()
    assert len(parse_manifest(text, "").graphs) == 4100
    assert time.process_time() - begin < 1


def test_tensors_follow_from_which_layers_have_codes() -> None:
    table = {name: (entry["dtype"], entry["offset"]) for name, entry in TENSORS.items()}
    assert {name: (t.dtype, t.offset) for name, t in vgg19_tensors(LAYERS).items()} == table
    plain = vgg19_tensors(())
    assert [name for name in plain if name.startswith("conv1_1")] == [
        "conv1_1/kernel",
        "conv1_1/bias",
    ]
    ends = [tensor.end for tensor in plain.values()]
    assert [tensor.offset for tensor in plain.values()] == [0, *ends[:-1]]
