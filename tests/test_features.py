from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from ortist.engine.errors import InputError
from ortist.export.storage import pack_weights, refer_weights
from ortist.export.vgg19 import POOLINGS, VGG19Features, export_features
from ortist.export.weights import ConvWeights, VGG19Weights
from ortist.models.layers import LAYER_CHANNELS, LAYERS
from ortist.models.weights import ALIGNMENT_BYTES

MEAN = (123.68, 116.779, 103.939)
BLOB = "vgg19.weights"

Float32 = NDArray[np.float32]


def narrow_weights(*, coded: bool) -> VGG19Weights:
    """Random weights of a VGG-19 with a 16th of the channels, scaled to keep activations alive."""
    random = np.random.default_rng(3)
    layers, channels = {}, 3
    for name, full_width in LAYER_CHANNELS.items():
        shape = full_width // 16, channels, 3, 3
        scale = np.sqrt(2 / (9 * channels))
        bias = random.normal(0, 10, shape[0]).astype(np.float32)
        if coded:
            codes = random.integers(0, 256, shape, np.uint8)
            codebook = np.sort(random.normal(0, scale, 256)).astype(np.float32)
            layers[name] = ConvWeights(bias=bias, codes=codes, codebook=codebook)
        else:
            kernel = random.normal(0, scale, shape).astype(np.float32)
            layers[name] = ConvWeights(bias=bias, kernel=kernel)
        channels = shape[0]
    return VGG19Weights(layers, MEAN, "random", "0" * 64)


WEIGHTS = narrow_weights(coded=True)
FLOAT_WEIGHTS = narrow_weights(coded=False)

both_kinds = pytest.mark.parametrize("weights", [WEIGHTS, FLOAT_WEIGHTS], ids=["codes", "floats"])


def picture(height: int, width: int) -> Float32:
    """Random pixels (1, 3, height, width), 0..255."""
    random = np.random.default_rng(4)
    return random.uniform(0, 255, (1, 3, height, width)).astype(np.float32)


def run(model: onnx.ModelProto, image: Float32, folder: Path | None = None) -> dict[str, Float32]:
    """Run ``model`` from bytes; its external data lies in ``folder``."""
    options = onnxruntime.SessionOptions()
    if folder is not None:
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(folder))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": image}), strict=True))


def shapes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    infos = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    return {
        info.name: [dim.dim_param or dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in infos
    }


def external_places(model: onnx.ModelProto) -> dict[str, dict[str, str]]:
    return {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }


@pytest.fixture(scope="module", params=POOLINGS)
def pooling(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(pooling: str) -> onnx.ModelProto:
    return export_features(WEIGHTS, LAYERS, pooling)


@pytest.mark.parametrize(("height", "width"), [(37, 53), (16, 16), (48, 31)])
def test_every_layer_equals_the_torch_modules(
    model: onnx.ModelProto, pooling: str, height: int, width: int
) -> None:
    image = picture(height, width)
    module = VGG19Features(WEIGHTS, LAYERS, pooling)
    single = module(torch.from_numpy(image))
    double = module.double()(torch.from_numpy(image).double())
    activations = run(model, image)
    assert list(activations) == list(LAYERS)
    for name, expected, exact in zip(LAYERS, single, double, strict=True):
        scale = exact.norm().item()
        assert activations[name].shape == exact.shape
        assert np.linalg.norm(activations[name] - exact.numpy()) <= 2e-6 * scale
        assert np.linalg.norm(activations[name] - expected.numpy()) <= 4e-6 * scale


def test_in_double_precision_the_graph_is_the_module_to_rounding(
    model: onnx.ModelProto, pooling: str
) -> None:
    double = onnx.ModelProto()
    double.CopyFrom(model)
    for tensor in double.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    image = picture(37, 53).astype(np.float64)
    module = VGG19Features(WEIGHTS, LAYERS, pooling).double()
    activations = ReferenceEvaluator(double).run(None, {"image": image})
    for actual, expected in zip(activations, module(torch.from_numpy(image)), strict=True):
        np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-10, atol=1e-10)


def test_stated_shapes_hold_at_odd_sizes(model: onnx.ModelProto) -> None:
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    observed.graph.output.extend(model.graph.value_info)
    for name, activation in run(observed, picture(37, 53)).items():
        for stated, actual in zip(shapes(model)[name], activation.shape, strict=True):
            side, _, divisor = str(stated).partition("/")
            value = {"height": 37, "width": 53}.get(side) or int(side)
            assert value // int(divisor or 1) == actual


def test_every_tensor_has_a_shape_in_terms_of_height_and_width(model: onnx.ModelProto) -> None:
    stated = shapes(model)
    assert stated["image"] == [1, 3, "height", "width"]
    assert stated["image/centered"] == [1, 3, "height", "width"]
    assert stated["conv1_2"] == [1, 4, "height", "width"]
    assert stated["pool1"] == [1, 4, "height/2", "width/2"]
    assert stated["conv2_1/pre"] == [1, 8, "height/2", "width/2"]
    assert stated["conv5_4"] == [1, 32, "height/16", "width/16"]
    assert set(stated) == {"image"} | {node.output[0] for node in model.graph.node}


def test_nodes_and_tensors_are_named_after_layers(model: onnx.ModelProto, pooling: str) -> None:
    nodes = {node.name: node for node in model.graph.node}
    assert all(node.name == node.output[0] for node in model.graph.node)
    assert list(nodes["conv2_1/pre"].input) == ["pool1", "conv2_1/kernel", "conv2_1/bias"]
    assert list(nodes["conv2_1"].input) == ["conv2_1/pre"]
    assert list(nodes["pool4"].input) == ["conv4_4"]
    assert list(nodes["image/centered"].input) == ["image", "image/mean"]
    assert nodes["pool4"].op_type == {"average": "AveragePool", "max": "MaxPool"}[pooling]


def test_only_standard_operators_and_our_own_metadata(model: onnx.ModelProto, pooling: str) -> None:
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""}
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "ortist.format": "1",
        "ortist.mean": "123.68,116.779,103.939",
        "ortist.pooling": pooling,
    }
    assert not re.search(rb"torch|pkg\.|/home|\.py", model.SerializeToString())


def test_exporting_again_gives_the_same_bytes() -> None:
    layers = ["conv1_1", "conv2_1"]
    first, second = (export_features(WEIGHTS, layers, "average") for _ in range(2))
    assert first.SerializeToString() == second.SerializeToString()


def test_the_network_ends_at_the_deepest_layer_asked_for() -> None:
    model = export_features(WEIGHTS, ["conv2_1", "conv1_1"], "max")
    assert [output.name for output in model.graph.output] == ["conv2_1", "conv1_1"]
    assert model.graph.node[-1].name == "conv2_1"
    weights = {tensor.name for tensor in model.graph.initializer}
    assert {name.split("/")[0] for name in weights} == {"image", "conv1_1", "conv1_2", "conv2_1"}


def test_zero_padding_comes_after_the_mean(model: onnx.ModelProto) -> None:
    """An image of the mean color is zero to conv1_1, borders included: only biases are left."""
    image = np.broadcast_to(np.array(MEAN, np.float32).reshape(1, 3, 1, 1), (1, 3, 16, 16))
    conv1_1 = run(model, np.ascontiguousarray(image))["conv1_1"]
    biases = WEIGHTS.layers["conv1_1"].bias.reshape(1, -1, 1, 1).clip(0)
    np.testing.assert_array_equal(conv1_1, np.broadcast_to(biases, conv1_1.shape))


def test_pooling_drops_an_odd_last_row_and_column(pooling: str) -> None:
    module = VGG19Features(WEIGHTS, ["conv2_1"], pooling)
    image = torch.arange(15.0).reshape(1, 1, 3, 5)
    first = {"average": (0 + 1 + 5 + 6) / 4, "max": 6.0}[pooling]
    np.testing.assert_array_equal(module.pool(image), [[[[first, first + 2]]]])


def test_unknown_choices_list_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown layer 'conv3_5', accepted are conv1_1, conv1_2"):
        export_features(WEIGHTS, ["conv1_1", "conv3_5"], "max")
    with pytest.raises(InputError, match="unknown pooling 'l2', accepted are average, max"):
        export_features(WEIGHTS, ["conv1_1"], "l2")
    with pytest.raises(InputError, match="no layer chosen, accepted are conv1_1"):
        export_features(WEIGHTS, [], "max")


def test_the_exporter_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        export_features(WEIGHTS, ["conv1_1"], "max")
    assert caplog.records == []


@both_kinds
def test_weights_moved_out_give_the_same_activations(weights: VGG19Weights, tmp_path: Path) -> None:
    model = export_features(weights, ["conv2_1"], "average")
    before = model.SerializeToString()
    stored, blob = refer_weights(model, weights, BLOB), pack_weights(weights)
    assert model.SerializeToString() == before
    assert len(stored.SerializeToString()) < 5000
    (tmp_path / BLOB).write_bytes(blob)
    image = picture(20, 33)
    expected = run(model, image)["conv2_1"]
    np.testing.assert_array_equal(run(stored, image, tmp_path)["conv2_1"], expected)
    onnx.save(stored, tmp_path / "features.onnx")
    onnx.checker.check_model(tmp_path / "features.onnx", full_check=True)
    loaded = onnx.load(tmp_path / "features.onnx")
    np.testing.assert_array_equal(run(loaded, image)["conv2_1"], expected)


@both_kinds
def test_every_graph_refers_to_the_same_places(weights: VGG19Weights) -> None:
    short, long = (
        external_places(refer_weights(export_features(weights, [layer], "max"), weights, BLOB))
        for layer in ("conv1_1", "conv1_2")
    )
    assert short.items() <= long.items()
    assert {place["location"] for place in long.values()} == {BLOB}
    assert all(int(place["offset"]) % ALIGNMENT_BYTES == 0 for place in long.values())
    parts = {"codes", "codebook", "bias"} if weights is WEIGHTS else {"kernel", "bias"}
    assert set(short) == {f"conv1_1/{part}" for part in parts}


def test_the_blob_holds_the_tensors_where_the_graph_says(model: onnx.ModelProto) -> None:
    places = external_places(refer_weights(model, WEIGHTS, BLOB))
    blob = pack_weights(WEIGHTS)
    for name, layer in WEIGHTS.layers.items():
        parts = {"codes": layer.codes, "codebook": layer.codebook, "bias": layer.bias}
        for part, array in parts.items():
            assert array is not None
            place = places[f"{name}/{part}"]
            data = blob[int(place["offset"]) :][: int(place["length"])]
            stored = np.frombuffer(data, array.dtype.newbyteorder("<")).reshape(array.shape)
            np.testing.assert_array_equal(stored, array)


def test_coded_weights_take_a_byte_each() -> None:
    weights = sum(layer.decoded().size for layer in WEIGHTS.layers.values())
    overhead = sum(1024 + layer.bias.nbytes + 128 for layer in WEIGHTS.layers.values())
    assert weights < len(pack_weights(WEIGHTS)) <= weights + overhead
