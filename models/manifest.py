"""``manifest.json``: what the files of a models folder are, read by one parser and written here.

Whatever is not what :func:`parse_manifest` accepts is an ArtifactError that says where it stands.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ortist.models.errors import ArtifactError, shown
from ortist.models.files import TooLongError, read_regular, reason
from ortist.models.json_values import SHA256, Value, parse_json
from ortist.models.keys import BLOCKS, KINDS, GraphKey, Kind
from ortist.models.layers import IMAGE, LAYERS, POOLINGS
from ortist.models.weights import Tensor, vgg19_tensors

MANIFEST = "manifest.json"
FORMAT = 2
MAX_BYTES = 1_000_000
"""Of a manifest; those that ``ortist export`` writes have some 13 kB."""

_NETWORK = "vgg19"
_INPUT = {"layout": "1x3xHxW", "colors": "RGB", "range": [0, 255]}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_PART = re.compile(rf"\w{{1,100}}/({'|'.join((*LAYERS, IMAGE))})", re.ASCII)
_KEY_PARTS = tuple(GraphKey.__dataclass_fields__)


@dataclass(frozen=True)
class File:
    """A file of the folder.

    Attributes:
        file: its name, without a folder.
        bytes: its size.
        sha256: its checksum, in hexadecimal digits.
    """

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class WeightsFile(File):
    """The file with the weights of all graphs, and its ``tensors`` by name, in their order."""

    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class GraphFile(File):
    """A file with a graph.

    Attributes:
        opset: version of the operators in use.
        kind: what the graph is for.
        key: what it is made for; of features graphs, which have all layers, only the pooling.
    """

    opset: int
    kind: Kind
    key: GraphKey


@dataclass(frozen=True)
class Manifest:
    """What a models folder holds.

    Attributes:
        mean: RGB color, 0..255, that the network subtracts from its input.
        license: of the weights.
        source: name of the file that the weights come from.
        source_sha256: its checksum.
        weights: the weights file.
        graphs: files and keys are there once.
    """

    mean: tuple[float, float, float]
    license: str
    source: str
    source_sha256: str
    weights: WeightsFile
    graphs: tuple[GraphFile, ...]

    def to_json(self) -> str:
        """Return what :func:`parse_manifest` reads."""
        manifest = {
            "format": FORMAT,
            "network": _NETWORK,
            "input": _INPUT,
            "mean": self.mean,
            "license": self.license,
            "source": {"name": self.source, "sha256": self.source_sha256},
            "weights": asdict(self.weights),
            "graphs": [_graph_fields(graph) for graph in self.graphs],
        }
        return json.dumps(manifest, indent=2) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a models folder.

    Raises:
        ArtifactError: if it cannot be read or is not one.
    """
    path = folder / MANIFEST
    return parse_manifest(read_file(path, MAX_BYTES), str(path))


def read_file(path: Path, limit: int) -> bytes:
    """Return the content of a file of the folder, symbolic links followed.

    Raises:
        ArtifactError: if it cannot be read, is no regular file, or has more than ``limit`` bytes.
    """
    try:
        return read_regular(path, limit)
    except TooLongError as error:
        raise ArtifactError(f"{path} is corrupt: {reason(error)}") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read {path}: {reason(error)}") from error


def parse_manifest(text: bytes, label: str) -> Manifest:
    """Return the manifest that ``text``, JSON in UTF-8, describes.

    Args:
        text: content of a manifest file.
        label: what messages call the file.

    Raises:
        ArtifactError: if it is not a manifest, in one line that names the file, the place in it,
            what stands there and what is accepted.
    """
    try:
        parsed = parse_json(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{label} is corrupt: {error}") from error
    found = parsed.get("format") if isinstance(parsed, dict) else None
    if type(found) is not int or found != FORMAT:
        raise ArtifactError(f"{label} has format {shown(found)}, this version reads {FORMAT}")
    return _manifest(Value(parsed, "", f"{label} is corrupt", ArtifactError))


def _graph_fields(graph: GraphFile) -> dict[str, Any]:
    """Return the entry of a graph; layers of features graphs are outputs, not a choice."""
    fields = asdict(graph)
    key = fields.pop("key")
    features = {"pooling": key["pooling"], "layers": LAYERS}
    return fields | (features if graph.kind == "features" else key)


def _manifest(value: Value) -> Manifest:
    fields = value.fields(
        ("format", "network", "input", "mean", "license", "source", "weights", "graphs")
    )
    fields["network"].exactly(_NETWORK)
    fields["input"].exactly(_INPUT)
    source = fields["source"].fields(("name", "sha256"))
    weights = _weights(fields["weights"])
    return Manifest(
        _mean(fields["mean"]),
        fields["license"].text(),
        source["name"].text(),
        _sha256(source["sha256"]),
        weights,
        _graphs(fields["graphs"], weights.file),
    )


def _mean(value: Value) -> tuple[float, float, float]:
    colors = [item.number(0, 255) for item in value.items()]
    if len(colors) != 3:
        value.refuse("three numbers")
    return colors[0], colors[1], colors[2]


def _sha256(value: Value) -> str:
    return value.matching(SHA256, "64 hexadecimal digits")


def _file(fields: dict[str, Value]) -> File:
    name = fields["file"].matching(_NAME, "a file name of letters, digits and . _ -")
    return File(name, fields["bytes"].integer(0), _sha256(fields["sha256"]))


def _weights(value: Value) -> WeightsFile:
    fields = value.fields((*File.__dataclass_fields__, "tensors"))
    file = _file(fields)
    tensors = _tensors(fields["tensors"])
    fields["bytes"].exactly(list(tensors.values())[-1].end)
    return WeightsFile(**asdict(file), tensors=tensors)


def _tensors(value: Value) -> dict[str, Tensor]:
    """Return the table; all of it follows from which layers have codes."""
    given = value.value if isinstance(value.value, dict) else {}
    tensors = vgg19_tensors(layer for layer in LAYERS if f"{layer}/codes" in given)
    for name, found in value.fields(tuple(tensors)).items():
        expected = asdict(tensors[name])
        for part, field in found.fields(tuple(expected)).items():
            field.exactly(expected[part])
    return tensors


def _graphs(value: Value, weights: str) -> tuple[GraphFile, ...]:
    graphs: list[GraphFile] = []
    files = {weights}
    found: dict[tuple[Kind, GraphKey], str] = {}
    for item in value.items():
        graph = _graph(item)
        if graph.file in files:
            item.at("file").refuse("a file of its own")
        if (graph.kind, graph.key) in found:
            item.refuse(f"another kind or choice than that of {found[graph.kind, graph.key]}")
        files.add(graph.file)
        found[graph.kind, graph.key] = graph.file
        graphs.append(graph)
    return tuple(graphs)


def _graph(value: Value) -> GraphFile:
    stated = value.value.get("kind") if isinstance(value.value, dict) else None
    facts = ("pooling", "layers") if stated == "features" else _KEY_PARTS
    fields = value.fields((*File.__dataclass_fields__, "opset", "kind", *facts))
    kind = fields["kind"].one_of(KINDS)
    key = _whole(fields) if kind == "features" else _key(fields)
    return GraphFile(**asdict(_file(fields)), opset=fields["opset"].integer(1), kind=kind, key=key)


def _whole(fields: dict[str, Value]) -> GraphKey:
    """Return the key of a features graph."""
    fields["layers"].exactly(LAYERS)
    return GraphKey(fields["pooling"].one_of(POOLINGS))


def _key(fields: dict[str, Value]) -> GraphKey:
    return GraphKey(
        fields["pooling"].one_of(POOLINGS),
        _parts(fields["parts"]),
        fields["block"].one_of(BLOCKS),
        fields["rescaled"].one_of((False, True)),
    )


def _parts(value: Value) -> tuple[str, ...]:
    parts = [
        item.matching(_PART, "a term and a layer, as in gram/conv1_1") for item in value.items()
    ]
    if len(set(parts)) < len(parts) or not parts:
        value.refuse("one part or more, each once")
    return tuple(parts)
