"""What a service takes on at most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from ortist.engine.memory import parse_bytes
from ortist.models.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a service takes on at most; everything beyond is refused in words.

    Attributes:
        upload_bytes: of a request, all its pictures together.
        picture_pixels: of a picture that is sent.
        painted_pixels: of a picture that is painted.
        styles: pictures whose style a job takes, those of regions not among them.
        regions: of a job.
        steps: evaluations of a job.
        seconds: that painting a job may take; what there is then is kept.
        queued: jobs that wait.
        jobs_per_client: jobs of one client that have not ended.
        kept: jobs that have ended and are kept; the oldest go first.
        kept_seconds: how long they are kept.
        decode_seconds: that reading the pictures of a job may take.
        decode_bytes: of memory, likewise.
    """

    upload_bytes: int = 64_000_000
    picture_pixels: int = 40_000_000
    painted_pixels: int = 4_000_000
    styles: int = 8
    regions: int = 8
    steps: int = 2000
    seconds: float = 3600.0
    queued: int = 100
    jobs_per_client: int = 10
    kept: int = 1000
    kept_seconds: float = 86400.0
    decode_seconds: float = 30.0
    decode_bytes: int = 2_000_000_000

    def __post_init__(self) -> None:
        """Check every value: numbers above 0."""
        for name, value in vars(self).items():
            if not value > 0:
                raise InputError(f"limit {name} is {value}, accepted are numbers above 0")


def read_limits(entries: Iterable[str]) -> Limits:
    """Return the limits that texts such as ``steps=500`` or ``upload_bytes=20MB`` say.

    Raises:
        InputError: for other texts.
    """
    kinds = {field.name: field.type for field in fields(Limits)}
    values: dict[str, Any] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        if name not in kinds or not equals:
            known = ", ".join(kinds)
            raise InputError(f"--limit is '{entry}', accepted is NAME=N with a name of {known}")
        values[name] = _number(f"--limit {name}", text, whole=kinds[name] == "int")
    return Limits(**values)


def _number(name: str, text: str, whole: bool) -> float:
    try:
        if name.endswith("_bytes"):
            return int(parse_bytes(name, text))
        return int(text) if whole else float(text)
    except (OverflowError, ValueError):
        raise InputError(f"{name} is '{text}', accepted are numbers above 0") from None
