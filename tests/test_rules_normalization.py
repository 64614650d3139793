"""Rules of reductions, softmaxes, normalizations and activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from derivatives import (
    POSITIVE,
    Case,
    check_gradient,
    check_runtime,
    integers,
    model_of,
    reals,
    single_model_of,
)
from onnx import numpy_helper
from torch.nn import functional

from ortist.export.differentiate import differentiate

REDUCED = {
    "": ((reals(2, 3, 4), integers(0, -1)), {}),
    ", flat": ((reals(2, 3, 4), integers(1)), {"keepdims": 0}),
    ", all": ((reals(2, 3),), {"keepdims": 0}),
    ", no axes": ((reals(2, 3), integers()), {"noop_with_empty_axes": 1, "keepdims": 0}),
}
POSITIVES = (reals(2, 3, 4, **POSITIVE), integers(0, -1))
IMAGE, CHANNELS = reals(2, 4, 3, 2), (reals(4), reals(4, low=-0.5))
ZEROS = np.array([[0.0, 0.5, -2.0], [0.0, 0.0, 3.0], [1.0, 2.0, -1.5]])

NEW = ("Celu", "HardSwish", "Mish", "Shrink", "Swish", "ThresholdedRelu")

CASES: dict[str, Case] = {
    **{
        f"{op}{name}": Case(op, inputs, attributes)
        for op in ("ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSumExp", "ReduceL1")
        for name, (inputs, attributes) in REDUCED.items()
        if name != ", no axes" or op != "ReduceLogSumExp"
    },
    **{
        f"{op}, unknown shapes": Case(op, inputs, {"keepdims": 0}, static=False)
        for op in ("ReduceMax", "ReduceProd", "ReduceLogSumExp", "ReduceLogSum", "ReduceMean")
        for inputs in [POSITIVES]
    },
    "ReduceLogSum": Case("ReduceLogSum", POSITIVES),
    "ReduceLogSum, all": Case("ReduceLogSum", POSITIVES[:1], {"keepdims": 0}),
    "ReduceProd, zeros": Case("ReduceProd", (ZEROS, integers(1))),
    **{f"{op}": Case(op, (reals(2, 3, 4),)) for op in ("Softmax", "LogSoftmax", "Hardmax")},
    **{
        f"{op}, axis": Case(op, (reals(2, 3, 4),), {"axis": 1}, static=False)
        for op in ("Softmax", "LogSoftmax")
    },
    **{
        f"BatchNormalization, {len(shape)} axes": Case(
            "BatchNormalization",
            (reals(*shape), *CHANNELS, reals(4), reals(4, **POSITIVE)),
            {"epsilon": 0.01},
            static=static,
        )
        for shape, static in (((3, 4), True), ((2, 4, 3), False), ((2, 4, 3, 2), True))
    },
    "InstanceNormalization": Case("InstanceNormalization", (IMAGE, *CHANNELS), {"epsilon": 0.01}),
    "InstanceNormalization, unknown shapes": Case(
        "InstanceNormalization", (reals(2, 4, 3), *CHANNELS), static=False
    ),
    "LayerNormalization": Case("LayerNormalization", (reals(2, 3, 4), *CHANNELS)),
    "LayerNormalization, no bias": Case("LayerNormalization", (reals(2, 3, 4), reals(4))),
    "LayerNormalization, axis": Case(
        "LayerNormalization",
        (reals(2, 3, 4), reals(3, 4), reals(3, 4)),
        {"axis": 1, "epsilon": 0.1},
    ),
    "LayerNormalization, all axes": Case(
        "LayerNormalization", (reals(3, 4), reals(3, 4), reals(3, 4)), {"axis": 0}
    ),
    "LayerNormalization, unknown shapes": Case(
        "LayerNormalization", (reals(2, 3, 4), reals(3, 4)), {"axis": -2}, static=False
    ),
    "LpNormalization": Case("LpNormalization", (reals(3, 4),), {"p": 2, "axis": 0}),
    **{f"{op}, new": Case(op, (reals(3, 4, low=-4, high=4),), opset=28) for op in NEW},
    "Clip, no low": Case("Clip", (reals(3, 4), None, np.array(0.3))),
    "Clip, no high": Case("Clip", (reals(3, 4), np.array(0.3))),
    "Clip, by high": Case("Clip", (reals(3, 4), np.array(0.3), np.array(-0.2)), fixed=(0,)),
    "Clip, bounds": Case("Clip", (reals(3, 4), np.array(-0.3), np.array(0.2)), static=False),
    "Gelu": Case("Gelu", (reals(3, 4, low=-3, high=3),), {"approximate": "tanh"}, opset=20),
    "HardSwish": Case("HardSwish", (reals(3, 4, low=-4, high=4),)),
    "Mish": Case("Mish", (reals(3, 4, low=-4, high=4),)),
    "Mod, floor": Case("Mod", (reals(3, 4), reals(4, low=-0.5, high=-0.3)), opset=28),
    "Shrink": Case("Shrink", (reals(3, 4),), {"lambd": 0.4, "bias": 0.1}),
    "Swish": Case("Swish", (reals(3, 4, low=-4, high=4),), {"alpha": 0.7}, opset=24),
    "ThresholdedRelu": Case("ThresholdedRelu", (reals(3, 4),), {"alpha": 0.3}),
    "RMSNormalization": Case("RMSNormalization", (reals(2, 3, 4), reals(4)), opset=23),
    "RMSNormalization, axis": Case(
        "RMSNormalization", (reals(2, 3, 4), reals(3, 4)), {"axis": 1, "epsilon": 0.1}, opset=23
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rule_agrees_with_central_differences(case: Case) -> None:
    check_gradient(*model_of(case))


def test_swiglu_by_its_body() -> None:
    case = Case("SwiGLU", (reals(3, 4), reals(3, 4)), {"alpha": 0.7}, opset=28)
    check_gradient(*model_of(case))


OLDER = {name: case for name, case in CASES.items() if case.opset <= 24}


@pytest.mark.parametrize("case", OLDER.values(), ids=OLDER)
def test_runtime_computes_the_gradient(case: Case) -> None:
    check_runtime(case)


def statistics(x: Any, scale: Any, bias: Any) -> tuple[Any, ...]:
    variance, mean = torch.var_mean(x, -1, unbiased=False, keepdim=True)
    return functional.layer_norm(x, [4], scale, bias), mean, 1 / (variance + 1e-5).sqrt()


def standardized(x: Any) -> Any:
    deviation, mean = torch.std_mean(x, (0, 2, 3), unbiased=False, keepdim=True)
    return (x - mean) / (deviation + 1e-9)


def grouped(x: Any, scale: Any, bias: Any) -> Any:
    return functional.group_norm(x, 2, scale, bias)


def batched(x: Any, scale: Any, bias: Any, *_: Any) -> Any:
    return functional.batch_norm(x, None, None, scale, bias, training=True)


GROUPED = Case("GroupNormalization", (IMAGE, *CHANNELS), {"num_groups": 2}, opset=21)
# The reference evaluator computes these in float32, or not rightly: |x| is missing for p 1.
PYTORCH: dict[str, tuple[Case, Callable[..., Any]]] = {
    "BatchNormalization, training": (
        Case(
            "BatchNormalization",
            (IMAGE, *CHANNELS, reals(4), reals(4, **POSITIVE)),
            {"training_mode": 1},
            outputs=3,
            fixed=(3, 4),
        ),
        batched,
    ),
    "Celu": (
        Case("Celu", (reals(3, 4),), {"alpha": 0.7}),
        lambda x: functional.celu(x, 0.7),
    ),
    "Gelu": (Case("Gelu", (reals(3, 4, low=-3, high=3),), opset=20), functional.gelu),
    "GroupNormalization": (GROUPED, grouped),
    "GroupNormalization, unknown shapes": (replace(GROUPED, static=False), grouped),
    "LayerNormalization, statistics": (
        Case("LayerNormalization", (reals(2, 3, 4), *CHANNELS), outputs=3),
        statistics,
    ),
    "LpNormalization, p 1": (
        Case("LpNormalization", (reals(3, 4),), {"p": 1}),
        lambda x: functional.normalize(x, p=1.0, dim=-1),
    ),
    "MeanVarianceNormalization": (
        Case("MeanVarianceNormalization", (reals(2, 3, 2, 2),)),
        standardized,
    ),
}


@pytest.mark.parametrize(("case", "function"), PYTORCH.values(), ids=PYTORCH)
def test_rule_agrees_with_pytorch(case: Case, function: Callable[..., Any]) -> None:
    model, inputs = single_model_of(case)
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    if case.op_type == "BatchNormalization":
        model.graph.node[-1].input[:] = ["term0"]
    variables = {name: torch.tensor(value, requires_grad=True) for name, value in inputs.items()}
    results = function(*variables.values())
    for i, y in enumerate(results if isinstance(results, tuple) else [results]):
        (y * torch.tensor(constants[f"c{i}"])).sum().backward(retain_graph=True)
    extended = differentiate(model, "J", list(inputs))
    names = [f"gradient/{name}" for name in inputs]
    found = onnxruntime.InferenceSession(extended.SerializeToString()).run(names, inputs)
    for variable, gradient in zip(variables.values(), found, strict=True):
        np.testing.assert_allclose(gradient, variable.grad, rtol=1e-4, atol=1e-5)


KINKS: dict[str, tuple[Callable[[Any], Any], list[float]]] = {
    "Celu": (functional.celu, [0.0]),
    "HardSwish": (functional.hardswish, [-3.0, 3.0]),
    "HardSigmoid <alpha = 0.16666667>": (functional.hardsigmoid, [-3.0, 3.0]),
    "Shrink <lambd = 0.5, bias = 0.0>": (functional.hardshrink, [-0.5, 0.5]),
    "Shrink <lambd = 0.5, bias = 0.5>": (functional.softshrink, [-0.5, 0.5]),
    "ThresholdedRelu": (lambda x: functional.threshold(x, 1.0, 0.0), [1.0]),
    "ReduceMax": (torch.amax, [1.0, 1.0, 0.5]),
    "ReduceMin": (torch.amin, [1.0, 0.5, 0.5]),
    "ReduceL2": (torch.linalg.vector_norm, [0.0, 0.0]),
    "ReduceProd": (torch.prod, [0.0, 0.0, 2.0]),
}


@pytest.mark.parametrize("operator", KINKS)
def test_kinks_and_ties_are_as_in_pytorch(operator: str) -> None:
    function, values = KINKS[operator]
    variable = torch.tensor(values, requires_grad=True)
    function(variable).sum().backward()
    (found,) = at(f"y = {operator} (x)", {"x": np.array(values, np.float32)})
    np.testing.assert_array_equal(found, variable.grad)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (1.0, 1.0)])
def test_bounds_of_clip_are_as_in_pytorch(low: float, high: float) -> None:
    values = [np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), np.array(low), np.array(high)]
    inputs = dict(zip(("x", "low", "high"), [v.astype(np.float32) for v in values], strict=True))
    variables = [torch.tensor(value, requires_grad=True) for value in inputs.values()]
    torch.clamp(*variables).sum().backward()
    for found, variable in zip(at("y = Clip (x, low, high)", inputs), variables, strict=True):
        np.testing.assert_array_equal(found, variable.grad)


@pytest.mark.parametrize(("base", "power"), [(0, 0), (0, 2), (0, 0.5), (0, -1), (2, 0), (0, 1)])
def test_powers_of_zero_are_as_in_pytorch(base: float, power: float) -> None:
    inputs = {"z": np.array(base, np.float32), "p": np.array(power, np.float32)}
    variables = [torch.tensor(value, requires_grad=True) for value in inputs.values()]
    torch.pow(*variables).backward()
    for found, variable in zip(at("y = Pow (z, p)", inputs), variables, strict=True):
        np.testing.assert_array_equal(found, variable.grad)


def test_half_precision_is_normalized_in_single_precision() -> None:
    """Squares of such values are not finite in float16."""
    x, scale = 1000 * reals(2, 8).astype(np.float16), reals(8).astype(np.float16)
    variables = [
        torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (x, scale)
    ]
    (functional.layer_norm(variables[0], [8], variables[1]) ** 2).sum().backward()
    text = "n = LayerNormalization (x, scale) y = Mul (n, n)"
    for found, variable in zip(at(text, {"x": x, "scale": scale}), variables, strict=True):
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, variable.grad, rtol=1e-2, atol=1e-3)


def at(text: str, inputs: dict[str, Any]) -> list[Any]:
    """Return the gradients of the sum of y."""
    kind = "float16" if inputs[next(iter(inputs))].dtype == np.float16 else "float"
    signature = ", ".join(f"{kind}[{','.join(map(str, v.shape))}] {k}" for k, v in inputs.items())
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 18]> g ({signature}) => ({kind} J) {{
            {text}
            J = ReduceSum <keepdims = 0> (y)
        }}""".replace("[]", "")
    )
    extended = differentiate(model, "J", list(inputs))
    onnx.checker.check_model(extended, full_check=True)
    session = onnxruntime.InferenceSession(extended.SerializeToString())
    return list(session.run([f"gradient/{name}" for name in inputs], inputs))
