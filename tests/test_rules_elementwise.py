"""Rules of elementwise operators against central differences, in float64."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from derivatives import POSITIVE, Case, check_gradient, model_of, reals
from onnx.reference import ReferenceEvaluator

from ortist.export.differentiate import differentiate

CONDITION = np.array([[True, False, True], [False, False, True]])
CASES: dict[str, Case] = {
    **{op: Case(op, (reals(3, 4, low=-0.9, high=0.9),)) for op in ("Acos", "Asin", "Atanh")},
    **{op: Case(op, (reals(3, 4, low=-3, high=3),)) for op in ("Asinh", "Atan", "Sin", "Cos")},
    **{op: Case(op, (reals(3, 4),)) for op in ("Sinh", "Cosh", "Tan", "Ceil", "Floor")},
    **{op: Case(op, (reals(3, 4, low=-4, high=4),)) for op in ("Softplus", "Softsign", "Selu")},
    **{op: Case(op, (reals(3, 4, low=-4, high=4),)) for op in ("Round", "Sign", "HardSigmoid")},
    "Acosh": Case("Acosh", (reals(3, 4, low=1.5, high=3),)),
    "CastLike": Case("CastLike", (reals(3), reals(2)), fixed=(1,)),
    "Elu": Case("Elu", (reals(3, 4),), {"alpha": 0.7}),
    "HardSigmoid, other": Case("HardSigmoid", (reals(3, 4),), {"alpha": 0.7, "beta": 0.1}),
    "LeakyRelu": Case("LeakyRelu", (reals(3, 4),), {"alpha": 0.2}),
    "Max": Case("Max", (reals(2, 3), reals(3, low=-0.9, high=0.8), reals(2, 1, low=-0.7))),
    "Max, one": Case("Max", (reals(2, 3),)),
    "Mean": Case("Mean", (reals(2, 3), reals(3), reals(2, 1))),
    "Min": Case("Min", (reals(2, 3), reals(3, low=-0.9, high=0.8))),
    "Mod": Case("Mod", (reals(3, 4), reals(4, low=0.3, high=0.5)), {"fmod": 1}),
    "PRelu": Case("PRelu", (reals(2, 3, 2), reals(3, 1))),
    "Reciprocal": Case("Reciprocal", (reals(3, 4, **POSITIVE),)),
    "Selu, other": Case("Selu", (reals(3, 4),), {"alpha": 0.7, "gamma": 2.0}),
    "Where": Case("Where", (CONDITION, reals(3), reals(2, 1))),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rule_agrees_with_central_differences(case: Case) -> None:
    check_gradient(*model_of(case))


def test_erf() -> None:
    """By its formula: the reference evaluator computes it in float32, which is too coarse."""
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]> g (double[5] x) => (double[5] y) { y = Erf(x) }'
    )
    x = np.linspace(-2, 2, 5)
    _, found = ReferenceEvaluator(differentiate(model, "y", "x")).run(None, {"x": x})
    step = 1e-6
    expected = [(math.erf(v + step) - math.erf(v - step)) / (2 * step) for v in x]
    np.testing.assert_allclose(found, expected, rtol=1e-8)
