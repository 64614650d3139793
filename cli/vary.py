"""Options with several values, as ``ortist grid --vary`` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, fields
from itertools import product
from typing import Any

from ortist.cli.layers import parse_layers
from ortist.engine import InputError, Options

_LEFT_OUT = ("style_weights", "terms")  # a cell has one style, and terms are Python
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def parse_variations(entries: Sequence[str]) -> list[dict[str, str]]:
    """Return all combinations of the values, as texts by the names of their options.

    Args:
        entries: ``NAME=VALUE,VALUE,...`` each; where a semicolon is, it separates in place of the
            comma, for values that have commas themselves.

    Raises:
        InputError: if an entry has another form, or an option is unknown or comes twice.
    """
    known = [field.name for field in fields(Options) if field.name not in _LEFT_OUT]
    values: dict[str, list[str]] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise InputError(f"--vary {entry} has no values, accepted is NAME=VALUE,VALUE,...")
        if name not in known:
            raise InputError(f"--vary has unknown option '{name}', accepted are {', '.join(known)}")
        if name in values:
            raise InputError(f"--vary {name} is given twice")
        values[name] = [part.strip() for part in text.split(";" if ";" in text else ",")]
    return [dict(zip(values, choice, strict=True)) for choice in product(*values.values())]


def parse_value(name: str, text: str) -> Any:
    """Return the text as a value of the option: of the type of its default if it has that form.

    A text of another form is returned as it is, for the option itself to accept or to refuse.

    Raises:
        InputError: for layers that cannot be read, or neither yes nor no.
    """
    field: Field[Any] = next(field for field in fields(Options) if field.name == name)
    default = field.default
    if isinstance(default, bool):
        if text.lower() not in _BOOLEANS:
            raise InputError(f"--vary {name} is '{text}', accepted are {', '.join(_BOOLEANS)}")
        return _BOOLEANS[text.lower()]
    if isinstance(default, tuple):
        return parse_layers(f"--vary {name}", text.split("+"))
    if isinstance(default, str):
        return text
    try:
        # Without a default it is a size or a number of scales.
        return float(text) if isinstance(default, float) else int(text)
    except ValueError:
        return text
