"""Recipes and options in JavaScript come out as in Python, or are refused in both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from javascript import call

from ortist.engine.errors import InputError
from ortist.engine.options import options_schema
from ortist.engine.recipes import RECIPES, SIZED_BY, SIZES, Recipe
from ortist.engine.values import json_value

MADE = {
    "empty": {},
    "sized": {"width": 300, "height": 200, "noise_ratio": 0.1},
    "changing": {"alpha": "1,2", "learning_rate": 1.0, "averaging": 0.5, "content_layers": []},
    "fixed": {"optimizer": "lbfgs", "alpha": 2.0, "tv": 3.0, "statistic": "w2"},
    "matched": {"content_cost": "neighbors", "size": 100, "beta": 5.0},
}
ALL = {**RECIPES, **{name: Recipe(name, "made", values) for name, values in MADE.items()}}
SCHEMA = options_schema()
FACTS = {
    "options": SCHEMA,
    "recipes": {name: {"about": each.about, "options": each.options} for name, each in ALL.items()},
    "sizes": sorted(SIZES),
    "sized_by": SIZED_BY,
}
SIDE = st.sampled_from([16, 100, 511, None, 15, -3, 64.5, "64", True, 10**19])
WEIGHT = st.sampled_from([0, 0.5, 1, 3.25, 1e9, -1, -0.1, "1", None, True])
CHANGING = st.sampled_from(
    [
        0,
        2,
        2.0,
        "2",
        " 2.0",
        10,
        "10",
        "1,2",
        "3,3",
        "0|6@0.5",
        "2,",
        "0",
        "-1",
        "x",
        -1,
        None,
        True,
    ]
)
LAYERS = st.sampled_from(["conv1_1", "conv4_2", "conv5_4", "conv3_3", "conv6_1", "image", ""])
KNOWN_LAYERS = st.sampled_from(["conv1_1", "conv4_2", "conv5_4"])
LAYER_WEIGHTS = st.one_of(
    st.lists(KNOWN_LAYERS, max_size=2),
    st.dictionaries(KNOWN_LAYERS, st.sampled_from([0, 0.5, 2]), max_size=2),
    st.lists(LAYERS, max_size=3),
    st.dictionaries(LAYERS, WEIGHT, max_size=3),
    st.sampled_from([["conv4_2"], [1], "conv4_2", None, 3]),
)
NUMBERS = st.one_of(
    WEIGHT, st.lists(WEIGHT, max_size=2), st.sampled_from([[2], [0], [1e308, 1e308]])
)


def _words(name: str) -> st.SearchStrategy[Any]:
    words = SCHEMA["properties"][name]["enum"]
    return st.sampled_from([*words, *words, "nothing", None, 1])


CHOICES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(["size", "width", "height", "max_pixels", "steps", "scales", "seed"], SIDE),
    **dict.fromkeys(["style_crop", "averaging", "noise_ratio", "tv", "protection"], WEIGHT),
    **dict.fromkeys(["alpha", "beta", "learning_rate"], CHANGING),
    **dict.fromkeys(["normalize", "rescaled"], st.sampled_from([True, False, 0, "no", None])),
    **dict.fromkeys(["content_layers", "style_layers"], LAYER_WEIGHTS),
    **dict.fromkeys(["style_scale", "style_weights"], NUMBERS),
    # Any other value would be a picture.
    "init": st.sampled_from(SCHEMA["properties"]["init"]["enum"]),
    **{name: _words(name) for name in ("optimizer", "content_cost", "color", "guides")},
    **{name: _words(name) for name in ("pooling", "statistic")},
    "nothing": st.just(1),
    "constructor": st.just(1),
}


def _pairs() -> st.SearchStrategy[tuple[str, Any]]:
    return st.sampled_from(sorted(CHOICES)).flatmap(
        lambda name: st.tuples(st.just(name), CHOICES[name])
    )


def _in_python(recipe: str, chosen: dict[str, Any]) -> dict[str, Any] | None:
    try:
        options = ALL[recipe].with_options(**chosen)
    except InputError:
        return None
    return {name: json_value(getattr(options, name)) for name in SCHEMA["properties"]}


def test_every_option_is_tried() -> None:
    assert set(CHOICES) == {*SCHEMA["properties"], "nothing", "constructor"}


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(sorted(ALL)), st.lists(_pairs(), max_size=4).map(dict))
def test_options_are_those_of_python(recipe: str, chosen: dict[str, Any]) -> None:
    answer = call("tests/web/options.js", "tried", recipe, chosen, FACTS)
    assert answer.get("options") == _in_python(recipe, chosen)
    if "refused" in answer:
        assert any(name in answer["refused"] for name in SCHEMA["properties"])
        assert "\n" not in answer["refused"]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"size": 15}, "size is 15, accepted are whole numbers from 16 up to 1000000000000000000"),
        ({"style_crop": 0.5}, "style_crop is 0.5, accepted are numbers from 0 below 0.5"),
        ({"color": "mach"}, 'color is "mach", accepted are style, luminance, match, after'),
        ({"normalize": 1}, "normalize is 1, accepted are true and false"),
        (
            {"scales": "2"},
            'scales is "2", accepted are whole numbers from 1 up to 1000000000000000000, or null',
        ),
        ({"init": "photo.jpg"}, 'init is "photo.jpg", accepted are noise, content, blank,'),
        (
            {"style_layers": ["conv9_1"]},
            'style_layers is ["conv9_1"], accepted are lists of conv1_1,',
        ),
        ({"beta": "1,x"}, 'beta is "1,x", accepted are numbers from 0, or several over the run'),
        ({"alpha": "1,2"}, "alpha changes over the run, for which optimizer must be adam"),
        ({"learning_rate": 3}, 'learning_rate is for adam, but optimizer is "lbfgs"'),
        ({"style_weights": [0]}, "style_weights are [0], accepted is a finite sum above 0"),
        ({"stepps": 3}, 'there is no option "stepps", accepted are size, width'),
        (
            {"content_cost": "content", "content_layers": [], "style_layers": []},
            "content_layers and style_layers are both empty",
        ),
    ],
)
def test_what_is_refused_is_told(chosen: dict[str, Any], message: str) -> None:
    refused = call("tests/web/options.js", "tried", "standard", chosen, FACTS)["refused"]
    assert refused.startswith(message)


def test_a_recipe_must_be_known() -> None:
    refused = call("tests/web/options.js", "tried", "none", {}, FACTS)["refused"]
    assert refused.startswith('recipe is "none", accepted are draft, standard')


def test_pixels_may_be_what_is_started_from() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    options = call("tests/web/options.js", "tried", "sized", {"init": pixels}, FACTS)["options"]
    np.testing.assert_array_equal(options["init"], pixels)
    assert options["noise_ratio"] == 0.6  # which was for noise
