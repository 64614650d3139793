"""The shipped models folder, graphs derived from it, their cache, and damage to any of them."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from ortist.engine.artifacts import COSTS_KEY, Artifacts, GraphKey, cache_directory, write_whole
from ortist.engine.engine import Engine
from ortist.engine.errors import ArtifactError
from ortist.engine.layers import LAYERS
from ortist.engine.options import Options
from ortist.engine.sessions import Device
from ortist.engine.statistics import STATISTICS
from ortist.export.graphs import DERIVATIONS, gradient_graph
from ortist.export.pooling import repool

SHIPPED = Path(str(resources.files("ortist.models")))
MANIFEST = json.loads((SHIPPED / "manifest.json").read_text())
WEIGHTS = "vgg19.weights"
GRADIENT = "vgg19-average-gradient-gram.onnx"
ENTRIES = [MANIFEST["weights"], *MANIFEST["graphs"]]
GRAPHS = [str(entry["file"]) for entry in MANIFEST["graphs"]]
DERIVED = [str(entry["file"]) for entry in MANIFEST["graphs"] if entry["kind"] != "features"]

DEFAULT_KEY = GraphKey.of("average", Options.content_layers, Options.style_layers)
SMALL_KEY = GraphKey.of("max", ("conv1_2",), ("conv1_1",))
PICTURE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the shipped folder to do damage to."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "models"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory that does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    return cache_directory()


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
    model = onnx.load_model_from_string(Artifacts().graph("gradient", DEFAULT_KEY))
    costs = ["content/conv4_2", *(f"style/{name}" for name in Options.style_layers)]
    assert [value.name for value in model.graph.input] == ["image", *costs, "weights"]
    assert [value.name for value in model.graph.output] == ["costs", "gradient"]
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties[COSTS_KEY].split() == [*costs, "total_variation"]


@pytest.mark.parametrize("name", DERIVED)
def test_shipped_graphs_are_those_derived_from_the_features(name: str) -> None:
    (entry,) = (entry for entry in MANIFEST["graphs"] if entry["file"] == name)
    choices = {name: entry[name] for name in ("tile", "statistic")}
    key = GraphKey.of(entry["pooling"], entry["content_layers"], entry["style_layers"], **choices)
    features = onnx.load_model_from_string(Artifacts().features(key.pooling))
    derived = DERIVATIONS[entry["kind"]](features, key).SerializeToString(deterministic=True)
    assert derived == (SHIPPED / name).read_bytes()
    assert key == replace(DEFAULT_KEY, **choices)
    assert key.statistic in name


@pytest.mark.parametrize("name", [name for name in DERIVED if "winograd" in name])
def test_the_runtime_puts_no_nodes_of_its_own_in_graphs_with_a_memory_schedule(
    name: str, tmp_path: Path
) -> None:
    options = Device("cpu", 1)._options(as_written=True)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(SHIPPED / name, options, providers=["CPUExecutionProvider"])
    written = onnx.load(SHIPPED / name, load_external_data=False).graph.node
    run = onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph.node
    assert len(run) > 200
    assert {node.name for node in run} <= {node.name for node in written}


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
    build_models(str(source), tmp_path / "models")

    built = {path.name: path.read_bytes() for path in (tmp_path / "models").iterdir()}
    manifest = json.loads(built.pop("manifest.json"))
    assert manifest.pop("source")["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert manifest == {key: value for key, value in MANIFEST.items() if key != "source"}
    assert set(built) == {WEIGHTS, *GRAPHS}
    for name, data in built.items():
        assert data == (SHIPPED / name).read_bytes(), name


def test_a_key_has_its_layers_once_and_in_network_order() -> None:
    key = GraphKey.of("max", ["conv5_1", "conv1_2", "conv5_1"], {"conv2_1": 1.0, "conv1_1": 2.0})
    assert key == GraphKey("max", ("conv1_2", "conv5_1"), ("conv1_1", "conv2_1"))


@pytest.mark.parametrize("name", [WEIGHTS, "vgg19-average-targets-gram.onnx", GRADIENT])
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


@pytest.mark.parametrize("name", [WEIGHTS, "vgg19-average-targets-gram.onnx", GRADIENT])
def test_a_missing_file_is_named(models: Path, name: str) -> None:
    (models / name).unlink()
    with pytest.raises(ArtifactError) as caught:
        paint(models)
    assert str(caught.value) == f"cannot read {models / name}: No such file or directory"
    assert [file for file, _, intact in Artifacts(models).verify() if not intact] == [name]


def test_a_folder_without_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot read .*manifest\.json: No such file"):
        Engine(models=tmp_path)


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest.pop(key)


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no weights": without("weights"),
    "no graphs": without("graphs"),
    "no mean": without("mean"),
    "no tensors": lambda manifest: manifest["weights"].pop("tensors"),
    "short mean": lambda manifest: manifest.update(mean=[1, 2]),
    "graphs no list": lambda manifest: manifest.update(graphs=7),
    "graph without kind": lambda manifest: manifest["graphs"][0].pop("kind"),
    "graph without layers": lambda manifest: manifest["graphs"][1].pop("style_layers"),
    "weights without checksum": lambda manifest: manifest["weights"].pop("sha256"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_manifest_that_lacks_something_is_corrupt(tmp_path: Path, name: str) -> None:
    manifest = json.loads(json.dumps(MANIFEST))
    DAMAGE[name](manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"manifest\.json is corrupt: \S"):
        Artifacts(tmp_path)


@pytest.mark.parametrize("text", [b"{", b"", b"\xff\xfe"])
def test_a_manifest_that_is_not_json_is_corrupt(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(ArtifactError, match=r"manifest\.json is corrupt: \S") as caught:
        Artifacts(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"), [("[]", "None"), ("{}", "None"), ('{"format": 2}', "2")]
)
def test_a_manifest_of_another_format_is_refused(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=f"has format {found}, this version reads 1"):
        Artifacts(tmp_path)


def test_a_pooling_without_features_graph_is_named(models: Path) -> None:
    manifest = json.loads((models / "manifest.json").read_text())
    manifest["graphs"] = [entry for entry in manifest["graphs"] if entry["pooling"] == "average"]
    (models / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"manifest\.json lists no features graph of 'max'"):
        Artifacts(models).graph("gradient", SMALL_KEY)


def test_a_graph_that_onnxruntime_cannot_load_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="onnxruntime cannot load a graph on CPUExec") as caught:
        Device("cpu", 1).load(b"no graph", tmp_path, lambda _: {}, as_written=False)
    assert "\n" not in str(caught.value)


def test_a_graph_that_is_not_shipped_is_derived_and_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not cache.exists()
    derived = Artifacts().graph("gradient", SMALL_KEY)
    model = onnx.load_model_from_string(derived)
    features = onnx.load_model_from_string(Artifacts().features("max"))
    assert model == gradient_graph(features, SMALL_KEY)
    (file,) = cache.iterdir()
    assert file.read_bytes() == derived

    monkeypatch.setitem(sys.modules, "onnx", None)  # with the file, onnx is not needed any more
    assert Artifacts().graph("gradient", SMALL_KEY) == derived


def test_each_choice_has_a_cache_file_of_its_own(cache: Path) -> None:
    other_key = GraphKey.of("average", ("conv1_2",), ("conv1_1",))
    artifacts = Artifacts()
    graphs = {artifacts.graph("gradient", key) for key in (SMALL_KEY, other_key)}
    graphs.add(artifacts.graph("targets", SMALL_KEY))
    assert len(graphs) == 3
    assert {file.read_bytes() for file in cache.iterdir()} == graphs


def test_other_code_has_cache_files_of_its_own(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("export", "engine"):
        shutil.copytree(str(resources.files(f"ortist.{package}")), tmp_path / f"ortist.{package}")
    monkeypatch.setattr(resources, "files", lambda package: tmp_path / package)
    changed = [
        "ortist.export/costs.py",
        "ortist.export/rules.py",
        "ortist.engine/layers.py",
        "ortist.engine/statistics.py",
        "ortist.engine/winograd.py",
    ]
    for count, file in enumerate(changed, start=1):
        with (tmp_path / file).open("a") as stream:
            stream.write("# changed\n")
        Artifacts(SHIPPED).graph("targets", SMALL_KEY)
        assert len(list(cache.iterdir())) == count
    Artifacts(SHIPPED).graph("targets", SMALL_KEY)
    assert len(list(cache.iterdir())) == len(changed)


def test_a_file_that_cannot_be_replaced_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file" / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "file", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_shipped_graphs_leave_the_cache_alone(cache: Path) -> None:
    Artifacts().graph("gradient", DEFAULT_KEY)
    assert not cache.exists()


def test_a_manifest_older_than_the_choice_of_statistic_serves(models: Path, cache: Path) -> None:
    manifest = json.loads(json.dumps(MANIFEST))
    for entry in manifest["graphs"]:
        entry.pop("statistic", None)
        entry.pop("rescaled", None)
    (models / "manifest.json").write_text(json.dumps(manifest))
    assert Artifacts(models).graph("gradient", DEFAULT_KEY) == (SHIPPED / GRADIENT).read_bytes()
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
    layers = ("conv1_2",), ("conv2_1",)
    graphs = {
        Artifacts().graph(
            "gradient",
            GraphKey.of("average", *layers, statistic=statistic, rescaled=rescaled),
        )
        for statistic in STATISTICS
        for rescaled in (False, True)
    }
    assert len(graphs) == 4


def test_rescaling_max_pooling_changes_nothing() -> None:
    assert GraphKey.of("max", (), (), rescaled=True) == GraphKey.of("max", (), ())


def test_a_corrupt_cache_file_is_replaced(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    derived = Artifacts().graph("targets", SMALL_KEY)
    (file,) = cache.iterdir()
    file.write_bytes(derived[:-1])
    assert Artifacts().graph("targets", SMALL_KEY) == derived
    assert caplog.messages == [f"ignoring corrupt cache file {file}"]
    assert list(cache.iterdir()) == [file]
    assert file.read_bytes() == derived


@pytest.mark.parametrize("place", [".cache", ".cache/ortist"])
def test_without_a_usable_cache_graphs_are_derived_each_time(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """A file lies where the directory should be."""
    blocker = tmp_path / "home" / place
    blocker.parent.mkdir(parents=True)
    blocker.touch()
    first, second = (Artifacts().graph("targets", SMALL_KEY) for _ in range(2))
    assert first == second
    assert len(caplog.messages) == 2
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.messages[0].startswith(f"cannot keep a derived graph in {cache}: ")


def test_a_cache_file_that_cannot_be_replaced_leaves_no_scratch_file(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory has the name of the file."""
    Artifacts().graph("targets", SMALL_KEY)
    (file,) = cache.iterdir()
    file.unlink()
    (file / "full").mkdir(parents=True)
    Artifacts().graph("targets", SMALL_KEY)
    assert list(cache.iterdir()) == [file]
    assert caplog.messages[-1].startswith("cannot keep a derived graph in")
