"""What the picture is compared with, measured of content and styles."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ortist.engine.guides import at_layer, roots
from ortist.engine.images import resize_tensor
from ortist.engine.kept import Kept
from ortist.engine.numbers import computing
from ortist.engine.optimizer import Tensor, in_size
from ortist.engine.options import Options
from ortist.engine.scales import Scale
from ortist.engine.scene import Scene, Style, shares_of
from ortist.engine.sessions import Graph
from ortist.engine.storage import IN_MEMORY, Storage, bands, blocks
from ortist.export.costs import TERMS
from ortist.export.costs.term import Lookup, Matched, Part, Protected, Target
from ortist.models.interface import TARGET
from ortist.models.layers import IMAGE

Statistics: TypeAlias = Mapping[str, Tensor]
"""By the names ``<part>/<statistic>``, of parts without guides."""
Measure: TypeAlias = Callable[[Sequence[Part], Tensor, Mapping[str, Tensor]], dict[str, Tensor]]
"""Returns what parts measure of a picture, float32 (1, 3, H, W), given its guides."""
PAINTED = 0.1
"""Share of what was painted in what styles are matched with.

With more the content is lost over the scales; without any, what is even in it, a sky say, has one
match all over, seen as a pattern.
"""
STYLE = "style"
"""The guide by which graphs measure styles that count in part."""


class Styled:
    """What there is to know of a style in one size.

    Args:
        statistics: of all parts that measure it.
    """

    def __init__(self, statistics: Statistics) -> None:
        self.statistics = statistics
        self._settled: dict[Part, Statistics] = {}

    def settled(self, part: Part) -> Statistics:
        """Return the targets of a part that are made of this style alone, once and for all."""
        part = part.plain
        if part not in self._settled:
            self._settled[part] = part.term.settle(part.own(self.statistics))
        return self._settled[part]


Memory: TypeAlias = Kept[tuple[Hashable, ...], Styled]
"""What is known of styles that may come again."""


@dataclass(frozen=True)
class Measuring:
    """By what statistics are measured.

    Attributes:
        plain: measures parts without guides.
        masked: measures :func:`masked_parts`, if a style has a mask.
        reach: of masks, one of :data:`~ortist.engine.guides.REACHES`.
        memory: what is known of styles, by what they are and by which graphs they are measured.
        key: tells the graphs from others.
        threads: that matches are looked for by.
        canceled: asked whether to give up looking.
        storage: makes arrays of the size of pictures.
    """

    plain: Measure
    masked: Measure | None = None
    reach: str = Options.guides
    memory: Memory | None = None
    key: Hashable = None
    threads: int = 1
    canceled: Callable[[], bool] = lambda: False
    storage: Storage = IN_MEMORY

    def of(self, parts: Sequence[Part], picture: Tensor) -> Statistics:
        """Return what parts measure of a picture all of which counts."""
        return self.plain(list(dict.fromkeys(part.plain for part in parts)), picture, {})

    def of_style(self, parts: Sequence[Part], style: Style) -> Styled:
        """Return what parts measure of a style, of what counts of it if they can be guided."""
        if self.memory is None:
            return Styled(self._of_style(parts, style))
        names = tuple(dict.fromkeys(part.plain for part in parts))
        key = (self.key, names, self.reach, style.digest)
        return self.memory.get(key, lambda: Styled(self._of_style(parts, style)))

    def _of_style(self, parts: Sequence[Part], style: Style) -> Statistics:
        mask, guided = style.mask, masked_parts(parts)
        if mask is None or self.masked is None:
            return self.of(parts, style.pixels)
        found = {part.roots: roots(at_layer(mask, part.layer, self.reach)) for part in guided}
        masked = self.masked(guided, style.pixels, found)
        whole = [part for part in parts if not _can_be_guided(part)]
        own = {name.replace(f"@{STYLE}/", "/"): value for name, value in masked.items()}
        return {**self.of(whole, style.pixels), **own}


def masked_parts(parts: Sequence[Part]) -> list[Part]:
    """Return those parts that can be guided, each layer once, as they measure part of a style."""
    guided = (part._replace(guide=STYLE) for part in parts if _can_be_guided(part))
    return list(dict.fromkeys(guided))


def _can_be_guided(part: Part) -> bool:
    return part.term.source == "style" and TERMS.get(part.term.name) is part.term


def _guides(parts: Sequence[Part], scene: Scene, options: Options) -> dict[str, Tensor]:
    """Return the roots of the weights of positions by which parts are guided, by their names."""
    found: dict[str, Tensor] = {}
    areas = {area.name: area.mask for area in scene.areas}
    for part in parts:
        mask = areas.get(part.guide)
        if part.guide and mask is not None:
            found[part.roots] = roots(at_layer(mask, part.layer, options.guides))
        elif part.guide and scene.protected is not None:
            kept = at_layer(scene.protected, part.layer, "average")
            weights = 1 + np.float32(options.protection - 1) * kept
            found[part.roots] = roots(weights, weights.size)
    return found


def settle_targets(
    measuring: Measuring,
    parts: Sequence[Part],
    scene: Scene,
    options: Options,
    query: Tensor | None = None,
) -> dict[str, Target]:
    """Return the targets and guides of all parts, by the names that graphs take them by.

    Args:
        measuring: by what statistics are measured.
        parts: what J is the sum of.
        scene: content and styles in the size to paint.
        options: ``guides`` and ``protection`` count.
        query: what the styles are matched with, float32 (1, 3, H, W); the content by default.
    """
    kept, blended, matched = (
        [part for part in parts if part.term.source == source]
        for source in ("content", "style", "match")
    )
    needed = kept if query is not None and scene.is_plain else kept + matched
    seen = measuring.of(needed, scene.content)
    sought = seen if query is None else measuring.of(matched, query)
    styled = [
        [measuring.of_style(blended + matched, style) for style in area.styles]
        for area in scene.areas
    ]
    weights = _guides(parts, scene, options)
    storage = measuring.storage
    with computing(measuring.threads, measuring.canceled, storage):
        settled: dict[Part, Mapping[str, Target]] = {
            part: part.term.settle(_weighted(part, seen, weights, storage)) for part in kept
        }
        for part in blended:
            settled[part] = _blended(part, scene, styled)
        for part in matched:
            settled[part] = _matched(part, scene, options, (seen, sought), styled)
    targets = {
        f"{TARGET}/{part.name}/{name}": (
            value if isinstance(value, Lookup) else np.asarray(value, np.float32)
        )
        for part, own in settled.items()
        for name, value in own.items()
    }
    return {**targets, **weights}


def as_arrays(targets: Mapping[str, Target]) -> dict[str, Tensor]:
    """Return targets that are looked up as the whole arrays that they stand for."""
    return {name: np.asarray(value) for name, value in targets.items()}


def mixed(content: Tensor, painted: Tensor, before: Scale, storage: Storage = IN_MEMORY) -> Tensor:
    """Return what styles are matched with at a scale but the first, float32 (1, 3, H, W).

    It is the content and, for a share of PAINTED, what was painted with the content's detail that
    the scale before was too small to have.

    Args:
        content: the content in the size to paint, float32 (1, 3, H, W).
        painted: the picture that came of the scale before, enlarged to that size.
        before: the scale before.
        storage: makes what is returned.
    """
    height, width = content.shape[2:]
    small = resize_tensor(content, before.width, before.height)
    mixture = in_size(small, width, height, storage)
    for new, own, other in blocks(mixture, content, painted):
        new[:] = own + np.float32(PAINTED) * (other - new)
    return mixture


def measured(
    graph: Graph, parts: Sequence[Part], picture: Tensor, guides: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return what parts measure of a whole picture, given the guides that the graph takes."""
    names = statistics_of(graph, parts)
    image = {IMAGE: picture}
    return graph.run(names, {**image, **graph.layout(image), **guides}) if names else {}


def statistics_of(graph: Graph, parts: Sequence[Part]) -> list[str]:
    """Return the outputs of a graph that parts measure."""
    prefixes = tuple(f"{part.name}/" for part in parts)
    return [name for name in graph.outputs if name.startswith(prefixes)]


def _weighted(
    part: Part, seen: Statistics, weights: Mapping[str, Tensor], storage: Storage
) -> Statistics:
    """Return a part's statistics, activations, by the weights of its guide if it has one."""
    own = {name: np.asarray(value, np.float32) for name, value in part.plain.own(seen).items()}
    if not part.guide:
        return own
    products = {name: storage.copy(value) for name, value in own.items()}
    for product in products.values():
        for rows in bands(product, weights[part.roots]):
            product[..., rows, :] *= weights[part.roots][..., rows, :]
    return products


def _blended(part: Part, scene: Scene, styled: Sequence[Sequence[Styled]]) -> Statistics:
    """Return the targets of a part by the mean of the styles of its area, or of all areas."""
    found: list[Styled] = []
    shares: list[float] = []
    for area, own in zip(scene.areas, styled, strict=True):
        if part.guide in ("", area.name):
            weight = 1.0 if part.guide or area.mask is None else float(area.mask.mean())
            found += own
            shares += [weight * style.share for style in area.styles]
    if len(found) == 1:
        return found[0].settled(part)
    owns = [part.plain.own(one.statistics) for one in found]
    return part.term.settle(_mean(owns, shares if part.guide else shares_of(shares)))


def _matched(
    part: Part,
    scene: Scene,
    options: Options,
    pictures: tuple[Statistics, Statistics],
    styled: Sequence[Sequence[Styled]],
) -> Mapping[str, Target]:
    """Return targets that are found among the styles that have a share.

    Args:
        part: whose targets.
        scene: what is painted.
        options: ``protection`` counts.
        pictures: statistics of the content, and of what is sought.
        styled: what is known of the styles of all areas.
    """
    content, sought = (part.own(statistics) for statistics in pictures)
    areas = []
    for area, own in zip(scene.areas, styled, strict=True):
        pairs = zip(area.styles, own, strict=True)
        shared = [(part.own(one.statistics), style.mask) for style, one in pairs if style.share]
        areas.append(Matched(area.mask, [own for own, _ in shared], [mask for _, mask in shared]))
    if scene.is_plain:
        return part.term.match(sought, areas[0].styles)
    protected = Protected(content, scene.protected, options.protection)
    return part.term.match_areas(sought, areas, protected)


def _mean(statistics: Sequence[Statistics], shares: Sequence[float]) -> Statistics:
    """Return the weighted mean of the statistics of several pictures."""
    means = {}
    for name in statistics[0]:
        parts = [
            own[name] * own[name].dtype.type(share)
            for own, share in zip(statistics, shares, strict=True)
        ]
        means[name] = sum(parts[1:], parts[0])
    return means
