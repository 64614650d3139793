"""The shipped models folder, graphs derived from it, their cache, and damage to any of them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pwd
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import onnx
import onnxruntime
import pytest

from ortist.cli import main
from ortist.engine.artifacts import Artifacts, Choice, cache_directory
from ortist.engine.engine import Engine
from ortist.engine.errors import ArtifactError, DeviceError
from ortist.engine.objective import default_parts, weighted_parts
from ortist.engine.options import Options
from ortist.engine.sessions import FEW_PIXELS, Device, _check_version
from ortist.export.builder import GraphBuilder
from ortist.export.costs import STATISTICS, TERMS
from ortist.export.costs.gram import Gram
from ortist.export.costs.term import Comparison, Part
from ortist.export.graphs import derive
from ortist.export.pooling import repool
from ortist.models.interface import COSTS_KEY
from ortist.models.keys import BLOCKS, KINDS, GraphKey, Kind
from ortist.models.layers import LAYERS
from ortist.models.winograd import POINTS

SHIPPED = Path(str(resources.files("ortist.models")))
MANIFEST = json.loads((SHIPPED / "manifest.json").read_text())
WEIGHTS = "vgg19.weights"
GRADIENT = "vgg19-average-gradient-gram.onnx"
ENTRIES = [MANIFEST["weights"], *MANIFEST["graphs"]]
GRAPHS = [str(entry["file"]) for entry in MANIFEST["graphs"]]
DERIVED = [str(entry["file"]) for entry in MANIFEST["graphs"] if entry["kind"] != "features"]

MEASURE = "vgg19-average-measure-gram.onnx"


def choice_of(pooling: str, *names: str, block: int = 0, rescaled: bool = False) -> Choice:
    """What a graph is made for, by the names of its parts."""
    parts = [Part(TERMS[name.split("/")[0]], name.split("/")[1]) for name in names]
    return Choice.of(pooling, parts, block, rescaled=rescaled)


DEFAULT = Choice.of("average", default_parts()["gram"])
SMALL = choice_of("max", "content/conv1_2", "gram/conv1_1", "variation/image")
PICTURE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the shipped folder to do damage to."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "models"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory that does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    folder = cache_directory()
    assert folder is not None
    return folder


def paint(models: Path) -> None:
    Engine("cpu", 1, models, kernel="direct").stylize(PICTURE, PICTURE, Options(size=16, steps=1))


def test_the_manifest_lists_every_file_with_size_and_checksum() -> None:
    files = {path.name for path in SHIPPED.iterdir() if path.suffix in (".onnx", ".weights")}
    assert {entry["file"] for entry in ENTRIES} == files
    for entry in ENTRIES:
        data = (SHIPPED / entry["file"]).read_bytes()
        assert len(data) == entry["bytes"]
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    assert MANIFEST["license"] == "CC-BY-4.0"
    assert MANIFEST["mean"] == [123.68, 116.779, 103.939]
    assert Artifacts().verify() == [(entry["file"], entry["sha256"], True) for entry in ENTRIES]


@pytest.mark.parametrize("name", GRAPHS)
def test_shipped_graphs_use_standard_operators_only(name: str) -> None:
    model = onnx.load(SHIPPED / name, load_external_data=False)
    (entry,) = (entry for entry in MANIFEST["graphs"] if entry["file"] == name)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", entry["opset"])]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    onnx.checker.check_model(str(SHIPPED / name), full_check=True)


@pytest.mark.parametrize("name", GRAPHS)
def test_shipped_graphs_keep_their_weights_in_the_shared_file(name: str) -> None:
    model = onnx.load(SHIPPED / name, load_external_data=False)
    for tensor in model.graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        parts = "/kernel", "/bias", "/codes", "/codebook"
        expected = WEIGHTS if tensor.name.endswith(parts) else None
        assert place.get("location") == expected
    assert (SHIPPED / name).stat().st_size < 200_000


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_shipped_features_graphs_give_all_layers(pooling: str) -> None:
    model = onnx.load_model_from_string(Artifacts().features(pooling))
    assert [output.name for output in model.graph.output] == list(LAYERS)
    pools = {node.op_type for node in model.graph.node if node.name.startswith("pool")}
    assert pools == {"AveragePool" if pooling == "average" else "MaxPool"}


def test_the_gradient_graph_keeps_the_contract() -> None:
    model = onnx.load_model_from_string(Artifacts().graph("gradient", DEFAULT))
    grams = [f"gram/{name}" for name in Options.style_layers]
    targets = ["target/content/conv4_2/activation", *(f"target/{name}/gram" for name in grams)]
    assert [value.name for value in model.graph.input] == ["image", *targets, "weights"]
    assert [value.name for value in model.graph.output] == ["costs", "gradient"]
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties[COSTS_KEY].split() == ["content/conv4_2", *grams, "variation/image"]


@pytest.mark.parametrize("name", DERIVED)
def test_shipped_graphs_are_those_derived_from_the_features(name: str) -> None:
    (entry,) = (entry for entry in MANIFEST["graphs"] if entry["file"] == name)
    choice = choice_of(entry["pooling"], *entry["parts"], block=entry["block"])
    features = onnx.load_model_from_string(Artifacts().features(entry["pooling"]))
    derived = derive(entry["kind"], features, choice.parts, entry["block"])
    assert derived.SerializeToString(deterministic=True) == (SHIPPED / name).read_bytes()
    (parts,) = (parts for label, parts in default_parts().items() if f"-{label}" in name)
    assert choice.parts == tuple(parts)


@pytest.mark.parametrize("name", [name for name in DERIVED if "winograd" in name])
@pytest.mark.parametrize("pixels", [FEW_PIXELS, FEW_PIXELS + 1])
def test_the_runtime_puts_few_nodes_of_its_own_in_graphs_that_are_ordered(
    name: str, pixels: int, tmp_path: Path
) -> None:
    options = Device("cpu", 1)._options(as_written=True, pixels=pixels)
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(SHIPPED / name, options, providers=["CPUExecutionProvider"])
    written = onnx.load(SHIPPED / name, load_external_data=False).graph.node
    run = onnx.load(tmp_path / "optimized.onnx", load_external_data=False).graph.node
    assert len(run) > 200
    names = {node.name for node in written}
    own = {node.op_type for node in run if node.name not in names}
    # Backwards kernels are transposed; a Split takes the place of slices that make up the whole.
    few = {"FusedMatMul", "Split"} if "gradient" in name else set()
    assert own == (few if pixels == FEW_PIXELS else set())


def test_exporting_the_same_weights_again_gives_the_shipped_bytes(tmp_path: Path) -> None:
    """From a file in the layout of the true source, which is made of the shipped codes."""
    import torch
    from torch_reference import shipped_weights

    from ortist.export.build import build_models

    state = {}
    for layer, weights in shipped_weights().layers.items():
        assert weights.codes is not None
        name = f"block{layer[4]}_conv{layer[6]}"
        codes = weights.codes[:, ::-1].copy() if layer == "conv1_1" else weights.codes
        state[f"{name}_W_q"] = torch.tensor(codes)
        state[f"{name}_W_table"] = torch.tensor(weights.codebook)
        state[f"{name}_b"] = torch.tensor(weights.bias)
    source = tmp_path / MANIFEST["source"]["name"]
    torch.save(state, source)
    build_models(str(source), tmp_path / "models", default_parts())

    built = {path.name: path.read_bytes() for path in (tmp_path / "models").iterdir()}
    manifest = json.loads(built.pop("manifest.json"))
    assert manifest.pop("source")["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert manifest == {key: value for key, value in MANIFEST.items() if key != "source"}
    assert set(built) == {WEIGHTS, *GRAPHS}
    for name, data in built.items():
        assert data == (SHIPPED / name).read_bytes(), name


def test_choices_of_the_same_layers_in_another_order_are_equal() -> None:
    layers = "conv5_1", "conv1_2"
    parts = [
        [weighted.part for weighted in weighted_parts(Options(style_layers=names))]
        for names in (layers, layers[::-1])
    ]
    assert Choice.of("max", parts[0]) == Choice.of("max", parts[1])


@pytest.mark.parametrize("name", [WEIGHTS, MEASURE, GRADIENT])
def test_a_corrupt_file_is_named_with_its_checksum(models: Path, name: str) -> None:
    checksums = {entry["file"]: entry["sha256"] for entry in ENTRIES}
    data = bytearray((models / name).read_bytes())
    data[len(data) // 2] ^= 1
    (models / name).write_bytes(data)
    actual, expected = hashlib.sha256(data).hexdigest(), checksums[name]
    with pytest.raises(ArtifactError) as caught:
        paint(models)
    message = f"{models / name} is corrupt: sha256 {actual}, expected {expected}"
    assert str(caught.value) == message
    assert [file for file, _, intact in Artifacts(models).verify() if not intact] == [name]


@pytest.mark.parametrize("name", [WEIGHTS, MEASURE, GRADIENT])
def test_a_missing_file_is_named(models: Path, name: str) -> None:
    (models / name).unlink()
    with pytest.raises(ArtifactError) as caught:
        paint(models)
    assert str(caught.value) == f"cannot read {models / name}: No such file or directory"
    assert [file for file, _, intact in Artifacts(models).verify() if not intact] == [name]


def test_a_folder_without_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot read .*manifest\.json: No such file"):
        Engine(models=tmp_path)


def test_a_pooling_without_features_graph_is_named(models: Path) -> None:
    manifest = json.loads((models / "manifest.json").read_text())
    manifest["graphs"] = [entry for entry in manifest["graphs"] if entry["pooling"] == "average"]
    (models / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"manifest\.json lists no features graph of 'max'"):
        Artifacts(models).graph("gradient", SMALL)


def replace_file(models: Path, name: str, data: bytes) -> None:
    """Write a file of a models folder, and its size and checksum into the manifest."""
    (models / name).write_bytes(data)
    manifest = json.loads((models / "manifest.json").read_text())
    for entry in (manifest["weights"], *manifest["graphs"]):
        if entry["file"] == name:
            entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (models / "manifest.json").write_text(json.dumps(manifest))


def test_a_graph_that_onnxruntime_cannot_load_is_named(models: Path) -> None:
    replace_file(models, GRADIENT, b"no graph")
    with pytest.raises(ArtifactError) as caught:
        paint(models)
    message = f"onnxruntime cannot load {models / GRADIENT} on CPUExecutionProvider: "
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Rename a tensor everywhere."""
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.name = new if value.name == old else value.name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def add_input(model: onnx.ModelProto, name: str) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info(name, 1, [1]))


def state_shape(values: Iterable[onnx.ValueInfoProto], name: str, shape: list[int]) -> None:
    (value,) = (value for value in values if value.name == name)
    value.CopyFrom(onnx.helper.make_tensor_value_info(name, 1, shape))


def state_costs(model: onnx.ModelProto, costs: str) -> None:
    (entry,) = (entry for entry in model.metadata_props if entry.key == COSTS_KEY)
    entry.value = costs


COSTS = " ".join(part.name for part in DEFAULT.parts)
OTHER_GRADIENTS: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "input renamed": (
        lambda model: rename(model, "target/gram/conv1_1/gram", "target/gram"),
        "input target/gram/conv1_1/gram is missing",
    ),
    "another input of a part": (
        lambda model: add_input(model, "target/gram/conv1_1/mean"),
        "input 'target/gram/conv1_1/mean' is unknown",
    ),
    "another target": (
        lambda model: state_shape(model.graph.input, "target/gram/conv1_1/gram", [64, 1]),
        "input target/gram/conv1_1/gram is tensor(float) [64, 1], expected tensor(float) [64, 64]",
    ),
    "output renamed": (
        lambda model: rename(model, "gradient", "derivative"),
        "output gradient is missing",
    ),
    "another input": (lambda model: add_input(model, "more"), "input 'more' is unknown"),
    "a map in a graph without blocks": (
        lambda model: add_input(model, "layout:real:4:0:image"),
        "input 'layout:real:4:0:image' is unknown",
    ),
    "another shape": (
        lambda model: state_shape(model.graph.input, "weights", [1, 7]),
        "input weights is tensor(float) [1, 7], expected tensor(float) [7]",
    ),
    "another type": (
        lambda model: add_output(model, "costs"),
        "output costs is tensor(double) [7], expected tensor(float) [7]",
    ),
    "no costs": (
        lambda model: model.ClearField("metadata_props"),
        f"ortist.costs is '', expected {COSTS}",
    ),
    "other costs": (
        lambda model: state_costs(model, "a b"),
        f"ortist.costs is 'a b', expected {COSTS}",
    ),
}


def add_output(model: onnx.ModelProto, name: str) -> None:
    """Let an output be float64."""
    rename(model, name, "single")
    model.graph.node.append(onnx.helper.make_node("Cast", ["single"], [name], to=11))
    (index,) = (i for i, value in enumerate(model.graph.output) if value.name == "single")
    model.graph.output[index].CopyFrom(onnx.helper.make_tensor_value_info(name, 11, [7]))


@pytest.mark.parametrize("name", OTHER_GRADIENTS)
def test_a_graph_that_is_another_than_its_manifest_says_is_named(models: Path, name: str) -> None:
    change, complaint = OTHER_GRADIENTS[name]
    model = onnx.load(SHIPPED / GRADIENT, load_external_data=False)
    change(model)
    replace_file(models, GRADIENT, model.SerializeToString())
    with pytest.raises(ArtifactError) as caught:
        paint(models)
    assert str(caught.value) == f"{models / GRADIENT} is not what it should be: {complaint}"


@pytest.mark.parametrize("statistic", ["gram/conv1_1/gram", "content/conv4_2/activation"])
def test_a_statistic_that_is_not_measured_is_named(models: Path, statistic: str) -> None:
    model = onnx.load(SHIPPED / MEASURE, load_external_data=False)
    rename(model, statistic, f"{statistic}2")
    replace_file(models, MEASURE, model.SerializeToString())
    complaint = f"{models / MEASURE} is not what it should be: output {statistic} is missing"
    with pytest.raises(ArtifactError, match=f"^{re.escape(complaint)}$"):
        paint(models)


def add_row(model: onnx.ModelProto) -> None:
    """Let the gradient have a row more than the picture."""
    rename(model, "gradient", "right")
    row = onnx.numpy_helper.from_array(np.zeros((1, 3, 1, 16), np.float32), "row")
    model.graph.initializer.append(row)
    node = onnx.helper.make_node("Concat", ["right", "row"], ["gradient"], axis=2)
    model.graph.node.append(node)
    model.graph.output[1].CopyFrom(
        onnx.helper.make_tensor_value_info("gradient", 1, [1, 3, None, None])
    )


def leave_out_costs(model: onnx.ModelProto) -> None:
    """Let there be fewer costs than stated, which the runtime does not see before it has them."""
    rename(model, "costs", "right")
    model.graph.node.append(onnx.helper.make_node("Greater", ["right", "right"], ["kept"]))
    model.graph.node.append(onnx.helper.make_node("Compress", ["right", "kept"], ["costs"], axis=0))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("costs", 1, [7]))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (add_row, "gradient has the shape [1, 3, 17, 16], expected [1, 3, 16, 16]"),
        (leave_out_costs, "costs has the shape [0], expected [7]"),
    ],
)
def test_a_graph_that_gives_another_shape_is_named(
    models: Path, change: Callable[[onnx.ModelProto], None], complaint: str
) -> None:
    model = onnx.load(SHIPPED / GRADIENT, load_external_data=False)
    change(model)
    replace_file(models, GRADIENT, model.SerializeToString())
    with pytest.raises(ArtifactError) as caught:
        paint(models)
    assert str(caught.value) == f"{models / GRADIENT} is not what it should be: {complaint}"


def test_graphs_of_equal_content_are_one(cache: Path) -> None:
    """Comparing has no convolutions, and features graphs have all layers."""
    lowered = Choice.of("max", SMALL.parts, 4)
    assert Artifacts().graph("compare", lowered) == Artifacts().graph("compare", SMALL)
    assert len(list(cache.iterdir())) == 1
    assert lowered.of_kind("features") == Choice.of("max")
    assert Artifacts().origin("features", lowered) == str(SHIPPED / "vgg19-max-features.onnx")


def test_another_version_of_onnx_has_cache_files_of_its_own(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Artifacts().graph("compare", SMALL)
    monkeypatch.setattr("importlib.metadata.version", lambda package: f"0 of {package}")
    Artifacts().graph("compare", SMALL)
    assert len(list(cache.iterdir())) == 2


def test_onnx_may_be_there_under_another_name(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(package: str) -> NoReturn:
        raise PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.version", unknown)
    assert Artifacts().graph("compare", SMALL) == Artifacts().graph("compare", SMALL)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    "name",
    [
        "layout:rows.x.y:4:0:image",
        "layout:real:6:0:image",  # of another size of blocks
        "more/kernel/winograd",
        "layout:x",
    ],
)
def test_a_lowered_graph_asks_for_maps_and_kernels_that_there_are(models: Path, name: str) -> None:
    file = "vgg19-average-measure-gram-winograd4.onnx"
    model = onnx.load(SHIPPED / file, load_external_data=False)
    add_input(model, name)
    replace_file(models, file, model.SerializeToString())
    engine = Engine("cpu", 1, models, kernel="winograd")
    with pytest.raises(ArtifactError, match=f"not what it should be: input '{name}' is unknown"):
        engine.stylize(PICTURE, PICTURE, Options(size=16, steps=1))


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("kind", KINDS)
def test_derived_graphs_are_what_the_engine_expects(
    kind: Kind, block: int, statistic: str, cache: Path
) -> None:
    """Loading checks that; terms of the package state all shapes."""
    names = "content/conv1_2", f"{statistic}/conv2_1", f"{statistic}/conv1_1", "variation/image"
    choice = choice_of("l2", *names, block=block)
    artifacts = Artifacts()
    graph = Device("cpu", 1).load(
        artifacts.graph(kind, choice),
        artifacts.weights().files,
        choice.interface(kind),
        lambda names: artifacts.weights().transformed_kernels(names, block),
        label=kind,
        as_written=True,
        pixels=1,
    )
    costs = names if kind in ("compare", "gradient") else ()
    assert graph.metadata.get(COSTS_KEY, "").split() == list(costs)
    assert choice.interface(kind).more_inputs == choice.interface(kind).more_outputs == ()


def test_the_blocks_of_graphs_are_those_that_have_points() -> None:
    assert set(BLOCKS) == {0, *POINTS}


class OwnGram(Gram):
    """Of the name of a term of the package, and yet another one."""

    def compare(
        self, b: GraphBuilder, statistics: Mapping[str, str], targets: Mapping[str, str]
    ) -> Comparison:
        cost = super().compare(b, statistics, targets).cost
        return Comparison(b.op("Add", cost, cost))


def test_graphs_with_terms_from_outside_are_neither_found_nor_kept(cache: Path) -> None:
    parts = [part._replace(term=OwnGram()) for part in DEFAULT.parts if part.term.name == "gram"]
    own = Choice.of("average", [*DEFAULT.parts[:1], *parts, *DEFAULT.parts[-1:]])
    assert own.key == DEFAULT.key
    assert Artifacts().origin("gradient", own) == "a derived gradient graph"
    assert Artifacts().origin("gradient", DEFAULT) == str(SHIPPED / GRADIENT)
    features = onnx.load_model_from_string(Artifacts().features("average"))
    derived = onnx.load_model_from_string(Artifacts().graph("gradient", own))
    assert derived == derive("gradient", features, own.parts, 0)
    assert derived != onnx.load(SHIPPED / GRADIENT, load_external_data=False)
    assert not cache.exists()


def test_weights_of_another_size_than_the_manifest_says_are_corrupt(models: Path) -> None:
    """Their checksum is right."""
    data = (models / WEIGHTS).read_bytes()[:1000]
    manifest = json.loads((models / "manifest.json").read_text())
    manifest["weights"]["sha256"] = hashlib.sha256(data).hexdigest()
    (models / "manifest.json").write_text(json.dumps(manifest))
    (models / WEIGHTS).write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        paint(models)
    assert str(caught.value) == f"{models / WEIGHTS} is corrupt: 1000 bytes, expected 20057280"


@pytest.mark.parametrize("name", [WEIGHTS, GRADIENT, "manifest.json"])
def test_files_behind_symbolic_links_are_used(models: Path, tmp_path: Path, name: str) -> None:
    """Downloads are kept so: a folder of links to files named by their checksums."""
    (models / name).rename(tmp_path / "0123abcd")
    (models / name).symlink_to(tmp_path / "0123abcd")
    paint(models)


def test_graphs_are_loaded_with_the_weights_that_were_verified(models: Path) -> None:
    """What comes to the file afterwards does not matter."""
    engine = Engine("cpu", 1, models, kernel="direct")
    options = Options(size=16, steps=1)
    engine.stylize(PICTURE, PICTURE, options)
    before = engine.activations(PICTURE, ["conv5_1"])["conv5_1"]
    other = Engine("cpu", 1, models, kernel="direct")
    other.stylize(PICTURE, PICTURE, options)
    (models / WEIGHTS).write_bytes(bytes(len((models / WEIGHTS).read_bytes())))
    after = other.activations(PICTURE, ["conv5_1"])["conv5_1"]  # a graph loaded only now
    np.testing.assert_array_equal(after, before)


def take_all(graph: onnx.GraphProto) -> None:
    """Let all weights be of another file."""
    for entry in (entry for tensor in graph.initializer for entry in tensor.external_data):
        entry.value = "unlisted" if entry.key == "location" else entry.value


def take_in_branches(graph: onnx.GraphProto) -> None:
    """Let the branches of an ``If`` take a tensor of another file."""
    tensor = onnx.TensorProto(name="apart", data_type=1, dims=[1], data_location="EXTERNAL")
    for key, value in {"location": "unlisted", "offset": "0", "length": "4"}.items():
        tensor.external_data.add(key=key, value=value)
    taken = onnx.helper.make_tensor_value_info("taken", 1, [1])
    node = onnx.helper.make_node("Identity", ["apart"], ["taken"])
    branch = onnx.helper.make_graph([node], "branch", [], [taken], [tensor])
    branches = {"then_branch": branch, "else_branch": branch}
    graph.node.append(onnx.helper.make_node("Greater", ["total", "total"], ["above"]))
    graph.node.append(onnx.helper.make_node("If", ["above"], ["either"], **branches))


@pytest.mark.parametrize("take", [take_all, take_in_branches])
def test_a_graph_takes_no_file_but_the_weights(
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    take: Callable[[onnx.GraphProto], None],
) -> None:
    """Neither of the models folder nor of the working directory."""
    monkeypatch.chdir(models)
    shutil.copy(models / WEIGHTS, models / "unlisted")
    model = onnx.load(SHIPPED / GRADIENT, load_external_data=False)
    take(model.graph)
    replace_file(models, GRADIENT, model.SerializeToString())
    with pytest.raises(ArtifactError, match=r"cannot load .*\bunlisted"):
        paint(models)


def test_a_runtime_that_cannot_take_weights_from_memory_is_too_old() -> None:
    runtime = SimpleNamespace(SessionOptions=object, __version__="1.23.2")
    with pytest.raises(
        DeviceError, match=r"^onnxruntime 1\.23\.2 is too old, accepted is 1\.24 or"
    ):
        _check_version(runtime)
    _check_version(onnxruntime)


@pytest.mark.parametrize("name", [WEIGHTS, GRADIENT, "manifest.json"])
def test_what_is_not_a_file_is_not_opened(models: Path, name: str) -> None:
    """Opening a pipe would wait for ever."""
    (models / name).unlink()
    os.mkfifo(models / name)
    with pytest.raises(ArtifactError) as caught:
        paint(models)
    assert str(caught.value) == f"cannot read {models / name}: it is no regular file"


def test_a_models_folder_with_a_name_that_no_folder_can_have_is_an_error() -> None:
    with pytest.raises(ArtifactError, match=r"^cannot read .*: embedded null byte"):
        Engine(models="a\0b")


def test_a_graph_that_is_not_shipped_is_derived_and_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not cache.exists()
    derived = Artifacts().graph("gradient", SMALL)
    model = onnx.load_model_from_string(derived)
    features = onnx.load_model_from_string(Artifacts().features("max"))
    assert model == derive("gradient", features, SMALL.parts, 0)
    (file,) = cache.iterdir()
    assert file.read_bytes() == derived

    monkeypatch.setitem(sys.modules, "onnx", None)  # with the file, onnx is not needed any more
    assert Artifacts().graph("gradient", SMALL) == derived


def test_each_choice_has_a_cache_file_of_its_own(cache: Path) -> None:
    other = choice_of("average", *SMALL.key.parts)
    artifacts = Artifacts()
    graphs = {artifacts.graph("gradient", choice) for choice in (SMALL, other)}
    graphs.add(artifacts.graph("measure", SMALL))
    assert len(graphs) == 3
    assert {file.read_bytes() for file in cache.iterdir()} == graphs


PACKAGES = ("engine", "export", "models")
SOURCES = {package: Path(str(resources.files(f"ortist.{package}"))) for package in PACKAGES}


def no_code(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (name.endswith(".py") or (Path(folder) / name).is_dir())]


@pytest.mark.parametrize(
    ("package", "file"),
    [
        (package, str(file.relative_to(SOURCES[package])))
        for package in PACKAGES
        for file in sorted(SOURCES[package].rglob("*.py"))
    ],
)
def test_other_code_has_cache_files_of_its_own(
    package: str, file: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file of the packages that graphs are derived with is another."""
    for name, folder in SOURCES.items():
        shutil.copytree(folder, tmp_path / f"ortist.{name}", ignore=no_code)
    monkeypatch.setattr(resources, "files", lambda package: tmp_path / package)
    Artifacts(SHIPPED).features("l2")
    Artifacts(SHIPPED).features("l2")
    assert len(list(cache.iterdir())) == 1
    with (tmp_path / f"ortist.{package}" / file).open("a") as stream:
        stream.write("# changed\n")
    Artifacts(SHIPPED).features("l2")
    assert len(list(cache.iterdir())) == 2


def test_shipped_graphs_leave_the_cache_alone(cache: Path) -> None:
    Artifacts().graph("gradient", DEFAULT)
    assert not cache.exists()


@pytest.mark.parametrize(("pooling", "rescaled"), [("l2", False), ("average", True)])
def test_features_of_other_poolings_are_derived_and_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch, pooling: str, rescaled: bool
) -> None:
    derived = Artifacts().features(pooling, rescaled)
    shipped = onnx.load_model_from_string(Artifacts().features("average"))
    assert onnx.load_model_from_string(derived) == repool(shipped, pooling, rescaled)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert Artifacts().features(pooling, rescaled) == derived
    (file,) = cache.iterdir()
    assert file.read_bytes() == derived


def test_statistic_and_rescaling_are_part_of_the_choice(cache: Path) -> None:
    graphs = {
        Artifacts().graph(
            "gradient",
            choice_of("average", "content/conv1_2", f"{statistic}/conv2_1", rescaled=rescaled),
        )
        for statistic in STATISTICS
        for rescaled in (False, True)
    }
    assert len(graphs) == 4


def test_rescaling_max_pooling_changes_nothing() -> None:
    assert GraphKey.of("max", rescaled=True) == GraphKey.of("max")


def test_a_corrupt_cache_file_is_replaced(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    derived = Artifacts().graph("measure", SMALL)
    (file,) = cache.iterdir()
    file.write_bytes(derived[:-1])
    assert Artifacts().graph("measure", SMALL) == derived
    assert caplog.messages == [f"ignoring corrupt cache file {file}"]
    assert list(cache.iterdir()) == [file]
    assert file.read_bytes() == derived


def test_a_pipe_in_place_of_a_cache_file_is_not_opened(cache: Path) -> None:
    """That would wait for ever."""
    derived = Artifacts().graph("measure", SMALL)
    (file,) = cache.iterdir()
    file.unlink()
    os.mkfifo(file)
    assert Artifacts().graph("measure", SMALL) == derived
    assert list(cache.iterdir()) == [file]


def test_an_intact_cache_file_of_another_derivation_is_not_taken(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of the two has the content of the other."""
    choices = SMALL, choice_of("max", "content/conv1_1", "gram/conv1_2", "variation/image")
    derived = [Artifacts().graph("gradient", choice) for choice in choices]
    first, second = cache.iterdir()
    contents = first.read_bytes(), second.read_bytes()
    for file, content in zip((second, first), contents, strict=True):
        file.write_bytes(content)
        # Even if it is named after its content, as it would be at home.
        own = hashlib.sha256(content).hexdigest()
        file.with_name(f"{file.stem[: -len(own)]}{own}.onnx").write_bytes(content)
    assert [Artifacts().graph("gradient", choice) for choice in choices] == derived
    assert len(caplog.messages) == 4
    assert all(message.startswith("ignoring corrupt cache file") for message in caplog.messages)


def no_entry(uid: int) -> NoReturn:
    raise KeyError(f"getpwuid(): uid not found: {uid}")


@pytest.fixture(params=[None, "relative", "~/cache"])
def homeless(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The working directory, empty, of a user who is in no list of users, in an environment bare
    but for a cache directory that is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    monkeypatch.delenv("XDG_CACHE_HOME")
    if request.param:
        monkeypatch.setenv("XDG_CACHE_HOME", request.param)
    return tmp_path


def test_without_a_home_graphs_are_derived_and_not_kept(
    homeless: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert Artifacts().graph("measure", SMALL)
    assert caplog.messages == ["cannot keep a derived graph: there is no home or cache directory"]
    assert list(homeless.iterdir()) == []


def test_info_says_that_there_is_no_home(
    homeless: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["info"], ["info", "--json"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
    text, _, facts = capsys.readouterr().out.partition("\n{")
    why = "there is no home or cache directory with an absolute path"
    assert f"cache            none, derived graphs are not kept: {why}\n" in text
    cache = json.loads("{" + facts)["cache"]
    assert cache == {"folder": None, "files": 0, "bytes": 0, "error": None}
    assert list(homeless.iterdir()) == []


@pytest.mark.parametrize("place", [".cache", ".cache/ortist"])
def test_without_a_usable_cache_graphs_are_derived_each_time(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """A file lies where the directory should be."""
    caplog.set_level(logging.INFO)
    blocker = tmp_path / "home" / place
    blocker.parent.mkdir(parents=True)
    blocker.touch()
    first, second = (Artifacts().graph("measure", SMALL) for _ in range(2))
    assert first == second
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith(f"cannot keep a derived graph in {cache}: ")


def test_a_cache_file_that_cannot_be_replaced_leaves_no_scratch_file(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory has the name of the file."""
    caplog.set_level(logging.INFO)
    Artifacts().graph("measure", SMALL)
    (file,) = cache.iterdir()
    file.unlink()
    (file / "full").mkdir(parents=True)
    Artifacts().graph("measure", SMALL)
    assert list(cache.iterdir()) == [file]
    assert caplog.messages[-1].startswith("cannot keep a derived graph in")
