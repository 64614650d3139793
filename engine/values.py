"""Kinds of values that options have: what is accepted, and how it is written as text."""

from __future__ import annotations

import math
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, TypeAlias, TypeGuard

from ortist.engine.schedule import parse_schedule
from ortist.export.costs import TERMS
from ortist.export.costs.term import Term
from ortist.models.errors import InputError, shown
from ortist.models.layers import IMAGE, LAYERS

LayerWeights: TypeAlias = Mapping[str, float] | Sequence[str]
"""Layers with their weights, or names that get equal weights of sum 1."""
MAX_WHOLE = 10**18
"""Largest size or number of steps: what is computed of them stays within the floats."""
_SOURCES = (None, "content", "style", "match")
_JOINING = re.compile(r"\+(?=[a-z])")
"""What joins names of layers; not the plus of a number."""
_TERM_NAME = re.compile(r"[A-Za-z0-9_]+")
_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "minimum": operator.ge,
    "exclusiveMinimum": operator.gt,
    "maximum": operator.le,
    "exclusiveMaximum": operator.lt,
}
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Kind(ABC):
    """A kind of values.

    Attributes:
        metavar: what stands for a value in the help of a command.
        several: whether a value is written as several texts.
    """

    metavar: str
    several: ClassVar[bool] = False

    @property
    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """What is accepted, as far as a JSON schema can say it (draft 2020-12)."""

    @abstractmethod
    def accepted(self, name: str, value: Any) -> Any:
        """Return the value as it is kept: nobody else's, and of Python's own types.

        Raises:
            InputError: which calls the option ``name``, if the value is not accepted.
        """

    def read(self, name: str, text: Any) -> Any:
        """Return what a text, or a list of several, says, or it as it is, to be refused later.

        Raises:
            InputError: for what would read as another value than was meant.
        """
        return text

    def read_joined(self, name: str, text: str) -> Any:
        """Return what one text says, in which several are joined by ``+``, as :meth:`read` does."""
        return self.read(name, _JOINING.split(text) if self.several else text)

    def plain(self, name: str, value: Any) -> Any:
        """Return an accepted value as what it means, which is equal for equal meanings."""
        return value


class Whole(Kind):
    """Whole numbers in a range."""

    metavar = "N"

    def __init__(self, least: int, most: float = MAX_WHOLE) -> None:
        self._least, self._most = least, most

    @property
    def schema(self) -> dict[str, Any]:
        """Integers in the range."""
        most = {} if math.isinf(self._most) else {"maximum": int(self._most)}
        return {"type": "integer", "minimum": self._least, **most}

    def accepted(self, name: str, value: Any) -> int:
        """Return a whole number in the range; numpy's would overflow in what is computed of it."""
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not (whole and value >= self._least):
            raise InputError(
                f"{name} is {shown(value)}, accepted are whole numbers from {self._least}"
            )
        if value > self._most:
            raise InputError(f"{name} is too large, accepted are whole numbers up to {self._most}")
        return int(value)

    def read(self, name: str, text: str) -> Any:
        """Return the number, or the text."""
        return _number(int, text)


class Number(Kind):
    """Finite numbers in a range.

    Args:
        accepted: the range in words.
        bounds: likewise as a JSON schema says it: ``minimum``, ``exclusiveMinimum`` ...
    """

    metavar = "X"

    def __init__(self, accepted: str, **bounds: float) -> None:
        self._range, self._bounds = accepted, bounds

    @property
    def schema(self) -> dict[str, Any]:
        """Numbers in the range."""
        return {"type": "number", **self._bounds}

    def accepted(self, name: str, value: Any) -> float:
        """Return a finite number in the range."""
        inside = _is_finite(value) and all(
            _COMPARED[bound](value, limit) for bound, limit in self._bounds.items()
        )
        if not inside:
            raise InputError(f"{name} is {shown(value)}, accepted are {self._range}")
        return float(value)

    def read(self, name: str, text: str) -> Any:
        """Return the number, or the text."""
        return _number(float, text)


WEIGHT = Number("finite numbers from 0", minimum=0)


@dataclass(frozen=True)
class Changing(Kind):
    """Numbers that may change over the run, see :func:`~ortist.engine.schedule.parse_schedule`.

    Attributes:
        positive: whether 0 is refused.
    """

    positive: bool = False
    metavar = "VALUES"

    @property
    def schema(self) -> dict[str, Any]:
        """A number, or a schedule as text."""
        bound = "exclusiveMinimum" if self.positive else "minimum"
        return {
            "anyOf": [{"type": "number", bound: 0}, {"type": "string", "examples": ["1,10@0.3"]}]
        }

    def accepted(self, name: str, value: Any) -> float | str:
        """Return a number or a schedule."""
        self.plain(name, value)
        return value if isinstance(value, str) else float(value)

    def read(self, name: str, text: str) -> Any:
        """Return the number, or the text, which may be a schedule."""
        return _number(float, text)

    def plain(self, name: str, value: Any) -> Any:
        """Return the schedule."""
        return parse_schedule(name, value, positive=self.positive)


class Choice(Kind):
    """One of some words."""

    def __init__(self, words: Collection[str]) -> None:
        self._words = words
        self.metavar = "|".join(words)

    @property
    def schema(self) -> dict[str, Any]:
        """The words."""
        return {"enum": list(self._words)}

    def accepted(self, name: str, value: Any) -> str:
        """Return one of the words."""
        check_choice(name, value, self._words)
        # Not str(value), which of an Enum is its name.
        return next(word for word in self._words if word == value)


class YesNo(Kind):
    """True or false; as a flag, one for each."""

    metavar = "BOOLEAN"

    @property
    def schema(self) -> dict[str, Any]:
        """A boolean."""
        return {"type": "boolean"}

    def accepted(self, name: str, value: Any) -> bool:
        """Return a bool."""
        if not isinstance(value, bool):
            raise InputError(f"{name} is {shown(value)}, accepted are true and false")
        return value

    def read(self, name: str, text: str) -> bool:
        """Return what the text says."""
        if text.lower() not in _BOOLEANS:
            raise InputError(f"{name} is {shown(text)}, accepted are {', '.join(_BOOLEANS)}")
        return _BOOLEANS[text.lower()]


class Layers(Kind):
    """Layers of the network, all or none with a weight."""

    metavar = "NAME[:WEIGHT]"
    several = True

    @property
    def schema(self) -> dict[str, Any]:
        """Names, or an object of their weights."""
        name = {"enum": list(LAYERS)}
        names = {"type": "array", "items": name, "uniqueItems": True}
        weights = {"type": "object", "propertyNames": name, "additionalProperties": WEIGHT.schema}
        return {"anyOf": [names, weights]}

    def accepted(self, name: str, value: Any) -> LayerWeights:
        """Return layers with weights, or names."""
        return accepted_layers(name, value, LAYERS)

    def read(self, name: str, text: Sequence[str]) -> LayerWeights:
        """Return layers with their weights, or names only if no weight is given."""
        weights: dict[str, float | None] = {}
        for entry in text:
            layer, colon, weight = entry.partition(":")
            if layer in weights:
                raise InputError(f"{name} {layer} is given twice")
            number = _number(float, weight) if colon else None
            if isinstance(number, str):
                raise InputError(f"{name} {entry}: the weight '{weight}' is not a number")
            weights[layer] = number
        given = {layer: weight for layer, weight in weights.items() if weight is not None}
        if given and len(given) < len(weights):
            missing = next(layer for layer in weights if layer not in given)
            raise InputError(f"{name} {missing} has no weight but others have; give all or none")
        return given or list(weights)


class Shares(Kind):
    """Weights that are scaled to a sum of 1."""

    metavar = "X"
    several = True

    @property
    def schema(self) -> dict[str, Any]:
        """Numbers from 0."""
        return {"type": "array", "items": WEIGHT.schema, "minItems": 1}

    def accepted(self, name: str, value: Any) -> tuple[float, ...]:
        """Return numbers from 0 with a finite sum above 0."""
        members = _members(name, value, "is a sequence of numbers")
        weights = tuple(WEIGHT.accepted(name, weight) for weight in members)
        if not sum(weights):
            raise InputError(f"{name} are all 0, accepted is a sum above 0")
        if not _is_finite(sum(weights)):
            raise InputError(f"{name} have an infinite sum, accepted is a finite one")
        return weights

    def read(self, name: str, text: Sequence[str]) -> list[Any]:
        """Return the numbers, those that are none as texts."""
        return [_number(float, entry) for entry in text]


@dataclass(frozen=True)
class PerStyle(Kind):
    """One number for all style pictures, or one for each.

    Attributes:
        number: what each may be.
    """

    number: Number
    metavar = "X"
    several: ClassVar[bool] = True

    @property
    def schema(self) -> dict[str, Any]:
        """A number, or several."""
        number = self.number.schema
        return {"anyOf": [number, {"type": "array", "items": number, "minItems": 1}]}

    def accepted(self, name: str, value: Any) -> float | tuple[float, ...]:
        """Return the number, also if it is the only one of several, or all."""
        if isinstance(value, Real):
            return self.number.accepted(name, value)
        members = _members(name, value, "are a number, or several, one for each style")
        numbers = tuple(self.number.accepted(name, number) for number in members)
        if not numbers:
            raise InputError(
                f"{name} is empty, accepted are a number, or several, one for each style"
            )
        return numbers[0] if len(numbers) == 1 else numbers

    def read(self, name: str, text: Sequence[str]) -> Any:
        """Return the numbers, or the only one; what is none as text."""
        numbers = [self.number.read(name, entry) for entry in text]
        return numbers[0] if len(numbers) == 1 else numbers


class Start(Kind):
    """One of some words, or a picture, which is looked at where it is read."""

    def __init__(self, words: Collection[str]) -> None:
        self.metavar = "|".join((*words, "FILE"))
        self._words = words

    @property
    def schema(self) -> dict[str, Any]:
        """The words: JSON has no pictures."""
        return {"enum": list(self._words)}

    def is_word(self, value: Any) -> bool:
        """Whether this is a word, and no picture."""
        return isinstance(value, str) and value in self._words

    def check_word(self, name: str, value: Any) -> None:
        """Raise InputError, which calls it ``name``, unless this is a word."""
        check_choice(name, value, self._words)

    def accepted(self, name: str, value: Any) -> Any:
        """Return it as it is."""
        return value


class Terms(Kind):
    """Terms of one's own with their layers and weights; they are not written as text."""

    metavar = ""

    @property
    def schema(self) -> dict[str, Any]:
        """None: terms are Python."""
        return {"type": "object", "maxProperties": 0}

    def accepted(self, name: str, value: Any) -> dict[Term, LayerWeights]:
        """Return a mapping from terms with names of their own to layers."""
        if not isinstance(value, Mapping):
            raise InputError(f"{name} is {shown(value)}, accepted is a mapping from terms")
        names, terms = set(TERMS), {}
        for term, layers in value.items():
            if not isinstance(term, Term):
                raise InputError(f"{name} has {shown(term)}, accepted are instances of Term")
            called = getattr(term, "name", None)
            plain = isinstance(called, str) and _TERM_NAME.fullmatch(called)
            if not plain or called in names:
                raise InputError(
                    f"{name} has one named {shown(called)}, accepted are letters, digits and _,"
                    f" and each name once, but {', '.join(TERMS)}"
                )
            if getattr(term, "source", None) not in _SOURCES:
                raise InputError(
                    f"source of {called} is {shown(term.source)}, accepted are"
                    f" {', '.join(map(str, _SOURCES))}"
                )
            if term.source == "match" and type(term).match is Term.match:
                raise InputError(f"{called} has source 'match', which needs a method match")
            names.add(term.name)
            terms[term] = accepted_layers(f"layers of {called}", layers, (*LAYERS, IMAGE))
        return terms


def json_value(value: Any) -> Any:
    """Return a value with JSON's types for those that have the same meaning."""
    if isinstance(value, Mapping):
        return {name: json_value(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(member) for member in value]
    return value


def same(value: object, other: object) -> bool:
    """Tell whether a value, maybe an array, which compares by element, is another that is none."""
    return isinstance(value, type(other)) and bool(value == other)


def check_choice(name: str, value: object, accepted: Collection[str]) -> None:
    """Raise InputError, which calls it ``name``, unless ``value`` is one of those accepted."""
    # Not `in` alone: arrays compare by element.
    if not (isinstance(value, str) and value in accepted):
        raise InputError(f"{name} is {shown(value)}, accepted are {', '.join(accepted)}")


def check_layers(name: str, layers: object, accepted: Collection[str] = LAYERS) -> None:
    """Raise InputError, which calls them ``name``, unless ``layers`` is a collection of layers."""
    for layer in _members(name, layers, "are several layers, as in ('conv1_1',)"):
        if not (isinstance(layer, str) and layer in accepted):
            raise InputError(
                f"{name} has unknown layer {shown(layer)}, accepted are {', '.join(accepted)}"
            )


def accepted_layers(name: str, layers: Any, accepted: Collection[str]) -> LayerWeights:
    """Return layers that come once each, with their weights if they have some.

    Raises:
        InputError: which calls them ``name``, for others.
    """
    check_layers(name, layers, accepted)
    for layer in layers:
        if list(layers).count(layer) > 1:
            raise InputError(f"{name} has {layer} twice")
    weights = {
        next(known for known in accepted if known == layer): WEIGHT.accepted(
            f"{name} weight of {layer}", weight
        )
        for layer, weight in layer_weights(layers).items()
    }
    return weights if isinstance(layers, Mapping) else tuple(weights)


def layer_weights(layers: LayerWeights) -> dict[str, float]:
    """Return the weight of each layer; n names without weights get 1/n each."""
    if isinstance(layers, Mapping):
        return dict(layers)
    return {layer: 1.0 / len(layers) for layer in layers}


def _number(number: type[int] | type[float], text: str) -> Any:
    """Return the text as a number if it is one."""
    try:
        return number(text)
    except ValueError:
        return text


def _members(name: str, value: object, accepted: str) -> list[Any]:
    """Return what a collection contains; InputError if it is none, or a text."""
    try:
        if isinstance(value, Collection) and not isinstance(value, str | bytes):
            return list(value)
    except TypeError:  # an array without dimensions
        pass
    raise InputError(f"{name} is {shown(value)}, accepted {accepted}")


def _is_finite(value: object) -> TypeGuard[float]:
    """Whether this is a number that a float can hold."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int beyond the floats
        return False
