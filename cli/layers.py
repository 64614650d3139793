"""Layers as the command line writes them: NAME or NAME:WEIGHT."""

from __future__ import annotations

from collections.abc import Sequence

from ortist.engine import InputError


def parse_layers(option: str, entries: Sequence[str] | None) -> dict[str, float] | list[str] | None:
    """Return layers with their weights, or names only if no weight is given; None for None.

    Args:
        option: what messages call the option, for example ``"--style-layer"``.
        entries: ``NAME`` or ``NAME:WEIGHT`` each.

    Raises:
        InputError: if a weight is not a number, a layer comes twice, or only some have a weight.
    """
    if entries is None:
        return None
    weights: dict[str, float | None] = {}
    for entry in entries:
        name, colon, weight = entry.partition(":")
        if name in weights:
            raise InputError(f"{option} {name} is given twice")
        weights[name] = _number(option, entry, weight) if colon else None
    given = {name: weight for name, weight in weights.items() if weight is not None}
    if given and len(given) < len(weights):
        missing = next(name for name in weights if name not in given)
        raise InputError(f"{option} {missing} has no weight but others have; give all or none")
    return given or list(weights)


def _number(option: str, entry: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option} {entry}: the weight '{text}' is not a number") from None
