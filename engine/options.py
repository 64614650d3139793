"""The options of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, TypeAlias, TypeGuard

from ortist.engine.images import MAX_PIXELS, MIN_SIDE, ImageSource
from ortist.engine.schedule import Schedule, parse_schedule
from ortist.export.costs import STATISTICS, TERMS
from ortist.export.costs.term import Term
from ortist.models.errors import InputError, shown
from ortist.models.layers import IMAGE, LAYERS, POOLINGS

INITS = ("noise", "content", "blank", "uniform", "normal", "style")
OPTIMIZERS = ("adam", "lbfgs")
ADAM_ONLY = ("learning_rate", "averaging")
"""Options that mean nothing to other optimizers, which therefore refuse them."""
LayerWeights: TypeAlias = Mapping[str, float] | Sequence[str]
"""Layers with their weights, or names that get equal weights of sum 1."""
MAX_STYLE_SCALE = 1000.0
_TERM_NAME = re.compile(r"[A-Za-z0-9_]+")
MAX_WHOLE = 10**18
"""Largest size or number of steps: what is computed of them stays within the floats."""


def layer_weights(layers: LayerWeights) -> dict[str, float]:
    """Return the weight of each layer; n names without weights get 1/n each."""
    if isinstance(layers, Mapping):
        return dict(layers)
    return {layer: 1.0 / len(layers) for layer in layers}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to paint and how; immutable, checked when made.

    The defaults are the recipe of the reference notebook (Gatys et al. 2015, arXiv:1508.06576).

    Attributes:
        size: longer side of the picture in pixels; the content's aspect ratio is kept.
        width: width in pixels; with ``height`` also given the content is stretched to both,
            alone it keeps the aspect ratio. Overrides ``size``.
        height: height in pixels, as ``width``.
        steps: number of evaluations of the cost and its gradient, over all scales.
        scales: number of sizes, growing by √2, that the picture is painted in one after the other;
            None is 1 up to 512 pixels on the longer side and where ``init`` is a picture, else as
            many as there are from 256 pixels on.
        optimizer: ``"adam"`` or ``"lbfgs"``, which needs fewer steps.
        learning_rate: Adam's learning rate in units of pixel values (0..255); may change over the
            run, see :func:`~ortist.engine.schedule.parse_schedule`.
        averaging: decay of the mean of Adam's iterates that is the picture; 0 is the last iterate.
        alpha: weight of the content cost in J = alpha * J_content + beta * J_style; with Adam it
            may change over the run, as may ``beta``.
        beta: weight of the style cost.
        normalize: whether each cost's weight is divided by the mean absolute derivative of the cost
            by a pixel, measured near the start.
        content_layers: content layers, each with its weight, or names that share a sum of 1.
        style_layers: style layers and weights (the paper's lambda), likewise.
        style_weights: weight of each style picture when there are several, scaled to a sum of 1;
            equal by default. Their statistics are averaged.
        tv: weight of the total variation cost (0 is none).
        pooling: ``"average"``, ``"max"`` or ``"l2"``, the root of the mean of squares.
        rescaled: whether average and L2 pooling are multiplied by what keeps activations as large
            as max pooling does.
        statistic: what of a layer's activations is style: ``"gram"``, the Gram matrix, or ``"w2"``,
            mean and covariance, compared by the 2-Wasserstein distance.
        init: where the optimization starts: ``"noise"`` mixes uniform(-20, 20) noise around the
            network's mean color with the content, ``"content"`` is the content image,
            ``"blank"`` the mean color, ``"uniform"`` and ``"normal"`` noise over all pixel
            values, ``"style"`` noise in the colors of the style; anything else is an image.
        noise_ratio: share of noise in the ``"noise"`` start, 0..1.
        style_scale: size of the style image relative to the picture (1: the same area; its
            aspect ratio is kept), up to 1000. Larger values give larger strokes.
        terms: terms of one's own, each with its layers, ``"image"`` among them, and their weights:
            summands of J beside content, style and variation.
        seed: seed of the noise; the same inputs, seed and threads give the same bytes.
        max_pixels: largest number of pixels accepted for an input or the picture.

    Raises:
        InputError: for a value out of range; the message names the option and what is accepted.
    """

    size: int = 512
    width: int | None = None
    height: int | None = None
    steps: int = 200
    scales: int | None = None
    optimizer: str = "adam"
    learning_rate: float | str = 2.0
    averaging: float = 0.0
    alpha: float | str = 10.0
    beta: float | str = 40.0
    normalize: bool = False
    content_layers: LayerWeights = ("conv4_2",)
    style_layers: LayerWeights = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    style_weights: Sequence[float] | None = None
    tv: float = 0.0
    pooling: str = "average"
    rescaled: bool = False
    statistic: str = "gram"
    init: ImageSource = "noise"
    noise_ratio: float = 0.6
    style_scale: float = 1.0
    terms: Mapping[Term, LayerWeights] = field(default_factory=dict, hash=False)
    seed: int = 0
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        """Check every value."""
        for name in ("size", "width", "height"):
            self._check_whole(name, MIN_SIDE)
        self._check_whole("scales", 1)
        self._check_whole("steps", 1)
        self._check_whole("seed", 0, math.inf)
        self._check_whole("max_pixels", MIN_SIDE**2)
        for name in ("normalize", "rescaled"):
            if not isinstance(getattr(self, name), bool):
                value = shown(getattr(self, name))
                raise InputError(f"{name} is {value}, accepted are true and false")
        _check_weight("tv", self.tv)
        self._check_optimizer()
        if not (_is_finite(self.style_scale) and 0 < self.style_scale <= MAX_STYLE_SCALE):
            raise InputError(
                f"style_scale is {shown(self.style_scale)}, accepted are numbers above 0"
                f" up to {MAX_STYLE_SCALE:g}"
            )
        if not (_is_finite(self.noise_ratio) and 0 <= self.noise_ratio <= 1):
            raise InputError(f"noise_ratio is {shown(self.noise_ratio)}, accepted are 0 to 1")
        check_choice("pooling", self.pooling, POOLINGS)
        check_choice("statistic", self.statistic, STATISTICS)
        self._check_layers()
        if self.style_weights is not None:
            self._check_style_weights()
        self._check_terms()

    def _check_whole(self, name: str, least: int, most: float = MAX_WHOLE) -> None:
        value = getattr(self, name)
        optional = name in ("width", "height", "scales") and value is None
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not optional and not (whole and value >= least):
            raise InputError(f"{name} is {shown(value)}, accepted are whole numbers from {least}")
        if not optional and value > most:
            raise InputError(f"{name} is too large, accepted are whole numbers up to {most}")

    @property
    def starts_from_picture(self) -> bool:
        """Whether ``init`` is a picture."""
        return not (isinstance(self.init, str) and self.init in INITS)

    def schedule(self, name: str) -> Schedule:
        """Return ``alpha``, ``beta`` or ``learning_rate`` over the run."""
        return parse_schedule(name, getattr(self, name), positive=name == "learning_rate")

    def _check_optimizer(self) -> None:
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        if not (_is_finite(self.averaging) and 0 <= self.averaging < 1):
            raise InputError(f"averaging is {shown(self.averaging)}, accepted are 0 to below 1")
        default = parse_schedule("learning_rate", Options.learning_rate)
        chosen = {
            "learning_rate": self.schedule("learning_rate") != default,
            "averaging": self.averaging != Options.averaging,
        }
        for name in ADAM_ONLY:
            if self.optimizer != "adam" and chosen[name]:
                raise InputError(f"{name} is for adam, but optimizer is {self.optimizer}")
        for name in ("alpha", "beta"):
            schedule = self.schedule(name)
            if self.optimizer == "lbfgs" and not schedule.is_constant:
                raise InputError(f"{name} changes over the run, for which optimizer must be adam")

    def _check_layers(self) -> None:
        for name in ("content_layers", "style_layers"):
            self._check_weighted(name, getattr(self, name), LAYERS)
        if not len(self.content_layers) and not len(self.style_layers):
            raise InputError("content_layers and style_layers are both empty")

    def _check_weighted(self, name: str, layers: Any, accepted: Collection[str]) -> None:
        check_layers(name, layers, accepted)
        for layer, weight in layer_weights(layers).items():
            if list(layers).count(layer) > 1:
                raise InputError(f"{name} has {layer} twice")
            _check_weight(f"{name} weight of {layer}", weight)

    def _check_terms(self) -> None:
        if not isinstance(self.terms, Mapping):
            raise InputError(f"terms is {shown(self.terms)}, accepted is a mapping from terms")
        names = set(TERMS)
        for term, layers in self.terms.items():
            if not isinstance(term, Term):
                raise InputError(f"terms has {shown(term)}, accepted are instances of Term")
            if not _TERM_NAME.fullmatch(term.name) or term.name in names:
                raise InputError(
                    f"terms has one named {shown(term.name)}, accepted are letters, digits and _,"
                    f" and each name once, but {', '.join(TERMS)}"
                )
            names.add(term.name)
            self._check_weighted(f"layers of {term.name}", layers, (*LAYERS, IMAGE))

    def _check_style_weights(self) -> None:
        weights = _members("style_weights", self.style_weights, "is a sequence of numbers")
        for weight in weights:
            _check_weight("style_weights", weight)
        if not sum(weights):
            raise InputError("style_weights are all 0, accepted is a sum above 0")
        if not _is_finite(sum(weights)):
            raise InputError("style_weights have an infinite sum, accepted is a finite one")


def check_choice(name: str, value: object, accepted: Collection[str]) -> None:
    """Raise InputError, which calls it ``name``, unless ``value`` is one of those accepted."""
    # Not `in` alone: arrays compare by element.
    if not (isinstance(value, str) and value in accepted):
        raise InputError(f"{name} is {shown(value)}, accepted are {', '.join(accepted)}")


def check_layers(name: str, layers: object, accepted: Collection[str] = LAYERS) -> None:
    """Raise InputError, which calls them ``name``, unless ``layers`` is a collection of layers."""
    for layer in _members(name, layers, "are several layers, as in ('conv1_1',)"):
        if not (isinstance(layer, str) and layer in accepted):
            raise InputError(
                f"{name} has unknown layer {shown(layer)}, accepted are {', '.join(accepted)}"
            )


def _members(name: str, value: object, accepted: str) -> list[Any]:
    """Return what a collection contains; InputError if it is none, or a text."""
    try:
        if isinstance(value, Collection) and not isinstance(value, str | bytes):
            return list(value)
    except TypeError:  # an array without dimensions
        pass
    raise InputError(f"{name} is {shown(value)}, accepted {accepted}")


def _check_weight(name: str, value: object) -> None:
    if not (_is_finite(value) and value >= 0):
        raise InputError(f"{name} is {shown(value)}, accepted are finite numbers from 0")


def _is_finite(value: object) -> TypeGuard[float]:
    """Whether this is a number that a float can hold."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int beyond the floats
        return False
