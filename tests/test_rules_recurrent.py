"""Rules of recurrent operators against PyTorch's derivatives, in float64 and in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from derivatives import Array, Case, check_gradient, model_of, reals, single_model_of
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from recurrent_reference import DEFAULTS, OPERATORS, run

from ortist.export.differentiate import DifferentiationError, differentiate

STEPS, BATCH, FEATURES, HIDDEN = 3, 3, 2, 3
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def case(
    op_type: str,
    given: str = "B h c P",
    steps: int = STEPS,
    static: bool = True,
    outputs: int | None = None,
    **attributes: Any,
) -> Case:
    """A node that is given some of its optional inputs; L is for lengths."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    gates, is_lstm = GATES[op_type], op_type == "LSTM"
    x, state = [steps, BATCH, FEATURES], [directions, BATCH, HIDDEN]
    if attributes.get("layout"):
        x, state = [x[1], x[0], x[2]], [state[1], state[0], state[2]]
    optional = {
        "B": reals(directions, 2 * gates * HIDDEN),
        "L": np.array([steps, 1, max(steps - 1, 1)], np.int32),
        "h": reals(*state, low=-0.9),
        **({"c": reals(*state), "P": reals(directions, 3 * HIDDEN)} if is_lstm else {}),
    }
    inputs = (
        reals(*x, low=-2, high=2),
        reals(directions, gates * HIDDEN, FEATURES),
        reals(directions, gates * HIDDEN, HIDDEN),
        *(value if key in given.split() else None for key, value in optional.items()),
    )
    while inputs[-1] is None:
        inputs = inputs[:-1]
    count = outputs or (3 if is_lstm else 2)
    stated = {"hidden_size": HIDDEN, **attributes}
    return Case(op_type, inputs, stated, count, static=static)


def all_with(op_type: str, **attributes: Any) -> dict[str, Case]:
    """Cases for an operator: directions, layouts, lengths, with and without optional inputs."""
    given = "B h c"
    found = {
        "": case(op_type, given, **attributes),
        "weights only": case(op_type, "", **attributes),
        "reverse": case(op_type, given, direction="reverse", **attributes),
        "both ways": case(op_type, given, direction="bidirectional", **attributes),
        "batch first": case(op_type, given, layout=1, **attributes),
        "batch first, both ways": case(
            op_type, given, direction="bidirectional", layout=1, static=False, **attributes
        ),
        "all states only": case(op_type, given, outputs=1, **attributes),
        "unknown shapes": case(op_type, given, static=False, **attributes),
        "one step": case(op_type, given, steps=1, **attributes),
        "one step both ways": case(op_type, "", 1, direction="bidirectional", **attributes),
    }
    stated = ", ".join(f"{key} {value}" for key, value in attributes.items())
    return {", ".join(filter(None, (op_type, stated, k))): v for k, v in found.items()}


def otherwise(op_type: str, **attributes: Any) -> dict[str, Case]:
    """Cases for what the reference evaluator lacks."""
    both, count = {"direction": "bidirectional", **attributes}, len(DEFAULTS[op_type])
    given = "B L h c"
    found = {
        "lengths": case(op_type, given, **attributes),
        "lengths, reverse": case(op_type, "L", direction="reverse", **attributes),
        "lengths, both ways": case(op_type, given, static=False, **both),
        "lengths, batch first": case(op_type, given, layout=1, **both),
        "lengths, one step": case(op_type, given, steps=1, **both),
        "clip": case(op_type, "B h c P", clip=0.4, **both),
        "activations": case(
            op_type,
            activations=["HardSigmoid", "ScaledTanh", "Elu"][:count],
            activation_alpha=[0.3, 0.8, 0.7][:count],
            activation_beta=[0.4, 1.3][:count],
            **attributes,
        ),
        "Elu": case(op_type, activations=["Elu"] * count, **attributes),
        **{
            name: case(op_type, activations=[name] * count, **parameters, **attributes)
            for name, parameters in ACTIVATIONS.items()
        },
    }
    stated = ", ".join(f"{key} {value}" for key, value in attributes.items())
    return {", ".join(filter(None, (op_type, stated, k))): v for k, v in found.items()}


ACTIVATIONS: dict[str, dict[str, Any]] = {
    "Affine": {"activation_alpha": [0.5] * 3, "activation_beta": [0.1] * 3},
    "LeakyRelu": {"activation_alpha": [0.25] * 3},  # The default is no float32.
    "Relu": {},
    "ScaledTanh": {"activation_alpha": [0.8] * 3, "activation_beta": [0.5] * 3},
    "Softplus": {},
    "Softsign": {},
    "ThresholdedRelu": {"activation_alpha": [0.1] * 3},
}
CASES = {
    **all_with("LSTM"),
    **all_with("GRU"),
    **all_with("GRU", linear_before_reset=1),
    **all_with("RNN"),
    "LSTM, peepholes": case("LSTM"),
    "LSTM, peepholes, both ways": case("LSTM", direction="bidirectional"),
    "LSTM, peepholes, one step": case("LSTM", steps=1),
}
OTHERS = {
    **otherwise("LSTM"),
    **otherwise("GRU"),
    **otherwise("GRU", linear_before_reset=1),
    **otherwise("RNN"),
    "LSTM, peepholes, lengths": case("LSTM", "B L h c P", direction="bidirectional"),
    "LSTM, coupled": case("LSTM", "B h c", input_forget=1),
    "LSTM, coupled, peepholes": case("LSTM", input_forget=1),
    "LSTM, an activation for each": case(
        "LSTM",
        direction="bidirectional",
        activations=["Sigmoid", "Tanh", "Softsign", "HardSigmoid", "LeakyRelu", "Tanh"],
        activation_alpha=[0.3, 0.2],
    ),
}
ALL = {**CASES, **OTHERS}


def expected_gradients(case: Case) -> tuple[list[Array], dict[str, Array]]:
    """Return the outputs and, by input, the gradients of the J of :func:`model_of`."""
    names = [f"x{i}" for i in range(len(case.inputs))]
    node = helper.make_node(case.op_type, names, [], **case.attributes)
    values = [None if v is None else torch.tensor(v) for v in case.inputs]
    variables = {
        name: value.requires_grad_()
        for name, value in zip(names, values, strict=True)
        if value is not None and value.dtype == torch.float64
    }
    outputs = run(node, *values)[: case.outputs]
    total = torch.zeros((), dtype=torch.float64)
    for i, output in enumerate(outputs):
        cotangent = np.random.default_rng(i).standard_normal(tuple(output.shape))
        total = total + (output * torch.from_numpy(cotangent)).sum()
    found = torch.autograd.grad(total, list(variables.values()), materialize_grads=True)
    gradients = {key: value.numpy() for key, value in zip(variables, found, strict=True)}
    return [output.detach().numpy() for output in outputs], gradients


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rule_agrees_with_central_differences(case: Case) -> None:
    check_gradient(*model_of(case))


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_rule_agrees_with_pytorch(case: Case) -> None:
    model, variables = model_of(case, operators=OPERATORS)
    extended = differentiate(model, "J", list(variables))
    onnx.checker.check_model(extended, full_check=True)
    evaluator = ReferenceEvaluator(extended, new_ops=OPERATORS)
    _, expected = expected_gradients(case)
    for name, found in zip(variables, evaluator.run(None, variables)[1:], strict=True):
        np.testing.assert_allclose(found, expected[name], rtol=1e-7, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_runtime_agrees_with_pytorch(case: Case) -> None:
    if case.attributes.get("layout"):
        return  # It has no kernel for batches first.
    outputs, expected = expected_gradients(case)
    model, variables = single_model_of(case, OPERATORS)
    extended = differentiate(model, "J", list(variables))
    del extended.graph.output[0]
    for i in range(case.outputs):
        extended.graph.output.append(helper.make_tensor_value_info(f"y{i}", 1, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(extended.SerializeToString(), options)
    found = session.run(None, variables)
    wanted = [*(expected[name] for name in variables), *outputs]
    for name, value, reference in zip([*variables, "y0", "y1", "y2"], found, wanted, strict=False):
        np.testing.assert_allclose(value, reference, rtol=1e-4, atol=1e-4, err_msg=name)


def parsed(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> g {text}')


INPUTS = {
    "x": reals(4, 3, 2, low=-2, high=2),
    "w": reals(2, 12, 2),
    "r": reals(2, 12, 3),
    "b": reals(2, 24),
    "h": reals(2, 3, 3),
}
HEAD = "(double[4,3,2] x, double[2,12,2] w, double[2,12,3] r, double[2,24] b, double[2,3,3] h)"


@pytest.mark.parametrize("outputs", ["empty, y", "empty, empty, y", "y, empty, empty"])
def test_outputs_may_be_missing_and_states_shared(outputs: str) -> None:
    """The initial h and c are one tensor, in a branch of If too; Y may be no output."""
    named = outputs.replace("empty", '""')
    node = f'{named} = LSTM <direction = "bidirectional", hidden_size = 3> (x, w, r, b, "", h, h)'
    plain = f"{HEAD} => (double J) {{ {node} J = ReduceSumSquare <keepdims = 0> (y) }}"
    check_gradient(parsed(plain), INPUTS)
    branch = f"t () => (double q) {{ {node} q = ReduceSumSquare <keepdims = 0> (y) }}"
    other = "e () => (double q) { q = ReduceSum <keepdims = 0> (x) }"
    inside = f"""{HEAD} => (double J) {{
        c = Constant <value = bool {{1}}> ()
        J = If (c) <then_branch = {branch}, else_branch = {other}>
    }}"""
    check_gradient(parsed(inside), INPUTS)


@pytest.mark.parametrize(
    ("kind", "opset"),
    [("FLOAT16", 18), ("FLOAT16", 22), ("FLOAT16", 28), ("BFLOAT16", 22), ("BFLOAT16", 28)],
)
@pytest.mark.parametrize("op_type", DEFAULTS)
def test_half_precision_is_valid(op_type: str, kind: str, opset: int) -> None:
    """There is no kernel of the forward operator for it."""
    model, variables = model_of(case(op_type, "B L h c P", clip=1.0), operators=OPERATORS)
    model = helper.make_model(model.graph, opset_imports=[helper.make_opsetid("", opset)])
    half = TensorProto.DataType.Value(kind)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = half
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.DOUBLE:
            array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(half))
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    extended = differentiate(model, "J", list(variables))
    onnx.checker.check_model(extended, full_check=True)


def test_a_step_backwards_has_one_product() -> None:
    model, _ = model_of(CASES["LSTM"])
    extended = differentiate(model, "J", "x0")
    scans = [node for node in extended.graph.node if node.op_type == "Scan"]
    bodies = [[node.op_type for node in scan.attribute[0].g.node] for scan in scans]
    assert bodies == [
        ["Mul", "Add", "Identity"],
        ["Add", "Mul", "Add", "Concat", "Mul", "MatMul", "Mul"],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "y, z = Scan <num_scan_inputs = 1, body = s (double[3] p, double[3] q) => "
            "(double[3] n, double[3] m) { n = Add (p, q) m = Identity (n) }> (x, v)",
            "Scan node 'y', input '[xv]': loops in the model are not differentiated",
        ),
        (
            "t = Constant <value = int64 {3}> () y = Loop <body = s (int64 i, bool c, double[3] p)"
            " => (bool d, double[3] n) { d = Identity (c) n = Add (p, p) }> (t, "
            '"", x)',
            "Loop node 'y', input 'x': loops in the model are not differentiated",
        ),
        (
            '"", y = RNN <hidden_size = 3, activations = ["Cube"]> (v3, w, r)',
            "RNN node .*, input 'v3': activation 'Cube'",
        ),
        (
            '"", y = RNN <hidden_size = 3, activations = ["Affine"]> (v3, w, r)',
            "RNN node .*, input 'v3': activation 'Affine' without alpha",
        ),
    ],
)
def test_what_has_no_rule_is_named(text: str, message: str) -> None:
    model = parsed(f"""(double[3] x, double[5,3] v, double[1,3,3] w, double[1,3,3] r)
        => (double J) {{
        axis = Constant <value = int64[1] {{0}}> ()
        v3 = Unsqueeze (v, axis)
        {text}
        J = ReduceSum <keepdims = 0> (y)
    }}""")
    with pytest.raises(DifferentiationError, match=message):
        differentiate(model, "J", ["x"] if "v3, w" not in text else ["v"])
