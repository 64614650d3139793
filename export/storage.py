"""Weights kept once, outside the graphs: one file of aligned tensors that every graph refers to.

The layout of the file depends on the weights alone, so graphs of any choice of layers, made at any
time from the same weights, refer to the same offsets. Layers that come as 8-bit codes stay codes;
their graphs decode them with ``Gather(codebook, codes)``, which ONNX Runtime folds when a session
is created.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ortist.export.weights import VGG19Weights
from ortist.models.weights import ALIGNMENT_BYTES, Tensor, lay_out


def pack_weights(weights: VGG19Weights) -> bytes:
    """Return the weights file: all tensors, little-endian, in network order, padded."""
    blob = bytearray()
    for array in _stored_tensors(weights).values():
        blob += array.astype(array.dtype.newbyteorder("<")).tobytes()
        blob += bytes(-len(blob) % ALIGNMENT_BYTES)
    return bytes(blob)


def refer_weights(model: onnx.ModelProto, weights: VGG19Weights, location: str) -> onnx.ModelProto:
    """Return ``model`` with its kernels and biases replaced by references to the weights file.

    Args:
        model: has initializers conv1_1/kernel, conv1_1/bias, ... equal to those of ``weights``;
            it is left as it is. Other initializers stay inside.
        weights: what :func:`pack_weights` packed.
        location: name of the file, relative to the folder of the model.
    """
    references = _references(weights, location)
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    del stored.graph.initializer[:], stored.graph.node[:]
    decoders: list[onnx.NodeProto] = []
    for tensor in model.graph.initializer:
        layer, _, role = tensor.name.rpartition("/")
        if tensor.name in references:
            stored.graph.initializer.append(references[tensor.name])
        elif role == "kernel" and f"{layer}/codes" in references:
            codes, codebook = (references[f"{layer}/{part}"] for part in ("codes", "codebook"))
            stored.graph.initializer.extend([codes, codebook])
            decoders += _decoder(layer)
        else:
            stored.graph.initializer.append(tensor)
    stored.graph.node.extend(decoders)
    stored.graph.node.extend(model.graph.node)
    return stored


def tensor_table(weights: VGG19Weights) -> dict[str, Tensor]:
    """Return where each tensor lies in the weights file, by name."""
    tensors = _stored_tensors(weights)
    return lay_out({name: (array.dtype.name, array.shape) for name, array in tensors.items()})


def _stored_tensors(weights: VGG19Weights) -> Mapping[str, NDArray[np.float32] | NDArray[np.uint8]]:
    tensors: dict[str, NDArray[np.float32] | NDArray[np.uint8]] = {}
    for name, layer in weights.layers.items():
        if layer.codes is not None and layer.codebook is not None:
            tensors[f"{name}/codes"] = layer.codes
            tensors[f"{name}/codebook"] = layer.codebook
        else:
            tensors[f"{name}/kernel"] = layer.decoded()
        tensors[f"{name}/bias"] = layer.bias
    return tensors


def _references(weights: VGG19Weights, location: str) -> Mapping[str, TensorProto]:
    """Return tensors without data that say where in the file at ``location`` it lies."""
    references = {}
    for name, tensor in tensor_table(weights).items():
        reference = TensorProto(
            name=name,
            data_type=helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)),
            dims=tensor.shape,
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": location, "offset": tensor.offset, "length": tensor.size}
        for key, value in place.items():
            reference.external_data.add(key=key, value=str(value))
        references[name] = reference
    return references


def _decoder(layer: str) -> list[onnx.NodeProto]:
    """Return nodes for kernel = codebook[codes]; Gather takes no unsigned indices."""
    indices, kernel = f"{layer}/indices", f"{layer}/kernel"
    return [
        helper.make_node("Cast", [f"{layer}/codes"], [indices], indices, to=TensorProto.INT32),
        helper.make_node("Gather", [f"{layer}/codebook", indices], [kernel], kernel),
    ]
