"""The options of a run, each told once: its default, what is accepted, and what it is for.

The command line, ``--vary``, files of options and the documentation of :class:`Options` are made
from that.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ortist.engine.color import COLORS
from ortist.engine.guides import REACHES
from ortist.engine.images import MAX_PIXELS, MIN_SIDE, ImageSource
from ortist.engine.schedule import Schedule
from ortist.engine.values import (
    WEIGHT,
    Changing,
    Choice,
    Kind,
    Layers,
    LayerWeights,
    Number,
    PerStyle,
    Shares,
    Start,
    Terms,
    Whole,
    YesNo,
    json_value,
    same,
)
from ortist.export.costs import STATISTICS
from ortist.export.costs.term import Term
from ortist.models.errors import InputError, shown
from ortist.models.layers import LAYERS, POOLINGS

CONTENT_COSTS = ("content", "neighbors")
INITS = ("noise", "content", "blank", "uniform", "normal", "style")
OPTIMIZERS = ("adam", "lbfgs")
MAX_STYLE_SCALE = 1000.0


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is told of an option.

    Attributes:
        name: the field of :class:`Options`.
        default: its value there; None for what follows from other options.
        kind: what is accepted.
        panel: under which heading the command's help has it.
        about: what it is for.
        flag: as the command writes it, if that is not its name; empty for what is Python only.
        needs: what other options must be for any value but the default.
    """

    name: str = ""
    default: Any
    kind: Kind
    panel: str
    about: str
    flag: str | None = None
    needs: Mapping[str, str] = field(default_factory=dict)

    def accepted(self, value: Any) -> Any:
        """Return the value as it is kept; InputError if the option may not have it."""
        absent = value is None and self.default is None
        return None if absent else self.kind.accepted(self.name, value)

    @property
    def schema(self) -> dict[str, Any]:
        """What is told of it, as a JSON schema."""
        schema = self.kind.schema
        if self.default is None:
            schema = {"anyOf": [schema, {"type": "null"}]}
        told = {
            "title": self.name.replace("_", " ").capitalize(),
            "description": self.about,
            "default": json_value(self.default),
            "x-panel": self.panel,
        }
        return {**told, **({"x-needs": self.needs} if self.needs else {}), **schema}

    def check_needs(self, options: Options) -> None:
        """Raise InputError if it is set although another option makes it meaningless."""
        for other, needed in self.needs.items():
            actual = getattr(options, other)
            if not same(actual, needed) and self._is_set(getattr(options, self.name)):
                raise InputError(f"{self.name} is for {needed}, but {other} is {shown(actual)}")

    def _is_set(self, value: Any) -> bool:
        plain = self.kind.plain
        return bool(plain(self.name, value) != plain(self.name, self.default))


def _option(default: Any, kind: Kind, panel: str, about: str, **more: Any) -> Any:
    option = Option(default=default, kind=kind, panel=panel, about=about, **more)
    if isinstance(default, dict):
        return field(default_factory=dict, hash=False, metadata={"option": option})
    return field(default=default, metadata={"option": option})


_ADAM = {"optimizer": "adam"}
_SIZE, _RUN, _COSTS = "Size", "Optimization", "Costs"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to paint and how; immutable, checked when made.

    The defaults are the recipe of the reference notebook (Gatys et al. 2015, arXiv:1508.06576).
    """

    size: int = _option(
        512,
        Whole(MIN_SIDE),
        _SIZE,
        "Longer side of the picture in pixels; the content's aspect ratio is kept.",
    )
    width: int | None = _option(
        None,
        Whole(MIN_SIDE),
        _SIZE,
        "Width in pixels, in place of the size. Alone it keeps the aspect ratio; with the height"
        " the content is stretched to both.",
    )
    height: int | None = _option(
        None, Whole(MIN_SIDE), _SIZE, "Height in pixels, in place of the size, as the width."
    )
    style_scale: float | Sequence[float] = _option(
        1.0,
        PerStyle(
            Number(
                f"numbers above 0 up to {MAX_STYLE_SCALE:g}",
                exclusiveMinimum=0,
                maximum=MAX_STYLE_SCALE,
            )
        ),
        _SIZE,
        "Size of the style picture relative to the painting's (1: the same area); larger gives"
        " larger strokes. One for all style pictures, or one for each, those of regions last.",
    )
    style_crop: float = _option(
        0.0,
        Number("0 to below 0.5", minimum=0, exclusiveMaximum=0.5),
        _SIZE,
        "Share of the style picture's sides that is left out at each edge: scans of paintings have"
        " rims, which would be painted.",
    )
    max_pixels: int = _option(
        MAX_PIXELS,
        Whole(MIN_SIDE**2),
        _SIZE,
        "Most pixels accepted for any picture, read or painted.",
    )
    steps: int = _option(
        200,
        Whole(1),
        _RUN,
        "Number of evaluations of the cost and its gradient, over all scales.",
    )
    scales: int | None = _option(
        None,
        Whole(1),
        _RUN,
        "Number of sizes, each twice the last, to paint in. By default 1 where the start is a"
        " picture; with neighbors as many as there are from about 128 pixels on; else 1 up to 512"
        " pixels, and above from about 256.",
    )
    optimizer: str = _option(
        "adam", Choice(OPTIMIZERS), _RUN, "The optimizer; lbfgs needs fewer steps."
    )
    learning_rate: float | str = _option(
        2.0,
        Changing(positive=True),
        _RUN,
        "Adam's learning rate, in pixel values (0..255); it may change over the run, as alpha.",
        needs=_ADAM,
    )
    averaging: float = _option(
        0.0,
        Number("0 to below 1", minimum=0, exclusiveMaximum=1),
        _RUN,
        "Decay of the mean of Adam's iterates that is the picture; 0 takes the last one.",
        needs=_ADAM,
    )
    init: ImageSource = _option(
        "noise",
        Start(INITS),
        _RUN,
        "Where to start: noise around the network's mean color mixed with the content, the content,"
        " the mean color, noise over all pixel values, noise in the style's colors, or a picture.",
    )
    noise_ratio: float = _option(
        0.6,
        Number("0 to 1", minimum=0, maximum=1),
        _RUN,
        "Share of noise in the noise start, 0..1.",
        needs={"init": "noise"},
    )
    seed: int = _option(
        0,
        Whole(0, float("inf")),
        _RUN,
        "Seed of the noise; the same inputs, seed and threads give the same bytes.",
    )
    alpha: float | str = _option(
        10.0,
        Changing(),
        _COSTS,
        "Weight of the content cost in J = alpha·content + beta·style + tv·variation. With Adam it"
        " may change over the run, as in 1,10@0.3: from 1 to 10 at 30 %.",
    )
    beta: float | str = _option(
        40.0, Changing(), _COSTS, "Weight of the style cost; it may change likewise."
    )
    tv: float = _option(0.0, WEIGHT, _COSTS, "Weight of the total variation cost, against speckle.")
    normalize: bool = _option(
        False,
        YesNo(),
        _COSTS,
        "Divide the weight of each cost by the mean absolute derivative of the cost by a pixel,"
        " measured near the start.",
        flag="--normalize/--no-normalize",
    )
    content_cost: str = _option(
        "content",
        Choice(CONTENT_COSTS),
        _COSTS,
        "What keeps the content: content, its activations, or neighbors, the style's features that"
        " match best what the content has at each place.",
    )
    content_layers: LayerWeights = _option(
        ("conv4_2",),
        Layers(),
        _COSTS,
        f"Content layer, {LAYERS[0]} .. {LAYERS[-1]}; without weights all count the same.",
        flag="--content-layer",
        needs={"content_cost": "content"},
    )
    style_layers: LayerWeights = _option(
        ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
        Layers(),
        _COSTS,
        "Style layer and its weight (the paper's lambda), likewise.",
        flag="--style-layer",
    )
    style_weights: Sequence[float] | None = _option(
        None,
        Shares(),
        _COSTS,
        "Weight of a style picture, one per picture, by which their statistics are averaged; all"
        " the same by default.",
        flag="--style-weight",
    )
    color: str = _option(
        "style",
        Choice(COLORS),
        _COSTS,
        "Which colors: those of the style; luminance, the content's, while only light and dark are"
        " painted; after, the content's, put back at the end; or match, the style's after they got"
        " the mean and covariance of the content's.",
    )
    guides: str = _option(
        "inside",
        Choice(REACHES),
        _COSTS,
        "Which positions of a layer count for a region: inside, those that see nothing else, as far"
        " as there are enough; or average, all by their share of it.",
    )
    protection: float = _option(
        5.0,
        Number("numbers from 1 to 20", minimum=1, maximum=20),
        _COSTS,
        "How many times the content counts where it is protected by a mask, 1..20; the more, the"
        " slower is all else painted.",
    )
    pooling: str = _option(
        "average",
        Choice(POOLINGS),
        _COSTS,
        "How the network pools; l2 is the root of the mean of squares.",
    )
    rescaled: bool = _option(
        False,
        YesNo(),
        _COSTS,
        "Multiply average and L2 pooling by what keeps activations as large as max pooling does.",
        flag="--rescaled/--not-rescaled",
    )
    statistic: str = _option(
        "gram",
        Choice(STATISTICS),
        _COSTS,
        "What of a layer's activations is style: gram, the Gram matrix, or w2, mean and covariance,"
        " compared by the 2-Wasserstein distance.",
    )
    terms: Mapping[Term, LayerWeights] = _option(
        {},
        Terms(),
        _COSTS,
        "Terms of one's own, each with its layers, image among them, and their weights: summands of"
        " J beside content, style and variation.",
        flag="",
    )

    def __post_init__(self) -> None:
        """Check every value, and those that go together."""
        for option in OPTIONS.values():
            object.__setattr__(self, option.name, option.accepted(getattr(self, option.name)))
        for option in OPTIONS.values():
            option.check_needs(self)
        for name in ("alpha", "beta"):
            if self.optimizer == "lbfgs" and not self.schedule(name).is_constant:
                raise InputError(f"{name} changes over the run, for which optimizer must be adam")
        if not len(self.content_layers) and not len(self.style_layers):
            raise InputError("content_layers and style_layers are both empty")

    @property
    def starts_from_picture(self) -> bool:
        """Whether ``init`` is a picture."""
        return not (isinstance(self.init, str) and self.init in INITS)

    def schedule(self, name: str) -> Schedule:
        """Return ``alpha``, ``beta`` or ``learning_rate`` over the run."""
        schedule = OPTIONS[name].kind.plain(name, getattr(self, name))
        assert isinstance(schedule, Schedule)
        return schedule


OPTIONS = {item.name: replace(item.metadata["option"], name=item.name) for item in fields(Options)}
"""All options by name, in the order of the command's help."""


def options_schema(without: Collection[str] = ()) -> dict[str, Any]:
    """Return a JSON schema (draft 2020-12) of an object with the options that JSON can have.

    Args:
        without: names that are left out.
    """
    told = (option for option in OPTIONS.values() if option.flag != "")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Options",
        "type": "object",
        "properties": {option.name: option.schema for option in told if option.name not in without},
        "additionalProperties": False,
    }


def _described(option: Option) -> str:
    text = f"{option.name}: {option.about}"
    return textwrap.fill(text, 96, initial_indent=" " * 8, subsequent_indent=" " * 12)


if Options.__doc__:  # which `python -OO` leaves out
    Options.__doc__ += "\n    Attributes:\n" + "\n".join(map(_described, OPTIONS.values()))
    Options.__doc__ += (
        "\n\n    Raises:\n        InputError: for a value out of range; the message names the"
        " option and what is accepted.\n    "
    )
