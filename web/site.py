"""The files of a page that paints by itself: the runtime, ONNX Runtime's, graphs and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from ortist.engine.artifacts import Artifacts
from ortist.models.errors import InputError
from ortist.models.layers import LAYERS
from ortist.models.manifest import GraphFile
from ortist.models.weights import Tensor
from ortist.models.winograd import transformed_layer
from ortist.web.facts import facts

FACTS = "ortist.json"
RUNTIME = (
    *("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    *("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs"),
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""Files of onnxruntime-web: for processors, and for graphics, fetched where there are any."""
KINDS = ("gradient", "measure")
LICENSES = ("LICENSE", "NOTICE")
"""Files that go with copies: the weights' license asks for it."""
RUNTIME_LICENSE = """onnxruntime-web, of which the files ort* in this folder are copies:
Copyright (c) Microsoft Corporation

MIT License

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
HEADERS = """/*
  Cross-Origin-Opener-Policy: same-origin
  Cross-Origin-Embedder-Policy: require-corp
"""
"""What a server must say of all files for pages to compute with several threads, as hosts of static
files read it from a file of that name."""


def site_files(page: Path, runtime: Path, artifacts: Artifacts) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a page that paints by itself, with their names relative to its folder.

    Args:
        page: folder of the page, which finds all else in ``web/``.
        runtime: folder with onnxruntime-web: of the package or of those that npm installed.
        artifacts: the graphs.

    Raises:
        InputError: if onnxruntime-web is not there.
        ArtifactError: if a graph is missing or corrupt.
    """
    found = {path.name: path.read_bytes() for path in _runtime_files(runtime)}
    yield "_headers", HEADERS.encode()
    yield "web/LICENSE.onnxruntime", RUNTIME_LICENSE.encode()
    for packed in metadata.files("ortist") or ():
        if packed.name in LICENSES:
            yield packed.name, packed.read_binary()
    for name, content in found.items():
        yield f"web/{name}", content
    for path in sorted(Path(__file__).parent.glob("*.js")):
        yield f"web/{path.name}", path.read_bytes()
    for path in sorted(filter(Path.is_file, page.iterdir())):
        yield path.name, path.read_bytes()
    # What tells of the others comes last.
    for name, content in artifact_files(artifacts, found):
        yield f"web/{name}", content


def _runtime_files(folder: Path) -> list[Path]:
    places = (folder, folder / "dist", folder / "onnxruntime-web" / "dist")
    there = next((place for place in places if (place / RUNTIME[0]).is_file()), None)
    if there is None:
        raise InputError(
            f"{folder} has no onnxruntime-web: npm install onnxruntime-web puts it there"
        )
    found = [there / name for name in RUNTIME]
    for path in found:
        if not path.is_file():
            raise InputError(f"{path} is missing, which onnxruntime-web has from 1.30 on")
    return found


def artifact_files(
    artifacts: Artifacts, runtime: Mapping[str, bytes] | None = None
) -> Iterator[tuple[str, bytes]]:
    """Yield what pictures are painted with, and last the file that says what there is.

    Args:
        artifacts: the graphs.
        runtime: files beside them by name, of which the large ones are told of, too.
    """
    entry, data = artifacts.manifest.weights, artifacts.weights().files
    graphs, pieces = [], []
    for graph in artifacts.manifest.graphs:
        if graph.kind in KINDS:
            model = artifacts.read(graph)
            graphs.append(_graph(graph, model))
            yield graph.file, model
    needed = {layer for graph in graphs for layer in graph["layers"]}
    for layer, (start, end) in _extents(entry.tensors).items():
        if layer in needed:
            name = f"{Path(entry.file).stem}-{layer}.weights"
            content = data[entry.file][start:end]
            pieces.append({**_file(name, content), "layer": layer, "start": start})
            yield name, content
    product = _product()
    yield "product.onnx", product
    tensors = {name: asdict(tensor) for name, tensor in entry.tensors.items()}
    told = facts() | {
        "mean": artifacts.mean,
        "weights": {"file": entry.file, "tensors": tensors, "pieces": pieces},
        "graphs": graphs,
        "product": _file("product.onnx", product),
        "runtime": [
            _file(name, content)
            for name, content in (runtime or {}).items()
            if name.endswith(".wasm")
        ],
    }
    yield FACTS, json.dumps(told).encode()


def _extents(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Return where the weights of each layer start and end, in network order."""
    own = {
        layer: [tensor for name, tensor in tensors.items() if name.startswith(f"{layer}/")]
        for layer in LAYERS
    }
    return {
        layer: (found[0].offset, found[-1].offset + found[-1].size) for layer, found in own.items()
    }


def _graph(graph: GraphFile, model: bytes) -> dict[str, Any]:
    """Return what is told of a graph, with the layers whose weights it needs."""
    proto = onnx.load_model_from_string(model).graph
    names = {tensor.name for tensor in proto.initializer} | {value.name for value in proto.input}
    layers = {name.partition("/")[0] for name in names} & set(LAYERS)
    layers |= {layer for name in names if (layer := transformed_layer(name))}
    return {
        **_file(graph.file, model),
        "kind": graph.kind,
        **asdict(graph.key),
        "layers": [layer for layer in LAYERS if layer in layers],
    }


def _file(name: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"file": name, "bytes": len(content), "sha256": digest}


def _product() -> bytes:
    """Return a graph of a matrix product, which takes a twentieth of the time of JavaScript's."""
    shapes = {"first": ["m", "k"], "second": ["k", "n"], "product": ["m", "n"]}
    first, second, product = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    node = helper.make_node("MatMul", ["first", "second"], ["product"], "product")
    graph = helper.make_graph([node], "product", [first, second], [product])
    opset = helper.make_opsetid("", 18)
    made: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    return made
