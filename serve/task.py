"""A job as the processes see it: its folder, its pictures and options, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ortist.engine import Options, Record, Region
from ortist.engine.images import ImageSource
from ortist.engine.options import OPTIONS
from ortist.engine.recipes import RECIPES
from ortist.engine.values import Start
from ortist.models.errors import InputError, shown
from ortist.models.json_values import Value
from ortist.serve.limits import Limits
from ortist.serve.order import Order

START = "init"
"""The option that the picture to start from is the value of."""
OWN = ("max_pixels", "terms")
"""Options that are not for clients to say."""


@dataclass(frozen=True)
class Files:
    """The files of a job.

    Attributes:
        folder: where they are; it has the name of the job.
    """

    folder: Path

    @property
    def job(self) -> Path:
        """What is known of it, JSON."""
        return self.folder / "job.json"

    @property
    def steps(self) -> Path:
        """Its steps, one JSON a line."""
        return self.folder / "steps.jsonl"

    @property
    def checkpoint(self) -> Path:
        """Where it goes on."""
        return self.folder / "checkpoint.npz"

    @property
    def preview(self) -> Path:
        """What is seen of it, JPEG."""
        return self.folder / "preview.jpg"

    @property
    def result(self) -> Path:
        """The picture so far or at the end, float32 (1, 3, H, W), as numpy writes it."""
        return self.folder / "result.npy"

    def picture(self, name: str) -> Path:
        """One of its pictures, PNG."""
        return self.folder / f"{name}.png"


def options_of(order: Order, limits: Limits, start: ImageSource | None) -> Options:
    """Return the options of an order.

    Args:
        order: what is asked for.
        limits: of the service.
        start: the picture to start from, if there is one.

    Raises:
        InputError: for an unknown recipe or option, a value out of range, or too many steps.
    """
    if order.recipe not in RECIPES:
        known = ", ".join(RECIPES)
        raise InputError(f"recipe is {shown(order.recipe)}, accepted are {known}")
    for name in OWN:
        if name in order.options:
            raise InputError(f"{name} is not for clients to say")
    chosen: dict[str, Any] = {**order.options, "max_pixels": limits.picture_pixels}
    if start is not None:
        chosen[START] = start
    elif START in chosen:
        kind = OPTIONS[START].kind
        assert isinstance(kind, Start)
        # Another text would be the path of a file of the server's.
        kind.check_word(START, chosen[START])
    options = RECIPES[order.recipe].with_options(**chosen)
    if options.steps > limits.steps:
        raise InputError(f"steps is {options.steps}, accepted are at most {limits.steps}")
    return options


def record_of(value: Mapping[str, Any]) -> Record:
    """Return the record that a job keeps as JSON."""
    return Record.from_value(Value(dict(value), "", "the job is damaged", InputError))


def sources_of(order: Order, pictures: Mapping[str, ImageSource]) -> dict[str, Any]:
    """Return the arguments of :meth:`Engine.plan <ortist.engine.Engine.plan>` but for the options.

    Args:
        order: what is asked for.
        pictures: all of it, by the names that a job has for them.
    """
    kept = order.as_kept()

    def picture(name: str | None) -> ImageSource | None:
        return None if name is None else pictures[name]

    return {
        "content": pictures[kept.content],
        "style": [pictures[style] for style in kept.styles or ()],
        "regions": [
            Region(pictures[one.mask], picture(one.style), picture(one.style_mask))
            for one in kept.regions
        ],
        "protect": picture(kept.protect),
    }
