"""The function that is minimized: what J is, and its value and gradient at a picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ortist.engine.canvas import Canvas
from ortist.engine.optimizer import Tensor
from ortist.engine.options import Options
from ortist.engine.recipes import DEFAULT_RECIPE, find_recipe
from ortist.engine.results import Costs
from ortist.engine.scene import WHOLE, Division
from ortist.engine.values import LayerWeights, layer_weights
from ortist.export.costs import STATISTICS, TERMS
from ortist.export.costs.term import Part, Term
from ortist.models.layers import IMAGE, LAYERS

Evaluate = Callable[[Tensor, NDArray[np.float32]], tuple[NDArray[np.float32], Tensor]]
"""Returns, for a picture and the weight of each cost, all costs, float32 (n,), and dJ/dpicture."""


Group = Literal["content", "style", "variation", "own"]


@dataclass(frozen=True)
class WeightedPart:
    """A summand of J: a term at a layer with its weight.

    Attributes:
        part: the term and the layer.
        group: what its weight is multiplied by: alpha, beta, tv or 1.
        weight: within the group, by layer.
        share: of the picture that it is of.
    """

    part: Part
    group: Group
    weight: float
    share: float = 1.0


PROTECTED = "protected"
"""The guide of content costs where some of the content is protected."""


def weighted_parts(options: Options, division: Division = WHOLE) -> tuple[WeightedPart, ...]:
    """Return what J = alpha·J_content + beta·J_style + tv·J_variation + J_own is the sum of.

    The style cost is the sum over all areas, each with its share, so that any pixel counts the
    same.
    """

    def at_layers(
        term: Term, group: Group, layers: LayerWeights, guide: str = "", share: float = 1.0
    ) -> list[WeightedPart]:
        # In network order, so that equal choices have equal graphs.
        weights = layer_weights(layers)
        parts = [Part(term, name, guide) for name in (*LAYERS, IMAGE) if name in weights]
        return [WeightedPart(part, group, weights[part.layer], share) for part in parts]

    content, style = TERMS[options.content_cost], TERMS[options.statistic]
    guide, share = "", 1.0
    if division.protected is not None:
        # The mean of the weights of all positions; targets that are matched have them in them.
        share += (options.protection - 1) * division.protected
        guide = PROTECTED if content.source == "content" else ""
    styles = division.shares.items()
    own = options.terms.items()
    return (
        *at_layers(content, "content", content_layers(options), guide, share),
        *chain.from_iterable(
            at_layers(style, "style", options.style_layers, name, share) for name, share in styles
        ),
        *at_layers(TERMS["variation"], "variation", {IMAGE: 1.0}),
        *chain.from_iterable(at_layers(term, "own", layers) for term, layers in own),
    )


def content_layers(options: Options) -> LayerWeights:
    """Return what the content cost is of: layers, or, with neighbors, the picture as a whole."""
    return options.content_layers if options.content_cost == "content" else (IMAGE,)


def matches(options: Options) -> bool:
    """Tell whether J has a target that is found by what was painted at the scale before."""
    return any(weighted.part.term.source == "match" for weighted in weighted_parts(options))


def default_parts() -> dict[str, list[Part]]:
    """Return what J is the sum of in what models are made ready for, by what files call it."""
    choices = {statistic: Options(statistic=statistic) for statistic in STATISTICS}
    choices["neighbors"] = find_recipe(DEFAULT_RECIPE).with_options()
    return {
        name: [weighted.part for weighted in weighted_parts(options)]
        for name, options in choices.items()
    }


@dataclass(frozen=True)
class Evaluation:
    """What is known of an image.

    Attributes:
        costs: its costs.
        value: what is minimized: J, unless costs are normalized.
        gradient: d value/d image, float32 (1, 3, H, W).
    """

    costs: Costs
    value: float
    gradient: Tensor


class Objective:
    """J for given targets.

    Args:
        evaluate: computes costs and gradients, the costs in the order of the parts.
        parts: what J is the sum of.
        options: alpha, beta and tv.
        canvas: what is seen of the pixels.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        parts: Sequence[WeightedPart],
        options: Options,
        canvas: Canvas | None = None,
    ) -> None:
        self._evaluate = evaluate
        self._canvas = canvas or Canvas()
        self._parts = parts
        self._tv = options.tv
        # Costs are told in the order of the options.
        self._content, self._style = (
            list(layer_weights(layers))
            for layers in (content_layers(options), options.style_layers)
        )
        self._alpha, self._beta = (options.schedule(name).at(0.0) for name in ("alpha", "beta"))
        self.factors = np.ones(len(parts))
        """What the weight of each cost is multiplied by."""

    def evaluate(
        self, pixels: Tensor, alpha: float | None = None, beta: float | None = None
    ) -> Evaluation:
        """Return costs and gradient at ``pixels``, float32 (1, 3, H, W), RGB, 0..255.

        H and W must be those of the content target. Weights are those at the start of a run unless
        given.
        """
        alpha = self._alpha if alpha is None else alpha
        beta = self._beta if beta is None else beta
        groups = {"content": alpha, "style": beta, "variation": self._tv, "own": 1.0}
        weights = np.array([groups[one.group] * one.weight * one.share for one in self._parts])
        values, gradient = self._run(pixels, weights * self.factors)
        costs = self._named(values, groups)
        value = costs.total
        if (self.factors != 1).any():
            with np.errstate(over="ignore", invalid="ignore"):
                value = float(np.dot(weights * self.factors, values))
        return Evaluation(costs, value, gradient)

    def balancing_factors(self, pixels: Tensor) -> NDArray[np.float64]:
        """Return one over the mean absolute derivative of each cost by a pixel, for ``factors``.

        Takes one evaluation per cost. For a cost whose derivative is zero there it is 1.
        """
        factors = np.ones(len(self._parts))
        for index in range(len(self._parts)):
            _, gradient = self._run(pixels, np.eye(len(self._parts))[index])
            size = float(np.abs(gradient).mean(dtype=np.float64))
            if size > 0 and np.isfinite(size):
                factors[index] = 1 / size
        return factors

    def _run(
        self, pixels: Tensor, weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], Tensor]:
        seen = self._canvas.seen(pixels)
        with np.errstate(over="ignore"):  # an infinite weight gives a cost that says so
            costs, gradient = self._evaluate(seen, weights.astype(np.float32))
        return costs.astype(np.float64), self._canvas.pulled(gradient)

    def _named(self, values: NDArray[np.float64], groups: dict[str, float]) -> Costs:
        by_group: dict[str, dict[str, float]] = {group: defaultdict(float) for group in groups}
        sums = dict.fromkeys(groups, 0.0)
        areas: dict[str, float] = defaultdict(float)
        for weighted, value in zip(self._parts, values.tolist(), strict=True):
            part, group = weighted.part, weighted.group
            name = part.name if group == "own" else part.layer
            by_group[group][name] += weighted.share * value
            sums[group] += weighted.weight * weighted.share * value
            if group == "style" and part.guide:
                areas[part.guide] += weighted.weight * value
        return Costs(
            total=sum(groups[group] * sums[group] for group in groups),
            content=sums["content"],
            style=sums["style"],
            content_layers={name: by_group["content"][name] for name in self._content},
            style_layers={name: by_group["style"][name] for name in self._style},
            total_variation=sums["variation"],
            own_terms=dict(by_group["own"]),
            regions=dict(areas),
        )
