"""Named sets of options, and those that users keep in TOML files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ortist.engine.options import OPTIONS, Options
from ortist.engine.values import same
from ortist.models.errors import InputError, shown
from ortist.models.files import read_regular, reason

SIZES = frozenset({"size", "width", "height"})
DEFAULT_RECIPE = "standard"
SIZED_BY = ("content_cost", "statistic")
"""Options that say how large costs are, unless they are normalized."""
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

        Any of size, width and height replaces them all. The recipe's ``alpha``, ``beta`` and ``tv``
        suit the size of its costs: they are left out with another ``normalize`` and, unless that
        makes all costs of a size, with another ``statistic`` or ``content_cost``. So is what needs
        another option to be otherwise than it is chosen.

        Raises:
            InputError: for an unknown option or a value out of range.
        """
        values = self._merged(chosen)
        for name in values:
            if name not in OPTIONS:
                raise InputError(
                    f"recipe {self.name} has unknown option {shown(name)}, accepted are"
                    f" {', '.join(OPTIONS)}"
                )
        return Options(**values)

    def _merged(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        left_out: set[str] = set()
        if not SIZES.isdisjoint(chosen):
            # One of them means nothing next to another one of the recipe.
            left_out |= SIZES

        def differs(name: str) -> bool:
            own = self.options.get(name, getattr(Options, name))
            return not same(chosen.get(name, own), own)

        balanced = same({**self.options, **chosen}.get("normalize"), True)
        if differs("normalize") or (not balanced and any(map(differs, SIZED_BY))):
            left_out |= {"alpha", "beta", "tv"}
        for option in OPTIONS.values():
            for other, needed in option.needs.items():
                if not same(chosen.get(other, needed), needed):
                    left_out.add(option.name)
        kept = {name: value for name, value in self.options.items() if name not in left_out}
        return {**kept, **chosen}


def _shipped() -> dict[str, Recipe]:
    """Return the recipes of the package, in the order of their file."""
    tables = tomllib.loads(Path(__file__).with_name("recipes.toml").read_text(encoding="utf-8"))

    def made(name: str) -> Recipe:
        values = dict(tables[name])
        about, base = values.pop("about"), values.pop("recipe", None)
        return Recipe(name, about, made(base)._merged(values) if base else values)

    return {name: made(name) for name in tables}


RECIPES = _shipped()


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
    values = {option.replace("-", "_"): value for option, value in _read(name).items()}
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
        data = read_regular(path, MAX_BYTES)
    except (OSError, ValueError) as error:  # of names that no file can have
        why = reason(error) if isinstance(error, OSError) else error
        raise InputError(f"recipe '{path}' cannot be read: {why}") from error
    try:
        text = data.decode("utf-8-sig")
        if not _has_long_name(text):
            return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of decoding and of TOML
        raise InputError(f"recipe '{path}' is not TOML: {error}") from error
    raise InputError(f"recipe '{path}' has a line with more than {MAX_DOTS} dots")


def _has_long_name(text: str) -> bool:
    """Whether a line, where names end, may have one of too many parts; comments have none."""
    lines = (line for line in text.split("\n") if not line.lstrip().startswith("#"))
    return any(line.count(".") > MAX_DOTS for line in lines)
