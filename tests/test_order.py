"""The order of nodes keeps memory low."""

from __future__ import annotations

import numpy as np
import onnx

from ortist.export.order import put_in_order


def test_few_tensors_are_alive_at_a_time() -> None:
    # As written, all exponentials are there before the first sum.
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
    g (float[4] x) => (float[4] y) {
        a = Exp (x)
        b = Neg (x)
        c = Abs (x)
        ab = Add (a, b)
        y = Add (ab, c)
    }""")
    put_in_order(model)
    assert [node.output[0] for node in model.graph.node] == ["b", "a", "ab", "c", "y"]
    onnx.checker.check_model(model, full_check=True)


def test_comparisons_come_as_soon_as_nothing_else_needs_the_operand() -> None:
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
    g (float[4,4] x) => (float[4,4] z) {
        zero = Constant <value = float {0.0}> ()
        a = Relu (x)
        mask = Greater (a, zero)
        flat = Reshape (a, rows)
        b = MatMul (flat, flat)
        c = Exp (b)
        factor = Cast <to = 1> (mask)
        z = Mul (c, factor)
    }""")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([4, 4]), "rows"))
    put_in_order(model)
    order = [node.output[0] for node in model.graph.node]
    # Not before its other operand is there, though.
    assert order == ["a", "flat", "b", "c", "zero", "mask", "factor", "z"]
    onnx.checker.check_model(model, full_check=True)
