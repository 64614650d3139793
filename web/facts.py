"""What the runtime in JavaScript is told, so that nothing is written down a second time."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ortist.engine import (
    adam,
    color,
    lbfgs,
    preconditioner,
    recipes,
    run,
    scales,
    starts,
    targets,
)
from ortist.engine.graphs import WINOGRAD_MIN_PIXELS
from ortist.engine.images import size, tensors
from ortist.engine.options import options_schema
from ortist.export.costs import TERMS, gaussian, neighbors
from ortist.models.layers import LAYERS
from ortist.models.versions import installed_version
from ortist.models.winograd import POINTS, WINOGRAD_BLOCK, transforms

_MODULES = (
    *(adam, color, lbfgs, preconditioner, run, scales, starts, targets),
    *(size, tensors, gaussian, neighbors),
)
"""Those whose constants the runtime has use for."""


def facts() -> dict[str, Any]:
    """Return options, recipes, terms and constants, as JSON has them."""
    return {
        "version": installed_version("ortist"),
        "options": options_schema(),
        "sizes": sorted(recipes.SIZES),
        "sized_by": recipes.SIZED_BY,
        "recipe": recipes.DEFAULT_RECIPE,
        "recipes": {
            name: {"about": recipe.about, "options": recipe.options}
            for name, recipe in recipes.RECIPES.items()
        },
        "layers": LAYERS,
        "terms": {name: {"source": term.source} for name, term in TERMS.items()},
        "constants": {_name(module): _constants(module) for module in _MODULES},
        "winograd": {
            "block": WINOGRAD_BLOCK,
            "least_pixels": WINOGRAD_MIN_PIXELS,
            "kernel": {block: transforms(block).kernel.tolist() for block in POINTS},
        },
    }


def _name(module: types.ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _constants(module: types.ModuleType) -> dict[str, Any]:
    """Return the constants of a module that JSON can have, by their names in lower case."""
    return {
        name.strip("_").lower(): _plain(value)
        for name, value in vars(module).items()
        if name.isupper() and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, str | int | float | np.number | np.ndarray):
        return True
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return isinstance(value, Collection) and all(map(_is_plain, value))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.number):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float) else [_plain(item) for item in value]
