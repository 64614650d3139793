"""LSTM, GRU and RNN by their definition, in PyTorch: what the reference evaluator lacks.

It knows no sequence lengths, clipping, coupled gates, and no activations but the usual.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import NodeProto
from onnx.reference.op_run import OpRun
from torch import Tensor
from torch.nn import functional

from ortist.export.builder import attributes

ACTIVATIONS: dict[str, Any] = {
    "Affine": lambda x, alpha, beta: alpha * x + beta,
    "Elu": lambda x, alpha=1.0: functional.elu(x, alpha),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: (alpha * x + beta).clamp(0, 1),
    "LeakyRelu": lambda x, alpha=0.01: functional.leaky_relu(x, alpha),
    "Relu": torch.relu,
    "ScaledTanh": lambda x, alpha, beta: alpha * torch.tanh(beta * x),
    "Sigmoid": torch.sigmoid,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Tanh": torch.tanh,
    "ThresholdedRelu": lambda x, alpha=1.0: functional.threshold(x, alpha, 0.0),
}
TAKES = {
    **dict.fromkeys(("Affine", "HardSigmoid", "ScaledTanh"), ("alpha", "beta")),
    **dict.fromkeys(("Elu", "LeakyRelu", "ThresholdedRelu"), ("alpha",)),
}
DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


def functions_of(op_type: str, stated: dict[str, Any], directions: int) -> list[Any]:
    names = stated.get("activations", DEFAULTS[op_type] * directions)
    given = {key: list(stated.get(f"activation_{key}", [])) for key in ("alpha", "beta")}
    found = []
    for name in names:
        text = name.decode() if isinstance(name, bytes) else name
        own = {key: given[key].pop(0) for key in TAKES.get(text, ()) if given[key]}
        found.append(lambda x, f=ACTIVATIONS[text], own=own: f(x, **own))
    count = len(DEFAULTS[op_type])
    return [found[count * d : count * (d + 1)] for d in range(directions)]


def step_of(op_type: str, functions: Any, stated: dict[str, Any], r: Tensor, rb: Tensor, p: Any):
    """Return what takes the product of x with W, h and c to the h and c after them."""
    bound = stated.get("clip")
    *gate, last = [
        lambda a, f=f: f(a if bound is None else a.clamp(-bound, bound)) for f in functions
    ]

    def rnn(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return last(x + h @ r.T + rb), c

    def gru(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        (x_z, x_r, x_n), (r_z, r_r, r_n), (b_z, b_r, b_n) = (
            v.chunk(3, axis) for v, axis in ((x, 1), (r, 0), (rb, 0))
        )
        z, reset = gate[0](x_z + h @ r_z.T + b_z), gate[0](x_r + h @ r_r.T + b_r)
        if stated.get("linear_before_reset"):
            n = last(x_n + reset * (h @ r_n.T + b_n))
        else:
            n = last(x_n + (reset * h) @ r_n.T + b_n)
        return (1 - z) * n + z * h, c

    def lstm(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        (i, o, f, n), (p_i, p_o, p_f) = (x + h @ r.T + rb).chunk(4, 1), p.chunk(3)
        i = gate[0](i + p_i * c)
        f = 1 - i if stated.get("input_forget") else gate[0](f + p_f * c)
        c = f * c + i * gate[1](n)
        return gate[0](o + p_o * c) * functions[2](c), c

    return {"RNN": rnn, "GRU": gru, "LSTM": lstm}[op_type]


def run(node: NodeProto, *values: Tensor | None) -> list[Tensor]:
    """Return Y, Y_h and Y_c of a node."""
    stated = attributes(node)
    x, w, r, b, lengths, h0, c0, p = [*values, *[None] * 8][:8]
    if stated.get("layout"):
        x, h0, c0 = (v if v is None else v.transpose(0, 1) for v in (x, h0, c0))
    direction = stated.get("direction", "forward")
    functions = functions_of(node.op_type, stated, len(w))
    ends = [len(x)] * x.shape[1] if lengths is None else lengths.tolist()
    y = x.new_zeros(len(x), len(w), x.shape[1], r.shape[2]).unbind(1)
    last_h, last_c, all_y = [], [], []
    for d in range(len(w)):
        wb, rb = x.new_zeros(2, w.shape[1]) if b is None else b[d].chunk(2)
        peepholes = x.new_zeros(3 * r.shape[2]) if p is None else p[d]
        step = step_of(node.op_type, functions[d], stated, r[d], rb, peepholes)
        reverse = direction == "reverse" or d == 1
        rows = [
            run_one(
                step,
                x[:end, k] @ w[d].T + wb,
                reverse,
                start(h0, d, k),
                start(c0, d, k),
                y[d][:, k],
            )
            for k, end in enumerate(ends)
        ]
        outputs, h, c = (torch.stack(parts, 0) for parts in zip(*rows, strict=True))
        all_y.append(outputs.transpose(0, 1))
        last_h.append(h)
        last_c.append(c)
    results = [torch.stack(all_y, 1), torch.stack(last_h), torch.stack(last_c)]
    if stated.get("layout"):
        results = [results[0].permute(2, 0, 1, 3), *(v.transpose(0, 1) for v in results[1:])]
    return results


def start(given: Tensor | None, d: int, k: int) -> Tensor | None:
    return None if given is None else given[d, k]


def run_one(step: Any, x: Tensor, reverse: bool, h: Any, c: Any, zeros: Tensor) -> Any:
    """Run one sequence; return h of all steps, zeros after its end, and the last h and c."""
    h, c = ((zeros[0] if v is None else v)[None] for v in (h, c))
    found = []
    for row in x.flip(0) if reverse else x:
        h, c = step(row[None], h, c)
        found.append(h[0])
    found = found[::-1] if reverse else found
    return torch.stack([*found, *zeros[len(found) :]]), h[0], c[0]


class Recurrent(OpRun):
    """A recurrent operator for the reference evaluator."""

    op_domain = ""

    def _run(self, *values: NDArray[Any] | None, **_: Any) -> tuple[NDArray[Any], ...]:
        tensors = [v if v is None else torch.from_numpy(np.array(v)) for v in values]
        results = run(self.onnx_node, *tensors)
        return tuple(v.numpy() for v in results[: len(self.onnx_node.output)])


OPERATORS = [type(op_type, (Recurrent,), {}) for op_type in DEFAULTS]
