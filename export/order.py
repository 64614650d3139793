"""The order of the nodes of a graph, on which its peak memory depends."""

from __future__ import annotations

from onnx import ModelProto, NodeProto

from ortist.export.builder import reads


def put_in_order(model: ModelProto) -> None:
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
