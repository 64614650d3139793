"""``ortist gradient``, the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import external_data_helper, numpy_helper
from typer.testing import CliRunner, Result

from ortist.cli.app import app, main

MODEL = """<ir_version: 7, opset_import: ["": 11]>
model (float[n,3] x, int64[n] ids) => (float[n,2] y, float[n] z)
    <float[3,2] w = {1, 2, 3, 4, 5, 6}> {
    p = MatMul (x, w)
    y = Tanh (p)
    [strange] d = Det (x)
    z = ReduceSum <axes = [1], keepdims = 0> (y)
}"""


IDS = np.zeros(1, np.int64)


def ortist(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["gradient", *map(str, arguments)])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(MODEL), path)
    return path


def test_a_model_gets_gradients_for_its_inputs(model: Path, tmp_path: Path) -> None:
    """By default those of floating point that have no value in the model."""
    out = tmp_path / "gradient.onnx"
    result = ortist(model, "--output", "z", "-o", out)
    assert result.exit_code == 0, result.output
    assert "converted from opset 11 to 18" in result.output
    assert "from x, ids to y, z, gradient/x" in result.output
    x = np.ones((1, 3), np.float32)
    (gradient,) = onnxruntime.InferenceSession(out).run(["gradient/x"], {"x": x, "ids": IDS})
    w = np.array([[1, 2], [3, 4], [5, 6]])
    np.testing.assert_allclose(gradient, (1 - np.tanh(x @ w) ** 2) @ w.T, atol=1e-6)


def test_weights_and_cotangents(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "gradient.onnx"
    options = ("--vjp", "--output", "y", "--output", "z", "--wrt", "w", "--wrt", "x")
    assert ortist(model, *options, "-o", out).exit_code == 0
    made = onnx.load(out)
    assert [v.name for v in made.graph.input] == ["x", "ids", "cotangent/y", "cotangent/z"]
    assert [v.name for v in made.graph.output] == ["y", "z", "gradient/w", "gradient/x"]


def test_what_stands_in_the_way_is_listed(model: Path, tmp_path: Path) -> None:
    converted = "the result would be converted from opset 11 to 18\n"
    result = ortist(model, "--output", "d", "--list")
    assert (result.exit_code, result.output) == (
        1,
        "Det node 'strange', input 'x': no derivative rule\n" + converted,
    )
    result = ortist(model, "--output", "z", "--list")
    assert (result.exit_code, result.output) == (0, "nothing stands in the way\n" + converted)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.onnx", "--output", "z"], "give either -o OUT or --list"),
        (["model.onnx", "-o", "o.onnx"], "several outputs, choose by --output: y, z"),
        (["model.onnx", "--output", "d", "-o", "o.onnx"], "Det node 'strange'"),
        (["model.onnx", "--output", "q", "-o", "o.onnx"], "no tensor 'q'; its inputs are x, ids"),
        (["model.onnx", "--output", "z", "--wrt", "ids", "-o", "o.onnx"], "'ids' is INT64"),
        (["model.onnx", "--output", "y", "--output", "z", "-o", "o.onnx"], "add --vjp"),
        (["model.onnx", "--output", "z", "-o", "model.onnx"], "both the model and the result"),
        (
            ["model.onnx", "--output", "z", "--wrt", "x", "--held", "x", "--list"],
            "'x' is both held",
        ),
        (
            ["short.onnx", "--output", "z", "--list"],
            "the model is malformed: Node with schema(::Div:7)",
        ),
        (["model.onnx", "--output", "z", "-o", "none/o.onnx"], "no directory"),
        (["absent.onnx", "--list"], "No such file"),
        (["text.onnx", "--list"], "is no ONNX model"),
        (["empty.onnx", "--list"], "is no ONNX model"),
        ([".", "--list"], "cannot be read"),
    ],
)
def test_mistakes_end_in_one_line(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.onnx").write_text("not a model\n")
    Path("empty.onnx").touch()
    short = onnx.parser.parse_model(MODEL.replace("MatMul (x, w)", "Div (x)"))
    onnx.save(short, "short.onnx")
    before = model.read_bytes()
    with pytest.raises(SystemExit) as end:
        main(["gradient", *arguments])
    assert end.value.code == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert model.read_bytes() == before
    assert not Path("o.onnx").exists()


def test_weights_outside_need_the_same_folder(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(MODEL)
    tensor = proto.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), "w"))
    external_data_helper.convert_model_to_external_data(proto, location="w.bin", size_threshold=0)
    onnx.save(proto, tmp_path / "model.onnx")
    (tmp_path / "other").mkdir()
    model = tmp_path / "model.onnx"
    result = ortist(model, "--output", "z", "-o", tmp_path / "other" / "o.onnx")
    assert "weights are in 'w.bin'" in str(result.exception)
    assert ortist(model, "--output", "z", "-o", tmp_path / "o.onnx").exit_code == 0
    session = onnxruntime.InferenceSession(tmp_path / "o.onnx")
    feeds = {"x": np.ones((1, 3), np.float32), "ids": IDS}
    assert session.run(["gradient/x"], feeds)[0].shape == (1, 3)
