"""What clients see, as JSON has it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel

from ortist.serve.order import OrderedRegion

State: TypeAlias = Literal["queued", "running", "paused", "done", "canceled", "failed"]
FINAL: frozenset[State] = frozenset(("done", "canceled", "failed"))
"""States that a job never leaves."""


class Costs(BaseModel):
    """The costs of a picture, as ``Costs`` of the engine has them."""

    total: float
    content: float
    style: float
    variation: float


class Progress(BaseModel):
    """A step of a job: the costs of what it evaluated, and how long the rest will take."""

    step: int
    steps: int
    scale: int
    scales: int
    width: int
    height: int
    costs: Costs
    seconds_left: float | None
    preview: int | None = None


class PlannedScale(BaseModel):
    """A size in which is painted, and how often it is evaluated."""

    width: int
    height: int
    steps: int


class JobPlan(BaseModel):
    """What a job will do, and take."""

    width: int
    height: int
    steps: int
    peak_bytes: int
    tile: int
    scales: list[PlannedScale]


class JobView(BaseModel):
    """A job as clients see it."""

    id: str
    state: State
    error: str | None
    position: int | None
    created: str
    started: str | None
    ended: str | None
    recipe: str
    options: dict[str, Any]
    inputs: list[str]
    regions: list[OrderedRegion]
    plan: JobPlan
    progress: Progress | None
    preview: int | None
    result: bool


class RecipeView(BaseModel):
    """A set of options under a name."""

    name: str
    about: str
    options: dict[str, Any]


class LimitsView(BaseModel):
    """What is accepted, as ``Limits`` has it."""

    upload_bytes: int
    picture_pixels: int
    painted_pixels: int
    styles: int
    regions: int
    steps: int
    seconds: float
    queued: int
    jobs_per_client: int
    kept_seconds: float


class Problem(BaseModel):
    """Why a request is refused, in one line."""

    detail: str
