"""Small tools for reading and extending ONNX graphs; a tensor is spoken of by its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Dimension = int | str | None
"""A known size, the name of a symbolic one, or nothing known."""


class GraphBuilder:
    """Appends nodes in standard operators to a copy of ``model``.

    Element types and shapes of all tensors are inferred once, at the start; those of appended
    nodes are not known to :meth:`shape` and :meth:`element_type`.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.graph: GraphProto = self.model.graph
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        self._types = {
            value.name: value.type.tensor_type
            for value in (*inferred.value_info, *inferred.input, *inferred.output)
        }
        self.inputs = [value.name for value in self.graph.input]
        self._initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self._producers = {name: node for node in self.graph.node for name in node.output}
        self._names = {*self._types, *self._initializers, *self._producers}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._appended: dict[tuple[str, tuple[str, ...], int, str], str] = {}

    def op(
        self,
        op_type: str,
        *inputs: str,
        name: str | None = None,
        outputs: int = 1,
        **attributes: Any,
    ) -> str:
        """Append a node and return its first output, called ``name`` if given.

        With ``outputs`` above 1 the further outputs are named after the first, ``:1`` and so on.
        Without a name, a node that was appended before is not appended again.
        """
        key = (op_type, inputs, outputs, repr(sorted(attributes.items(), key=lambda item: item[0])))
        if name is None and key in self._appended:
            return self._appended[key]
        first = self.unused(name or op_type.lower())
        names = [first, *(f"{first}:{index}" for index in range(1, outputs))]
        self.graph.node.append(helper.make_node(op_type, inputs, names, first, **attributes))
        self._appended[key] = first
        return first

    def add_input(
        self, name: str, shape: Sequence[Dimension], element_type: int = TensorProto.FLOAT
    ) -> str:
        """Add an input to the graph and return its name."""
        info = helper.make_tensor_value_info(name, element_type, shape)
        self.graph.input.append(info)
        self._names.add(name)
        return name

    def state_shape(self, tensor: str, shape: Sequence[int | str], element_type: int) -> None:
        """Write down a shape that inference does not find out."""
        info = helper.make_tensor_value_info(tensor, element_type, shape)
        self.graph.value_info.append(info)

    def unused(self, name: str) -> str:
        """Return ``name``, with a number appended if a tensor already has that name."""
        candidate, number = name, 1
        while candidate in self._names:
            candidate, number = f"{name}_{number}", number + 1
        self._names.add(candidate)
        return candidate

    def constant(self, value: ArrayLike, dtype: Any) -> str:
        """Return an initializer that holds ``value``; equal constants are stored once."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self.unused("constant")
            self.graph.initializer.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """Return an int64 vector constant, for shapes, axes and the like."""
        return self.constant(values, np.int64)

    def scalar_like(self, value: float, tensor: str) -> str:
        """Return a scalar constant of the element type of ``tensor``."""
        return self.constant(value, helper.tensor_dtype_to_np_dtype(self.element_type(tensor)))

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

    def producer(self, tensor: str) -> NodeProto | None:
        """Return the original node that computes ``tensor``; None for inputs and initializers."""
        return self._producers.get(tensor)

    def knows(self, tensor: str) -> bool:
        """Tell whether the graph has a tensor of that name."""
        return tensor in self._names

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
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
            for dim in self._types[tensor].shape.dim
        )

    def dimension(self, tensor: str, axis: int) -> str:
        """Return the size of one axis as an int64 vector of length 1, constant where known."""
        shape = self.shape(tensor)
        if shape is not None and isinstance(size := shape[axis], int):
            return self.integers(size)
        return self.op("Gather", self.op("Shape", tensor), self.integers(axis))


def reads(node: NodeProto) -> list[str]:
    """Return all tensors that a node reads, those that its subgraphs capture included."""
    names = list(node.input)
    for item in node.attribute:
        for graph in (item.g, *item.graphs):
            names += [name for inner in graph.node for name in reads(inner)]
            names += [value.name for value in graph.output]
    return names


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return the value of an attribute of ``node``; strings come decoded."""
    for candidate in node.attribute:
        if candidate.name == name:
            value = helper.get_attribute_value(candidate)
            return value.decode() if isinstance(value, bytes) else value
    return default


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


def schedule(model: ModelProto) -> None:
    """Reorder the nodes, in place, so that run in that order few tensors are alive at a time.

    Each node comes as late as the first one that needs it allows; of several inputs the one with
    the longest chain behind it comes first, since most is freed by its end. Comparisons come early
    instead, as soon as nothing else needs what they compare: bool takes a quarter of its memory.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    depth: dict[str, int] = {}
    for node in model.graph.node:
        deepest = max((depth.get(name, 0) for name in reads(node)), default=0)
        depth.update(dict.fromkeys(node.output, deepest + 1))
    ordered: dict[str, NodeProto] = {}
    stack = [value.name for value in reversed(model.graph.output)]
    while stack:
        node = producers.get(stack[-1])
        if node is None or node.output[0] in ordered:
            stack.pop()
            continue
        pending = [name for name in reads(node) if name in producers]
        pending = [name for name in pending if producers[name].output[0] not in ordered]
        if pending:
            stack.extend(sorted(pending, key=lambda name: depth[name]))
        else:
            ordered[node.output[0]] = node
            stack.pop()
    nodes = _comparisons_early(list(ordered.values()))
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _comparisons_early(nodes: list[NodeProto]) -> list[NodeProto]:
    """Return the nodes with each comparison moved to after all else that needs its operand."""
    views = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Reshape"}

    def owner(tensor: str) -> str:
        """Return the tensor whose memory this one shares."""
        while tensor in views:
            tensor = views[tensor]
        return tensor

    made = {name: position for position, node in enumerate(nodes) for name in node.output}
    last_use: dict[str, int] = {}
    for position, node in enumerate(nodes):
        needed = [] if node.op_type == "Greater" else reads(node)
        last_use.update({owner(tensor): position for tensor in (*needed, *node.output)})

    def place(position: int) -> float:
        node = nodes[position]
        if node.op_type != "Greater":
            return position
        operand, bound = node.input
        return min(position, max(last_use.get(owner(operand), -1), made.get(bound, -1)) + 0.5)

    return [nodes[position] for position in sorted(range(len(nodes)), key=place)]


def _keep(field: Any, names: Iterable[str]) -> None:
    wanted = [item for item in field if item.name in names]
    del field[:]
    field.extend(wanted)
