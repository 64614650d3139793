"""The whole of J and its gradient, real weights, against PyTorch autograd in float64."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper
from onnxruntime import InferenceSession

from ortist.engine.engine import Engine
from ortist.engine.images import to_tensor
from ortist.engine.objective import Evaluation
from ortist.engine.options import Options
from ortist.engine.scene import Scene
from ortist.export.differentiate import differentiate

Pixels = NDArray[np.uint8]
Tensor = NDArray[np.float32]

# Written by make_reference.py, so that these tests run where there is no PyTorch too.
REFERENCE: Mapping[str, NDArray[Any]] = dict(
    np.load(Path(__file__).parent / "data" / "vgg_gradient.npz")
)
CASES = ("53x37", "64x48")

OPTIONS = {
    "unequal weights": Options(
        content_layers={"conv4_2": 0.75},
        style_layers={"conv1_1": 2, "conv2_1": 0, "conv3_1": 0.5, "conv4_1": 1, "conv5_1": 9},
        alpha=3,
        beta=0.02,
        tv=1e4,
    ),
    "content only": Options(style_layers=(), tv=0.5, pooling="max"),
    "other layers": Options(
        content_layers=("conv2_2", "conv5_4"),
        style_layers=("conv1_2", "conv2_2", "conv4_4", "conv5_4"),
        pooling="max",
    ),
}


COST_TOLERANCE = {"direct": 1e-6, "winograd": 2e-6}


def picture(case: str, name: str) -> Tensor:
    return to_tensor(REFERENCE[f"{case}/{name}"].astype(np.uint8))


@functools.cache
def engine(kernel: str) -> Engine:
    return Engine("cpu", threads=2, kernel=kernel)


def evaluate(kernel: str, case: str, styles: Sequence[str], options: Options) -> Evaluation:
    """J and its gradient at the picture of ``case``, as a run has them."""
    pictures = [REFERENCE[f"{style}/style"] for style in styles]
    scene = Scene.whole(REFERENCE[f"{case}/content"], pictures, options.style_weights)
    objective = engine(kernel)._objective(scene, options)
    return objective.evaluate(picture(case, "image"))


def named_costs(evaluation: Evaluation) -> dict[str, float]:
    costs = evaluation.costs
    return {
        **{f"content/{layer}": cost for layer, cost in costs.content_layers.items()},
        **{f"style/{layer}": cost for layer, cost in costs.style_layers.items()},
        "total_variation": costs.total_variation,
        "total": costs.total,
    }


def regions(errors: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every part of a picture in which its cutting into blocks of 4x4 could leave a seam."""
    for row, column in product(range(4), repeat=2):
        yield f"place {row}, {column} of all blocks", errors[:, row::4, column::4]
    for rows, columns in product((slice(4), slice(-4, None)), repeat=2):
        yield f"corner {rows}, {columns}", errors[:, rows, columns]


def assert_gradients_agree(actual: Tensor, expected: NDArray[Any]) -> None:
    """Single ReLUs may take the other side in float32, which shows in blocks side by side.

    A deep one reaches more than half of several rows or columns; a seam is a single one.
    """
    errors = np.abs(actual.astype(np.float64) - expected)[0]
    size = np.sqrt(np.mean(np.square(expected, dtype=np.float64)))
    assert actual.dtype == np.float32
    assert np.median(errors) <= 1e-6 * size
    assert np.sqrt(np.mean(errors**2)) <= 1e-2 * size
    for axes in ((0, 2), (0, 1)):
        wrong = np.median(errors, axis=axes) > 3e-6 * size
        beside = np.concatenate([[False], wrong[:-1]]) | np.concatenate([wrong[1:], [False]])
        assert not (wrong & ~beside).any(), np.flatnonzero(wrong)
    for name, part in regions(errors):
        assert np.median(part) <= 3e-6 * size, name
    height, width = errors.shape[1:]
    blocks = [
        np.median(errors[:, row : row + 4, column : column + 4])
        for row, column in product(range(0, height, 4), range(0, width, 4))
    ]
    assert np.mean(np.array(blocks) > 3e-6 * size) <= 0.2


SEAMS = {
    "a row": np.s_[:, :, 16],
    "a column": np.s_[..., 31],
    "the border": np.s_[..., -1],
    "a part of the border": np.s_[:, :2, 12:, -1],
    "a corner": np.s_[:, 1:, -4:, :4],
    "a place of all blocks": np.s_[..., 3::4, ::4],
}


@pytest.mark.parametrize("seam", SEAMS)
def test_a_seam_of_five_per_cent_is_found(seam: str) -> None:
    expected = REFERENCE["64x48/average/gradient"]
    actual = expected.astype(np.float32)
    assert_gradients_agree(actual, expected)
    actual[SEAMS[seam]] *= 1.05
    with pytest.raises(AssertionError):
        assert_gradients_agree(actual, expected)


@pytest.mark.parametrize("kernel", ["direct", "winograd"])
@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_the_reference_file(case: str, pooling: str, kernel: str) -> None:
    ours = evaluate(kernel, case, [case], Options(pooling=pooling))
    for name, cost in named_costs(ours).items():
        expected = float(REFERENCE[f"{case}/{pooling}/{name}"])
        assert cost == pytest.approx(expected, rel=COST_TOLERANCE[kernel])
    assert_gradients_agree(ours.gradient, REFERENCE[f"{case}/{pooling}/gradient"])


@pytest.mark.parametrize(
    ("name", "kernel"),
    [("unequal weights", "winograd"), ("content only", "direct"), ("other layers", "winograd")],
)
def test_the_gradient_is_that_of_autograd(name: str, kernel: str) -> None:
    """Two styles, of which the second has a quarter of the weight."""
    from torch_reference import TorchObjective, shipped_weights

    options = replace(OPTIONS[name], style_weights=(3, 1))
    styles = [(picture("53x37", "style"), 0.75), (picture("64x48", "style"), 0.25)]
    objective = TorchObjective(shipped_weights(), picture("53x37", "content"), styles, options)
    expected = objective.evaluate(picture("53x37", "image"))
    ours = evaluate(kernel, "53x37", ["53x37", "64x48"], options)
    costs = {**expected.costs, "total": expected.total}
    assert named_costs(ours) == pytest.approx(costs, rel=COST_TOLERANCE[kernel])
    assert_gradients_agree(ours.gradient, expected.gradient)


def test_the_reference_file_holds_what_autograd_gives() -> None:
    from torch_reference import TorchObjective, shipped_weights

    content, style = picture("53x37", "content"), picture("53x37", "style")
    options = Options(pooling="max")
    objective = TorchObjective(shipped_weights(), content, [(style, 1.0)], options)
    evaluation = objective.evaluate(picture("53x37", "image"))
    stored = REFERENCE["53x37/max/gradient"]
    scale = np.abs(stored).max()
    np.testing.assert_allclose(evaluation.gradient, stored, rtol=1e-6, atol=1e-9 * scale)
    total = float(REFERENCE["53x37/max/total"])
    assert evaluation.total == pytest.approx(total, rel=1e-12)


def test_of_tied_maxima_the_same_one_gets_the_gradient_as_in_autograd() -> None:
    import torch

    nodes = [
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Mul", ["y", "slope"], ["product"]),
        helper.make_node("ReduceSum", ["product"], ["J"], keepdims=0),
    ]
    shapes = {"x": [1, 3, 9, 11], "slope": [1, 3, 4, 5]}
    inputs = [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("J", 1, [])
    model = helper.make_model(
        helper.make_graph(nodes, "ties", inputs, [output]),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 18)],
    )
    session = InferenceSession(
        differentiate(model, "J", "x").SerializeToString(), providers=["CPUExecutionProvider"]
    )
    random = np.random.default_rng(1)
    x = random.integers(0, 2, shapes["x"]).astype(np.float32)
    slope = random.normal(size=shapes["slope"]).astype(np.float32)
    (gradient,) = session.run(["gradient/x"], {"x": x, "slope": slope})
    variable = torch.tensor(x, requires_grad=True)
    cost = (torch.nn.functional.max_pool2d(variable, 2) * torch.tensor(slope)).sum()
    (expected,) = torch.autograd.grad(cost, variable)
    np.testing.assert_array_equal(gradient, expected.numpy())
