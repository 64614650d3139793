"""Small tools for reading and extending ONNX graphs; a tensor is spoken of by its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

Dimension = int | str | None
"""A known size, the name of a symbolic one, or nothing known."""

OWN_DOMAIN = "ortist"
"""The domain of :mod:`ortist.export.operators`; standard operators are in the domain \"\"."""


class GraphBuilder:
    """Appends nodes to a copy of ``model``.

    Element types and shapes of all tensors are inferred once, at the start; those of appended
    nodes are not known to :meth:`shape` and :meth:`element_type` unless they are stated.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.graph: GraphProto = self.model.graph
        inferred = _inferred(self.model)
        self._types: dict[str, TypeProto.Tensor] = {}
        self.learn(inferred)
        self._inferred = {_key(n): n for n in with_inner(inferred.node) if subgraphs(n)}
        self.inputs = [value.name for value in self.graph.input]
        self._initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self._producers = {name: node for node in self.graph.node for name in node.output}
        self._names = {*self._types, *own_names(self.graph)}
        self._names.discard("")
        self._node_names = {node.name for node in with_inner(self.graph.node)}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._appended: dict[tuple[str, str, tuple[str, ...], int, str], str] = {}

    def op(
        self,
        op_type: str,
        *inputs: str,
        name: str | None = None,
        outputs: int = 1,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Append a node and return its first output, called ``name`` if given.

        With ``outputs`` above 1 the further outputs are named after the first, ``:1`` and so on.
        Without a name, a node that was appended before is not appended again.
        """
        stated = repr(sorted(attributes.items(), key=lambda item: item[0]))
        key = (domain, op_type, inputs, outputs, stated)
        if name is None and key in self._appended:
            return self._appended[key]
        first = self.unused(name or op_type.lower(), outputs)
        names = _outputs(first, outputs)
        node = helper.make_node(op_type, inputs, names, first, domain=domain, **attributes)
        self.graph.node.append(node)
        self._appended[key] = first
        return first

    def own(
        self,
        op_type: str,
        *inputs: str,
        shape: Sequence[Dimension] | None,
        element_type: int = TensorProto.FLOAT,
        **attributes: Any,
    ) -> str:
        """Append one of :mod:`ortist.export.operators`, whose shape inference does not know."""
        if all(entry.domain != OWN_DOMAIN for entry in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid(OWN_DOMAIN, 1))
        count = len(self.graph.node)
        output = self.op(op_type, *inputs, domain=OWN_DOMAIN, **attributes)
        if len(self.graph.node) > count and element_type != TensorProto.UNDEFINED:
            self.state_shape(output, shape, element_type)
        return output

    def learn(self, graph: GraphProto) -> None:
        """Take the types of tensors from what is written down in a graph."""
        for value in (*graph.value_info, *graph.input, *graph.output):
            self._types[value.name] = value.type.tensor_type

    def adopt(self, graph: GraphProto) -> None:
        """Take over nodes and constants of a subgraph, whose names must be unused."""
        self.learn(graph)
        self.graph.node.extend(graph.node)
        self.model.graph.initializer.extend(graph.initializer)
        self._initializers.update({tensor.name: tensor for tensor in graph.initializer})
        self._producers.update({name: node for node in graph.node for name in node.output})
        self._inferred.update({_key(n): n for n in with_inner(graph.node) if subgraphs(n)})

    @contextmanager
    def branch(self, name: str) -> Iterator[GraphProto]:
        """Append nodes to a new graph, a subgraph that sees what is in this one, instead."""
        graph, appended = self.graph, self._appended
        self.graph, self._appended = GraphProto(name=name), dict(appended)
        try:
            yield self.graph
        finally:
            self.graph, self._appended = graph, appended

    def inferred(self, node: NodeProto) -> NodeProto:
        """Return a node whose subgraphs have the types of their tensors written down."""
        inferred: NodeProto = self._inferred.get(_key(node), node)
        # Branches may call different things by one name.
        return inferred if inferred.op_type == node.op_type else node

    def call(self, tensor: str, name: str) -> None:
        """Give a tensor another name, one that is spoken for: that of an output without a node."""
        self.graph.node.append(helper.make_node("Identity", [tensor], [name], name))

    def add_input(
        self,
        name: str,
        shape: Sequence[Dimension] | None,
        element_type: int = TensorProto.FLOAT,
    ) -> str:
        """Add an input to the graph and return its name."""
        info = helper.make_tensor_value_info(name, element_type, shape)
        self.graph.input.append(info)
        self._names.add(name)
        return name

    def state_shape(
        self,
        tensor: str,
        shape: Sequence[Dimension] | None,
        element_type: int = TensorProto.FLOAT,
    ) -> None:
        """Write down a shape that inference does not find out."""
        info = helper.make_tensor_value_info(tensor, element_type, shape)
        self.graph.value_info.append(info)
        self._types[tensor] = info.type.tensor_type

    def unused(self, name: str, outputs: int = 1) -> str:
        """Return ``name``, with a number appended if a tensor or node already has that name.

        With ``outputs`` above 1 those names are unused too that :meth:`op` makes of it.
        """
        candidate, number = name, 1
        taken = (self._names, self._node_names)
        while not all(t.isdisjoint(_outputs(candidate, outputs)) for t in taken):
            candidate, number = f"{name}_{number}", number + 1
        self._names.update(_outputs(candidate, outputs))
        return candidate

    def constant(self, value: ArrayLike, dtype: Any) -> str:
        """Return an initializer that holds ``value``; equal constants are stored once."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self.unused("constant")
            self.model.graph.initializer.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """Return an int64 vector constant, for shapes, axes and the like."""
        return self.constant(values, np.int64)

    def numbers(self, count: str) -> str:
        """Return 0, 1, ... below a count, which is a scalar; all int64."""
        zero, one = (self.constant(value, np.int64) for value in (0, 1))
        return self.op("Range", zero, count, one)

    def count(self, sizes: str) -> str:
        """Return sizes, integers, as float32, to divide by."""
        return self.op("Cast", sizes, to=TensorProto.FLOAT)

    def value_of(self, tensor: str) -> NDArray[Any] | None:
        """Return the value of a constant tensor, or None if it is computed or stored outside."""
        if tensor in self._initializers:
            proto = self._initializers[tensor]
            external = proto.data_location == TensorProto.EXTERNAL
            overridable = tensor in self.inputs
            return None if external or overridable else numpy_helper.to_array(proto)
        producer = self._producers.get(tensor)
        if producer is None or producer.op_type != "Constant":
            return None
        for kind, dtype in (("int", np.int64), ("float", np.float32)):
            for name in (f"value_{kind}", f"value_{kind}s"):
                if (value := attribute(producer, name)) is not None:
                    return np.asarray(value, dtype)
        value = attribute(producer, "value")
        return None if value is None else numpy_helper.to_array(value)

    def is_stored(self, tensor: str) -> bool:
        """Tell whether a tensor is stored with the graph, or follows from what is."""
        node = self.producer(tensor)
        if node is None:
            return tensor in self._initializers
        return all(self.is_stored(operand) for operand in node.input)

    def producer(self, tensor: str) -> NodeProto | None:
        """Return the original node that computes ``tensor``; None for inputs and initializers."""
        return self._producers.get(tensor)

    def knows(self, tensor: str) -> bool:
        """Tell whether the graph has a tensor of that name."""
        return tensor in self._names

    def names(self) -> list[str]:
        """Return the names of all tensors."""
        return sorted(self._names)

    def element_type(self, tensor: str) -> int:
        """Return the ONNX element type of ``tensor``, ``TensorProto.UNDEFINED`` if not inferred."""
        if tensor in self._initializers:
            return int(self._initializers[tensor].data_type)
        return int(self._types[tensor].elem_type) if tensor in self._types else 0

    def shape(self, tensor: str) -> tuple[Dimension, ...] | None:
        """Return the dimensions of ``tensor``, None if not even the rank is known."""
        if tensor in self._initializers:
            return tuple(self._initializers[tensor].dims)
        if tensor not in self._types or not self._types[tensor].HasField("shape"):
            return None
        return tuple(
            dim.dim_value
            if dim.HasField("dim_value") and dim.dim_value >= 0
            else dim.dim_param or None
            for dim in self._types[tensor].shape.dim
        )

    def dimension(self, tensor: str, axis: int) -> str:
        """Return the size of one axis as an int64 vector of length 1, constant where known."""
        shape = self.shape(tensor)
        if shape is not None and isinstance(size := shape[axis], int):
            return self.integers(size)
        return self.op("Gather", self.op("Shape", tensor), self.integers(axis))


def _key(node: NodeProto) -> str:
    """Return the name of the first output that a node has."""
    return next(filter(None, node.output), "")


def _outputs(first: str, count: int) -> list[str]:
    """Return the names of the outputs of a node."""
    return [first, *(f"{first}:{index}" for index in range(1, count))]


_UNINFERRED = ("GroupNormalization", "MeanVarianceNormalization")
"""What ONNX infers no type for: it is that of the first input, as of InstanceNormalization."""


def _inferred(model: ModelProto) -> GraphProto:
    """Return the graph with the types of its tensors written down."""
    nodes = [node for node in with_inner(model.graph.node) if node.op_type in _UNINFERRED]
    op_types = [node.op_type for node in nodes]
    for node in nodes:
        node.op_type = "InstanceNormalization"
    inferred: GraphProto = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    for node, op_type in zip(nodes, op_types, strict=True):
        node.op_type = op_type
    return inferred


def reads(node: NodeProto) -> list[str]:
    """Return all tensors that a node reads, those that its subgraphs capture included."""
    names = list(node.input)
    for graph in subgraphs(node):
        names += [name for inner in graph.node for name in reads(inner)]
        names += [value.name for value in graph.output]
    return names


def own_names(graph: GraphProto) -> Iterator[str]:
    """Yield the names of the tensors that a graph and its subgraphs compute or store."""
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from filter(None, node.output)
        for inner in subgraphs(node):
            yield from own_names(inner)


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """Return the graphs that are attributes of a node."""
    graphs = [item.g for item in node.attribute if item.HasField("g")]
    return graphs + [graph for item in node.attribute for graph in item.graphs]


def with_inner(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from with_inner(graph.node)


def is_known(node: NodeProto) -> bool:
    """Tell whether an operator is one of ONNX's own, or of ours."""
    return node.domain in ("", OWN_DOMAIN)


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return the value of an attribute of ``node``; strings come decoded."""
    for candidate in node.attribute:
        if candidate.name == name:
            value = helper.get_attribute_value(candidate)
            return value.decode() if isinstance(value, bytes) else value
    return default


def attributes(node: NodeProto) -> dict[str, Any]:
    """Return the values of all attributes of ``node``, as keywords for :meth:`GraphBuilder.op`."""
    return {item.name: attribute(node, item.name) for item in node.attribute}


def prune(model: ModelProto, outputs: Sequence[str] | None = None) -> None:
    """Drop, in place, what the outputs do not need: nodes, initializers, inputs, value infos.

    Args:
        model: the model; its nodes must be in topological order.
        outputs: names of graph outputs to keep (default: all).
    """
    graph = model.graph
    if outputs is not None:
        _keep(graph.output, set(outputs))
    needed = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(reads(node))
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    _keep(graph.initializer, needed)
    _keep(graph.input, needed)
    _keep(graph.value_info, needed)


def _keep(field: Any, names: Iterable[str]) -> None:
    wanted = [item for item in field if item.name in names]
    del field[:]
    field.extend(wanted)
