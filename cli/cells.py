"""The cells of a grid: what each shows, and how the paintings among them are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ortist.cli.interrupt import interrupts
from ortist.cli.progress import progress_bar
from ortist.cli.sheet import Cell
from ortist.cli.streams import print_line
from ortist.engine import Engine, NonFiniteCostError, Options, Step
from ortist.engine.follow import Observer, follow
from ortist.engine.images import read_image, to_image
from ortist.engine.metrics import Metrics
from ortist.engine.pictures import read_pictures
from ortist.engine.results import Painting
from ortist.models.errors import printable

_FIGURES = 4
"""Lines that the figures of a painting take."""
_Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Setting:
    """Options that cells are painted with, and what tells them from those of other cells."""

    options: Options
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One painting: what it is made of and where it goes."""

    name: str
    content: _Pixels
    style: _Pixels
    options: Options
    cell: Cell


def plan_cells(
    contents: Sequence[Path],
    styles: Sequence[Path],
    settings: Sequence[Setting],
    side: int,
    *,
    compared: bool = False,
) -> tuple[list[list[Cell]], list[Job]]:
    """Return the rows of the sheet, and the paintings that are missing on it.

    The first row has the styles, the first column the contents.

    Args:
        contents: pictures to paint.
        styles: pictures to take the style of.
        settings: what to paint each pair of them with.
        side: longer side of a picture on the sheet, in pixels.
        compared: whether there is to be room for the figures of each painting.

    Raises:
        InputError: if a picture cannot be used, alone or in one of the paintings.
    """
    limit = max(setting.options.max_pixels for setting in settings)
    photos = [read_image(path, name="content image", max_pixels=limit) for path in contents]
    arts = [read_image(path, name="style image", max_pixels=limit) for path in styles]
    columns = list(product(zip(styles, arts, strict=True), settings))
    rows = [[Cell()]]
    for (path, art), setting in columns:
        rows[0].append(_shown(art, side, path.name, *setting.labels))
    jobs = []
    room = _FIGURES if compared else 0
    for path, photo in zip(contents, photos, strict=True):
        rows.append([_shown(photo, side, path.name)])
        for ((_, art), setting), head in zip(columns, rows[0][1:], strict=True):
            pictures = read_pictures(photo, art, setting.options)
            cell = Cell(*_fitted(pictures.width, pictures.height, side), room=room)
            rows[-1].append(cell)
            name = printable(" | ".join((path.name, *head.lines)))
            jobs.append(Job(name, photo, art, setting.options, cell))
    return rows, jobs


def paint_cells(jobs: Sequence[Job], engine: Engine, quiet: bool, failures: list[str]) -> None:
    """Paint the cells one after the other, until a signal.

    Adds a line to ``failures`` for each painting whose cost stops being finite. Where there is room
    for it, figures of a painting are written beneath.
    """
    done, total = 0, sum(job.options.steps for job in jobs)
    with progress_bar(total, quiet) as show:
        for job in jobs:
            run = engine.iterate(job.content, job.style, job.options)
            interrupts.cancel_with(run.cancel)
            try:
                last = follow(run, [_InCell(job, show, done)], lambda: interrupts.requested)
            except NonFiniteCostError as error:
                failures.append(f"{job.name}: {error}")
            except Exception:  # a model, the memory
                job.cell.lines = ("failed",)
                raise
            else:
                if not quiet:
                    steps = f", {job.cell.lines[0]}" if job.cell.lines else ""
                    print_line(f"{job.name}: J = {last.total:.6g}{steps}")
            # Other lines than figures say that it is not what it was to be.
            if job.cell.room and job.cell.image is not None and not job.cell.lines:
                limit = job.options.max_pixels
                figures = engine.compare(job.cell.image, job.content, job.style, limit)
                job.cell.lines = _figures(figures)
                if not quiet:
                    print_line(", ".join(job.cell.lines))
            if interrupts.requested:
                break
            done += job.options.steps


class _InCell(Observer):
    """Puts the picture into the cell of a job.

    Args:
        job: what is painted.
        show: shows a step of all jobs on the bar.
        before: steps of the jobs before.
    """

    def __init__(self, job: Job, show: Callable[[Step], None], before: int) -> None:
        self._job = job
        self._show = show
        self._before = before

    def step(self, step: Step) -> None:
        """Show a step."""
        interrupts.defer()  # from now on there is something to keep
        self._show(replace(step, iteration=self._before + step.iteration))

    def keep(self, painting: Painting) -> None:
        """Fill the cell, and tell if it is not what it was to be."""
        interrupts.defer()
        cell, steps = self._job.cell, self._job.options.steps
        cell.image = to_image(painting.pixels)
        if not isinstance(painting, Step):
            cell.lines = ("not finite",)
        elif painting.iteration < steps and interrupts.requested:
            cell.lines = (f"{painting.iteration} of {steps} steps",)


def _figures(metrics: Metrics) -> tuple[str, ...]:
    """Return the figures of a painting as lines of text."""
    match = " ".join(f"{cosine:.2f}" for cosine in metrics.match.values())
    return (
        f"content {metrics.content:.2f}, match {match}",
        f"gram error {metrics.gram_error:.3f}",
        f"chroma noise {metrics.chroma_noise:.1f}",
        f"weave {metrics.weave:.1f}, border {metrics.border:.1f}",
    )


def _shown(picture: _Pixels, side: int, *lines: str) -> Cell:
    height, width = picture.shape[:2]
    return Cell(*_fitted(width, height, side), lines, picture)


def _fitted(width: int, height: int, side: int) -> tuple[int, int]:
    factor = side / max(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))
