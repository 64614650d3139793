"""Rules of what samples at other places against central differences, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from derivatives import (
    Array,
    Case,
    check_gradient,
    check_runtime,
    integers,
    model_of,
    reals,
    single_model_of,
)
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops.op_grid_sample import GridSample

from ortist.export.builder import prune
from ortist.export.differentiate import differentiate, vjp


def scaled(mode: str, *scales: float, static: bool = True, **attributes: Any) -> Case:
    inputs = (reals(1, 2, 4, 5), None, np.array(scales, np.float32))
    return Case("Resize", inputs, {"mode": mode, **attributes}, static=static, opset=19)


def sized(mode: str, *sizes: int, static: bool = True, **attributes: Any) -> Case:
    inputs = (reals(1, 2, 4, 5), None, None, integers(*sizes))
    return Case("Resize", inputs, {"mode": mode, **attributes}, static=static, opset=19)


def sampled(mode: str, padding: str, align: int, axes: int = 2, static: bool = True) -> Case:
    inputs = (reals(2, 2, *[3, 4, 2][:axes]), reals(2, *[3, 1, 2][:axes], axes, low=-1.4, high=1.3))
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": align}
    return Case("GridSample", inputs, attributes, static=static, opset=20)


def regions(mode: str, *, static: bool = True, **attributes: Any) -> Case:
    boxes = [[0.3, 1.1, 4.2, 5.7], [-2.1, -2.2, 6.3, 5.6], [2, 2, 2.2, 2.3], [3.3, 4.1, 1.2, 2.2]]
    inputs = (reals(2, 2, 5, 6), np.array(boxes), integers(1, 0, 1, 1))
    size = {"output_height": 2, "output_width": 3}
    return Case("RoiAlign", inputs, {"mode": mode, **size, **attributes}, 1, (1,), static)


GRIDS = (
    ("half_pixel", 1.6, 0.7),
    ("half_pixel_symmetric", 1.6, 0.7),
    ("pytorch_half_pixel", 1.6, 0.7),
    # Of a fraction of an element, ONNX Runtime and the reference evaluator think differently.
    ("align_corners", 0.5, 2),
    ("asymmetric", 1.6, 0.7),
)
PADDINGS = ("zeros", "border", "reflection")
ALIGNED = {"coordinate_transformation_mode": "align_corners"}
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
CROP = (
    reals(1, 2, 4, 5),
    np.array([0, 0, 0.4, -0.2, 1, 1, 0.8, 1.2], np.float32),
    None,
    integers(1, 2, 3, 6),
)
CASES: dict[str, Case] = {
    **{
        f"GridSample, {mode}, {padding}, {align}": sampled(mode, padding, align)
        for mode in ("nearest", "linear", "cubic")
        for padding in PADDINGS
        for align in (0, 1)
    },
    "GridSample, unknown": sampled("linear", "zeros", 0, static=False),
    "GridSample, 3-d": sampled("linear", "border", 0, axes=3),
    "GridSample, 3-d, nearest": sampled("nearest", "reflection", 1, axes=3, static=False),
    **{
        f"RoiAlign, {mode}, {ratio}, {places}": regions(
            mode, sampling_ratio=ratio, coordinate_transformation_mode=places, spatial_scale=0.8
        )
        for mode in ("avg", "max")
        for ratio in (0, 2)
        for places in ("half_pixel", "output_half_pixel")
    },
    "RoiAlign, avg, unknown": regions("avg", static=False),
    "RoiAlign, max, unknown": regions("max", static=False),
    **{
        f"Resize, {mode}, {grid}": scaled(mode, 1, 1, *scales, coordinate_transformation_mode=grid)
        for mode in ("nearest", "linear", "cubic")
        for grid, *scales in GRIDS
    },
    **{
        f"Resize, nearest, {rounding}": scaled("nearest", 1, 1, 1.5, 2.5, nearest_mode=rounding)
        for rounding in ROUNDINGS
    },
    "Resize, linear, unknown": scaled("linear", 1, 1, 2, 2, static=False),
    "Resize, linear, sizes": sized("linear", 1, 2, 7, 5),
    "Resize, linear, sizes, unknown": sized("linear", 1, 2, 7, 3, static=False),
    "Resize, nearest, sizes": sized("nearest", 1, 2, 3, 9),
    "Resize, cubic, outside": scaled(
        "cubic", 1, 1, 2.3, 0.6, cubic_coeff_a=-0.5, exclude_outside=1
    ),
    "Resize, linear, antialias": scaled("linear", 1, 1, 0.6, 0.4, antialias=1),
    "Resize, cubic, antialias": scaled("cubic", 1, 1, 0.6, 0.5, antialias=1),
    "Resize, linear, axes": sized("linear", 7, 8, axes=[3, 2]),
    "Resize, linear, crop": Case(
        "Resize",
        CROP,
        {
            "mode": "linear",
            "coordinate_transformation_mode": "tf_crop_and_resize",
            "extrapolation_value": 3.0,
        },
        opset=19,
    ),
    **{
        f"Resize, {mode}, {policy}": sized(
            mode, 7, 6, axes=[2, 3], keep_aspect_ratio_policy=policy, static=policy == "not_larger"
        )
        for mode in ("nearest", "linear", "cubic")
        for policy in ("not_larger", "not_smaller")
    },
    "Resize, not larger, no axes": sized(
        "nearest", 1, 2, 3, 4, keep_aspect_ratio_policy="not_larger"
    ),
    "Resize, linear, 2-d": Case(
        "Resize", (reals(3, 4), None, np.array([2, 1.5], np.float32)), {"mode": "linear"}
    ),
    "Resize, linear, 3-d": Case(
        "Resize", (reals(1, 2, 4), None, np.array([1, 1, 2.5], np.float32)), {"mode": "linear"}
    ),
}
BODIES: dict[str, Case] = {
    "CenterCropPad": Case("CenterCropPad", (reals(4, 5, 3), integers(2, 7, 3))),
    "CenterCropPad, axes": Case("CenterCropPad", (reals(4, 5), integers(7)), {"axes": [1]}),
}
ALL = {**CASES, **BODIES}


@pytest.fixture(autouse=True)
def exact_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reference evaluator compute places in float64, not in float32."""

    def denormalized(self: Any, n: Array, dims: list[int], align_corners: bool) -> Array:
        pairs = zip(n.tolist(), dims, strict=True)
        return np.array([self._gs_denormalize(v, size, align_corners) for v, size in pairs])

    monkeypatch.setattr(GridSample, "_gs_denormalize_coordinates", denormalized)


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_rule_agrees_with_central_differences(case: Case) -> None:
    check_gradient(*model_of(case))


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_runtime_agrees(case: Case) -> None:
    check_runtime(case)


def test_fractions_of_an_element_are_as_in_the_runtime() -> None:
    model, inputs = single_model_of(scaled("linear", 1, 1, 1.6, 0.7, **ALIGNED))
    extended = differentiate(model, "J", "x0")
    session = onnxruntime.InferenceSession(extended.SerializeToString())
    value, gradient = session.run(["J", "gradient/x0"], inputs)
    # J is linear.
    np.testing.assert_allclose(np.sum(gradient * inputs["x0"]), value, rtol=1e-5)


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize(
    ("mode", "padding"),
    # Of what is beyond a border, PyTorch and ONNX think differently in bicubic mode.
    [
        *(("bilinear", padding) for padding in PADDINGS),
        ("bicubic", "zeros"),
        ("bicubic", "reflection"),
    ],
)
def test_grid_sample_is_as_in_pytorch_at_kinks(mode: str, padding: str, align: bool) -> None:
    """Places are on elements, on borders and far beyond."""
    steps = np.arange(-12, 13, dtype=np.float64) / 4
    grid = np.stack(np.meshgrid(steps, steps), -1)[None]
    x, c = reals(1, 2, 5, 5), reals(1, 2, 25, 25)
    tensors = [torch.tensor(value, requires_grad=True) for value in (x, grid)]
    y = torch.nn.functional.grid_sample(
        *tensors, mode=mode, padding_mode=padding, align_corners=align
    )
    (y * torch.tensor(c)).sum().backward()
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["": 18]>
        g (double[1,2,5,5] x, double[1,25,25,2] grid) => (double[1,2,25,25] y) {{
            y = GridSample <mode = "{mode}", padding_mode = "{padding}",
                            align_corners = {int(align)}> (x, grid)
        }}""")
    extended = vjp(model, {"y": "c"}, ["x", "grid"])
    # The evaluator has no GridSample of opset 18.
    prune(extended, names := ["gradient/x", "gradient/grid"])
    found = ReferenceEvaluator(extended).run(names, {"x": x, "grid": grid, "c": c})
    for gradient, tensor in zip(found, tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), atol=1e-9)


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 3, 4), (2, 3, 2, 3, 4)])
def test_affine_grid_is_as_in_pytorch(size: tuple[int, ...], align: bool) -> None:
    """In the runtime: the evaluator has float32 only."""
    axes, places = len(size) - 2, ",".join("abcde"[: len(size)])
    theta, c = reals(2, axes, axes + 1), reals(2, *size[2:], axes)
    tensor = torch.tensor(theta, requires_grad=True)
    grid = torch.nn.functional.affine_grid(tensor, list(size), align_corners=align)
    (grid * torch.tensor(c)).sum().backward()
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["": 20]>
        g (double[N,{axes},{axes + 1}] theta, int64[{len(size)}] size) => (double[{places}] y) {{
            y = AffineGrid <align_corners = {int(align)}> (theta, size)
        }}""")
    session = onnxruntime.InferenceSession(vjp(model, {"y": "c"}, "theta").SerializeToString())
    feed = {"theta": theta, "size": integers(*size), "c": c}
    (gradient,) = session.run(["gradient/theta"], feed)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-9)


def test_no_region_has_no_gradient() -> None:
    for mode in ("avg", "max"):
        model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["": 18]>
            g (float[2,3,4,5] x, float[R,4] rois, int64[R] images) => (float[R,3,2,2] y) {{
                y = RoiAlign <mode = "{mode}", output_height = 2, output_width = 2>
                    (x, rois, images)
            }}""")
        extended = differentiate(model, "y", "x")
        session = onnxruntime.InferenceSession(extended.SerializeToString())
        x, rois = np.ones((2, 3, 4, 5), np.float32), np.zeros((0, 4), np.float32)
        feed = {"x": x, "rois": rois, "images": np.zeros(0, np.int64)}
        (gradient,) = session.run(["gradient/x"], feed)
        np.testing.assert_array_equal(gradient, np.zeros_like(x))
