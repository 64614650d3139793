"""Builds a models folder: weights once, graphs that refer to them, and the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from onnx import ModelProto

from ortist.export.costs.term import Part
from ortist.export.graphs import derive
from ortist.export.storage import pack_weights, refer_weights, tensor_table
from ortist.export.weights import VGG19Weights, load_weights
from ortist.models.errors import InputError
from ortist.models.files import reason, write_whole
from ortist.models.keys import GraphKey, Kind
from ortist.models.layers import LAYERS
from ortist.models.manifest import MANIFEST, GraphFile, Manifest, WeightsFile
from ortist.models.winograd import WINOGRAD_BLOCK

WEIGHTS_FILE = "vgg19.weights"
READY_POOLING = "average"
READY_KINDS: tuple[Kind, ...] = ("measure", "gradient")
"""Pooling and kinds of the graphs, beside features, that are made ready."""


def build_models(source: str, folder: Path, ready: Mapping[str, Sequence[Part]]) -> None:
    """Write all artifacts made of the weights at ``source`` to ``folder``, for ``Engine(models=)``.

    The same source gives the same bytes. Needs torch.

    Args:
        source: a file that :func:`load_weights <ortist.export.weights.load_weights>` reads.
        folder: is created if need be; files in it are replaced, each at once, the manifest last.
        ready: the parts of J that graphs are made ready for, by what names of files call them.

    Raises:
        InputError: if the source cannot be read or the folder not written.
    """
    weights = load_weights(source)
    files, graphs = _graphs(weights, ready)
    packed = pack_weights(weights)
    manifest = Manifest(
        weights.mean,
        weights.license,
        weights.source,
        weights.sha256,
        WeightsFile(*_file(WEIGHTS_FILE, packed), tensor_table(weights)),
        tuple(graphs),
    )
    files |= {WEIGHTS_FILE: packed, MANIFEST: manifest.to_json().encode()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_whole(folder / name, data)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {reason(error)}") from error


def _graphs(
    weights: VGG19Weights, ready: Mapping[str, Sequence[Part]]
) -> tuple[dict[str, bytes], list[GraphFile]]:
    """Return the serialized graphs by file name, and what the manifest says of each."""
    # Only here is torch imported.
    from ortist.export.vgg19 import OPSET, POOLINGS, export_features

    files: dict[str, bytes] = {}
    graphs: list[GraphFile] = []

    def add(name: str, model: ModelProto, kind: Kind, key: GraphKey) -> None:
        files[name] = model.SerializeToString(deterministic=True)
        graphs.append(GraphFile(*_file(name, files[name]), OPSET, kind, key))

    for pooling in POOLINGS:
        features = refer_weights(export_features(weights, LAYERS, pooling), weights, WEIGHTS_FILE)
        name = f"vgg19-{pooling}-features.onnx"
        add(name, features, "features", GraphKey(pooling))
        if pooling != READY_POOLING:
            continue
        for (label, parts), block, kind in product(ready.items(), (0, WINOGRAD_BLOCK), READY_KINDS):
            key = GraphKey.of(pooling, (part.name for part in parts), block)
            labels = ["vgg19", pooling, kind, label, *([f"winograd{block}"] if block else [])]
            add(f"{'-'.join(labels)}.onnx", derive(kind, features, parts, block), kind, key)
    return files, graphs


def _file(name: str, data: bytes) -> tuple[str, int, str]:
    return name, len(data), hashlib.sha256(data).hexdigest()
