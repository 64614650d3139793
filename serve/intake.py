"""A process that takes jobs in: it decodes what strangers send, within limits, and plans.

What a decoder does to itself, with a picture made for that, it does there: not to the service.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ortist.engine import Engine, InputError, OrtistError, Plan
from ortist.engine.images import MIN_SIDE, read_with_alpha
from ortist.engine.processes import Child, Line, ready, reason_of
from ortist.engine.workers import Setup
from ortist.models.files import reason
from ortist.serve.errors import BusyError, TooLargeError
from ortist.serve.limits import Limits
from ortist.serve.order import Order
from ortist.serve.task import Files, options_of, sources_of

_START_SECONDS = 60.0


@dataclass(frozen=True)
class Draft:
    """What a client sent.

    Attributes:
        order: what is asked for.
        sent: where the bytes of each picture are, by the names that a job has for them.
        files: where the pictures go.
    """

    order: Order
    sent: Mapping[str, Path]
    files: Files


@dataclass(frozen=True)
class Accepted:
    """What will be painted.

    Attributes:
        plan: as JSON has it.
        record: likewise, of the picture.
    """

    plan: dict[str, Any]
    record: dict[str, Any]


@dataclass(frozen=True)
class _Refused:
    reason: str
    kind: type[OrtistError] = InputError


class Intake:
    """The process, seen from the service; it is started when it is needed, and again if it died.

    Args:
        setup: of its engine, which plans.
        limits: of the service.
    """

    def __init__(self, setup: Setup, limits: Limits) -> None:
        self._setup, self._limits = setup, limits
        self._child: Child | None = None
        self._lock = threading.Lock()
        self._stopped = True

    def start(self) -> None:
        """Start the process."""
        self._stopped = False
        with self._lock:
            self._started()

    def stop(self) -> None:
        """End the process, and whatever it is at."""
        self._stopped = True
        child = self._child
        if child is not None:
            child.end()
        with self._lock:
            self._end()

    def take(self, draft: Draft) -> Accepted:
        """Decode the pictures of a draft and plan what they ask for; one draft at a time.

        Raises:
            InputError: for pictures or options that cannot be used.
            TooLargeError: for what takes too much memory or time to decode.
            BusyError: if there is no process to be had.
        """
        with self._lock:
            answer = self._asked(draft)
        if isinstance(answer, Accepted):
            return answer
        raise answer.kind(answer.reason)

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _started(self) -> Child:
        """Return the process, once it is ready."""
        if self._stopped:
            raise BusyError("the service stops")
        if self._child is not None and ready([self._child], 0):  # it says nothing unless asked
            self._end()
        if self._child is None:
            self._child = Child(_serve, self._setup, self._limits)
            waited = ready([self._child], _START_SECONDS)
            problem = self._child.receive() if waited else "it does not answer"
            if problem != "":
                self._end()
                raise BusyError(f"the process that decodes pictures cannot start: {problem}")
        return self._child

    def _asked(self, draft: Draft) -> Accepted | _Refused:
        child = self._started()
        try:
            child.send(draft)
        except (RecursionError, ValueError, TypeError) as error:
            return _Refused(f"the job cannot be read: {type(error).__name__}")
        seconds = self._limits.decode_seconds
        if not ready([child], seconds):
            self._end()
            return _Refused(f"the pictures take more than {seconds:g} s to decode", TooLargeError)
        answer: Accepted | _Refused | None = child.receive()
        if answer is None:
            why = child.ending()
            self._end()
            return _Refused(f"the pictures cannot be decoded: {why}", TooLargeError)
        return answer


def _serve(line: Line, setup: Setup, limits: Limits) -> None:
    try:
        engine = setup.engine()
    except Exception as error:
        line.send(reason_of(error))
        return
    _limit_memory(limits.decode_bytes)
    line.send("")
    while True:
        line.send(_taken(engine, line.receive(), limits))


def _taken(engine: Engine, draft: Draft, limits: Limits) -> Accepted | _Refused:
    try:
        return _planned(engine, draft, limits)
    except MemoryError:
        return _Refused("the pictures take too much memory to decode", TooLargeError)
    except OSError as error:  # pictures that cannot be read are InputErrors: it is the disk
        return _Refused(f"the pictures cannot be kept: {reason(error)}", BusyError)
    except Exception as error:  # of whatever kind: the next one is to be taken
        return _Refused(reason_of(error))


def _planned(engine: Engine, draft: Draft, limits: Limits) -> Accepted:
    order, files = draft.order, draft.files
    pictures = {name: _read(name, path, limits) for name, path in draft.sent.items()}
    options = options_of(order, limits, pictures.get("start"))
    plan = engine.plan(**sources_of(order, pictures), options=options)
    width, height = plan.size
    if width * height > limits.painted_pixels:
        raise InputError(
            f"the picture would have {width}x{height} pixels, accepted are at most"
            f" {limits.painted_pixels}: take a smaller size"
        )
    for name, pixels in pictures.items():
        # Hardly packed: it is read soon, and gone in a day.
        Image.fromarray(pixels).save(files.picture(name), "PNG", compress_level=1)
    # Of the files as they were sent, which is what the client has of them.
    told = options
    if "start" in draft.sent:
        told = replace(options, init=draft.sent["start"])
    record = engine.record(**sources_of(order, draft.sent), options=told)
    # Without the names that the files have here, which say nothing.
    inputs = tuple(replace(item, name="") for item in record.inputs)
    return Accepted(_plan_value(plan), replace(record, inputs=inputs, tile=plan.tile).to_value())


def _read(name: str, path: Path, limits: Limits) -> NDArray[np.uint8]:
    """Return a picture as it is painted from: of a mask what is transparent is black."""
    mask = name.endswith("mask") or name == "protect"
    with path.open("rb") as stream:
        pixels, alpha = read_with_alpha(
            stream,
            name=name.replace("-", " "),
            max_pixels=limits.picture_pixels,
            min_side=1 if mask else MIN_SIDE,
        )
    if mask and alpha is not None:
        pixels = (pixels * (alpha / np.float32(255))[..., np.newaxis]).round().astype(np.uint8)
    return pixels


def _plan_value(plan: Plan) -> dict[str, Any]:
    width, height = plan.size
    return {
        "width": width,
        "height": height,
        "steps": plan.evaluations,
        "peak_bytes": plan.peak_bytes,
        "tile": plan.tile,
        "scales": [
            {"width": scale.width, "height": scale.height, "steps": scale.steps}
            for scale in plan.scales
        ],
    }


def _limit_memory(most: int) -> None:
    """Let this process take so much more memory than it has; where systems do not, nothing."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + most
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
