from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ortist.engine import InputError, Options
from ortist.engine.recipes import MAX_BYTES, RECIPES, find_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_valid_options(name: str) -> None:
    assert find_recipe(name).name == name
    assert isinstance(find_recipe(name).with_options(), Options)
    assert find_recipe(name).with_options(steps=7, size=99).steps == 7


def test_the_notebook_is_the_default_of_the_options_at_one_scale() -> None:
    assert find_recipe("notebook").with_options() == Options(scales=1)


def test_a_file_starts_from_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('about = "Mine."\nsteps = 12\nstyle_layers = {conv1_1 = 1.0, conv4_1 = 0.5}\n')
    mine = find_recipe(str(path))
    assert mine.about == "Mine."
    layers = {"conv1_1": 1.0, "conv4_1": 0.5}
    standard = RECIPES["standard"]
    assert mine.with_options() == standard.with_options(steps=12, style_layers=layers)
    path.write_text('recipe = "fine"\nsteps = 12\nstyle-scale = 1.0\n')
    expected = RECIPES["fine"].with_options(steps=12)
    assert find_recipe(str(path)).with_options() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = ", r"recipe '.*mine\.toml' is not TOML: "),
        ("stepps = 3", r"recipe .*mine\.toml has unknown option 'stepps', accepted are size, "),
        ("steps = 0", "steps is 0, accepted are whole numbers from 1"),
        (
            'recipe = "none"',
            r"recipe '.*' starts from unknown recipe 'none', accepted are draft",
        ),
        ("recipe = 3", "starts from unknown recipe 3, accepted are draft"),
        ("recipe = [1]", r"starts from unknown recipe \[1\], accepted are draft"),
        (b"\xff\xfe", r"recipe '.*mine\.toml' is not TOML: "),
        ('rescaled = "no"', "rescaled is 'no', accepted are true and false"),
        ("normalize = 1", "normalize is 1, accepted are true and false"),
        ("about = 3", "has about 3, accepted is a text"),
        (f"about = 0x{'f' * 5000}", "has about of type int, accepted is a text"),
        (f"size = 0x{'f' * 5000}", "size is too large, accepted are whole numbers up to"),
        (f"alpha = -0x{'f' * 5000}", "mine.toml' is not TOML: "),
        (f"seed = {'9' * 5000}", "mine.toml' is not TOML: "),
        ("steps = true", "steps is True, accepted are whole numbers from 1"),
        ("#" * 64_001, "cannot be read: it has more than 64000 bytes"),
        (".".join("a" * 20_000) + " = 1", "mine.toml' has a line with more than 100 dots"),
        ("# a\n  [" + ".".join("a" * 102) + "]", "has a line with more than 100 dots"),
        ('optimizer = "lbfgs"\nlearning_rate = 3', "learning_rate is for adam, but optimizer is"),
    ],
)
def test_what_is_wrong_in_a_file_is_told(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        find_recipe(str(path)).with_options()


NAME = ".".join("a" * 100)
SLOW: dict[str, str] = {
    "names": "\n".join(f"{NAME}.{index:x}=1" for index in range(310)),
    "names in a table": "\n".join((f"[{NAME}]", *(f"{NAME}.{i:x}=1" for i in range(310)))),
    "tables": "\n".join(f"[{NAME}.{index:x}]" for index in range(308)),
    "lists of tables": f"[[{NAME}]]\n{NAME}=1\n" * 156,
    "inline tables": "\n".join(f"x{index}={{{NAME}=1}}" for index in range(300)),
    "one name": ".".join("a" * 31_990) + "=1",
    "one name in braces": "x={" + ".".join("a" * 31_990) + "=1}",
    "tables in tables": "x=" + "{a=" * 21_000,
    "arrays in arrays": "x=" + "[" * 63_900,
    "short names": "\n".join(f"a.{index:x}=1" for index in range(7_000)),
    "text": "x='''" + "''a" * 21_000 + "'''",
    "digits": "x=1." + "9" * 63_900,
}


@pytest.mark.parametrize("name", SLOW)
def test_no_file_takes_long(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SLOW[name])
    assert 50_000 < path.stat().st_size <= MAX_BYTES
    begin = time.process_time()
    with pytest.raises(InputError):
        find_recipe(str(path)).with_options()
    assert time.process_time() - begin < 2


def test_comments_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"steps = 7\n  # {'.' * 200}\n" + "# more\n" * 8000)
    assert find_recipe(str(path)).with_options().steps == 7


def test_a_size_that_is_chosen_replaces_the_sides_of_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('recipe = "notebook"\nscales = 2\nwidth = 800\nsteps = 3\n')
    assert find_recipe(str(path)).with_options().width == 800
    assert find_recipe(str(path)).with_options(size=300) == Options(size=300, steps=3, scales=2)
    assert find_recipe(str(path)).with_options(height=300) == Options(height=300, steps=3, scales=2)


@pytest.mark.parametrize(
    "chosen", [{"statistic": "gram"}, {"content_cost": "neighbors"}, {"normalize": True}]
)
def test_weights_of_a_recipe_are_meant_for_its_costs(chosen: dict[str, Any]) -> None:
    loose, plain = RECIPES["loose"], Options()
    same = loose.with_options(statistic=np.str_("w2"), normalize=False)
    assert same == loose.with_options()
    assert same.beta != plain.beta
    assert same.tv > 0
    other = loose.with_options(**chosen)
    assert (other.beta, other.tv) == (plain.beta, plain.tv)
    assert loose.with_options(**chosen, tv=3.0).tv == 3
    assert RECIPES["notebook"].with_options(beta=7.0, **chosen).beta == 7


def test_weights_are_meant_for_all_costs_that_are_normalized() -> None:
    standard, plain = RECIPES["standard"], Options()
    weights = [standard.options[name] for name in ("alpha", "beta", "tv")]
    for chosen in ({"statistic": "gram"}, {"content_cost": "content"}):
        other = standard.with_options(**chosen)
        assert [other.alpha, other.beta, other.tv] == weights
    other = standard.with_options(normalize=False)
    assert (other.alpha, other.beta, other.tv) == (plain.alpha, plain.beta, plain.tv)


def test_an_unknown_recipe_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown recipe 'finest', accepted are draft, .*toml"):
        find_recipe("finest")
    with pytest.raises(InputError, match=r"recipe '.*no\.toml' cannot be read: No such file"):
        find_recipe(str(tmp_path / "no.toml"))
    with pytest.raises(InputError, match=r"recipe 'a\?\.toml' cannot be read: embedded null byte"):
        find_recipe("a\0.toml")


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_a_recipe_is_read_from_a_regular_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mine.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(InputError, match=r"recipe '.*mine\.toml' cannot be read: \w"):
        find_recipe(str(path))


def test_what_is_for_adam_is_left_out_with_another_optimizer() -> None:
    options = find_recipe("perceptual").with_options(optimizer="lbfgs", beta=6)
    assert (options.learning_rate, options.averaging) == (Options.learning_rate, 0)
    assert find_recipe("perceptual").with_options().averaging == 0.9


@pytest.mark.parametrize(
    "value", [np.array(["w2", "gram"]), pytest.param(10**5000, id="huge"), None]
)
def test_a_choice_that_cannot_be_compared_or_printed_is_an_input_error(value: Any) -> None:
    for name in ("statistic", "normalize", "optimizer"):
        with pytest.raises(InputError, match=f"{name} is "):
            find_recipe("standard").with_options(**{name: value})


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("steps = 7", encoding="utf-8-sig")
    assert find_recipe(str(path)).with_options().steps == 7
