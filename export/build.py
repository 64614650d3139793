"""Builds a models folder: weights once, graphs that refer to them, and the manifest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from ortist.engine.artifacts import MANIFEST, MANIFEST_FORMAT, GraphKey, write_whole
from ortist.engine.errors import InputError
from ortist.engine.layers import LAYERS
from ortist.engine.options import Options
from ortist.engine.statistics import STATISTICS
from ortist.engine.winograd import WINOGRAD_TILE
from ortist.export.graphs import DERIVATIONS
from ortist.export.storage import pack_weights, refer_weights, tensor_table
from ortist.export.weights import VGG19Weights, load_weights

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
    files[WEIGHTS_FILE] = pack_weights(weights)
    manifest = {
        "format": MANIFEST_FORMAT,
        "network": "vgg19",
        "input": {"layout": "1x3xHxW", "colours": "RGB", "range": [0, 255]},
        "mean": list(weights.mean),
        "license": weights.license,
        "source": {"name": weights.source, "sha256": weights.sha256},
        "weights": {**_entry(WEIGHTS_FILE, files), "tensors": tensor_table(weights)},
        "graphs": [{**_entry(name, files), **about} for name, about in graphs.items()],
    }
    files[MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_whole(folder / name, data)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error


def _graphs(weights: VGG19Weights) -> tuple[dict[str, bytes], dict[str, dict[str, Any]]]:
    """Return the serialised graphs by file name, and what the manifest says of each."""
    # Only here is torch imported.
    from ortist.export.vgg19 import OPSET, POOLINGS, export_features

    files: dict[str, bytes] = {}
    about: dict[str, dict[str, Any]] = {}

    def add(name: str, model: Any, **facts: Any) -> None:
        files[name] = model.SerializeToString(deterministic=True)
        about[name] = {"opset": OPSET, **facts}

    for pooling in POOLINGS:
        features = refer_weights(export_features(weights, LAYERS, pooling), weights, WEIGHTS_FILE)
        name = f"vgg19-{pooling}-features.onnx"
        add(name, features, kind="features", pooling=pooling, layers=list(LAYERS))
        if pooling != Options.pooling:
            continue
        for statistic, tile, kind in product(STATISTICS, (0, WINOGRAD_TILE), DERIVATIONS):
            content, style = Options.content_layers, Options.style_layers
            key = GraphKey.of(pooling, content, style, tile, statistic=statistic)
            parts = ["vgg19", pooling, kind, statistic, *([f"winograd{tile}"] if tile else [])]
            name = f"{'-'.join(parts)}.onnx"
            add(name, DERIVATIONS[kind](features, key), kind=kind, **asdict(key))
    return files, about


def _entry(name: str, files: dict[str, bytes]) -> dict[str, Any]:
    data = files[name]
    return {"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
