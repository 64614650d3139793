"""Builds a models folder: weights once, graphs that refer to them, and the manifest."""

from __future__ import annotations

import hashlib
from itertools import product
from pathlib import Path

from onnx import ModelProto

from ortist.engine.files import write_whole
from ortist.engine.options import Options
from ortist.engine.winograd import WINOGRAD_TILE
from ortist.export.graphs import DERIVATIONS
from ortist.export.storage import pack_weights, refer_weights, tensor_table
from ortist.export.weights import VGG19Weights, load_weights
from ortist.models.errors import InputError
from ortist.models.keys import STATISTICS, GraphKey, Kind
from ortist.models.layers import LAYERS
from ortist.models.manifest import MANIFEST, GraphFile, Manifest, WeightsFile

WEIGHTS_FILE = "vgg19.weights"


def build_models(source: str, folder: Path) -> None:
    """Write all artifacts made of the weights at ``source`` to ``folder``, for ``Engine(models=)``.

    The same source gives the same bytes. Needs torch.

    Args:
        source: a file that :func:`load_weights <ortist.export.weights.load_weights>` reads.
        folder: is created if need be; files in it are replaced, each at once, the manifest last.

    Raises:
        InputError: if the source cannot be read or the folder not written.
    """
    weights = load_weights(source)
    files, graphs = _graphs(weights)
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
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error


def _graphs(weights: VGG19Weights) -> tuple[dict[str, bytes], list[GraphFile]]:
    """Return the serialised graphs by file name, and what the manifest says of each."""
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
        add(name, features, "features", GraphKey(pooling, (), ()))
        if pooling != Options.pooling:
            continue
        for statistic, tile, kind in product(STATISTICS, (0, WINOGRAD_TILE), DERIVATIONS):
            content, style = Options.content_layers, Options.style_layers
            key = GraphKey.of(pooling, content, style, tile, statistic=statistic)
            parts = ["vgg19", pooling, kind, statistic, *([f"winograd{tile}"] if tile else [])]
            name = f"{'-'.join(parts)}.onnx"
            add(name, DERIVATIONS[kind](features, key), kind, key)
    return files, graphs


def _file(name: str, data: bytes) -> tuple[str, int, str]:
    return name, len(data), hashlib.sha256(data).hexdigest()
