"""Derivatives of ONNX's own node tests, against central differences and in ONNX Runtime.

Of each node test that has a differentiable input and a floating-point output, the sum J of its
outputs with random weights is differentiated: in double precision against central differences,
both by the reference evaluator; in single precision, in ONNX Runtime against that evaluator.

    PYTHONPATH=tests python tests/node_gradients.py [--filter PATTERN]
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    defs,
    helper,
    numpy_helper,
)
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from reference_operators import Evaluator

from ortist.export.differentiate import differentiate

Array = NDArray[Any]

FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
HALVES = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
TYPES = {"to", "dtype", "output_datatype", "softmax_precision", "stash_type"}
"""Attributes that name an element type."""
DEFAULTS: tuple[tuple[str, str, Any], ...] = (
    ("ConstantOfShape", "value", helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])),
    ("GroupNormalization", "stash_type", TensorProto.FLOAT),
    ("LayerNormalization", "stash_type", TensorProto.FLOAT),
    ("RMSNormalization", "stash_type", TensorProto.FLOAT),
)
"""Operators that are in single precision unless an attribute tells otherwise."""
SINGLE = {"scales"}
"""Formal inputs that are single precision whatever the others are."""

UNKNOWN: dict[str, tuple[int, ...]] = {
    "Attention": (0, 1, 2, 3, 4, 5),
    "DeformConv": (0, 1, 2, 3, 4),
    "DequantizeLinear": (1,),
    "FlexAttention": (0, 1, 2),
    "LayerNormalization": (0, 1, 2),
    "RMSNormalization": (0, 1),
    "Range": (0, 2),
    "ReverseSequence": (0,),
    "RoiAlign": (0,),
    "RotaryEmbedding": (0, 1, 2),
    "Upsample": (0,),
}
"""The differentiable inputs of operators of which the specification does not tell."""

REFUSED = {
    "Loop": "control flow that is refused by name",
    "Scan": "control flow that is refused by name",
    **dict.fromkeys(
        (
            *("ConcatFromSequence", "SequenceAt", "SequenceConstruct", "SequenceEmpty"),
            *("SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap"),
            *("SplitToSequence", "Optional", "OptionalGetElement", "OptionalHasElement"),
        ),
        "sequences and optionals",
    ),
    "Bernoulli": "random",
    "Multinomial": "random",
}
"""Operators that are not to be differentiated, and why."""

IR_VERSION = 11
"""The newest that every supported ONNX Runtime knows; of what is newer the tests use nothing."""
OPSET = 26
"""The newest that ONNX Runtime takes; most of what changed since is the types that are allowed."""
ELEMENTS = 40
"""Elements of an input up to which each is moved by itself."""
DIRECTIONS = 12
LONG = 24
"""Nodes of a graph from which on fewer runs have to do."""
FEW = 4
STEP = 1e-5
LARGE = 1000
"""Elements from which on a step that long would carry some of them over ties."""
SHORT_STEP = 1e-7
NUDGE = 0.02


class Failure(Exception):  # noqa: N818
    """A case that does not pass; the message says why in a line."""


@dataclass(frozen=True)
class NodeCase:
    """A node test of which a gradient is wanted."""

    name: str
    operator: str
    model: ModelProto
    inputs: Mapping[str, Any]
    outputs: Sequence[Any]
    wrt: tuple[str, ...]


@dataclass(frozen=True)
class Objective:
    """J of a case, in double and in single precision, and where it is differentiated."""

    double: ModelProto
    single: ModelProto
    feeds: Mapping[str, Array]
    wrt: tuple[str, ...]
    magnitude: float
    """Σ|c·y|, of which J has its rounding."""


@cache
def collected() -> tuple[dict[str, NodeCase], dict[str, tuple[str, str]]]:
    """Return the cases by name, and of those left out the operator and the reason."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tests = {test.name: test for test in load_model_tests(kind="node")}
    cases, left_out = {}, {}
    for name, test in tests.items():
        base = tests.get(name.partition("_expanded")[0], test)
        node = base.model.graph.node[0]
        operator = f"{node.domain}.{node.op_type}".removeprefix(".").removeprefix("ai.onnx.")
        found = _case(test, node, operator.removeprefix("preview."))
        if isinstance(found, str):
            left_out[name] = (operator, found)
        else:
            cases[name] = found
    return cases, left_out


def _case(test: TestCase, node: NodeProto, operator: str) -> NodeCase | str:
    """Return the case, or why there is none."""
    graph = test.model.graph
    if node.domain not in ("", "ai.onnx.preview"):
        return f"domain {node.domain}"
    if node.op_type in REFUSED:
        return REFUSED[node.op_type]
    differentiable = set(_differentiable(node))
    if not differentiable:
        return "no differentiable input by the specification"
    inputs, outputs = ([_array(value) for value in values] for values in test.data_sets[0])
    fed = dict(zip([value.name for value in graph.input], inputs, strict=True))
    wrt = tuple(v.name for v in graph.input if v.name in differentiable and _is_real(v.type))
    if not wrt:
        return "differentiable inputs that are not floating point"
    if not any(_is_real(value.type) for value in graph.output):
        return "no floating-point tensor as output"
    return NodeCase(test.name, operator, test.model, fed, outputs, wrt)


def _array(value: Any) -> Any:
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def _differentiable(node: NodeProto) -> Iterator[str]:
    schema = defs.get_schema(node.op_type, domain=node.domain)
    categories = defs.OpSchema.DifferentiationCategory
    for i, name in enumerate(node.input):
        formal = schema.inputs[min(i, len(schema.inputs) - 1)]
        yes = formal.differentiation_category == categories.Differentiable
        if name and (yes or i in UNKNOWN.get(node.op_type, ())):
            yield name


def _is_real(kind: TypeProto) -> bool:
    return kind.HasField("tensor_type") and kind.tensor_type.elem_type in FLOATS


def converted(model: ModelProto, real: int) -> ModelProto:
    """Return a model with all floating point of one type, but what is single precision always."""
    copy = ModelProto()
    copy.CopyFrom(model)
    kept = {
        name
        for graph in (copy.graph, *copy.functions)
        for node in graph.node
        for i, name in enumerate(node.input)
        if _formal_name(node, i) in SINGLE
    }
    _convert_graph(copy.graph, real, kept)
    for function in copy.functions:
        _convert_nodes(function.node, real, kept)
        _convert_values(function.value_info, real, kept)
    return copy


def _formal_name(node: NodeProto, index: int) -> str:
    if node.op_type not in ("Resize", "Upsample"):
        return ""
    return "scales" if index == (1 if len(node.input) == 2 else 2) else ""


def _convert_graph(graph: GraphProto, real: int, kept: set[str]) -> None:
    for values in (graph.input, graph.output, graph.value_info):
        _convert_values(values, real, kept)
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _convert_tensor(tensor, real)
    _convert_nodes(graph.node, real, kept)


def _convert_values(values: Iterable[Any], real: int, kept: set[str]) -> None:
    for value in values:
        if value.name not in kept and _is_real(value.type):
            value.type.tensor_type.elem_type = real


def _convert_tensor(tensor: TensorProto, real: int) -> None:
    if tensor.data_type in FLOATS:
        values = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(real))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _convert_nodes(nodes: Iterable[NodeProto], real: int, kept: set[str]) -> None:
    for node in nodes:
        for op_type, name, value in DEFAULTS:
            if node.op_type == op_type and name not in [item.name for item in node.attribute]:
                node.attribute.append(helper.make_attribute(name, value))
        if node.op_type == "Constant" and kept.intersection(node.output):
            continue
        for attribute in node.attribute:
            _convert_attribute(node, attribute, real, kept)


def _convert_attribute(
    node: NodeProto, attribute: AttributeProto, real: int, kept: set[str]
) -> None:
    if attribute.name in TYPES and attribute.i in FLOATS and node.op_type != "BitCast":
        attribute.i = real
    if attribute.HasField("t"):
        _convert_tensor(attribute.t, real)
    elif attribute.HasField("g"):
        _convert_graph(attribute.g, real, kept)
    elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        values = attribute.f if attribute.name == "value_float" else list(attribute.floats)
        array = np.array(values, helper.tensor_dtype_to_np_dtype(real))
        attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(array)))


def evaluate(
    model: ModelProto, feeds: Mapping[str, Any], names: Sequence[str] | None = None
) -> list[Any]:
    return list(Evaluator(model).run(names, dict(feeds)))


def fed(case: NodeCase, model: ModelProto) -> dict[str, Any]:
    """Return the inputs of a case in the types of the inputs of a converted model."""
    feeds = {}
    for value in model.graph.input:
        given, kind = case.inputs[value.name], value.type
        if _is_real(kind):
            given = np.asarray(given).astype(
                helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)
            )
        feeds[value.name] = given
    return feeds


def check_forward(case: NodeCase, model: ModelProto, results: Sequence[Any]) -> None:
    """Fail unless the converted model gives about what the test expects."""
    types = [value.type for value in case.model.graph.output]
    for kind, found, expected in zip(types, results, case.outputs, strict=True):
        if not _is_real(kind):
            continue
        expected = np.asarray(expected).astype(np.float64)
        rtol = 1e-2 if _has_halves(case.model) else 1e-3
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
        if np.shape(found) != expected.shape or not np.allclose(
            found, expected, rtol=rtol, atol=rtol * max(scale, 1e-6), equal_nan=True
        ):
            raise Failure("forward: the evaluator does not give what the test expects")


def _has_halves(model: ModelProto) -> bool:
    graph = model.graph
    return any(
        value.type.tensor_type.elem_type in HALVES for value in (*graph.input, *graph.output)
    ) or any(a.i in HALVES for node in graph.node for a in node.attribute if a.name in TYPES)


def nudged(
    case: NodeCase, model: ModelProto, feeds: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Any]]:
    """Move the data off kinks and ties, within the domain of the operator; also the outputs there.

    Upwards or downwards only where either way leads out of the domain, as of Acosh at 1, or to
    another shape, as of Range.
    """
    plain = evaluate(model, feeds)
    for low, high in ((-1.0, 1.0), (0.1, 1.0), (-1.0, -0.1)):
        random = np.random.default_rng(zlib.crc32(case.name.encode()))
        moved = dict(feeds)
        for name in case.wrt:
            x = feeds[name]
            noise = random.permutation(np.linspace(low, high, x.size + 1)[:-1]) + 0.3 / (x.size + 1)
            moved[name] = x + NUDGE * _sizes(x) * noise.reshape(x.shape)
        results = evaluate(model, moved)
        if _shapes(results) == _shapes(plain) and _holes(results) <= _holes(plain):
            return moved, results
    return moved, results


def _holes(results: Sequence[Any]) -> int:
    return sum(np.size(y) - np.isfinite(y).sum() for y in results if _real(y))


def _shapes(results: Sequence[Any]) -> list[tuple[int, ...]]:
    return [np.shape(y) for y in results]


def _real(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f"


def _sizes(x: Array) -> Array:
    """Return by how much elements are moved, but for a factor; 0 where they are not finite."""
    sizes: Array = np.where(np.isfinite(x), np.clip(np.abs(x), 0.1, 100), 0)
    return sizes


def objective(case: NodeCase) -> Objective:
    """Build J of a case."""
    try:
        double = converted(case.model, TensorProto.DOUBLE)
        feeds = fed(case, double)
        check_forward(case, double, evaluate(double, feeds))
        feeds, results = nudged(case, double, feeds)
    except Failure:
        raise
    except Exception as error:
        raise Failure(f"forward: {_line(error)}") from error
    random = np.random.default_rng(zlib.crc32(case.name.encode()) + 1)
    weights = {}
    terms = [np.zeros(1)]
    for value, y in zip(double.graph.output, results, strict=True):
        if not _is_real(value.type):
            continue
        finite = np.isfinite(y)
        c = random.uniform(0.5, 1.5, np.shape(y)) * random.choice([-1, 1], np.shape(y))
        terms.append(np.abs(c * y)[finite].ravel())
        weights[value.name] = (c, finite)
    models = [
        summed(converted(case.model, real), weights, real)
        for real in (TensorProto.DOUBLE, TensorProto.FLOAT)
    ]
    magnitude = float(np.concatenate(terms).sum())
    return Objective(models[0], models[1], feeds, case.wrt, magnitude)


def summed(model: ModelProto, weights: Mapping[str, tuple[Array, Array]], real: int) -> ModelProto:
    """Replace the outputs by their weighted sum J, over those elements that are finite."""
    graph, terms = model.graph, []
    for name, (c, finite) in weights.items():
        y, c = name, c.astype(helper.tensor_dtype_to_np_dtype(real))
        if not finite.all():
            y, c = f"J/{name}/finite", c[finite]
            graph.initializer.append(
                numpy_helper.from_array(np.flatnonzero(finite), f"J/{name}/indices")
            )
            graph.initializer.append(numpy_helper.from_array(np.array([-1]), f"J/{name}/flat"))
            graph.node.append(
                helper.make_node("Reshape", [name, f"J/{name}/flat"], [f"J/{name}/all"])
            )
            graph.node.append(
                helper.make_node("Gather", [f"J/{name}/all", f"J/{name}/indices"], [y])
            )
        graph.initializer.append(numpy_helper.from_array(c, f"J/{name}/c"))
        graph.node.append(helper.make_node("Mul", [y, f"J/{name}/c"], [f"J/{name}/cy"]))
        term = f"J/{name}/term"
        graph.node.append(helper.make_node("ReduceSum", [f"J/{name}/cy"], [term], keepdims=0))
        terms.append(term)
    graph.node.append(helper.make_node("Sum", terms, ["J"]))
    graph.value_info.extend(graph.output)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("J", real, []))
    return model


def check_double(case: Objective, gradients: Mapping[str, Array]) -> None:
    """Fail unless the gradients agree with central differences in double precision."""
    evaluator = Evaluator(case.double)

    def slope(name: str, move: Array, step: float) -> float:
        x = case.feeds[name]
        ends = [evaluator.run(["J"], {**case.feeds, name: x + s * move})[0] for s in (step, -step)]
        return float(ends[0] - ends[1]) / (2 * step)

    long = len(case.double.graph.node) > LONG
    for name, gradient in gradients.items():
        x = case.feeds[name]
        if gradient.shape != x.shape or gradient.dtype != np.float64:
            raise Failure(f"gradient of {name} is {gradient.dtype}{list(gradient.shape)}")
        step, moves = STEP if x.size < LARGE else SHORT_STEP, list(_moves(x, long))
        slopes = np.array([slope(name, move, step) for move in moves])
        found = np.array([(gradient * move)[move != 0].sum() for move in moves])
        reach = np.array([np.abs(gradient * move)[move != 0].sum() for move in moves])
        scale = max(np.abs(slopes).max(initial=0), reach.max(initial=0))
        noise = 4 * np.finfo(float).eps / step * case.magnitude
        error = np.abs(found - slopes) - 1e-5 * np.abs(slopes) - 1e-6 * scale - noise
        if not (error <= 0).all():
            worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
            raise Failure(
                f"gradient of {name}: {found[worst]:.6g}, by differences {slopes[worst]:.6g}"
            )


def _moves(x: Array, long: bool) -> Iterator[Array]:
    """Return directions to move an input in: each element by itself, or some at random."""
    sizes, few = _sizes(x), FEW if long else DIRECTIONS
    if x.size <= (few if long else ELEMENTS):
        for index in np.ndindex(x.shape):
            move = np.zeros_like(x)
            move[index] = sizes[index]
            yield move
        return
    random = np.random.default_rng(x.size)
    for _ in range(few):
        yield sizes * random.uniform(-1, 1, x.shape)


def check_single(case: Objective, gradients: Mapping[str, Array]) -> str:
    """Compare ONNX Runtime with the evaluator in single precision.

    Returns:
        Why the case cannot be run there, its forward part that is; nothing if it can.
    """
    names = [f"gradient/{name}" for name in case.wrt]
    feeds = {
        value.name: np.asarray(case.feeds[value.name]).astype(np.float32)
        if _is_real(value.type)
        else case.feeds[value.name]
        for value in case.single.graph.input
    }
    extended = differentiate(case.single, "J", list(case.wrt))
    expected = evaluate(extended, feeds, names)
    try:
        found = _runtime(extended, feeds, names)
        _check_close(case, found, expected, gradients)
    except Exception as error:
        reason = _forward_trouble(case, feeds)
        if reason:
            return reason
        if isinstance(error, Failure):
            raise
        raise Failure(f"ONNX Runtime, backward only: {_line(error)}") from error
    return ""


def _check_close(
    case: Objective,
    found: Sequence[Array],
    expected: Sequence[Array],
    gradients: Mapping[str, Array],
) -> None:
    """Fail unless gradients in single precision agree.

    Where that is not enough for them, as for 1 - tanh² at 1, neither the evaluator nor ONNX Runtime
    has them right: how far the former is off tells what may be asked of the latter.
    """
    for name, y, value in zip(case.wrt, found, expected, strict=True):
        finite = np.isfinite(case.feeds[name])
        scale = max(float(np.abs(value[finite]).max(initial=0)), 1e-3)
        rounding = np.abs(value - gradients[name])[finite].max(initial=0)
        error = np.abs(y - value)[finite].max(initial=0)
        if not error <= 1e-4 * scale + 10 * rounding:
            raise Failure(f"ONNX Runtime: gradient of {name} is off by {error / scale:.2g}")


def _forward_trouble(case: Objective, feeds: Mapping[str, Any]) -> str:
    """Return why ONNX Runtime cannot run a case, or that it computes something else."""
    try:
        found = float(_runtime(case.single, feeds, ["J"])[0])
    except Exception as error:
        return f"forward does not run: {_line(error)}"
    expected = float(evaluate(case.single, feeds, ["J"])[0])
    if abs(found - expected) > 1e-4 * max(case.magnitude, 1e-3):
        return f"forward gives J = {found:.6g}, the evaluator {expected:.6g}"
    return ""


def _runtime(model: ModelProto, feeds: Mapping[str, Any], names: Sequence[str]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    model = _with_constants(model, feeds)
    model.ir_version = min(model.ir_version, IR_VERSION)
    for entry in model.opset_import:
        entry.version = min(entry.version, OPSET)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    known = {value.name for value in session.get_inputs()}
    return list(session.run(names, {k: v for k, v in feeds.items() if k in known}))


def _with_constants(model: ModelProto, feeds: Mapping[str, Any]) -> ModelProto:
    """Return a model with what its Python API does not take as inputs, as 4 bits, in it."""
    foreign = [name for name, value in feeds.items() if value.dtype.kind == "V"]
    copy = ModelProto()
    copy.CopyFrom(model)
    inputs = [value for value in copy.graph.input if value.name not in foreign]
    del copy.graph.input[:]
    copy.graph.input.extend(inputs)
    copy.graph.initializer.extend(numpy_helper.from_array(feeds[n], n) for n in foreign)
    return copy


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1][:160]}"


def judge(case: NodeCase) -> str:
    """Fail unless the gradient of a case is right.

    Returns:
        Why ONNX Runtime could not be asked; nothing if it agrees too.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        whole = objective(case)
        try:
            extended = differentiate(whole.double, "J", list(whole.wrt))
            results = evaluate(extended, whole.feeds, [f"gradient/{name}" for name in whole.wrt])
        except Exception as error:
            raise Failure(_line(error)) from error
        gradients = {n: np.asarray(g) for n, g in zip(whole.wrt, results, strict=True)}
        check_double(whole, gradients)
        return check_single(whole, gradients)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filter", default="*", help="pattern of names of cases")
    pattern = parser.parse_args().filter
    cases, left_out = collected()
    onnxruntime.set_default_logger_severity(4)
    passed, failed, notes = Counter[str](), Counter[str](), {}
    for name, case in cases.items():
        if not fnmatch.fnmatch(name, pattern):
            continue
        try:
            note = judge(case)
        except Failure as failure:
            failed[case.operator] += 1
            print(f"FAILED {name}: {failure}", flush=True)  # noqa: T201
            continue
        passed[case.operator] += 1
        if note:
            notes[name] = note
    _summarize(passed, failed, notes, left_out)
    return int(failed.total() > 0)


def _summarize(
    passed: Counter[str],
    failed: Counter[str],
    notes: Mapping[str, str],
    left_out: Mapping[str, tuple[str, str]],
) -> None:
    lines = ["", "ONNX Runtime could not be asked:"]
    lines += [f"  {name}: {note}" for name, note in notes.items()]
    lines += ["", "left out:"]
    lines += [
        f"  {count:4} {operator}: {reason}"
        for (operator, reason), count in sorted(Counter(left_out.values()).items())
    ]
    lines += ["", "passed of total, by operator:"]
    for operator in sorted({*passed, *failed}):
        total = passed[operator] + failed[operator]
        lines.append(f"  {passed[operator]:4} of {total:4} {operator}")
    total = passed.total() + failed.total()
    lines.append(f"{passed.total()} of {total} passed, {len(left_out)} left out")
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
