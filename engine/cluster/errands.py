"""Pictures as workers of a cluster paint them: each as a whole, of bytes that are sent."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from ortist.engine.artifacts import Artifacts
from ortist.engine.engine import Engine
from ortist.engine.options import Options
from ortist.engine.record import installed_versions
from ortist.engine.workers import Failed, Painted, Setup, attempted
from ortist.models.errors import DeviceError


@dataclass(frozen=True)
class Errand:
    """A picture to paint.

    Attributes:
        content: a file with what to paint.
        styles: likewise, whose style to take.
        options: how to paint; a picture to start from is read.
        models: the checksum of the models.
        versions: of what pictures are computed with, by package.
    """

    content: bytes
    styles: tuple[bytes, ...]
    options: Options
    models: str
    versions: Mapping[str, str]


def paint(setup: Setup, errand: Errand) -> Painted | Failed:
    """Paint a picture, on a worker; if that fails, say why."""
    return attempted(lambda: _painted(setup, errand))


def _painted(setup: Setup, errand: Errand) -> Painted:
    engine, here = _engine(setup)
    wanted = {**errand.versions, "models": errand.models}
    for name, version in here.items():
        if version != wanted[name]:
            raise DeviceError(
                f"a worker has {name} {version}, accepted is {wanted[name]}, as where the batch is"
            )
    styles = [io.BytesIO(style) for style in errand.styles]
    plan = engine.plan(io.BytesIO(errand.content), styles, errand.options)
    begin = time.perf_counter()
    *_, last = plan.run()
    return Painted(last.pixels, last.iteration, time.perf_counter() - begin, plan.tile)


@lru_cache(1)
def _engine(setup: Setup) -> tuple[Engine, dict[str, str]]:
    """Return the engine of this process, and what its pictures are computed with."""
    return setup.engine(), {**installed_versions(), "models": Artifacts(setup.models).digest}
