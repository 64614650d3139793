"""VGG-19 without its classifier, as a PyTorch module and as an ONNX graph with stable names."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from ortist.export.weights import VGG19Weights
from ortist.models.errors import InputError
from ortist.models.layers import block_of

OPSET = 18
IR_VERSION = 10
FORMAT = "1"
POOLINGS = ("average", "max")
"""What is traced; other poolings are made of these by :func:`ortist.export.pooling.repool`."""

_EXAMPLE_SIZE = (37, 53)
_DEFAULT_ATTRIBUTES: Mapping[str, Any] = {
    "auto_pad": b"NOTSET",
    "ceil_mode": 0,
    "count_include_pad": 0,
    "dilations": [1, 1],
    "group": 1,
    "pads": [0, 0, 0, 0],
    "storage_order": 0,
    "strides": [1, 1],
}


class VGG19Features(nn.Module):
    """The convolutional part of VGG-19, truncated after the deepest layer asked for.

    Args:
        weights: its layers up to the deepest one of ``layers`` are used.
        layers: names from conv1_1 to conv5_4; a layer is its activation after ReLU.
        pooling: ``"average"`` or ``"max"``, 2x2 with stride 2, an odd last row or column dropped.

    Raises:
        InputError: for an unknown layer or pooling, or no layer at all.
    """

    mean: torch.Tensor

    def __init__(self, weights: VGG19Weights, layers: Sequence[str], pooling: str) -> None:
        super().__init__()
        _check_choice("layer", layers, list(weights.layers))
        _check_choice("pooling", [pooling], POOLINGS)
        self.layers = tuple(dict.fromkeys(layers))
        self.register_buffer("mean", torch.tensor(weights.mean).reshape(1, 3, 1, 1))
        self.pool = (
            nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2, count_include_pad=False)
        )
        self.convolutions = nn.ModuleDict()
        names = list(weights.layers)
        for name in names[: 1 + max(map(names.index, self.layers))]:
            layer = weights.layers[name]
            kernel = torch.from_numpy(layer.decoded())
            conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1, device="meta")
            conv.weight = nn.Parameter(kernel, requires_grad=False)
            conv.bias = nn.Parameter(torch.from_numpy(layer.bias), requires_grad=False)
            self.convolutions[name] = conv

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the activations of ``layers``, each (1, C, H', W').

        Args:
            image: (1, 3, H, W), RGB, 0..255.
        """
        # The mean is subtracted here, not folded into a bias: conv1_1 pads with zeros after it.
        activation = image - self.mean
        activations = {}
        for name, conv in self.convolutions.items():
            if _starts_block(name):
                activation = self.pool(activation)
            activation = torch.relu(conv(activation))
            activations[name] = activation
        return tuple(activations[name] for name in self.layers)


def export_features(weights: VGG19Weights, layers: Sequence[str], pooling: str) -> onnx.ModelProto:
    """Return the ONNX graph of the truncated network, the same bytes every time.

    Input ``image``: float32 (1, 3, height, width), RGB, 0..255. Outputs: float32 activations after
    ReLU, named after ``layers``. Tensors are named image/centered, conv1_1/pre (before ReLU),
    conv1_1, pool1, ...; weights image/mean, conv1_1/kernel, conv1_1/bias, ...; a node is named
    after its output. Every tensor's shape is stated; "height/2" means floor division.

    Raises:
        InputError: for an unknown layer or pooling, or no layer at all.
    """
    module = VGG19Features(weights, layers, pooling).eval()
    dims = {2: torch.export.Dim("height", min=16), 3: torch.export.Dim("width", min=16)}
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            (torch.zeros(1, 3, *_EXAMPLE_SIZE),),
            input_names=["image"],
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes={"image": dims},
            verbose=False,
        )
    assert program is not None
    graph = _canonical(program.model_proto.graph, list(_plan(weights, module)))
    model = helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    helper.set_model_props(
        model,
        {
            "ortist.format": FORMAT,
            "ortist.mean": ",".join(map(repr, weights.mean)),
            "ortist.pooling": pooling,
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what the exporter says about PyTorch's own code and packages it can do without."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


class _Step(NamedTuple):
    """One node of the graph: its operator, output and the names of its parameters."""

    op: str
    output: onnx.ValueInfoProto
    parameters: tuple[str, ...]


def _canonical(exported: onnx.GraphProto, steps: Sequence[_Step]) -> onnx.GraphProto:
    """Rebuild the graph with our names and nothing that depends on the exporter's version."""
    constants = {tensor.name: tensor for tensor in exported.initializer}
    names = {exported.input[0].name: "image"}
    nodes, initializers = [], []
    for node, step in zip(exported.node, steps, strict=True):
        output = step.output.name
        if node.op_type != step.op:
            raise RuntimeError(f"the exporter wrote {node.op_type} for {output}, not {step.op}")
        for source, target in zip(node.input[1:], step.parameters, strict=True):
            names[source] = target
            array = numpy_helper.to_array(constants[source])
            initializers.append(numpy_helper.from_array(array, target))
        names[node.output[0]] = output
        inputs = [names[name] for name in node.input]
        nodes.append(helper.make_node(step.op, inputs, [output], output, **_attributes(node)))
    infos = {step.output.name: step.output for step in steps}
    outputs = [infos.pop(names[output.name]) for output in exported.output]
    return helper.make_graph(
        nodes,
        "vgg19",
        [_value_info("image", 3, 1)],
        outputs,
        initializers,
        value_info=list(infos.values()),
    )


def _plan(weights: VGG19Weights, module: VGG19Features) -> Iterator[_Step]:
    """Yield the nodes that the exporter is to write, in order."""
    pool = "MaxPool" if isinstance(module.pool, nn.MaxPool2d) else "AveragePool"
    channels, block = 3, 1
    yield _Step("Sub", _value_info("image/centered", channels, block), ("image/mean",))
    for name in module.convolutions:
        if _starts_block(name):
            yield _Step(pool, _value_info(f"pool{block}", channels, block + 1), ())
        channels, block = weights.layers[name].bias.size, block_of(name)
        parameters = (f"{name}/kernel", f"{name}/bias")
        yield _Step("Conv", _value_info(f"{name}/pre", channels, block), parameters)
        yield _Step("Relu", _value_info(name, channels, block), ())


def _value_info(name: str, channels: int, block: int) -> onnx.ValueInfoProto:
    scale = "" if block == 1 else f"/{2 ** (block - 1)}"
    shape: list[str | int | None] = [1, channels, f"height{scale}", f"width{scale}"]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes that differ from the operator's defaults."""
    values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return {name: value for name, value in values.items() if value != _DEFAULT_ATTRIBUTES.get(name)}


def _starts_block(layer: str) -> bool:
    """Return whether a pooling comes before ``layer``."""
    return layer.endswith("_1") and block_of(layer) > 1


def _check_choice(kind: str, chosen: Sequence[str], accepted: Sequence[str]) -> None:
    for name in chosen:
        if name not in accepted:
            raise InputError(f"unknown {kind} {name!r}, accepted are {', '.join(accepted)}")
    if not chosen:
        raise InputError(f"no {kind} chosen, accepted are {', '.join(accepted)}")
