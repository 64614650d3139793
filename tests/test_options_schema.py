"""The JSON schema of options says what :class:`Options` accepts."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from ortist.engine import InputError, Options
from ortist.engine.options import OPTIONS, options_schema
from ortist.engine.recipes import RECIPES
from ortist.engine.values import json_value

SCHEMA = options_schema()
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)
ADAM = {"optimizer": "adam"}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_valid(name: str) -> None:
    VALIDATOR.validate(json_value(RECIPES[name].options))


def test_defaults_are_those_of_options() -> None:
    defaults = {name: option["default"] for name, option in SCHEMA["properties"].items()}
    VALIDATOR.validate(defaults)
    assert Options(**defaults) == Options()
    assert set(defaults) == set(OPTIONS) - {"terms"}
    assert all(option["description"] for option in SCHEMA["properties"].values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 16),
        ("size", 15),
        ("size", 64.5),
        ("size", True),
        ("size", "64"),
        ("width", None),
        ("style_scale", 1000),
        ("style_scale", 0),
        ("style_scale", [1, 2.5]),
        ("style_scale", []),
        ("style_crop", 0.499),
        ("style_crop", 0.5),
        ("averaging", 1),
        ("noise_ratio", 1),
        ("noise_ratio", -0.1),
        ("protection", 20),
        ("protection", 0.9),
        ("tv", 0),
        ("tv", -1),
        ("tv", "1"),
        ("alpha", 0),
        ("learning_rate", 0),
        ("alpha", "1,10@0.3"),
        ("normalize", True),
        ("normalize", 1),
        ("color", "match"),
        ("color", "mach"),
        ("init", "noise"),
        ("init", "photo.jpg"),
        ("content_layers", ["conv1_1", "conv5_4"]),
        ("content_layers", ["conv1_1", "conv1_1"]),
        ("content_layers", ["conv6_1"]),
        ("style_layers", {"conv1_1": 0.5}),
        ("style_layers", {"conv1_1": -0.5}),
        ("style_layers", {"conv9_1": 0.5}),
        ("style_weights", [1, 0]),
        ("style_weights", [-1]),
        ("style_weights", []),
        ("seed", 10**30),
        ("steps", 10**30),
        ("nothing", 1),
    ],
)
def test_both_accept_the_same(name: str, value: Any) -> None:
    try:
        Options(**{name: value})
        accepted = True
    except (InputError, TypeError):
        accepted = False
    if (name, value) == ("init", "photo.jpg"):  # a path, which JSON has no pictures for
        accepted = False
    assert VALIDATOR.is_valid({name: value}) == accepted
