"""What the picture is compared with, measured of content and styles."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from ortist.engine.images import to_tensor
from ortist.engine.optimizer import Tensor
from ortist.engine.pictures import Pixels
from ortist.engine.sessions import Graph
from ortist.export.costs.term import Part
from ortist.models.interface import TARGET
from ortist.models.layers import IMAGE

_limiting = threading.Lock()
"""Held while NumPy has one thread: the number is the process's, and is set back to what it was."""
Weighted = tuple[float, Pixels]


def settle_targets(
    graph: Graph, parts: Sequence[Part], content: Pixels, styles: Sequence[Weighted]
) -> dict[str, Tensor]:
    """Return the targets of all parts, by the names that compare and gradient graphs take them by.

    Args:
        graph: the measure graph of the parts.
        parts: what J is the sum of.
        content: the content in the size to paint, uint8 (H, W, 3).
        styles: style pictures with their weights, of sum 1, by which statistics are averaged.
    """
    from threadpoolctl import threadpool_limits  # imported late: it looks at all libraries

    targets: dict[str, Tensor] = {}
    sources: dict[str, Sequence[Weighted]] = {"content": [(1.0, content)], "style": styles}
    for source, pictures in sources.items():
        sought = [part for part in parts if part.term.source == source]
        statistics = _measured(graph, sought, pictures)
        for part in sought:
            # NumPy's threads wait for one another without rest: to decompose a matrix of 512
            # columns takes them 20 ms, but tens of seconds where other work has the cores.
            with _limiting, threadpool_limits(limits=1, user_api="blas"):
                settled = part.term.settle(part.own(statistics))
            for name, value in settled.items():
                targets[f"{TARGET}/{part.name}/{name}"] = np.asarray(value, np.float32)
    return targets


def _measured(
    graph: Graph, parts: Sequence[Part], pictures: Sequence[Weighted]
) -> dict[str, Tensor]:
    """Return the weighted means of what the parts measure of the pictures."""
    prefixes = tuple(f"{part.name}/" for part in parts)
    names = [name for name in graph.outputs if name.startswith(prefixes)]
    means: dict[str, Tensor] = {}
    for weight, pixels in pictures if names else ():
        image = {IMAGE: to_tensor(pixels)}
        for name, value in graph.run(names, {**image, **graph.layout(image)}).items():
            share = value if weight == 1 else value * value.dtype.type(weight)
            means[name] = means[name] + share if name in means else share
    return means
