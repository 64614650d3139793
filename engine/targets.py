"""What the picture is compared with, measured of content and styles."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from ortist.engine.images import resize_tensor, to_tensor
from ortist.engine.optimizer import Tensor
from ortist.engine.pictures import Pixels
from ortist.engine.scales import Scale
from ortist.engine.sessions import Graph
from ortist.export.costs.term import Part
from ortist.models.interface import TARGET
from ortist.models.layers import IMAGE

_limiting = threading.Lock()
"""Held while NumPy has one thread: the number is the process's, and is set back to what it was."""
PAINTED = 0.1
"""Share of what was painted in what styles are matched with.

With more the content is lost over the scales; without any, what is even in it, a sky say, has one
match all over, seen as a pattern.
"""
Weighted = tuple[float, Pixels]


def settle_targets(
    graph: Graph,
    parts: Sequence[Part],
    content: Pixels,
    styles: Sequence[Weighted],
    query: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the targets of all parts, by the names that compare and gradient graphs take them by.

    Args:
        graph: the measure graph of the parts.
        parts: what J is the sum of.
        content: the content in the size to paint, uint8 (H, W, 3).
        styles: style pictures with their weights, of sum 1, by which statistics are averaged.
        query: what the styles are matched with, float32 (1, 3, H, W); the content by default.
    """
    from threadpoolctl import threadpool_limits  # imported late: it looks at all libraries

    kept, blended, matched = (
        [part for part in parts if part.term.source == source]
        for source in ("content", "style", "match")
    )
    canvas = to_tensor(content)
    seen = _measured(graph, kept if query is not None else kept + matched, canvas)
    sought = seen if query is None else _measured(graph, matched, query)
    styled = [_measured(graph, blended + matched, to_tensor(style)) for _, style in styles]
    shares = [share for share, _ in styles]
    # NumPy's threads wait for one another without rest: to decompose a matrix of 512 columns takes
    # them 20 ms, but tens of seconds where other work has the cores.
    with _limiting, threadpool_limits(limits=1, user_api="blas"):
        settled = {part: part.term.settle(part.own(seen)) for part in kept}
        for part in blended:
            settled[part] = part.term.settle(_mean([part.own(one) for one in styled], shares))
        for part in matched:
            owns = [part.own(one) for one, share in zip(styled, shares, strict=True) if share]
            settled[part] = part.term.match(part.own(sought), owns)
    return {
        f"{TARGET}/{part.name}/{name}": np.asarray(value, np.float32)
        for part, targets in settled.items()
        for name, value in targets.items()
    }


def mixed(content: Pixels, painted: Tensor, before: Scale) -> Tensor:
    """Return what styles are matched with at a scale but the first, float32 (1, 3, H, W).

    It is the content and, for a share of PAINTED, what was painted with the content's detail that
    the scale before was too small to have.

    Args:
        content: the content in the size to paint, uint8 (H, W, 3).
        painted: the picture that came of the scale before, enlarged to that size.
        before: the scale before.
    """
    picture = to_tensor(content)
    height, width = content.shape[:2]
    coarse = resize_tensor(resize_tensor(picture, before.width, before.height), width, height)
    return picture + np.float32(PAINTED) * (painted - coarse)


def _measured(graph: Graph, parts: Sequence[Part], picture: Tensor) -> dict[str, Tensor]:
    """Return what the parts measure of a picture."""
    prefixes = tuple(f"{part.name}/" for part in parts)
    names = [name for name in graph.outputs if name.startswith(prefixes)]
    image = {IMAGE: picture}
    return graph.run(names, {**image, **graph.layout(image)}) if names else {}


def _mean(statistics: Sequence[dict[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted mean of the statistics of several pictures."""
    means = dict(statistics[0])
    if len(shares) > 1:
        for name in means:
            parts = [
                own[name] * own[name].dtype.type(share)
                for own, share in zip(statistics, shares, strict=True)
            ]
            means[name] = sum(parts[1:], parts[0])
    return means
