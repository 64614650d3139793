"""Named sets of options, and those that users keep in TOML files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ortist.engine.options import ADAM_ONLY, Options
from ortist.models.errors import InputError, shown
from ortist.models.files import read_regular, reason

SIZES = frozenset({"size", "width", "height"})
DEFAULT_RECIPE = "standard"
MAX_BYTES = 64_000
"""Largest file of options."""
MAX_DOTS = 100
"""Most in a line of it: reading a name takes time in the square of its parts."""


@dataclass(frozen=True)
class Recipe:
    """A set of options under a name.

    Attributes:
        name: as given to ``--recipe``.
        about: what it is for, in a line.
        options: names and values of the fields of :class:`Options` that it sets.
    """

    name: str
    about: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def with_options(self, **chosen: Any) -> Options:
        """Return the options of the recipe, but for those that are chosen.

        Any of size, width and height replaces them all. The recipe's ``beta`` and ``tv`` suit the
        size of its costs: they are left out with another ``statistic`` or ``normalize``, as is what
        is for Adam with another ``optimizer``.

        Raises:
            InputError: for an unknown option or a value out of range.
        """
        values = self._merged(chosen)
        known = [item.name for item in fields(Options)]
        for name in values:
            if name not in known:
                raise InputError(
                    f"recipe {self.name} has unknown option {shown(name)}, accepted are"
                    f" {', '.join(known)}"
                )
        return Options(**values)

    def _merged(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        left_out: set[str] = set()
        if not SIZES.isdisjoint(chosen):
            # One of them means nothing next to another one of the recipe.
            left_out |= SIZES
        for name in ("statistic", "normalize"):
            own = self.options.get(name, getattr(Options, name))
            if not _equal(chosen.get(name, own), own):
                left_out |= {"beta", "tv"}
        if not _equal(chosen.get("optimizer", "adam"), "adam"):
            left_out |= set(ADAM_ONLY)
        kept = {name: value for name, value in self.options.items() if name not in left_out}
        return {**kept, **chosen}


def _equal(value: object, own: object) -> bool:
    """Whether a value, which may be an array that compares by element, is that of a recipe."""
    return type(value) is type(own) and value == own


_PAINTING = {
    "optimizer": "lbfgs",
    "init": "content",
    # Costs by W₂² are less curved than by Gram matrices: half the steps bring J as far down, also
    # the J of Gram matrices. Where that loses the content at its minimum, this keeps it.
    "statistic": "w2",
    "beta": 160.0,
    "tv": 20.0,
}
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("notebook", "the reference notebook: 200 steps of Adam from noise", {"scales": 1}),
        Recipe(
            "perceptual",
            "from a blank canvas, the content first and the style later",
            {
                "init": "blank",
                "scales": 1,
                "normalize": True,
                "alpha": 1.0,
                "beta": "0,6@0.5",
                "learning_rate": 8.0,
                "averaging": 0.9,
                "steps": 150,
            },
        ),
        Recipe("draft", "a first look: few steps", {**_PAINTING, "steps": 30}),
        Recipe("standard", "what most pictures want", {**_PAINTING, "steps": 80}),
        Recipe("fine", "many steps", {**_PAINTING, "steps": 200}),
    )
}


def find_recipe(name: str) -> Recipe:
    """Return a recipe by its name, or read it from a TOML file.

    A file has the names and values of options, as in ``steps = 150``, and may have ``recipe``, the
    name of one to start from in place of :data:`DEFAULT_RECIPE`, and ``about``.

    Raises:
        InputError: if there is no such recipe, or the file cannot be read. Whether its options
            can be used is checked by :meth:`Recipe.with_options`.
    """
    if not isinstance(name, str):
        raise InputError(f"recipe is {shown(name)}, accepted are names")
    if name in RECIPES:
        return RECIPES[name]
    if Path(name).suffix != ".toml":
        known = ", ".join(RECIPES)
        raise InputError(
            f"unknown recipe {shown(name)}, accepted are {known} and files named *.toml"
        )
    values = _read(name)
    base, about = values.pop("recipe", DEFAULT_RECIPE), values.pop("about", "")
    if not (isinstance(base, str) and base in RECIPES):
        raise InputError(
            f"recipe '{name}' starts from unknown recipe {shown(base)},"
            f" accepted are {', '.join(RECIPES)}"
        )
    if not isinstance(about, str):
        raise InputError(f"recipe '{name}' has about {shown(about)}, accepted is a text")
    return Recipe(name, about, RECIPES[base]._merged(values))


def _read(path: str) -> dict[str, Any]:
    """Return what is in a TOML file."""
    try:
        text = read_regular(path, MAX_BYTES).decode("utf-8-sig")
        if not _has_long_name(text):
            return tomllib.loads(text)
    except OSError as error:
        raise InputError(f"recipe '{path}' cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:  # of decoding and of TOML
        raise InputError(f"recipe '{path}' is not TOML: {error}") from error
    raise InputError(f"recipe '{path}' has a line with more than {MAX_DOTS} dots")


def _has_long_name(text: str) -> bool:
    """Whether a line, where names end, may have one of too many parts; comments have none."""
    lines = (line for line in text.split("\n") if not line.lstrip().startswith("#"))
    return any(line.count(".") > MAX_DOTS for line in lines)
