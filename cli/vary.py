"""Options with several values, as ``ortist grid --vary`` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from ortist.engine import InputError
from ortist.engine.options import OPTIONS

_LEFT_OUT = ("style_weights", "terms")  # a cell has one style, and terms are Python


def parse_variations(entries: Sequence[str]) -> list[dict[str, str]]:
    """Return all combinations of the values, as texts by the names of their options.

    Args:
        entries: ``NAME=VALUE,VALUE,...`` each; where a semicolon is, it separates in place of the
            comma, for values that have commas themselves.

    Raises:
        InputError: if an entry has another form, or an option is unknown or comes twice.
    """
    known = [name for name in OPTIONS if name not in _LEFT_OUT]
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
    """Return the text as a value of the option; several are joined by ``+``.

    A text of another form is returned as it is, for the option itself to accept or to refuse.

    Raises:
        InputError: for layers that cannot be read, or neither yes nor no.
    """
    return OPTIONS[name].kind.read_joined(f"--vary {name}", text)
