"""JSON that nobody vouches for: parsed strictly, and each value checked where it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from ortist.models.errors import OrtistError, shown

T = TypeVar("T")
SHA256 = re.compile(r"[0-9a-f]{64}")


def parse_json(text: str) -> Any:
    """Return what a text says in JSON, without names that come twice, NaN and Infinity.

    Raises:
        ValueError: for other texts.
        RecursionError: if it is nested too deeply.
    """
    return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unrepeated)


@dataclass(frozen=True)
class Value:
    """A value; every method refuses it if it is not what the name of that says.

    Attributes:
        value: as JSON has it.
        where: path to it, as in ``graphs[3].block``.
        label: what messages begin with, as in ``manifest.json is corrupt``.
        error: what is raised.
    """

    value: Any
    where: str
    label: str
    error: type[OrtistError]

    def refuse(self, accepted: str) -> NoReturn:
        """Raise the error: this is the value, and what is accepted."""
        what = f"{self.where or 'it'} is {shown(self.value)}"
        raise self.error(f"{self.label}: {what}, accepted is {accepted}")

    def at(self, name: str) -> Value:
        """Return an entry of an object."""
        where = f"{self.where}.{name}" if self.where else name
        return Value(self.value[name], where, self.label, self.error)

    def fields(self, names: Sequence[str]) -> dict[str, Value]:
        """Return the entries of an object that has these keys and no others."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        here = self.where or "it"
        for name in names:
            if name not in self.value:
                raise self.error(f"{self.label}: {here} has no {name!r}")
        for name in self.value:
            if name not in names:
                message = f"{self.label}: {here} has {shown(name)}"
                raise self.error(f"{message}, accepted are {_listed(names)}")
        return {name: self.at(name) for name in self.value}

    def mapping(self) -> dict[str, Any]:
        """Return an object, whatever its entries are."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        return self.value

    def entries(self) -> dict[str, Value]:
        """Return the entries of an object, whatever its keys are."""
        return {name: self.at(name) for name in self.mapping()}

    def items(self) -> list[Value]:
        """Return the entries of a list."""
        if not isinstance(self.value, list):
            self.refuse("a list")
        return [
            Value(value, f"{self.where}[{index}]", self.label, self.error)
            for index, value in enumerate(self.value)
        ]

    def text(self) -> str:
        """Return a text."""
        if not isinstance(self.value, str):
            self.refuse("a text")
        return self.value

    def matching(self, pattern: re.Pattern[str], accepted: str) -> str:
        """Return a text that is all of a pattern."""
        if not (isinstance(self.value, str) and pattern.fullmatch(self.value)):
            self.refuse(accepted)
        return self.value

    def integer(self, least: int, most: int = 2**31 - 1) -> int:
        """Return a whole number in a range."""
        if type(self.value) is not int or not least <= self.value <= most:
            self.refuse(f"a whole number from {least} to {most}")
        return self.value

    def number(self, least: float, most: float) -> float:
        """Return a number in a range."""
        if type(self.value) not in (int, float) or not least <= self.value <= most:
            self.refuse(f"a number from {least:g} to {most:g}")
        return float(self.value)

    def exactly(self, expected: object) -> None:
        """Refuse all but one value."""
        if not _same(self.value, expected):
            self.refuse(json.dumps(expected))

    def one_of(self, accepted: Sequence[T]) -> T:
        """Return one of some values."""
        for choice in accepted:
            if _same(self.value, choice):
                return choice
        return self.refuse(f"one of {_listed(accepted)}")


def _same(value: object, expected: object) -> bool:
    """Tell whether a value is the expected one in JSON, where 1, 1.0 and true differ."""
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(_same(value[name], expected[name]) for name in expected)
        )
    if isinstance(expected, list | tuple):
        return (
            isinstance(value, list)
            and len(value) == len(expected)
            and all(map(_same, value, expected))
        )
    return type(value) is type(expected) and value == expected


def _listed(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; which of two equal keys counts would be anybody's guess."""
    unrepeated: dict[str, Any] = {}
    for name, value in pairs:
        if name in unrepeated:
            raise ValueError(f"{shown(name)} is there twice")
        unrepeated[name] = value
    return unrepeated
